"""The folder of a study: where everything is, who works on what, and how far each cell is.

    STUDY/study.yaml                    what was resolved: the study, every cell, the hash of its configuration
    STUDY/cells/BASE/ARM/seed_N/        a run folder per cell; with error.txt where it failed
    STUDY/locks/BASE/ARM/seed_N.lock    held by whoever works on the cell; a process that ends, however, lets go of it
    STUDY/locks/BASE/ARM/seed_N.owner   who that is
    STUDY/logs/                         of the worker processes

Nothing else is kept: a cell's state is read from these files, so that any process may be killed at any time.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from jepa_core.ablation.cells import Cell, Study
from jepa_core.ablation.duties import Duties
from jepa_core.ablation.measured import Evaluations
from jepa_core.ablation.record import CellRecord, StudyRecord
from jepa_core.checkpoint import RunFolder, config_differences
from jepa_core.config.text import config_hash, to_yaml
from jepa_core.errors import CheckpointError, ConfigError, UsageError

State = Literal["waiting", "running", "interrupted", "done", "failed", "changed"]

_PATIENCE = 0.3
"""Seconds to wait for a lock: whoever only asks for a cell's state holds it for a moment."""


@dataclass(frozen=True)
class CellState:
    """How far a cell is."""

    state: State
    """`interrupted`: begun, and nobody works on it now; `done`: trained, and everything is measured; `changed`: begun
    with another configuration, which only `StudyFolder.status` looks for."""
    step: int
    """Completed updates that its log or its newest checkpoint knows."""
    steps: int
    """Of the whole run."""
    note: str = ""
    """Why it failed."""


class StudyFolder:
    """Where a study is kept; several processes may use one folder at once."""

    def __init__(self, path: str | Path) -> None:
        """Nothing is made before `open`."""
        self.path = Path(path)
        self._duties: Duties | None = None
        self._evaluations = Evaluations()

    @property
    def record_path(self) -> Path:
        """What was resolved."""
        return self.path / "study.yaml"

    @property
    def logs(self) -> Path:
        """Logs of the workers."""
        return self.path / "logs"

    def run(self, cell: Cell) -> RunFolder:
        """The run folder of a cell."""
        return RunFolder(self.path / "cells" / cell.name)

    def error_path(self, cell: Cell) -> Path:
        """Why the cell failed: a line of reason, then the traceback; there only where it did."""
        return self.run(cell).path / "error.txt"

    def open(self, study: Study, *, resume: bool, threads: int | None = None) -> StudyRecord:
        """Make the folder for a study, or enter it to continue.

        Args:
            study: with its cells resolved.
            resume: whether the folder may hold the study already; cells that failed are then to be tried again.
            threads: processor threads per cell; what the folder records from an earlier time wins.

        Raises:
            UsageError: it holds a study and `resume` is false, or it cannot be written.
            CheckpointError: it holds cells that were run with another configuration.
        """
        if self.record_path.exists() and not resume:
            raise UsageError(f"{self.path}: holds a study. Continue it with --resume, or choose another --run-dir.")
        try:
            (self.path / "locks").mkdir(parents=True, exist_ok=True)
            with FileLock(self.path / "locks" / "study.lock"):
                self._require_unchanged(study)
                known = StudyRecord.read(self.record_path).threads if self.record_path.exists() else None
                record = StudyRecord.of(study, known or threads)
                self._write(study, record)
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be written ({error}). Choose another --run-dir.") from error
        return record

    def _require_unchanged(self, study: Study) -> None:
        """Raise where a cell that was begun would get another configuration."""
        lines = [f"{cell.name}: {line}" for cell in study.cells for line in self._changes(cell)]
        if lines:
            shown = [*lines[:20], *([f"... and {len(lines) - 20} more"] if len(lines) > 20 else [])]
            raise CheckpointError(
                f"{self.path}: cells of this study were run with another configuration:\n  " + "\n  ".join(shown) + "\n"
                "Give the changed study another --run-dir, or remove the folders of these cells to run them anew."
            )

    def _changes(self, cell: Cell) -> list[str]:
        """What is different from the configuration that the cell was begun with."""
        run = self.run(cell)
        if not _is_begun(run) or run.config == cell.config:
            return []
        return config_differences(*(each.model_dump(mode="json") for each in (run.config, cell.config)))

    def _write(self, study: Study, record: StudyRecord) -> None:
        for cell in study.cells:
            run = self.run(cell)
            run.path.mkdir(parents=True, exist_ok=True)
            _replace(run.config_path, to_yaml(cell.config))
            self._lock_path(cell).parent.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        _replace(self.record_path, record.as_yaml())

    def read(self) -> Study:
        """The study of this folder; raises UsageError where there is none, ConfigError where a file was changed."""
        record = StudyRecord.read(self.record_path)
        return record.study_of([self._cell(each) for each in record.cells])

    def _cell(self, record: CellRecord) -> Cell:
        run = RunFolder(self.path / "cells" / record.name)
        config = run.config
        if config_hash(config) != record.config_hash:
            raise ConfigError(
                "was changed after the study began; `jepa ablate STUDY --resume` says how", str(run.config_path)
            )
        return Cell(record.base, record.arm, record.seed, config)

    # Who works on what

    def _lock_path(self, cell: Cell) -> Path:
        return self.path / "locks" / f"{cell.name}.lock"

    def _owner_path(self, cell: Cell) -> Path:
        return self.path / "locks" / f"{cell.name}.owner"

    @contextmanager
    def claim(self, cell: Cell, worker: str) -> Generator[bool]:
        """Whether the cell is the worker's for the length of the block: it is nobody else's until the block ends."""
        lock = FileLock(self._lock_path(cell), timeout=_PATIENCE)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            self._owner_path(cell).write_text(worker)
            yield True
            self._owner_path(cell).unlink(missing_ok=True)
        finally:
            lock.release()

    def is_claimed(self, cell: Cell) -> bool:
        """Whether somebody works on it now."""
        if not self._lock_path(cell).exists():
            return False
        lock = FileLock(self._lock_path(cell))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False

    def left_by(self, study: Study, worker: str) -> list[Cell]:
        """The cells that a worker which has ended did not hand back."""
        owners = {cell.name: self._owner_path(cell) for cell in study.cells}
        return [cell for cell in study.cells if _text(owners[cell.name]) == worker]

    def fail(self, cell: Cell, reason: str, details: str = "") -> None:
        """Note that a cell failed: `reason` in one line, then `details`."""
        _replace(self.error_path(cell), "\n\n".join([" ".join(reason.split()), details]).rstrip() + "\n")
        self._owner_path(cell).unlink(missing_ok=True)

    def forget_failures(self, study: Study) -> None:
        """Have the cells that failed tried again; those that somebody works on are left alone."""
        for cell in study.cells:
            if self.error_path(cell).exists() and not self.is_claimed(cell):
                self.error_path(cell).unlink(missing_ok=True)

    # How far each cell is

    def wanted(self, study: Study) -> dict[str, tuple[str, ...]]:
        """The representations that every cell is to measure, by its name."""
        return self.duties(study).wanted(self._failed(study))

    def baselines(self, study: Study) -> dict[tuple[str, str, int, str], str]:
        """(base, arm, seed, representation) to the arm that measures this baseline for it."""
        return self.duties(study).baselines(self._failed(study))

    def duties(self, study: Study) -> Duties:
        """Kept for the study that was asked for last."""
        if self._duties is None or self._duties.study is not study:
            self._duties = Duties(study)
        return self._duties

    def _failed(self, study: Study) -> set[str]:
        return {cell.name for cell in study.cells if self.error_path(cell).exists()}

    def states(self, study: Study) -> dict[str, CellState]:
        """How far every cell is, by its name."""
        wanted = self.wanted(study)
        return {cell.name: self._state(study, cell, wanted[cell.name]) for cell in study.cells}

    def status(self, study: Study) -> dict[str, CellState]:
        """As `states`, and which cells were begun with another configuration; raises UsageError without a folder."""
        StudyRecord.read(self.record_path)
        states = self.states(study)
        for cell in study.cells:
            if changes := self._changes(cell):
                states[cell.name] = replace(states[cell.name], state="changed", note="; ".join(changes))
        return states

    def _state(self, study: Study, cell: Cell, wanted: tuple[str, ...]) -> CellState:
        run, steps = self.run(cell), cell.config.train.steps
        if self.is_done(study, cell, wanted):
            return CellState("done", steps, steps)
        step = _last_step(run)
        if self.is_claimed(cell):
            return CellState("running", step, steps)
        if error := _text(self.error_path(cell)):
            return CellState("failed", step, steps, error.splitlines()[0])
        return CellState("interrupted" if _is_begun(run) else "waiting", step, steps)

    def needs_work(self, study: Study, cell: Cell) -> bool:
        """Whether the cell is neither done nor failed, whoever works on it."""
        return not self.error_path(cell).exists() and not self.is_done(study, cell, self.wanted(study)[cell.name])

    def is_done(self, study: Study, cell: Cell, wanted: tuple[str, ...]) -> bool:
        """Whether eval.json holds everything that is wanted, of this configuration after its last step."""
        found = self.evaluation(cell)
        if found is None or found.get("step") != cell.config.train.steps:
            return False
        probes = study.config.evaluation.probes or tuple(section.name for section in cell.config.probes)
        measured = {(result["probe"], result["representation"]) for result in found["results"]}
        is_whole = all((probe, representation) in measured for probe in probes for representation in wanted)
        return is_whole and found["config_hash"] == self.duties(study).hashes[cell.name]

    def evaluation(self, cell: Cell) -> dict[str, Any] | None:
        """eval.json of a cell; None where there is none, or where it or what lies beside it is damaged."""
        return self._evaluations.of(self.run(cell))


def _is_begun(run: RunFolder) -> bool:
    return run.metrics_path.exists() or bool(run.steps())


def _last_step(run: RunFolder) -> int:
    """The last step that the log or a checkpoint knows; of a long log only the end is read."""
    saved = max(run.steps(), default=0)
    if not run.metrics_path.exists():
        return saved
    with run.metrics_path.open("rb") as file:
        file.seek(max(0, run.metrics_path.stat().st_size - 8192))
        lines = file.read().splitlines()
    for line in reversed(lines):
        try:
            return max(saved, int(json.loads(line)["step"]))
        except (ValueError, KeyError, TypeError):  # cut short, at either end
            continue
    return saved


def _text(path: Path) -> str:
    """The text of a small file; empty where there is none."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all, and only where that changes it."""
    if _text(path) != text:
        partial = path.with_suffix(".tmp")
        partial.write_text(text)
        partial.replace(path)
