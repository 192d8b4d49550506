"""How long the cells of a study will take: from finished ones, from a few measured steps, or from a machine's peak."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jepa_core.ablation.cells import Cell
from jepa_core.checkpoint import RunFolder, read_state
from jepa_core.config import RunConfig
from jepa_core.config.files import FileSection
from jepa_core.config.text import to_yaml
from jepa_core.errors import JepaError
from jepa_core.planning import Machine, Work
from jepa_core.recipes import read_config
from jepa_core.trainer import Trainer

_STEPS = 8  # the first one warms up, and in the last one the collapse monitor looks
_MOST_FLOPS = 4e10  # of a step: a second or so on a few cores
_MOST_WEIGHTS = 100_000_000


@dataclass(frozen=True)
class Pace:
    """How fast the cells of a base are trained."""

    seconds_per_flop: float
    source: str
    """Where that comes from, in words."""


def pace_of(
    cells: Sequence[Cell],
    work: Mapping[str, Work],
    run_of: Callable[[Cell], RunFolder],
    threads: int,
) -> Pace:
    """The pace of a base's cells.

    Args:
        cells: at least one.
        work: of a cell, by arm.
        run_of: where a cell is, or would be.
        threads: processor threads of a cell.
    """
    finished = _finished(cells, work, run_of)
    if finished is not None:
        return finished
    try:
        return _measured(cells[0], work[cells[0].arm], threads)
    except JepaError as error:
        return _nominal(f"{cells[0].arm} could not be measured here: {error}")


def _finished(cells: Sequence[Cell], work: Mapping[str, Work], run_of: Callable[[Cell], RunFolder]) -> Pace | None:
    seconds, flops, count = 0.0, 0, 0
    for cell in cells:
        run = run_of(cell)
        if cell.config.train.steps in run.steps():
            seconds += read_state(run.checkpoint(cell.config.train.steps))["seconds"]
            flops += work[cell.arm].flops.run
            count += 1
    return Pace(seconds / flops, f"{count} finished {'cell' if count == 1 else 'cells'}") if count else None


def _measured(cell: Cell, work: Work, threads: int) -> Pace:
    """Train a few steps, on fewer samples where a whole batch would take long."""
    train = cell.config.train
    per_sample = work.flops.step / train.batch_size
    samples = min(train.batch_size, int(_MOST_FLOPS / per_sample))
    if not samples or work.parameters.encoder + work.parameters.predictor > _MOST_WEIGHTS:
        return _nominal("too large to be measured in passing")
    layer = {
        "train": {"steps": _STEPS, "batch_size": samples, "accumulate": 1, "log_every": 1, "compile": False},
        "checkpoint": {"every": _STEPS},
        "collapse": {"every": _STEPS, "stop": False},
        "tracking": {"trackers": ()},
    }
    config = read_config(text=to_yaml(cell.config), layers=[layer])
    seconds = _seconds_per_step(config, threads)
    if isinstance(config.modality, FileSection) and config.modality.keep_gib and config.train.workers == 0:
        for _ in range(2):  # at the second reading files stay in memory: then steps cost what they cost most cells
            seconds = _seconds_per_step(config, threads)
    of = f"{samples} of {train.batch_size} samples" if samples < train.batch_size else f"{samples} samples"
    return Pace(seconds / (samples * per_sample), f"{_STEPS - 2} steps of {of} of {cell.arm}, measured now")


def _seconds_per_step(config: RunConfig, threads: int) -> float:
    times: list[float] = []

    def note(_: Mapping[str, Any]) -> None:
        times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder, _threads(threads):
        if Trainer(config, RunFolder(Path(folder) / "run"), on_row=note).train() == "interrupted":
            raise KeyboardInterrupt
    return (times[-2] - times[0]) / (len(times) - 2)


@contextmanager
def _threads(count: int) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _nominal(why: str) -> Pace:
    machine = Machine()
    pace = 1 / (machine.tflops * 1e12 * machine.utilisation)
    return Pace(pace, f"{machine.tflops:g} TFLOPS at {machine.utilisation:.0%} of the peak, as `jepa plan` ({why})")
