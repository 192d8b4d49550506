"""Frozen evaluation: a probe is fitted on features of the training split and scored on the test split."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """Features of one split with the labels of one heading."""

    pooled: Float[Tensor, "samples dim"]
    """One fp32 vector per sample."""
    labels: Int[Tensor, "samples"]
    """Class ids in [0, num_classes)."""


@dataclass(frozen=True)
class Score:
    """What a probe answered."""

    correct: Tensor
    """(test samples,) bool: accuracies, their intervals and paired differences all follow from it."""
    chosen: dict[str, float | int] = field(default_factory=dict)
    """Hyper-parameters that the probe chose on its validation split."""


class Probe(Protocol):
    """A classifier of frozen features."""

    def __call__(self, train: Features, test: Features, num_classes: int, seed: int) -> Score:
        """Fit on `train` alone (choose on a part of it) and score `test`; a function of its arguments."""
        ...


__all__ = ["Features", "Probe", "Score"]
