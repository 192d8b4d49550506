"""Worker processes of a study: shared machine, deaths, Ctrl-C, and a runner that is killed."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from small_study import found, install_toy, run_study_in_child, small_study

from jepa_core.ablation import launching
from jepa_core.ablation.cells import Study
from jepa_core.ablation.folder import StudyFolder
from jepa_core.ablation.launching import Slot, Workers, run_study, slots
from jepa_core.ablation.results import read_results
from jepa_core.ablation.running import work
from jepa_core.errors import JepaError, UsageError
from jepa_core.interruption import Interruption
from jepa_core.registry import objectives

pytestmark = pytest.mark.usefixtures("toy")

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["jepa_core.ablation.launching"])

EXTRA = """
import os
import signal

from jepa_core.builtin import l2
from jepa_core.config import Section
from jepa_core.plugin import ObjectivePlugin


class DeadlyConfig(Section):
    name: str = "deadly"


def deadly(config):
    if os.environ.get("DEADLY"):
        os.kill(os.getpid(), signal.SIGKILL)
    return l2.build(l2.Config())


DEADLY = ObjectivePlugin("deadly", DeadlyConfig, deadly, "ends its process, for tests")
"""

LONG = ("train.steps=100000", "checkpoint.every=100000", "train.log_every=1")


def begun(folder: StudyFolder, study: Study) -> bool:
    return any(state.state == "running" and state.step > 2 for state in folder.states(study).values())


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_workers_share_a_study_and_one_that_dies_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install_toy(tmp_path / "site", monkeypatch, EXTRA)
    monkeypatch.syspath_prepend(tmp_path / "site" / "modules")
    import extra  # pyright: ignore[reportMissingImports]

    arms = {
        "half": (),
        "deadly": ("objective={name: deadly}",),
        "most": ("masking.ratio=0.8",),
        "rows": ("preset=rows",),
    }
    with objectives.temporarily(extra.DEADLY):
        study, folder = small_study(arms), StudyFolder(tmp_path / "study")
        monkeypatch.setenv("DEADLY", "1")
        with caplog.at_level(logging.WARNING, "jepa_core"):
            assert not run_study(study, folder, jobs=2)
        states = folder.states(study)
        assert [state.state for state in states.values()] == ["done", "failed", "done", "done"]
        note = states["waves/deadly/seed_0"].note
        assert "the process that ran it died of SIGKILL (out of memory?); its log: " in note
        assert f"waves/deadly/seed_0: failed: {note}" in caplog.text
        assert len(list(folder.logs.iterdir())) == 3

        monkeypatch.delenv("DEADLY")
        assert run_study(study, folder, resume=True)
        alone = StudyFolder(tmp_path / "alone")
        alone.open(study, resume=False)
        assert work(study, alone)
        assert found(read_results(study, folder.path)) == found(read_results(study, alone.path))


def test_ctrl_c_leaves_checkpoints_and_says_how_to_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install_toy(tmp_path / "site", monkeypatch)
    study, folder = small_study({"half": LONG, "most": LONG}), StudyFolder(tmp_path / "study")

    def press() -> None:
        wait_until("no cell began", lambda: begun(folder, study))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with caplog.at_level(logging.WARNING, "jepa_core"), pytest.raises(KeyboardInterrupt):
        run_study(study, folder)
    thread.join()
    assert f"stopped with 0 of 2 cells done; continue with --resume --run-dir {folder.path}" in caplog.text
    assert [state.state for state in folder.states(study).values()] == ["interrupted", "waiting"]
    run = folder.run(study.cells[0])
    assert run.steps() == [folder.states(study)[study.cells[0].name].step]


def test_the_worker_of_a_killed_runner_ends_with_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_toy(tmp_path / "site", monkeypatch)
    study, folder = small_study({"half": LONG}), StudyFolder(tmp_path / "study")
    folder.open(study, resume=False)
    runner = SERVER.Process(target=run_study_in_child, args=(folder.path,))
    runner.start()
    wait_until("no cell began", lambda: begun(folder, study) or not runner.is_alive())
    runner.kill()
    runner.join()
    wait_until("the worker goes on", lambda: not folder.is_claimed(study.cells[0]))
    assert len(folder.run(study.cells[0]).steps()) == 1


def test_workers_that_cannot_start_end_the_study_with_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JEPA_PLUGINS", "nothing")
    study, folder = small_study({"half": ()}), StudyFolder(tmp_path / "study")
    with pytest.raises(JepaError, match="a worker ended with exit code 1 before it had a cell") as failed:
        run_study(study, folder)
    assert "modality 'toy' is not installed" in str(failed.value)
    assert [state.state for state in folder.states(study).values()] == ["waiting"]


def test_a_worker_that_is_stopped_while_it_starts_is_no_failure(tmp_path: Path) -> None:
    study, folder = small_study({"half": ()}), StudyFolder(tmp_path / "study")
    folder.open(study, resume=False)
    asked = Interruption()
    asked.ask()
    with Workers(study, folder, jobs=1, only=None, threads=1) as workers:
        while workers.mind(asked):
            time.sleep(0.05)
    assert [state.state for state in folder.states(study).values()] == ["waiting"]


# What is refused, and how a machine is shared out


def test_less_than_one_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--jobs 0: at least 1"):
        run_study(small_study(), StudyFolder(tmp_path / "study"), jobs=0)
    assert not (tmp_path / "study").exists()


def share(monkeypatch: pytest.MonkeyPatch, cores: int, devices: int, visible: str = "") -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(launching.torch.cuda, "device_count", lambda: devices)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


def test_jobs_have_cores_of_their_own_and_a_single_one_may_use_all(monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch, cores=7, devices=0)
    assert slots(3) == [Slot((0, 1), None), Slot((2, 3), None), Slot((4, 5), None)]
    assert slots(1) == [Slot((), None)]
    assert slots(9)[8] == Slot((), None)


def test_every_job_has_a_device_of_those_that_are_visible(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    share(monkeypatch, cores=4, devices=2)
    assert [slot.device for slot in slots(2)] == ["0", "1"]
    assert not caplog.records
    share(monkeypatch, cores=4, devices=2, visible="5,GPU-7")
    assert [slot.device for slot in slots(3)] == ["5", "GPU-7", "5"]
    assert "3 jobs share 2 GPUs; --jobs 2 gives each its own" in caplog.text


def test_a_worker_is_told_its_threads_cores_and_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch, cores=8, devices=2)
    started: list[tuple[list[str], dict[str, str]]] = []

    class Ended:
        returncode = 0

        def __init__(self, command: list[str], env: dict[str, str], **_: object) -> None:
            started.append((command, env))

        def poll(self) -> int:
            return 0

    monkeypatch.setattr(subprocess, "Popen", Ended)
    assert not run_study(small_study(), StudyFolder(tmp_path / "study"), jobs=2, only="*/[hm]*")
    (_, first), (command, second) = started
    assert command[-9:] == ["--threads", "4", "--only", "*/[hm]*", "--cores", "4", "5", "6", "7"]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in (first, second)] == ["0", "1"]
    assert first["OMP_NUM_THREADS"] == "4"


def test_the_study_file_may_state_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch, cores=8, devices=0)
    monkeypatch.setattr(launching, "supervise", lambda *_, **__: None)
    study, folder = small_study(), StudyFolder(tmp_path / "study")
    stated = replace(study, config=study.config.model_copy(update={"threads": 3}))
    assert not run_study(stated, folder, jobs=2)
    assert folder.open(stated, resume=True).threads == 3
