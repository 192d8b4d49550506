"""`jepa ablate`, killed with its workers at random: in the end its files are those of an undisturbed study."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from small_study import install_toy

from jepa_core.ablation.analysis import analyse
from jepa_core.ablation.cells import read_study
from jepa_core.ablation.folder import StudyFolder
from jepa_core.ablation.results import read_results
from jepa_core.ablation.running import work
from jepa_core.ablation.tables import write_tables

pytestmark = pytest.mark.usefixtures("toy")

STUDY = """
bases:
  waves:
    config: demo toy
    set:
      train.steps: 60
      checkpoint.every: 7
      modality.train_samples: 32
      probes: [{name: knn, k: 5}]
arms:
  half: {}
  most: {set: {masking.ratio: 0.8}}
  rows: {set: {masking: {name: toy_rows, rows: 3}}}
seeds: [0]
threads: 1
"""
FILES = ("results.csv", "results.parquet", "comparisons.csv", "table.md", "table.tex")


def start(study: Path, folder: Path, log: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "jepa_core.cli", "ablate", str(study), "--run-dir", str(folder), *more]
    with log.open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)


def rows(folder: Path) -> int:
    """Updates that are logged, over all cells."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("cells/*/*/*/metrics.jsonl"))


def wait_until(holds: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)


def kill(runner: subprocess.Popen[bytes]) -> None:
    """The runner and its workers, as a machine does that goes down."""
    workers = psutil.Process(runner.pid).children()
    for process in (runner, *workers):
        process.kill()
    assert runner.wait() == -signal.SIGKILL
    assert len(workers) == 1


def undisturbed(path: Path, folder: Path) -> None:
    study, place = read_study(path), StudyFolder(folder)
    place.open(study, resume=False, threads=1)
    assert work(study, place)
    write_tables(analyse(read_results(study, folder)), folder)


def test_runner_and_workers_killed_at_random_times_leave_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_toy(tmp_path / "site", monkeypatch)
    path, folder, log = tmp_path / "mine.yaml", tmp_path / "killed", tmp_path / "log"
    path.write_text(STUDY)
    draw, resume = random.Random(17), list[str]()
    for longest in (0.2, 0.6):  # seconds after the first new row: early in a cell, and wherever that is
        runner, before = start(path, folder, log, *resume), rows(folder)
        wait_until(lambda before=before, runner=runner: rows(folder) > before or runner.poll() is not None, log)
        time.sleep(draw.uniform(0, longest))
        kill(runner)
        resume = ["--resume"]
    assert not all(state.state == "done" for state in StudyFolder(folder).states(read_study(path)).values())
    assert start(path, folder, log, *resume).wait(300) == 0, log.read_text()
    undisturbed(path, tmp_path / "undisturbed")
    for name in FILES:
        assert (folder / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes(), name
