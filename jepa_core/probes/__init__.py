"""Frozen evaluation: a probe is fitted on features of the training split and scored on the test split."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

from jaxtyping import Float, Int
from torch import Tensor

FeatureKind = Literal["pooled", "tokens"]
"""What a probe can ask of an encoder. `pooled`: the mean over the tokens, after the last norm; `tokens`: they too."""


@dataclass(frozen=True)
class Features:
    """Features of one split with the labels of one heading."""

    pooled: Float[Tensor, "samples dim"]
    """One fp32 vector per sample."""
    labels: Int[Tensor, "samples"]
    """Class ids in [0, num_classes), on the device of the vectors."""
    tokens: Float[Tensor, "samples tokens dim"] | None = None
    """All tokens of every sample, for a probe that needs them: fp16, on the CPU, and perhaps a mapped file, so take a
    batch at a time, with `tokens_of`."""
    rows: Int[Tensor, "samples"] | None = None
    """Which of the rows of `tokens` the samples have, on the CPU, where others lack a label; None for all, in order."""

    def tokens_of(self, samples: Int[Tensor, "some"]) -> Float[Tensor, "some tokens dim"]:
        """Tokens of the samples at these positions, both on the CPU."""
        assert self.tokens is not None
        return self.tokens[samples if self.rows is None else self.rows[samples]]


@dataclass(frozen=True)
class Score:
    """What a probe answered."""

    correct: Tensor
    """(test samples,) bool, on the CPU: accuracies, their intervals and paired differences all follow from it."""
    chosen: dict[str, float | int] = field(default_factory=dict)
    """Hyper-parameters that the probe chose on its validation split."""


class Probe(Protocol):
    """A classifier of frozen features."""

    needs: ClassVar[FeatureKind]
    """What it is fitted on."""

    def __call__(self, train: Features, test: Features, num_classes: int, seed: int) -> Score:
        """Fit on `train` alone (choose on a part of it) and score `test`; a function of its arguments."""
        ...


__all__ = ["FeatureKind", "Features", "Probe", "Score"]
