"""A process that runs cells of a study: `python -m jepa_core.ablation.worker STUDY_FOLDER`, as `jepa ablate` starts it.

It takes the study from the folder. Its exit code says why it ended; any other one is a death, which fails its cell.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

DONE, INTERRUPTED, SUFFERED = 0, 130, 3
"""Nothing is left to do; it was asked to stop; a cell raised something that may have harmed the process."""


def main() -> int:
    """Run cells until none is left, or somebody asks to stop; the exit code."""
    given = _arguments()
    if given.cores:
        os.sched_setaffinity(0, given.cores)  # before torch counts them
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("jepa_core").setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    parent = os.getppid()

    import torch

    from jepa_core.ablation.cells import Cell
    from jepa_core.ablation.folder import StudyFolder
    from jepa_core.ablation.running import work
    from jepa_core.interruption import Interruption

    torch.set_num_threads(given.threads)
    interruption = Interruption(patient=True)  # who started it may send a signal, and so may the machine's scheduler
    signal.signal(signal.SIGUSR2, lambda *_: interruption.ask())  # SLURM's, to all processes of a job that is to end

    def tell(_cell: Cell, _what: str, _done: int, _total: int) -> None:
        if os.getppid() != parent:  # killed: nobody else would end this process
            interruption.ask()

    folder = StudyFolder(given.folder)
    is_done = work(
        folder.read(),
        folder,
        only=given.only,
        worker=given.name,
        interruption=interruption,
        tell=tell,
        one_mishap=True,
    )
    if interruption.signal is not None:
        return INTERRUPTED
    return DONE if is_done else SUFFERED


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jepa_core.ablation.worker", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the study")
    parser.add_argument("--name", required=True, help="unlike that of any other worker")
    parser.add_argument("--only", help="pattern of cells' names")
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    parser.add_argument("--cores", type=int, nargs="*", default=[], help="that it is bound to")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
