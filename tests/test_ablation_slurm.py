"""A study on a cluster: submitit's local executor stands in for SLURM, which is not there."""

from __future__ import annotations

import logging
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_study import install_toy, small_study

from jepa_core.ablation import launching, slurm
from jepa_core.ablation.folder import StudyFolder
from jepa_core.ablation.launching import Workers, run_study
from jepa_core.ablation.slurm import Job, submit
from jepa_core.errors import MissingDependency, UsageError

pytestmark = pytest.mark.usefixtures("toy")
pytest.importorskip("submitit")


def test_jobs_run_the_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    install_toy(tmp_path / "site", monkeypatch)
    study, folder = small_study({"half": (), "most": ("masking.ratio=0.8",)}), StudyFolder(tmp_path / "study")
    with caplog.at_level(logging.INFO, "jepa_core"):
        (job,) = submit(
            study, folder, jobs=3, resume=False, only="*/most/*", options={"cpus_per_task": 1}, cluster="local"
        )
    assert job.result() is None
    assert [state.state for state in folder.states(study).values()] == ["waiting", "done"]
    assert folder.open(study, resume=True).threads == 1
    assert f"queued: {job.job_id}; logs: {folder.path / 'slurm'}" in caplog.text


def test_a_job_goes_on_where_its_time_ended() -> None:
    job = pickle.loads(pickle.dumps(Job("/shared/study", "*/half/*", 8)))
    again = job.checkpoint()
    assert (again.function, again.args) == (job, ())


def test_without_a_cluster_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"--launcher slurm: submitit refused: .*srun"):
        run_study(small_study(), StudyFolder(tmp_path / "study"), launcher="slurm")
    assert not (tmp_path / "study" / "study.yaml").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [({"timeout_min": "long"}, "timeout_min"), ({"slurm_colour": "red"}, "colour"), ({"queue": 1}, "queue")],
)
def test_an_option_that_submitit_does_not_know_is_named(tmp_path: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=f"--launcher slurm: submitit refused: .*{said}"):
        submit(
            small_study(),
            StudyFolder(tmp_path / "study"),
            jobs=1,
            resume=False,
            only=None,
            options=options,
            cluster="local",
        )


def test_without_submitit_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "find_spec", lambda _: None)
    with pytest.raises(MissingDependency, match=r"pip install 'jepa-core\[slurm\]'"):
        run_study(small_study(), StudyFolder(tmp_path / "study"), launcher="slurm")


# What a scheduler does to the processes of a job

PATIENT = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
print("ready", flush=True)
time.sleep(600)
"""


def with_worker(monkeypatch: pytest.MonkeyPatch, folder: StudyFolder) -> Workers:
    """A runner whose worker does nothing, until it is told to stop."""
    start = subprocess.Popen

    def started(_command: list[str], **how: object) -> subprocess.Popen[bytes]:
        process = start([sys.executable, "-c", PATIENT], stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdout.close()
        return process

    monkeypatch.setattr(launching.subprocess, "Popen", started)
    return Workers(small_study(), folder, jobs=1, only=None, threads=1)


@pytest.mark.parametrize(
    ("error", "code"),
    [(SystemExit(-1), 130), (KeyboardInterrupt(), -signal.SIGKILL)],
    ids=["queued again", "a second Ctrl-C"],
)
def test_workers_end_in_order_when_a_job_is_queued_again_and_at_once_when_a_user_insists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.open(small_study(), resume=False)
    workers = with_worker(monkeypatch, folder)
    with workers:
        (running,) = workers._running
        workers.__exit__(type(error), error, None)
        assert running.process.returncode == code
