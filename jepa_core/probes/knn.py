"""A weighted vote of the nearest training samples (Wu et al., 1805.01978; the weights and defaults as in DINO's)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from jepa_core.builtin import KnnProbeConfig
from jepa_core.probes import FeatureKind, Features, Score

# Similarities held at a time: 256 MB in fp32.
_SIMILARITIES = 1 << 26


class KnnProbe:
    """Cosine k nearest neighbours; nothing is fitted and nothing is random."""

    needs: ClassVar[FeatureKind] = "pooled"

    def __init__(self, config: KnnProbeConfig) -> None:
        """`config.k` neighbours vote; where there are fewer training samples, all of them do."""
        self.config = config

    def __call__(self, train: Features, test: Features, num_classes: int, seed: int) -> Score:
        """Score `test`, in parts of bounded memory."""
        bank = F.normalize(train.pooled, dim=1)
        queries, truth = F.normalize(test.pooled, dim=1), test.labels
        rows = max(1, _SIMILARITIES // len(bank))
        correct = [
            self.votes(query, bank, train.labels, num_classes).argmax(1) == labels
            for query, labels in zip(queries.split(rows), truth.split(rows), strict=True)
        ]
        return Score(torch.cat(correct).cpu())

    def votes(
        self,
        query: Float[Tensor, "queries dim"],
        bank: Float[Tensor, "samples dim"],
        labels: Int[Tensor, "samples"],
        num_classes: int,
    ) -> Float[Tensor, "queries classes"]:
        """Shares of the vote, from unit vectors: softmax of the k highest cosines over the temperature."""
        cosine, neighbour = (query @ bank.T).topk(min(self.config.k, len(bank)), dim=1)
        weight = (cosine / self.config.temperature).softmax(1)
        return weight.new_zeros(len(query), num_classes).scatter_add_(1, labels[neighbour], weight)
