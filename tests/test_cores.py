from __future__ import annotations

import os
from pathlib import Path

import pytest
from toy import toy_config

from jepa_core import trainer
from jepa_core.checkpoint import RunFolder
from jepa_core.cores import count_workers, training_processes_here
from jepa_core.trainer import Trainer


@pytest.mark.parametrize(
    ("cores", "processes", "workers"),
    [(1, 1, 0), (2, 1, 1), (2, 2, 0), (3, 2, 1), (4, 1, 3), (16, 4, 3), (64, 1, 8), (8, 100, 0)],
)
def test_auto_workers_leave_a_core_to_every_training_process(
    monkeypatch: pytest.MonkeyPatch, cores: int, processes: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert count_workers("auto", processes) == workers
    assert count_workers(5, processes) == 5


def test_only_the_processes_of_this_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert training_processes_here(64) == 8
    assert training_processes_here(1) == 1
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert training_processes_here(64) == 64


@pytest.mark.usefixtures("toy")
def test_training_asks_for_the_workers_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int | str, int]] = []

    def count(workers: int | str, processes_here: int) -> int:
        asked.append((workers, processes_here))
        return 0

    monkeypatch.setattr(trainer, "training_processes_here", lambda world: 7 * world)
    monkeypatch.setattr(trainer, "count_workers", count)
    Trainer(toy_config("train.steps=1", "train.workers=auto"), RunFolder(tmp_path)).train()
    assert asked == [("auto", 7)]
