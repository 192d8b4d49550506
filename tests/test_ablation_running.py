"""Running the cells of a study: alone or together, killed or not, the same bits come out."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from small_study import STEPS, found, small_study, trace, work_in_child

from jepa_core import interruption
from jepa_core.ablation import running
from jepa_core.ablation.analysis import analyse
from jepa_core.ablation.cells import Cell, Study
from jepa_core.ablation.folder import StudyFolder
from jepa_core.ablation.results import read_results
from jepa_core.ablation.running import selected, work
from jepa_core.ablation.tables import write_tables
from jepa_core.errors import CheckpointError, UsageError
from jepa_core.interruption import Interruption

pytestmark = pytest.mark.usefixtures("toy")

# Children of a server that has imported torch start at once, and are single-threaded when they are forked.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["jepa_core.ablation.running"])

BROKEN = "modality.unreadable=[0, 1, 2, 3, 4, 5]"


def opened(study: Study, path: Path) -> StudyFolder:
    folder = StudyFolder(path)
    folder.open(study, resume=path.exists(), threads=1)
    return folder


def in_child(folder: Path, **how: object) -> int | None:
    child = SERVER.Process(target=work_in_child, args=(folder,), kwargs=how)
    child.start()
    child.join(600)
    return child.exitcode


def states(study: Study, folder: StudyFolder) -> dict[str, str]:
    return {name.split("/")[1]: state.state for name, state in folder.states(study).items()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from toy import toy_registered

    path = tmp_path_factory.mktemp("uninterrupted") / "study"
    with toy_registered():
        opened(small_study(), path)
    assert in_child(path) == 0
    return path


def test_five_kills_leave_no_trace(tmp_path: Path, uninterrupted: Path) -> None:
    study, path = small_study(), tmp_path / "study"
    opened(study, path)
    for moment in random.Random(6).sample(range(1, 14), 5):
        assert in_child(path, kill_at=moment) == -signal.SIGKILL
    assert in_child(path) == 0
    for cell in study.cells:
        assert trace(path / "cells" / cell.name) == trace(uninterrupted / "cells" / cell.name)
    assert found(read_results(study, path)) == found(read_results(study, uninterrupted))
    assert tables(study, path, tmp_path) == tables(study, uninterrupted, tmp_path)


def tables(study: Study, path: Path, out: Path) -> dict[str, bytes]:
    """Every file with the numbers of a study but for the one that tells of the clock."""
    files = write_tables(analyse(read_results(study, path)), out)
    return {file.name: file.read_bytes() for file in files if file.name != "cells.csv"}


def test_a_cell_run_third_in_a_process_equals_that_cell_run_alone(tmp_path: Path, uninterrupted: Path) -> None:
    study = small_study()
    last = study.cells[2]
    opened(study, tmp_path / "alone")
    assert in_child(tmp_path / "alone", only=last.name) == 0
    assert trace(tmp_path / "alone" / "cells" / last.name) == trace(uninterrupted / "cells" / last.name)


def test_two_runners_share_a_study(tmp_path: Path, uninterrupted: Path) -> None:
    study, path = small_study(), tmp_path / "study"
    opened(study, path)
    begun = [tmp_path / "first", tmp_path / "second"]
    children = [SERVER.Process(target=work_in_child, args=(path,), kwargs={"mine": mine}) for mine in begun]
    for child in children:
        child.start()
    for child in children:
        child.join(600)
        assert child.exitcode == 0
    cells = [name for mine in begun if mine.exists() for name in mine.read_text().split()]
    assert sorted(cells) == sorted(cell.name for cell in study.cells)
    assert found(read_results(study, path)) == found(read_results(study, uninterrupted))


def test_a_killed_process_lets_go_of_its_cell_though_its_loaders_live_on(tmp_path: Path) -> None:
    study, path = small_study({"half": ("train.workers=1",)}), tmp_path / "study"
    folder = opened(study, path)
    assert in_child(path, kill_at=2) == -signal.SIGKILL
    deadline = time.monotonic() + 300  # the loaders look for their trainer every five seconds
    while folder.is_claimed(study.cells[0]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert states(study, folder) == {"half": "interrupted"}


def test_a_cell_that_somebody_else_runs_is_waited_for_and_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study({"half": ()})
    folder, waited = opened(study, tmp_path / "study"), list[str]()
    monkeypatch.setattr(running, "POLL_SECONDS", 0.0)
    other = folder.claim(study.cells[0], "another process")
    assert other.__enter__()

    def tell(_cell: Cell, what: str, _done: int, _total: int) -> None:
        waited.append(what)
        if waited == ["waiting"] * 2:
            other.__exit__(None, None, None)

    assert work(study, folder, tell=tell)
    assert waited[1:3] == ["waiting", "pretraining"]
    assert states(study, folder) == {"half": "done"}


def test_what_is_done_is_never_run_again(tmp_path: Path, uninterrupted: Path) -> None:
    shutil.copytree(uninterrupted, tmp_path / "study")
    study, begun = small_study(), list[str]()
    folder = opened(study, tmp_path / "study")
    assert work(study, folder, tell=lambda cell, *_: begun.append(cell.name))
    assert begun == []


def test_a_cell_that_was_trained_and_not_measured_is_measured(tmp_path: Path, uninterrupted: Path) -> None:
    shutil.copytree(uninterrupted, tmp_path / "study")
    study = small_study()
    folder, what = opened(study, tmp_path / "study"), set[tuple[str, str]]()
    (folder.run(study.cells[1]).path / "eval.json").unlink()
    assert states(study, folder) == {"half": "done", "most": "interrupted", "rows": "done"}
    assert work(study, folder, tell=lambda cell, doing, *_: what.add((cell.arm, doing)))
    assert what == {("most", "probe_train"), ("most", "probe_test"), ("most", "probes")}


# Failures


def test_a_failed_cell_says_why_and_the_study_goes_on(tmp_path: Path) -> None:
    study = small_study({"half": (), "broken": (BROKEN,), "most": ("masking.ratio=0.8",)})
    folder = opened(study, tmp_path / "study")
    assert work(study, folder)
    assert states(study, folder) == {"half": "done", "broken": "failed", "most": "done"}
    reason, _, details = folder.error_path(study.cells[1]).read_text().partition("\n\n")
    assert "unreadable" in reason
    assert "\n" not in reason
    assert details.startswith("Traceback")
    assert folder.states(study)["waves/broken/seed_0"].note == reason
    results = read_results(study, folder.path)
    assert results.unfinished == {"waves/broken/seed_0": reason}
    assert {fact.arm for fact in results.facts} == {"half", "most"}


def test_a_failed_cell_is_tried_again_when_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = small_study({"half": ()})
    folder = opened(study, tmp_path / "study")

    def full(*_: object, **__: object) -> None:
        raise CheckpointError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(running, "evaluate", full)
        assert work(study, folder)
    assert work(study, folder)
    assert states(study, folder) == {"half": "failed"}
    folder.forget_failures(study)
    assert states(study, folder) == {"half": "interrupted"}
    assert work(study, folder)
    assert states(study, folder) == {"half": "done"}


@pytest.mark.parametrize(
    ("error", "left"), [(RuntimeError("device-side assert"), True), (CheckpointError("full"), False)]
)
def test_a_process_that_may_have_suffered_ends_where_it_can_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, left: bool
) -> None:
    study = small_study({"half": (), "most": ("masking.ratio=0.8",)})
    folder = opened(study, tmp_path / "study")

    def fail(*_: object, **__: object) -> bool:
        raise error

    monkeypatch.setattr(running, "run_cell", fail)
    assert work(study, folder, one_mishap=True) is not left
    assert states(study, folder) == {"half": "failed", "most": "waiting" if left else "failed"}
    assert work(study, folder)
    assert folder.states(study)["waves/half/seed_0"].note == ("RuntimeError: device-side assert" if left else "full")


# Interruptions


def interrupting(when: Callable[[str, int], bool], interruption: Interruption) -> running.Tell:
    def tell(_cell: Cell, what: str, done: int, _total: int) -> None:
        if when(what, done):
            interruption.ask()

    return tell


def test_an_interruption_in_training_leaves_a_checkpoint(tmp_path: Path, uninterrupted: Path) -> None:
    study, asked = small_study(), Interruption()
    folder = opened(study, tmp_path / "study")
    tell = interrupting(lambda what, done: what == "pretraining" and done == 3, asked)
    assert not work(study, folder, interruption=asked, tell=tell)
    assert states(study, folder) == {"half": "interrupted", "most": "waiting", "rows": "waiting"}
    assert folder.run(study.cells[0]).steps()[-1] in (3, 4)
    assert work(study, folder)
    assert found(read_results(study, folder.path)) == found(read_results(study, uninterrupted))


def test_an_interruption_in_a_measurement_ends_it(tmp_path: Path) -> None:
    study, asked = small_study({"half": ()}), Interruption()
    folder = opened(study, tmp_path / "study")
    assert not work(study, folder, interruption=asked, tell=interrupting(lambda what, _: what == "probes", asked))
    state = folder.states(study)["waves/half/seed_0"]
    assert (state.state, state.step, state.steps) == ("interrupted", STEPS, STEPS)
    assert not (folder.run(study.cells[0]).path / "eval.json").exists()


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that an interruption reads."""
    now = [100.0]
    monkeypatch.setattr(interruption.time, "monotonic", lambda: now[0])
    return now


def test_a_second_signal_ends_an_impatient_program_and_tells_a_patient_one_nothing_new(clock: list[float]) -> None:
    with Interruption(patient=True) as patient:
        send(signal.SIGTERM)
        clock[0] += 60
        send(signal.SIGTERM)
    assert patient.signal == signal.SIGTERM
    with Interruption() as impatient:
        send(signal.SIGTERM)
        assert impatient.signal == signal.SIGTERM
        clock[0] += 60
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)


def test_a_termination_that_arrives_twice_at_once_is_one(clock: list[float]) -> None:
    with Interruption() as noted:
        for _ in range(4):
            send(signal.SIGTERM)
            clock[0] += 0.3
        assert noted.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)  # 1.2 s after the first


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("clock")
def test_a_second_ctrl_c_is_one_however_soon(first: signal.Signals) -> None:
    with Interruption():
        send(first)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_handlers_come_back_at_the_end_of_the_outermost_context() -> None:
    before, outer = signal.getsignal(signal.SIGTERM), Interruption()
    with outer:
        with outer:
            inside = signal.getsignal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == inside != before
    assert signal.getsignal(signal.SIGTERM) == before


# What is measured


def measured(study: Study, folder: StudyFolder) -> Mapping[str, set[str]]:
    shown: dict[str, set[str]] = {}
    for each in read_results(study, folder.path).measurements:
        shown.setdefault(each.arm, set()).add(each.representation)
    return shown


def test_baselines_are_measured_once_for_all_arms_that_share_an_encoder(tmp_path: Path) -> None:
    study = small_study({"half": (), "most": ("masking.ratio=0.8",), "wide": ("preset=wide",)})
    folder = opened(study, tmp_path / "study")
    assert work(study, folder)
    assert measured(study, folder) == {
        "half": {"target", "random", "raw"},
        "most": {"target"},
        "wide": {"target", "random"},
    }
    baselines = read_results(study, folder.path).baselines
    assert baselines["waves", "most", 0, "random"] == "half"
    assert baselines["waves", "wide", 0, "random"] == "wide"
    assert {baselines["waves", arm, 0, "raw"] for arm in study.arms} == {"half"}


def test_an_arm_that_failed_passes_the_baselines_on_and_gets_them_back(tmp_path: Path) -> None:
    study = small_study({"half": (), "most": ("masking.ratio=0.8",)})
    folder = opened(study, tmp_path / "study")
    assert work(study, folder, only="*/most/*")
    assert measured(study, folder) == {"most": {"target"}}
    folder.fail(study.cells[0], "a disk was full")
    assert states(study, folder) == {"half": "failed", "most": "interrupted"}
    assert work(study, folder)
    assert measured(study, folder) == {"most": {"target", "random", "raw"}}
    folder.forget_failures(study)
    assert work(study, folder)
    assert measured(study, folder) == {"half": {"target", "random", "raw"}, "most": {"target"}}


def test_a_study_may_do_without_baselines_and_ask_for_the_context_encoder(tmp_path: Path) -> None:
    study = small_study({"half": ()}, baselines=False, encoder="context", probes=("linear",), headings=("side",))
    folder = opened(study, tmp_path / "study")
    assert work(study, folder)
    (only,) = read_results(study, folder.path).measurements
    assert (only.metric, only.representation, len(only.correct)) == ("side/linear", "context", 32)
    assert only.accuracy == only.correct.mean()


def test_a_pattern_chooses_cells_by_name(tmp_path: Path) -> None:
    study = small_study(seeds=(0, 1))
    assert [cell.name for cell in selected(study, "*/most/*")] == ["waves/most/seed_0", "waves/most/seed_1"]
    with pytest.raises(
        UsageError, match=r"--only \*/moist/\*: no cell has such a name. The first is waves/half/seed_0"
    ):
        work(study, opened(study, tmp_path / "study"), only="*/moist/*")
