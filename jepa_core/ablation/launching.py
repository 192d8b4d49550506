"""Running a study: worker processes on this machine, each with its cores and its device, or jobs of a cluster."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self

import torch

from jepa_core.ablation import worker
from jepa_core.ablation.cells import Study
from jepa_core.ablation.folder import CellState, StudyFolder
from jepa_core.ablation.labelled import require_headings, require_labels
from jepa_core.ablation.progress import StudyView
from jepa_core.ablation.running import selected
from jepa_core.cores import cores
from jepa_core.errors import JepaError, UsageError
from jepa_core.interruption import Interruption

Launcher = Literal["local", "slurm"]

POLL_SECONDS = 0.5
"""Between two looks at the workers and at how far their cells are."""

GRACE_SECONDS = 60.0
"""For the checkpoints of workers that are ended in order."""

_LAST_LINES = 5

logger = logging.getLogger(__name__)


def run_study(
    study: Study,
    folder: StudyFolder,
    *,
    jobs: int = 1,
    resume: bool = False,
    launcher: Launcher = "local",
    only: str | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> bool:
    """Run what is left of a study; cells that are done stay as they are, those that failed are tried again.

    Args:
        study: with its cells.
        folder: where it is kept.
        jobs: cells that run at the same time.
        resume: whether the folder may hold the study already.
        launcher: `local` waits until nothing is left; `slurm` hands the work to a cluster and returns.
        only: a pattern of cells' names, such as "*/random/*".
        options: of submitit, such as timeout_min and slurm_partition.

    Returns:
        Whether every selected cell is done; True at once where a cluster does the work.

    Raises:
        UsageError: the folder holds a study and `resume` is false; jobs below 1; no cell is selected.
        ConfigError: labels that there are not, or that arms of a base do not share; as soon as that is known.
        CheckpointError: cells were run with another configuration.
        JepaError: workers do not start.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the cells that ran have a checkpoint.
    """
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: at least 1")
    chosen = selected(study, only)
    if launcher == "slurm":
        from jepa_core.ablation.slurm import submit

        submit(study, folder, jobs=jobs, resume=resume, only=only, options=options)
        return True
    require_labels(study)
    threads = folder.open(study, resume=resume, threads=study.threads(jobs)).threads
    assert threads is not None
    folder.forget_failures(study)
    supervise(study, folder, jobs=min(jobs, len(chosen)), only=only, threads=threads)
    states = folder.states(study)
    return all(states[cell.name].state == "done" for cell in chosen)


def supervise(study: Study, folder: StudyFolder, *, jobs: int, only: str | None, threads: int) -> None:
    """Keep `jobs` workers at work until none is needed; raises as `run_study` does."""
    chosen = {cell.name for cell in selected(study, only)}

    def states() -> dict[str, CellState]:
        return {name: state for name, state in folder.states(study).items() if name in chosen}

    with Interruption() as interruption, StudyView(study.name, states()) as view:
        with Workers(study, folder, jobs, only, threads) as workers:
            while workers.mind(interruption):
                view.update(now := states())
                require_headings(study, _measured_headings(study, folder, now))
                time.sleep(POLL_SECONDS)
        view.update(now := states())
    if interruption.signal is not None:
        done = sum(state.state == "done" for state in now.values())
        logger.warning(
            "stopped with %d of %d cells done; continue with --resume --run-dir %s", done, len(now), folder.path
        )
        raise KeyboardInterrupt


def _measured_headings(study: Study, folder: StudyFolder, states: Mapping[str, CellState]) -> dict[str, Sequence[str]]:
    """What finished cells found labels under, by base."""
    done = [cell for cell in study.cells if cell.name in states and states[cell.name].state == "done"]
    found = {cell.base: folder.evaluation(cell) for cell in done}
    return {base: list(each["headings"]) for base, each in found.items() if each is not None}


@dataclass(frozen=True)
class Slot:
    """What one worker at a time may use."""

    cores: tuple[int, ...]
    """Processor cores that it is bound to; none: it may use all."""
    device: str | None
    """Of CUDA_VISIBLE_DEVICES; None leaves it as it is."""


def slots(jobs: int) -> list[Slot]:
    """The cores and the GPUs of this machine, shared out; several jobs share a GPU where there are fewer of them."""
    every, devices = cores(), _devices()
    share = len(every) // jobs
    if devices and jobs > len(devices):
        logger.warning("%d jobs share %d GPUs; --jobs %d gives each its own", jobs, len(devices), len(devices))
    bound = jobs > 1 and share > 0 and hasattr(os, "sched_setaffinity")
    return [
        Slot(
            cores=tuple(every[number * share : (number + 1) * share]) if bound else (),
            device=devices[number % len(devices)] if devices else None,
        )
        for number in range(jobs)
    ]


def _devices() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count()
    named = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    return named[:count] or [str(number) for number in range(count)]


@dataclass
class _Running:
    """A worker process."""

    name: str
    slot: Slot
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)


class Workers:
    """The worker processes of one runner: started, replaced where they die, and never left behind."""

    def __init__(self, study: Study, folder: StudyFolder, jobs: int, only: str | None, threads: int) -> None:
        """Nothing is started before the context is entered."""
        self._study, self._folder, self._only, self._threads = study, folder, only, threads
        self._slots = slots(jobs)
        self._numbers = itertools.count(1)
        self._running: list[_Running] = []
        self._asked = False

    def __enter__(self) -> Self:
        """Start a worker per slot."""
        for slot in self._slots:
            self._start(slot)
        return self

    def _start(self, slot: Slot) -> None:
        name = f"{socket.gethostname()}-{os.getpid()}-{next(self._numbers)}"
        log = self._folder.logs / f"{name}.log"
        command = [sys.executable, "-m", worker.__name__, str(self._folder.path), "--name", name]
        command += ["--threads", str(self._threads)]
        command += ["--only", self._only] if self._only else []
        command += ["--cores", *map(str, slot.cores)] if slot.cores else []
        environment = {**os.environ, "OMP_NUM_THREADS": str(self._threads)}
        if slot.device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = slot.device
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the runner, who tells the workers once
            )
        self._running.append(_Running(name, slot, log, process))

    def mind(self, interruption: Interruption) -> bool:
        """Pass on a wish to stop, and replace who died; whether anybody is still at work."""
        if interruption.signal is not None:
            self._ask()
        for each in [each for each in self._running if each.process.poll() is not None]:
            self._running.remove(each)
            self._ended(each)
        return bool(self._running)

    def _ended(self, ended: _Running) -> None:
        code = ended.process.returncode
        if code in (worker.DONE, worker.INTERRUPTED):
            return
        if code != worker.SUFFERED:
            self._mourn(ended, code)
        if not self._asked:
            self._start(ended.slot)

    def _mourn(self, ended: _Running, code: int) -> None:
        """Fail the cell that a worker died on; raises JepaError where it died on none, and nobody had it stop."""
        left, tail = self._folder.left_by(self._study, ended.name), _tail(ended.log)
        for cell in left:
            memory = " (out of memory?)" if code == -signal.SIGKILL else ""
            reason = f"the process that ran it died of {_called(code)}{memory}; its log: {ended.log}"
            self._folder.fail(cell, reason, tail)
        if not left and not self._asked:
            raise JepaError(f"a worker ended with {_called(code)} before it had a cell; its log: {ended.log}\n{tail}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End whoever is left: at once after a second Ctrl-C; else, such as when a cluster wants its node, in order."""
        if not isinstance(error, KeyboardInterrupt):
            self._ask()
            self._wait(GRACE_SECONDS)
        for each in self._running:
            each.process.kill()
            each.process.wait()

    def _ask(self) -> None:
        """Have the workers stop after a checkpoint; once, for more signals would say nothing new."""
        for each in self._running if not self._asked else ():
            each.process.send_signal(signal.SIGTERM)
        self._asked = True

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(each.process.poll() is None for each in self._running):
            time.sleep(POLL_SECONDS)


def _called(code: int) -> str:
    """An exit code in words."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _tail(path: Path) -> str:
    lines: Sequence[str] = path.read_text(errors="replace").splitlines()
    return "\n".join(lines[-_LAST_LINES:])
