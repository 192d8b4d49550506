"""What is shown of a study while it runs."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Mapping

import pytest

from jepa_core.ablation import progress
from jepa_core.ablation.folder import CellState, State
from jepa_core.ablation.progress import TRAINING, StudyView, share_done


def states(**cells: tuple[State, int]) -> Mapping[str, CellState]:
    return {
        name: CellState(state, step, 100, "a disk was full" if state == "failed" else "")
        for name, (state, step) in cells.items()
    }


WAITING = states(one=("waiting", 0), two=("waiting", 0), three=("waiting", 0))
LATER = states(one=("done", 100), two=("running", 50), three=("failed", 10))


def test_a_cell_counts_as_much_as_is_trained_of_it_and_measuring_has_a_share() -> None:
    assert share_done(WAITING) == 0
    assert share_done(LATER) == 1 + TRAINING / 2
    assert share_done(states(one=("done", 100), two=("interrupted", 100))) == 1 + TRAINING < 2


def test_failed_cells_count_for_nothing() -> None:
    assert share_done(states(one=("failed", 100), two=("failed", 10))) == 0


def test_without_a_terminal_every_change_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "jepa_core"), StudyView("masks", WAITING) as view:
        view.update(LATER)
        view.update(LATER)
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told == [("INFO", "one: done"), ("INFO", "two: running"), ("WARNING", "three: failed: a disk was full")]


def test_without_a_terminal_the_whole_study_is_a_line_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 40.0, 40.0, 41.0, 99.0, 99.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO, "jepa_core"), StudyView("masks", WAITING) as view:
        view.update(LATER)
        view.update(LATER)
        view.update(states(one=("done", 100), two=("running", 98), three=("failed", 10)))
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("masks")]
    assert told == [
        "masks: 1.4 of 2 cells (1 done 1 running 1 failed), 00:00:15 left",  # 40 s for 1.45 cells
        "masks: 1.9 of 2 cells (1 done 1 running 1 failed), 00:00:06 left",  # 99 s for 1.882 cells
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_for_the_study_and_one_for_every_cell_that_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(logging.INFO, "jepa_core"), StudyView("masks", WAITING) as view:
        view.update(LATER)
        assert view._bars is not None
        assert [task.description for task in view._bars.tasks] == ["masks", "two"]
        whole, cell = view._bars.tasks
        assert (whole.completed, whole.total, whole.fields["note"]) == (1.45, 2, "1 done 1 running 1 failed")
        assert (cell.completed, cell.total, cell.fields["note"]) == (50, 100, "")
        view.update({**LATER, "two": CellState("running", 100, 100)})
        assert view._bars.tasks[1].fields["note"] == "measuring"
        view.update({**LATER, "two": CellState("done", 100, 100)})
        assert [task.description for task in view._bars.tasks] == ["masks"]
    assert "masks" in terminal.getvalue()
    assert [record.getMessage() for record in caplog.records] == ["three: failed: a disk was full"]
