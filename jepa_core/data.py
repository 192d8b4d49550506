"""From a source to batches: the augmentation and the masks of a sample are functions of the seed and its key."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from jepa_core.errors import UnreadableSample
from jepa_core.masking import MaskView, SampleRandom, seed_of
from jepa_core.plugin import MaskingStrategy, Source, Transform
from jepa_core.types import SampleKey
from jepa_core.unreadable import Unreadable

# What a seed is used for: streams of different purposes share no numbers.
ORDER, AUGMENTATION, MASKS, INITIALISATION, DROPOUT, MIXTURE = range(1, 7)


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
            generator = torch.Generator().manual_seed(seed_of(self.seed, AUGMENTATION, key.epoch, key.index))
            try:
                return key, self.transform(self.source.read(key.index), generator)
            except UnreadableSample as error:
                self._quarantine[key.index] = Unreadable(key.index, error.where, error.reason)
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
    dataset: SignalDataset, sampler: Iterable[list[SampleKey]], collate: Collate, workers: int, pin: bool
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
