"""From a source to batches: the augmentation and the masks of a sample are functions of the seed and its key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from jepa_core.errors import UnreadableSample
from jepa_core.masking import MaskView, SampleRandom, seed_of
from jepa_core.plugin import MaskingStrategy, Source, Transform
from jepa_core.types import SampleKey
from jepa_core.unreadable import Unreadable

# What a seed is used for: streams of different purposes share no numbers.
ORDER, AUGMENTATION, MASKS, INITIALISATION, DROPOUT, MIXTURE = range(1, 7)


Sample = Tensor | Unreadable
"""A signal, or why there is none."""


class SignalDataset(Dataset[Any]):
    """Signals of a source by sample key; an unreadable sample comes back as such."""

    def __init__(self, source: Source, transform: Transform, seed: int) -> None:
        """All randomness of the transform is a function of `seed` and the key."""
        self.source, self.transform, self.seed = source, transform, seed

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.source)

    def __getitem__(self, key: SampleKey) -> tuple[SampleKey, Sample]:
        """The key and its signal."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, AUGMENTATION, key.epoch, key.index))
        try:
            return key, self.transform(self.source.read(key.index), generator)
        except UnreadableSample as error:
            return key, Unreadable(key.index, error.where, error.reason)


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

    def without(self, known: Mapping[int, Unreadable]) -> Batch:
        """The same batch with samples taken out that were found unreadable after it was begun, by index.

        So what a batch holds does not depend on how far ahead it was read.
        """
        rows = [row for row, key in enumerate(self.keys) if key.index in known and self.weight[row]]
        if not rows:
            return self
        signal, weight = self.signal.clone(), self.weight.clone()
        signal[rows], weight[rows] = 0, 0
        found = (*self.unreadable, *(known[self.keys[row].index] for row in rows))
        return replace(self, signal=signal, weight=weight, unreadable=found)


@dataclass(frozen=True)
class Collate:
    """Stacks samples and draws their masks, in the worker."""

    masking: MaskingStrategy
    seed: int
    signal_shape: tuple[int, ...]

    def room(self, samples: int) -> int:
        """Bytes of the tensors of a batch of so many samples."""
        tokens = sum(budget.context + budget.num_targets * budget.target for budget in self.masking.budgets)
        return samples * (4 * math.prod(self.signal_shape) + 4 + 8 * tokens)

    def __call__(self, samples: list[tuple[SampleKey, Sample]]) -> Batch:
        """One batch; masks are drawn for the whole of it at once."""
        keys = tuple(key for key, _ in samples)
        zero = torch.zeros(self.signal_shape)
        signal = torch.stack([content if isinstance(content, Tensor) else zero for _, content in samples])
        weight = torch.tensor([float(isinstance(content, Tensor)) for _, content in samples])
        bad = tuple(content for _, content in samples if isinstance(content, Unreadable))
        views = self.masking(SampleRandom.of(self.seed, keys, purpose=MASKS))
        return Batch(keys, signal, weight, views, bad)
