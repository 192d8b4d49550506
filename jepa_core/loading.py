"""Batches from loader processes that may hang or crash: the sample that did it is unreadable, and the run goes on.

Readers of compressed files are C code that can spin for ever, holding the interpreter lock, or abort the process.
Torch's DataLoader does not survive that: it raises in the middle of whatever the training process is doing when a
worker dies, and fetches what a worker hands over from a thread of that worker, which cannot run while the lock is held.
Here every process has a pipe of its own for a few bytes, tensors travel in memory that both sides share, and the
kernel's timer ends a process whose sample takes too long, whatever it is doing.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections import ChainMap, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any, Generic, NamedTuple, Self, TypeVar
from weakref import WeakSet

import torch

from jepa_core.data import Sample, SignalDataset
from jepa_core.errors import JepaError
from jepa_core.packing import ALIGNMENT, pack, unpack
from jepa_core.shared_memory import SharedMemory, Watch
from jepa_core.types import SampleKey
from jepa_core.unreadable import Unreadable

# Children of this process itself, as with fork and spawn, notice when it is killed; a fork server's do not.
START_METHOD = "fork" if sys.platform == "linux" else "spawn"

_AHEAD = 2**16 if sys.platform == "linux" else 2**12
"""Bytes that a pipe holds although nobody reads: 208 KiB by default on Linux, 8 KiB elsewhere, each with overhead."""
_LOOK = 5.0
"""Seconds between two looks of an idle process whether its parent is still there."""
_LAST_WORDS = 60.0
"""Seconds that a process may take to end after its pipe has closed (to write a core file, for example)."""
_OURS: WeakSet[Connection] = WeakSet()
"""This process's ends of the pipes. A forked child closes them: a pipe breaks when nobody holds its other end."""
_NAMES = {int(each): each.name for each in signal.Signals}

T = TypeVar("T")
Collater = Callable[[list[tuple[SampleKey, Sample]]], T]
"""From samples to a batch, in the loader process."""


@dataclass(frozen=True)
class _Job(Generic[T]):
    """What every process of a loader does."""

    dataset: SignalDataset
    collate: Collater[T]
    timeout: float | None
    room: int
    """Bytes of a slot."""
    parent: int
    """Process id of who asked for it."""


class _Task(NamedTuple):
    """One batch to be made."""

    keys: tuple[SampleKey, ...]
    slot: int


class _Raised(NamedTuple):
    """In place of a batch: what a process could not cope with."""

    error: JepaError | None
    """Errors of users' making travel as they are."""
    trace: str
    """The traceback of any other, which may be of a class that cannot be pickled."""


class Loader(Iterator[T]):
    """Batches in the order of the tasks, the same ones for any number of processes; a context that ends them.

    A sample whose reading (with its transform) takes longer than the timeout or ends its process is unreadable from the
    start of its batch on. Only that process is replaced, and it makes its unanswered batches anew.
    """

    def __init__(
        self,
        dataset: SignalDataset,
        collate: Collater[T],
        tasks: Iterable[list[SampleKey]],
        *,
        workers: int,
        timeout: float | None,
        room: int,
        known: Mapping[int, Unreadable] | None = None,
        pin: bool = False,
        prefetch: int = 4,
    ) -> None:
        """Start the processes.

        Args:
            dataset: where samples come from.
            collate: makes a batch of them.
            tasks: the keys of one batch after the other; may be endless.
            workers: processes; 0 reads in this one, where nothing can end a sample that hangs.
            timeout: seconds that one sample may take; None for any.
            room: bytes that the tensors of a batch take; what does not fit goes the slow way, through the pipe.
            known: samples that are not to be read, by index; looked at again for every batch.
            pin: whether tensors are to be in page-locked memory, so that copies to a device overlap with computing.
            prefetch: batches that each process makes ahead.
        """
        self._dataset, self._collate, self._tasks = dataset, collate, iter(tasks)
        self._found: dict[int, Unreadable] = {}
        self._bad = ChainMap[int, Unreadable](self._found, known or {})  # pyright: ignore[reportArgumentType]
        job = _Job(dataset, collate, timeout, room + 64 * ALIGNMENT, os.getpid())
        self._lanes = [_Lane(job, self._bad, pin, prefetch) for _ in range(workers)]
        self._turns = itertools.cycle(self._lanes)
        for lane in self._lanes * prefetch:
            self._give(lane)

    def __next__(self) -> T:
        """The next batch; raises what the dataset or `collate` raised, and JepaError when a process was killed."""
        if not self._lanes:
            keys = next(self._tasks)
            return self._collate(_read_all(self._dataset, keys, self._bad))
        lane = next(self._turns)
        if not lane.tasks:
            raise StopIteration
        batch = lane.take()
        self._give(lane)
        return batch

    def _give(self, lane: _Lane[T]) -> None:
        keys = next(self._tasks, None)
        if keys is not None:
            lane.give(keys)

    def __enter__(self) -> Self:
        """Nothing else: the processes run already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes, whatever they are doing."""
        for lane in self._lanes:
            lane.end()


class _Lane(Generic[T]):
    """A loader process, the memory that it shares with this one, and the tasks that it has not answered."""

    def __init__(self, job: _Job[T], bad: ChainMap[int, Unreadable], pin: bool, prefetch: int) -> None:
        self.tasks: deque[_Task] = deque()
        self._sent: deque[int] = deque()  # bytes of those of the tasks that the process has, which come first
        self._job, self._bad, self._pin = job, bad, pin
        self._slots = itertools.cycle(range(prefetch))
        self._context = multiprocessing.get_context(START_METHOD)
        self._memory = SharedMemory(self._context, prefetch, job.room)
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        _OURS.add(self._pipe)
        process: BaseProcess = self._context.Process(  # pyright: ignore[reportAttributeAccessIssue]  (every kind has one)
            target=_work, args=(theirs, self._memory, self._job), daemon=True
        )
        process.start()
        theirs.close()  # or the pipe would not close when the process ends
        self._process = process
        # At exit, multiprocessing would ask its children politely and wait; these ignore it, and may never look.
        self.end = Finalize(self, _end, (process, self._pipe), exitpriority=0)

    def give(self, keys: list[SampleKey]) -> None:
        """Have a batch made; its slot is free, for the answer of the last task in it was taken."""
        self.tasks.append(_Task(tuple(keys), next(self._slots)))
        self._send()

    def _send(self) -> None:
        """Pass on what can be passed on without waiting for an answer to be taken, which only this process can do.

        The process stops at an answer that the pipe does not hold. So a task goes out only if the pipe holds all of the
        unanswered ones, whether they were read or not; or if there is none, for then the process is about to read.
        """
        for task in itertools.islice(self.tasks, len(self._sent), None):
            bad = {key.index: self._bad[key.index] for key in task.keys if key.index in self._bad}
            message = pickle.dumps((task, bad))
            if self._sent and sum(self._sent) + len(message) > _AHEAD:
                return
            with contextlib.suppress(OSError):  # it has ended, which is looked into when its answer is due
                self._pipe.send_bytes(message)
            self._sent.append(len(message))

    def take(self) -> T:
        """The answer to the oldest task, waited for."""
        while True:
            try:
                message = self._pipe.recv_bytes()
            except (EOFError, OSError):
                self._replace()
            else:
                return self._unpack(message)

    def _unpack(self, message: bytes) -> T:
        task, _ = self.tasks.popleft(), self._sent.popleft()
        self._send()
        answer = unpack(message, self._memory.slot(task.slot), task.keys, self._pin)
        if isinstance(answer, _Raised):
            raise answer.error or RuntimeError(f"in a loader process:\n{answer.trace}")
        return answer

    def _replace(self) -> None:
        """Find out why the process ended, and start another one on the unanswered tasks."""
        self._process.join(_LAST_WORDS)
        self.end()
        note, code = self._memory.note, self._process.exitcode or 0
        index = int(note[0]) - 1
        if index < 0:
            raise JepaError(
                f"a loader process ended ({_cause(code)}) while it read no sample. Out of memory is the usual cause: "
                "load with fewer processes (--set train.workers=N), or take smaller batches."
            )
        self._bad[index] = Unreadable(index, self._job.dataset.source.where(index), self._reason(code))
        note[0] = 0
        self._start()
        self._sent.clear()
        self._send()

    def _reason(self, code: int) -> str:
        if code == -signal.SIGALRM:
            return f"took longer than {self._job.timeout:g} s to read"
        memory = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"its reader {'crashed' if code < 0 else 'ended'} with {_cause(code)}{memory}"


def _cause(code: int) -> str:
    return _NAMES.get(-code, f"signal {-code}") if code < 0 else f"exit code {code}"


def _end(process: BaseProcess, pipe: Connection) -> None:
    process.kill()
    process.join()
    pipe.close()


def _work(pipe: Connection, memory: SharedMemory, job: _Job[Any]) -> None:
    """The life of a loader process: make batches until the parent closes the pipe or is gone."""
    _prepare()
    watch = Watch(memory.note, job.timeout)
    with contextlib.suppress(EOFError, ConnectionError):
        while _has_task(pipe, job.parent):
            task, bad = pickle.loads(pipe.recv_bytes())
            pipe.send_bytes(pack(_answer(job, task, bad, watch), memory.slot(task.slot), task.keys))


def _answer(job: _Job[T], task: _Task, bad: Mapping[int, Unreadable], watch: Watch) -> T | _Raised:
    try:
        return job.collate(_read_all(job.dataset, task.keys, bad, watch))
    except JepaError as error:
        return _Raised(error, "")
    except Exception:  # noqa: BLE001  (a plugin's bug, whatever it is, is raised in the training process)
        return _Raised(None, traceback.format_exc())


def _prepare() -> None:
    # Ctrl-C and SIGTERM reach the whole process group, but the training process decides when to end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for ours in list(_OURS):
        ours.close()
    torch.set_num_threads(1)  # a pool of threads does not survive a fork


def _has_task(pipe: Connection, parent: int) -> bool:
    """Wait for one; False when the parent was killed, whose end of the pipe its other children may hold open."""
    while not pipe.poll(_LOOK):
        if os.getppid() != parent:
            return False
    return True


def _read_all(
    dataset: SignalDataset,
    keys: Iterable[SampleKey],
    bad: Mapping[int, Unreadable],
    watch: Callable[[int], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
) -> list[tuple[SampleKey, Sample]]:
    samples: list[tuple[SampleKey, Sample]] = []
    for key in keys:
        if key.index in bad:
            samples.append((key, bad[key.index]))
        else:
            with watch(key.index):
                samples.append(dataset[key])
    return samples
