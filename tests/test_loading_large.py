"""Loader processes whose tasks and answers are longer than a pipe holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_parts import ToyTransform, Waves

from jepa_core.data import SignalDataset
from jepa_core.loading import Loader
from jepa_core.types import SampleKey

SAMPLES, TASKS = 8192, 12


class Tiny(SignalDataset):
    """As many samples as one likes, of one number each."""

    def __init__(self) -> None:
        super().__init__(Waves("train", 1, 12, 0.1), ToyTransform(0.0, 1.0, flip=False), 0)

    def __getitem__(self, key: SampleKey) -> tuple[SampleKey, torch.Tensor]:
        return key, torch.tensor(key.index)


def tiny_loader(workers: int, collate: Callable[..., Any]) -> Loader[Any]:
    tasks = [[SampleKey(epoch, index) for index in range(SAMPLES)] for epoch in range(TASKS)]
    return Loader(Tiny(), collate, tasks, workers=workers, timeout=None, room=8 * SAMPLES)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("much", [0, 2**20])
def test_neither_side_waits_for_the_other_however_long_tasks_and_answers_are(workers: int, much: int) -> None:
    def alarm(*_: object) -> None:
        raise TimeoutError("both sides wait")

    def collate(samples: list[tuple[SampleKey, Any]]) -> Any:
        keys, signals = zip(*samples, strict=True)
        return keys, torch.stack(signals), bytes(much)  # what is no tensor goes through the pipe

    before = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(60)
    try:
        with tiny_loader(workers, collate) as loader:
            for epoch in range(TASKS):
                keys, signals, rest = next(loader)
                assert keys == tuple(SampleKey(epoch, index) for index in range(SAMPLES))
                assert torch.equal(signals, torch.arange(SAMPLES))
                assert len(rest) == much
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_processes_end_with_a_parent_that_is_killed_while_they_hand_over_an_answer(tmp_path: Path) -> None:
    program = """
import multiprocessing, os, signal, sys, time
import test_loading_large
loader = test_loading_large.tiny_loader(2, lambda samples: bytes(2**22))
pids = [str(each.pid) for each in multiprocessing.active_children()]
time.sleep(3)
print(*pids, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    # The loader processes hold the output too: it ends when they have ended.
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, timeout=60, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(done.stdout.split()) == 2
    assert not done.stderr
