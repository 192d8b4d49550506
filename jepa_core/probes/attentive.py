"""Attentive classifiers of frozen tokens: many heads over a grid, trained in one pass (V-JEPA 2, appendix C.1)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from jepa_core.builtin import AttentiveProbeConfig
from jepa_core.masking import seed_of
from jepa_core.nn.attentive import AttentiveClassifier
from jepa_core.probes import FeatureKind, Features, Score
from jepa_core.probes.selection import SPLIT, WEIGHTS, Grid, choose, cosine, random_batches, stratified


class AttentiveProbe:
    """Chooses learning rate and weight decay on a part of the training split, then refits on all of it.

    V-JEPA 2 takes the best of its heads on the very split that it reports: an optimistic number. Here that split is
    seen once, by one head; to fit this one again on all training samples costs as much as one head of the grid.
    """

    needs: ClassVar[FeatureKind] = "tokens"

    def __init__(self, config: AttentiveProbeConfig) -> None:
        """The grid has len(learning_rates) x len(weight_decays) heads."""
        self.config = config

    def __call__(self, train: Features, test: Features, num_classes: int, seed: int) -> Score:
        """Score the chosen head on `test`, which nothing else sees; computes on the device of the labels.

        Raises:
            DataError: no class has the two training samples that a choice needs.
        """
        grid = list(itertools.product(self.config.learning_rates, self.config.weight_decays))
        held_out = stratified(train.labels, self.config.validation, seed_of(seed, SPLIT)).cpu()
        fitted_on, chosen_on = torch.nonzero(~held_out)[:, 0], torch.nonzero(held_out)[:, 0]
        best, accuracy = choose(self._answers(self.fit(train, fitted_on, num_classes, grid, seed), train, chosen_on))
        final = self.fit(train, torch.arange(len(train.labels)), num_classes, [grid[best]], seed)
        answers = self._answers(final, test, torch.arange(len(test.labels)))
        correct = torch.cat([logits[:, 0].argmax(-1) == truth for logits, truth in answers])
        learning_rate, weight_decay = grid[best]
        chosen = {"learning_rate": learning_rate, "weight_decay": weight_decay, "validation_accuracy": accuracy}
        return Score(correct.cpu(), chosen)

    def fit(
        self, features: Features, rows: Int[Tensor, "fitted"], num_classes: int, grid: Grid, seed: int
    ) -> list[AttentiveClassifier]:
        """One head per (learning rate, weight decay), all from the same weights and on the same batches.

        A head after the other, batch by batch: `torch.func.vmap` over stacked weights was no faster (torch 2.11, CPU).

        Args:
            features: of the training split.
            rows: those of its samples that are fitted on.
            num_classes: of the labels.
            grid: learning rates and weight decays.
            seed: of the first weights and the order of the samples.
        """
        size = min(self.config.batch_size, len(rows))
        steps = max(self.config.epochs * (len(rows) // size), self.config.min_steps)
        heads = [self._classifier(features, num_classes, seed) for _ in grid]
        optimizer = torch.optim.AdamW(
            [
                {"params": head.parameters(), "lr": rate, "weight_decay": decay}
                for head, (rate, decay) in zip(heads, grid, strict=True)
            ],
            fused=True,  # or a step of a small probe is mostly the optimizer's Python
        )
        for step, batch in enumerate(random_batches(len(rows), size, steps, seed)):
            tokens, labels = _batch(features, rows[batch])
            for head in heads:
                F.cross_entropy(head(tokens), labels).backward()
            for group, (rate, _) in zip(optimizer.param_groups, grid, strict=True):
                group["lr"] = rate * cosine(step, steps)
            optimizer.step()
            optimizer.zero_grad()
        return heads

    def _classifier(self, features: Features, num_classes: int, seed: int) -> AttentiveClassifier:
        """With weights that are a function of the seed; torch's global generator is left alone."""
        assert features.tokens is not None
        width = features.tokens.shape[-1]
        heads = max(number for number in range(1, self.config.heads + 1) if width % number == 0)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(seed, WEIGHTS))
            return AttentiveClassifier(width, heads, num_classes, self.config.blocks).to(features.labels.device)

    @torch.no_grad()
    def _answers(
        self, heads: Sequence[AttentiveClassifier], features: Features, rows: Int[Tensor, "some"]
    ) -> Iterator[tuple[Float[Tensor, "part heads classes"], Int[Tensor, "part"]]]:
        """Logits of every head, and the labels, in parts of a batch."""
        for part in rows.split(self.config.batch_size):
            tokens, labels = _batch(features, part)
            yield torch.stack([head(tokens) for head in heads], dim=1), labels


def _batch(
    features: Features, rows: Int[Tensor, "batch"]
) -> tuple[Float[Tensor, "batch tokens dim"], Int[Tensor, "batch"]]:
    """fp32 tokens and labels, on the device of the labels."""
    device = features.labels.device
    return features.tokens_of(rows).to(device).float(), features.labels[rows.to(device)]
