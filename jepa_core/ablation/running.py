"""Running cells one after the other, in this process: train, or continue, then measure.

Several processes may `work` on one study at once: each claims the cell that it runs. Whatever a cell raises is noted in
its folder, and the next one begins.
"""

from __future__ import annotations

import gc
import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch

from jepa_core.ablation.cells import Cell, Study
from jepa_core.ablation.folder import CellState, StudyFolder
from jepa_core.checkpoint import RunFolder
from jepa_core.errors import JepaError, UsageError
from jepa_core.evaluation import evaluate
from jepa_core.interruption import Interruption
from jepa_core.trainer import Trainer

Tell = Callable[[Cell, str, int, int], None]
"""Is told of a cell what is being done, how many units of it are done, and of how many."""

Outcome = Literal["tried", "mishap", "elsewhere"]
"""Of a look for work: a cell was run, whatever came of it; it raised what no JepaError is; there was none to be had."""

POLL_SECONDS = 1.0
"""Between two looks at cells that somebody else works on."""

logger = logging.getLogger(__name__)


class Stopped(Exception):
    """Somebody asked to stop in the middle of a measurement, which has no state to keep."""


def untold(_cell: Cell, _what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


def selected(study: Study, only: str | None) -> tuple[Cell, ...]:
    """The cells whose name the pattern `only` matches, such as "*/random/*"; raises UsageError where there is none."""
    chosen = tuple(cell for cell in study.cells if only is None or fnmatchcase(cell.name, only))
    if not chosen:
        raise UsageError(f"--only {only}: no cell has such a name. The first is {study.cells[0].name}.")
    return chosen


def run_cell(
    cell: Cell,
    run: RunFolder,
    representations: Sequence[str],
    *,
    probes: Sequence[str] = (),
    interruption: Interruption,
    tell: Tell = untold,
) -> bool:
    """Train a cell from where it stands, and measure it: whether that ended, or was interrupted.

    Args:
        cell: what to run.
        run: its folder, with or without checkpoints of the same configuration.
        representations: what the probes are fitted on, first the encoder that the study is about.
        probes: names; those of the configuration where none is given.
        interruption: entered by the caller, who looks at it between cells.
        tell: is told how far the cell is.
    """
    if not _train(cell, run, interruption, tell):
        return False

    def watch(what: str, done: int, total: int) -> None:
        tell(cell, what, done, total)
        if interruption.signal is not None:
            raise Stopped

    try:
        found = evaluate(
            run,
            probes=probes,
            representations=representations,
            encoder="context" if representations[0] == "context" else "target",
            watch=watch,
        )
    except Stopped:
        return False
    found.write(run.path / "eval.json")
    return True


def _train(cell: Cell, run: RunFolder, interruption: Interruption, tell: Tell) -> bool:
    """Whether the cell has all of its updates; nothing of the trainer stays in memory."""
    steps = cell.config.train.steps
    if run.steps()[-1:] == [steps]:
        return True

    def on_row(row: Mapping[str, Any]) -> None:
        tell(cell, "pretraining", row["step"], steps)

    return Trainer(cell.config, run, resume=True, on_row=on_row).train(interruption) == "done"


def work(
    study: Study,
    folder: StudyFolder,
    *,
    only: str | None = None,
    worker: str = "this process",
    interruption: Interruption | None = None,
    tell: Tell = untold,
    one_mishap: bool = False,
) -> bool:
    """Run cells until all that are selected are done or have failed, whoever runs them.

    Args:
        study: what to run, with its cells.
        folder: where; `StudyFolder.open` has made it.
        only: a pattern of cells' names.
        worker: a name for whoever this is, unlike that of any other process.
        interruption: where the caller may ask to stop.
        tell: is told how far each cell is.
        one_mishap: return after the first error that is not a JepaError: the process may have suffered, as it does
            from an error on a GPU.

    Returns:
        Whether nothing is left to do; false after an interruption or a mishap.
    """
    chosen = {cell.name for cell in selected(study, only)}
    noted = interruption or Interruption()
    with noted:
        while noted.signal is None:
            states = {name: state for name, state in folder.states(study).items() if name in chosen}
            if all(state.state in ("done", "failed") for state in states.values()):
                return True
            outcome = _next(study, folder, states, worker, noted, tell)
            if outcome == "mishap" and one_mishap:
                return False
            if outcome == "elsewhere":  # somebody else has all that is left, and may be killed yet
                tell(study.cells[0], "waiting", 0, 0)
                time.sleep(POLL_SECONDS)
    return False


def _next(
    study: Study,
    folder: StudyFolder,
    states: Mapping[str, CellState],
    worker: str,
    interruption: Interruption,
    tell: Tell,
) -> Outcome:
    """Run the first cell that is to be had."""
    for cell in study.cells:
        if cell.name in states and states[cell.name].state in ("waiting", "interrupted"):
            with folder.claim(cell, worker) as claimed:
                if claimed and folder.needs_work(study, cell):
                    return _attempt(cell, study, folder, interruption, tell)
    return "elsewhere"


def _attempt(cell: Cell, study: Study, folder: StudyFolder, interruption: Interruption, tell: Tell) -> Outcome:
    """Run a cell that is ours; whatever goes wrong with it is noted in its folder."""
    begin, wanted = time.monotonic(), folder.wanted(study)[cell.name]
    probes = study.config.evaluation.probes
    try:
        ended = run_cell(cell, folder.run(cell), wanted, probes=probes, interruption=interruption, tell=tell)
        assert not ended or folder.is_done(study, cell, wanted), "measured, and yet not complete"
    except Exception as error:  # noqa: BLE001 - plugins, data and hardware raise anything, and the study goes on
        folder.fail(cell, _reason(error), traceback.format_exc())
        logger.warning("%s: failed: %s", cell.name, _reason(error))
        return "tried" if isinstance(error, JepaError) else "mishap"
    finally:
        _tidy()
    logger.info("%s: %s after %.1f s", cell.name, "done" if ended else "interrupted", time.monotonic() - begin)
    return "tried"


def _reason(error: Exception) -> str:
    """In one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, JepaError) else f"{type(error).__name__}: {text}"


def _tidy() -> None:
    """Give back the memory of a cell before the next one begins."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
