"""The progress of a whole study: a bar for all cells and one for each that runs, or log lines without a terminal."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from jepa_core.ablation.folder import CellState

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

logger = logging.getLogger(__name__)

EVERY_SECONDS = 30.0
"""Between two lines about the whole study, without a terminal."""


TRAINING = 0.9
"""Share of a cell's work that its training is taken to be; measuring it is the rest."""


def share_done(states: Mapping[str, CellState]) -> float:
    """Cells that are done, and what of the others is trained; those that failed count for nothing."""
    return sum(1.0 if state.state == "done" else TRAINING * state.step / state.steps for state in _able(states))


def _able(states: Mapping[str, CellState]) -> list[CellState]:
    """Cells that can still be done."""
    return [state for state in states.values() if state.state != "failed"]


class StudyView:
    """Shows how far the cells of a study are, each time it is told; whose work it is makes no difference."""

    def __init__(self, name: str, states: Mapping[str, CellState]) -> None:
        """`name` of the study, and where it stands now."""
        self._name, self._states = name, dict(states)
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Start the clock and, on a terminal, draw the bars."""
        self._begin = self._said = time.monotonic()
        self._first = self._states
        if sys.stderr.isatty():
            self._bars = _bars()
            self._bars.start()
        self._draw()
        return self

    def update(self, states: Mapping[str, CellState]) -> None:
        """Show what has changed."""
        for name, state in states.items():
            if state.state != self._states[name].state:
                self._say(name, state)
        self._states = dict(states)
        self._draw()

    def _say(self, name: str, state: CellState) -> None:
        """A line about a cell that came into another state; on a terminal, the bars say all but why one failed."""
        if state.state == "failed":
            logger.warning("%s: failed: %s", name, state.note)
        elif self._bars is None:
            logger.info("%s: %s", name, state.state)

    def _draw(self) -> None:
        done, able = share_done(self._states), len(_able(self._states))
        counts = " ".join(
            f"{sum(state.state == which for state in self._states.values())} {which}"
            for which in ("done", "running", "failed")
        )
        if self._bars is not None:
            self._show(self._name, done, able, counts)
            for name, state in self._states.items():
                self._follow(name, state)
        elif time.monotonic() - self._said >= EVERY_SECONDS:
            self._said = time.monotonic()
            # What failed since the beginning did no work that the others have still to do.
            first = share_done({name: self._first[name] for name, now in self._states.items() if now.state != "failed"})
            pace = (done - first) / (self._said - self._begin)
            left = time.strftime("%H:%M:%S", time.gmtime((able - done) / pace)) if pace > 0 else "unknown"
            logger.info("%s: %.1f of %d cells (%s), %s left", self._name, done, able, counts, left)

    def _follow(self, name: str, state: CellState) -> None:
        """A bar for a cell as long as it runs."""
        assert self._bars is not None
        if state.state == "running":
            self._show(name, state.step, state.steps, "measuring" if state.step == state.steps else "")
        elif name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name))

    def _show(self, name: str, done: float, total: int, note: str) -> None:
        assert self._bars is not None
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, note="")
        self._bars.update(self._tasks[name], completed=done, total=total, note=note)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bars as they are, also when the work failed."""
        if self._bars is not None:
            self._bars.stop()


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        refresh_per_second=4,
    )
