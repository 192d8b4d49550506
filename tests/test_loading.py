"""Loader processes whose readers hang, crash or raise; each case against a run in which the sample was unreadable."""

from __future__ import annotations

import ctypes
import faulthandler
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import Toy, toy_config
from toy_parts import ToyTransform, Waves
from toy_train import rows, weights

from jepa_core.checkpoint import RunFolder
from jepa_core.data import Batch, Collate, SignalDataset
from jepa_core.errors import DataError, JepaError, UnreadableSample
from jepa_core.features import signal_batches
from jepa_core.loading import Loader
from jepa_core.model import Parts
from jepa_core.order import Order, Share, StepSampler, portions_of
from jepa_core.trainer import Trainer
from jepa_core.types import SampleKey
from jepa_core.unreadable import Unreadable

pytestmark = pytest.mark.usefixtures("toy")
TIMEOUT = 1.5


def spin() -> None:
    while True:
        pass


def spin_with_the_interpreter_lock() -> None:
    ctypes.PyDLL(None).sleep(600)  # calls of a PyDLL keep the lock, as a decoder in C may


def crash() -> None:
    faulthandler.disable()  # pytest's would print every thread
    os.kill(os.getpid(), signal.SIGSEGV)


def leave() -> None:
    os._exit(3)


def refuse() -> None:
    raise UnreadableSample("toy", "plainly unreadable")


@dataclass(frozen=True)
class Faulty(Waves):
    """Waves, some of which cannot be read in one way or another."""

    bad: tuple[int, ...] = ()
    fault: Callable[[], None] = refuse

    def read(self, index: int) -> Any:
        if index in self.bad:
            self.fault()
        return super().read(index)


def faulty(fault: Callable[[], None], *bad: int) -> Faulty:
    return Faulty("train", 64, 12, 0.1, bad=bad, fault=fault)


def loader_of(source: Faulty, workers: int, timeout: float | None = TIMEOUT, **how: Any) -> Loader[Batch]:
    parts = Parts.of(toy_config())
    section, modality = parts.config.modality, parts.modality
    collate = Collate(parts.masking, 3, modality.signal_shape(section))
    sampler = StepSampler(Order(3, portions_of(source)), Share(8))
    how = {"room": collate.room(8)} | how
    dataset = SignalDataset(source, modality.transform(section, train=True), 3)
    return Loader(dataset, how.pop("collate", collate), sampler, workers=workers, timeout=timeout, **how)


def batches(source: Faulty, workers: int, count: int = 12, **how: Any) -> list[Batch]:
    with loader_of(source, workers, **how) as loader:
        return list(islice(loader, count))


def require_same(left: list[Batch], right: list[Batch]) -> None:
    for ours, theirs in zip(left, right, strict=True):
        assert ours.keys == theirs.keys
        assert torch.equal(ours.signal, theirs.signal)
        assert torch.equal(ours.weight, theirs.weight)
        assert all(torch.equal(a.context, b.context) for a, b in zip(ours.views, theirs.views, strict=True))
        assert [bad.index for bad in ours.unreadable] == [bad.index for bad in theirs.unreadable]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (spin, "took longer than 1.5 s to read"),
        (spin_with_the_interpreter_lock, "took longer than 1.5 s to read"),
        (crash, "its reader crashed with SIGSEGV"),
        (leave, "its reader ended with exit code 3"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_sample_that_hangs_or_crashes_is_unreadable_and_all_else_as_it_was(
    fault: Callable[[], None], reason: str, workers: int
) -> None:
    found = batches(faulty(fault, 5, 40), workers)
    require_same(found, batches(faulty(refuse, 5, 40), workers=0))
    told = {bad for batch in found for bad in batch.unreadable}
    assert told == {Unreadable(index, f"toy:train/{index}", reason) for index in (5, 40)}


def test_a_sample_that_hangs_is_tried_once(tmp_path: Path) -> None:
    def spin_once_more() -> None:
        with (tmp_path / "tries").open("a") as file:
            file.write("x")
        spin()

    batches(faulty(spin_once_more, 5), workers=1, count=40)  # five passes over the data
    assert (tmp_path / "tries").read_text() == "x"


def test_samples_within_their_time_are_read_however_long_the_batch_takes() -> None:
    found = batches(faulty(lambda: time.sleep(0.25), *range(64)), workers=1, count=1)
    assert not found[0].unreadable


def test_a_known_sample_is_not_read() -> None:
    known = {5: Unreadable(5, "here", "known before")}
    for workers in (0, 1):
        found = batches(faulty(spin, 5), workers, timeout=None, known=known)
        assert {bad for batch in found for bad in batch.unreadable} == set(known.values())


def fail() -> None:
    raise KeyError("a bug of the plugin")


def cannot() -> None:
    raise DataError("the codec is missing")


@pytest.mark.parametrize("workers", [1, 2])
def test_any_other_error_is_raised_with_the_traceback_of_the_process(workers: int) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)in a loader process.*in fail.*KeyError: 'a bug of the plugin'"):
        batches(faulty(fail, 5), workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_users_making_arrives_as_itself(workers: int) -> None:
    with pytest.raises(DataError, match=r"^the codec is missing$"):
        batches(faulty(cannot, 5), workers)


def be_killed(_samples: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_between_samples_ends_the_run_with_the_usual_cause() -> None:
    with pytest.raises(JepaError, match=r"ended \(SIGKILL\) while it read no sample\. Out of memory .*workers=N"):
        batches(faulty(refuse), workers=1, collate=be_killed)


def test_a_crash_is_not_blamed_for_a_later_kill_between_samples() -> None:
    first = Order(3, portions_of(faulty(refuse))).key(0).index
    with pytest.raises(JepaError, match="read no sample"):
        batches(faulty(crash, first), workers=1, collate=be_killed)


def test_a_batch_that_does_not_fit_into_the_shared_memory_arrives_all_the_same() -> None:
    straight = batches(faulty(refuse, 5), workers=0)
    for room in (0, 8 * 144 * 4):  # room for nothing, and for the signals alone
        require_same(batches(faulty(refuse, 5), workers=1, room=room), straight)


def test_tensors_of_a_batch_stay_as_they_are_when_later_batches_come() -> None:
    source = faulty(refuse)
    with loader_of(source, workers=1) as loader:
        first = next(loader)
        kept = first.signal.clone()
        for _ in range(9):
            next(loader)
    assert torch.equal(first.signal, kept)


def test_finite_tasks_end_the_iteration_for_any_number_of_processes() -> None:
    tasks = [[SampleKey(0, number)] for number in range(5)]
    dataset = SignalDataset(faulty(refuse), ToyTransform(0.0, 1.0, flip=False), 0)
    for workers in (0, 1, 3):
        with Loader(
            dataset, lambda samples: samples[0][0].index, tasks, workers=workers, timeout=None, room=0
        ) as loader:
            assert list(loader) == list(range(5))


def test_leaving_the_context_ends_the_processes_whatever_they_do() -> None:
    before = set(multiprocessing.active_children())
    with loader_of(faulty(spin_with_the_interpreter_lock, *range(64)), workers=2, timeout=None):
        assert len(set(multiprocessing.active_children()) - before) == 2
    assert set(multiprocessing.active_children()) <= before


def test_a_program_ends_although_a_reader_hangs() -> None:
    program = """
import test_loading
from toy import toy_registered
with toy_registered():
    loader = test_loading.loader_of(test_loading.faulty(test_loading.spin, *range(64)), workers=2, timeout=None)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, timeout=300, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_evaluation_goes_on_without_a_sample_whose_reader_crashes() -> None:
    parts = Parts.of(toy_config("train.workers=1"))
    found = list(signal_batches(parts, faulty(crash, 5), torch.device("cpu")))
    assert torch.cat([batch.place for batch in found]).tolist() == [index for index in range(64) if index != 5]
    assert [bad.reason for batch in found for bad in batch.unreadable] == ["its reader crashed with SIGSEGV"]
    assert sum(len(batch.signal) for batch in found) == 63


def train(folder: Path, source: Faulty, *overrides: str, monkeypatch: pytest.MonkeyPatch, **how: Any) -> str:
    monkeypatch.setattr(Toy, "source", lambda *_: source)
    config = toy_config("train.steps=12", "data={max_unreadable: 0.1, read_timeout: 1.5}", *overrides)
    return Trainer(config, RunFolder(folder), **how).train()


@pytest.mark.parametrize(("fault", "workers"), [(spin, 1), (crash, 2)])
def test_the_run_equals_one_in_which_the_sample_was_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[], None], workers: int
) -> None:
    train(tmp_path / "plain", faulty(refuse, 5, 40), "train.workers=0", monkeypatch=monkeypatch)
    train(tmp_path / "faulty", faulty(fault, 5, 40), f"train.workers={workers}", monkeypatch=monkeypatch)
    assert rows(tmp_path / "faulty") == rows(tmp_path / "plain")
    assert weights(tmp_path / "faulty") == weights(tmp_path / "plain")
    told, plain = (
        [json.loads(line) for line in (tmp_path / name / "unreadable.jsonl").read_text().splitlines()]
        for name in ("faulty", "plain")
    )
    assert [(row["step"], row["index"]) for row in told] == [(row["step"], row["index"]) for row in plain]
    assert {row["reason"] for row in told} == {
        "took longer than 1.5 s to read" if fault is spin else "its reader crashed with SIGSEGV"
    }


def interrupt_and_spin() -> None:
    os.kill(os.getppid(), signal.SIGTERM)
    spin()


def test_a_signal_is_granted_while_the_run_waits_for_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = faulty(interrupt_and_spin, 5)
    assert train(tmp_path, source, "train.workers=1", "checkpoint.every=100", monkeypatch=monkeypatch) == "interrupted"
    (step,) = RunFolder(tmp_path).steps()
    assert step < 5
    train(tmp_path, faulty(spin, 5), "train.workers=1", monkeypatch=monkeypatch, resume=True)
    train(tmp_path / "plain", faulty(refuse, 5), monkeypatch=monkeypatch)
    assert weights(tmp_path) == weights(tmp_path / "plain")


class HalfBroken(ToyTransform):
    """Half of the draws of some samples cannot be decoded."""

    def __call__(self, raw: Any, generator: torch.Generator) -> torch.Tensor:
        signal = super().__call__(raw, generator)
        if abs(float(raw[0, 0])) < 0.2 and torch.rand((), generator=generator) < 0.5:
            raise UnreadableSample("toy", "this part of it is damaged")
        return signal


def test_a_sample_that_fails_in_some_draws_leaves_a_run_that_resumes_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Toy, "transform", lambda *_, **__: HalfBroken(0.0, 1.0, flip=True))
    source, allow, every = faulty(refuse), "data.max_unreadable=0.5", "checkpoint.every=100"
    train(tmp_path / "straight", source, allow, every, "train.workers=0", monkeypatch=monkeypatch)

    def interrupt(row: Mapping[str, Any]) -> None:
        if row["step"] == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    parts, how = tmp_path / "parts", (allow, every, "train.workers=2")
    assert train(parts, source, *how, monkeypatch=monkeypatch, on_row=interrupt) == "interrupted"
    assert train(parts, source, *how, monkeypatch=monkeypatch, resume=True) == "done"
    assert rows(parts) == rows(tmp_path / "straight")
    assert weights(parts) == weights(tmp_path / "straight")
    assert rows(parts)[-1]["unreadable"] > 3
