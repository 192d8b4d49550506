"""Promise 8: kill -9 at any step and resume; loss sequence and weights equal those of the uninterrupted run."""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from toy_train import rows, train_toy, weights

# Children of a server that has imported torch start at once, and are single-threaded when they are forked.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["jepa_core.trainer"])
STEPS = 40
RUN = (
    f"train.steps={STEPS}",
    "checkpoint.every=3",
    "encoder.drop_path=0.2",
    "modality.unreadable=[7]",
    "data.max_unreadable=0.1",
)


def in_child(folder: Path, *overrides: str, **how: Any) -> int | None:
    child = SERVER.Process(target=train_toy, args=(folder, overrides), kwargs=how)
    child.start()
    child.join(600)
    return child.exitcode


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert in_child(folder, *RUN) == 0
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_ten_kills_leave_no_trace(tmp_path: Path, uninterrupted: Path, workers: int) -> None:
    moments = sorted(random.Random(workers).sample(range(1, STEPS), 10))
    run = (*RUN, f"train.workers={workers}")
    for moment in moments:
        assert in_child(tmp_path, *run, resume=True, kill_at=moment) == -signal.SIGKILL
    assert in_child(tmp_path, *run, resume=True) == 0
    assert rows(tmp_path) == rows(uninterrupted)
    assert weights(tmp_path) == weights(uninterrupted)
    assert (tmp_path / "unreadable.jsonl").read_bytes() == (uninterrupted / "unreadable.jsonl").read_bytes()


def test_the_loaders_of_a_killed_run_end_too(tmp_path: Path) -> None:
    assert in_child(tmp_path, *RUN, "train.workers=2", kill_at=2) == -signal.SIGKILL
    workers = json.loads((tmp_path / "workers.json").read_text())
    assert len(workers) == 2
    deadline = time.monotonic() + 300  # they look every five seconds
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert in_child(tmp_path, *RUN, kill_at=7) == -signal.SIGKILL
    partial = tmp_path / "checkpoints" / "step_00000009.tmp"
    partial.mkdir()
    (partial / "encoder.safetensors").write_bytes(b"torn")
    assert in_child(tmp_path, *RUN, resume=True) == 0
    assert weights(tmp_path) == weights(uninterrupted)
    assert not partial.exists()


def test_resuming_a_finished_run_changes_nothing(uninterrupted: Path) -> None:
    before = rows(uninterrupted), weights(uninterrupted)
    assert in_child(uninterrupted, *RUN, resume=True) == 0
    assert (rows(uninterrupted), weights(uninterrupted)) == before


def test_the_comparison_can_fail(uninterrupted: Path, tmp_path: Path) -> None:
    assert in_child(tmp_path, *RUN, "seed=1") == 0
    assert rows(tmp_path) != rows(uninterrupted)
    assert weights(tmp_path) != weights(uninterrupted)
