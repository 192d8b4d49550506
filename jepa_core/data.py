"""From a source to batches: the order, the augmentation and the masks of a run are functions of the seed.

The samples of a run form one endless sequence: number k is the (k mod n)-th of the permutation of pass k // n. A step
takes the next `batch_size` of them, whatever the number of processes; so nothing is dropped, nothing is replayed on
resume, and another world size trains on the same samples.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from jepa_core.errors import UnreadableSample
from jepa_core.masking import MaskView, SampleRandom, seed_of
from jepa_core.plugin import MaskingStrategy, Source, Transform
from jepa_core.types import SampleKey
from jepa_core.unreadable import Unreadable

# What a seed is used for: streams of different purposes share no numbers.
ORDER, AUGMENTATION, MASKS, INITIALISATION, DROPOUT = range(1, 6)


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, num_samples: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed_of(seed, ORDER, epoch))
    return torch.randperm(num_samples, generator=generator)


def sample_key(seed: int, position: int, num_samples: int) -> SampleKey:
    """Which draw of which sample stands at a position of the run's endless sequence."""
    epoch, offset = divmod(position, num_samples)
    return SampleKey(epoch, int(_permutation(seed, epoch, num_samples)[offset]))


@dataclass(frozen=True)
class Share:
    """Which part of every step this process computes: in pass a of the step, slice a * world + rank."""

    batch_size: int
    """Samples per step, over everything."""
    accumulate: int = 1
    """Passes per step."""
    world: int = 1
    """Processes."""
    rank: int = 0
    """This process."""

    @property
    def micro_batch(self) -> int:
        """Samples per pass and process."""
        return self.batch_size // (self.world * self.accumulate)

    def slices(self) -> list[int]:
        """Numbers of this process's slices of a step; randomness that is not a sample's is keyed on them."""
        return [number * self.world + self.rank for number in range(self.accumulate)]


class StepSampler(Sampler[list[SampleKey]]):
    """The keys of every pass of this process, from a step on and without end: its whole state is that step."""

    def __init__(self, seed: int, num_samples: int, share: Share, start: int = 0) -> None:
        """`start` is how many global batches were taken before, by any number of processes."""
        self.seed, self.num_samples, self.share, self.start = seed, num_samples, share, start

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """One list of keys per pass."""
        size = self.share.micro_batch
        for step in itertools.count(self.start):
            for number in self.share.slices():
                first = step * self.share.batch_size + number * size
                yield [sample_key(self.seed, first + i, self.num_samples) for i in range(size)]


class SignalDataset(Dataset[Any]):
    """Signals of a source by sample key; an unreadable sample comes back as such and is not tried again."""

    def __init__(self, source: Source, transform: Transform, seed: int, known_bad: tuple[Unreadable, ...] = ()) -> None:
        """`known_bad` are the samples that an earlier part of the run has put into quarantine."""
        self.source, self.transform, self.seed = source, transform, seed
        self._quarantine = {bad.index: bad for bad in known_bad}

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.source)

    def __getitem__(self, key: SampleKey) -> tuple[SampleKey, Tensor | Unreadable]:
        """The key and its signal."""
        if key.index not in self._quarantine:
            try:
                raw = self.source.read(key.index)
            except UnreadableSample as error:
                self._quarantine[key.index] = Unreadable(key.index, error.where, error.reason)
            else:
                generator = torch.Generator().manual_seed(seed_of(self.seed, AUGMENTATION, key.epoch, key.index))
                return key, self.transform(raw, generator)
        return key, self._quarantine[key.index]


@dataclass(frozen=True)
class Batch:
    """One pass of one process."""

    keys: tuple[SampleKey, ...]
    """What each row is."""
    signal: Float[Tensor, "batch ..."]
    """Signals; rows of unreadable samples are zero, so that shapes stay the same."""
    weight: Float[Tensor, "batch"]
    """1 for a sample, 0 for an unreadable one: it adds nothing to the loss."""
    views: tuple[MaskView, ...]
    """Masks of every row."""
    unreadable: tuple[Unreadable, ...] = ()
    """The unreadable samples of this batch."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        signal, weight = (tensor.to(device, non_blocking=True) for tensor in (self.signal, self.weight))
        return Batch(self.keys, signal, weight, tuple(view.to(device) for view in self.views), self.unreadable)

    def pin_memory(self) -> Batch:
        """For the loader: page-locked, so that the copy to a device overlaps with computing."""
        views = tuple(MaskView(view.context.pin_memory(), view.targets.pin_memory()) for view in self.views)
        return Batch(self.keys, self.signal.pin_memory(), self.weight.pin_memory(), views, self.unreadable)


@dataclass(frozen=True)
class Collate:
    """Stacks samples and draws their masks, in the worker."""

    masking: MaskingStrategy
    seed: int
    signal_shape: tuple[int, ...]

    def __call__(self, samples: list[tuple[SampleKey, Tensor | Unreadable]]) -> Batch:
        """One batch; masks are drawn for the whole of it at once."""
        keys = tuple(key for key, _ in samples)
        zero = torch.zeros(self.signal_shape)
        signal = torch.stack([content if isinstance(content, Tensor) else zero for _, content in samples])
        weight = torch.tensor([float(isinstance(content, Tensor)) for _, content in samples])
        bad = tuple(content for _, content in samples if isinstance(content, Unreadable))
        views = self.masking(SampleRandom.of(self.seed, keys, purpose=MASKS))
        return Batch(keys, signal, weight, views, bad)


def ignore_interrupts(_worker: int = 0) -> None:
    """For workers: Ctrl-C and SIGTERM reach the whole process group, but the training process decides when to end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def count_workers(workers: int | str, processes_here: int = 1) -> int:
    """`auto`: a loader process for every core but one of those that a training process has, at most 8.

    On two cores, one loader raised the pace of the built-in demonstration by 3 to 20 %; on one, there is none.
    """
    if workers != "auto":
        return int(workers)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = cores // processes_here
    return min(8, max(0, share - 1))


def loader(
    dataset: SignalDataset, sampler: StepSampler, collate: Collate, workers: int, pin: bool
) -> DataLoader[Batch]:
    """Batches in the sampler's order; the same ones for any number of workers."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=ignore_interrupts,
        generator=torch.Generator(),  # or the loader would take a draw from the global one
        prefetch_factor=4 if workers else None,
        # Children of this process itself, as with fork and spawn, notice when it is killed; a fork server's do not.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )
