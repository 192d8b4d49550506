"""Multinomial logistic regression on frozen features: many heads over a grid, trained in one pass.

Pooled features of transformers are badly conditioned: it is common that one direction holds most of the variance and
that directions with a millionth of it still tell classes apart. First-order training on standardised features then
stops far from the optimum, at a place that depends on its length, and what it measures is itself. So each head is
trained in the principal axes of the features, every axis scaled by the inverse root of its curvature. This changes how
fast the optimum is reached and not where it is: the penalty stays the squared length of the weights on standardised
features, as in any textbook.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from jepa_core.builtin import LinearProbeConfig
from jepa_core.masking import seed_of
from jepa_core.probes import FeatureKind, Features, Score
from jepa_core.probes.selection import SPLIT, Grid, choose, cosine, random_batches, stratified

# Curvature of a softmax's cross-entropy in units of the features' variance: p (1 - p), a typical value. Any constant
# gives the same optimum.
_CURVATURE = 0.1
# Axes with less than this share of the largest variance are rounding noise of fp32.
_NOISE = 1e-7
_BETAS, _EPS = (0.9, 0.999), 1e-8
_FEW = 16  # classes


@dataclass(frozen=True)
class Axes:
    """Standardisation and principal axes of training features."""

    mean: Float[Tensor, "dim"]
    deviation: Float[Tensor, "dim"]
    """Standard deviation of each feature; 1 for one that is constant."""
    rotation: Float[Tensor, "dim dim"]
    """Columns are the principal axes of the standardised features."""
    variance: Float[Tensor, "dim"]
    """Variance along each axis."""

    @classmethod
    def of(cls, features: Float[Tensor, "samples dim"]) -> Axes:
        """Measured on training features alone."""
        mean, deviation = features.mean(0), features.std(0, correction=0)
        constant = deviation <= 1e-6 * features.abs().amax(0)
        deviation = torch.where(constant, 1.0, deviation)
        standard = (features - mean) / deviation
        covariance = (standard.T @ standard / len(features)).cpu().double()  # some devices have no fp64
        variance, rotation = torch.linalg.eigh(covariance)
        return cls(mean, deviation, rotation.to(features), variance.clamp(min=0).to(features))

    def __call__(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples dim"]:
        """Coordinates of standardised features along the axes."""
        return (features - self.mean) / self.deviation @ self.rotation


@dataclass(frozen=True)
class Heads:
    """Linear classifiers side by side."""

    axes: Axes
    weight: Float[Tensor, "dim heads classes"]
    bias: Float[Tensor, "heads classes"]

    def logits(self, features: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples heads classes"]:
        """The answers of every head."""
        return _logits(self.axes(features), self.weight, self.bias)


def _logits(
    x: Float[Tensor, "batch dim"], weight: Float[Tensor, "dim heads classes"], bias: Float[Tensor, "heads classes"]
) -> Float[Tensor, "batch heads classes"]:
    """One matrix product for all heads."""
    return (x @ weight.flatten(1)).unflatten(1, bias.shape) + bias


def _softmax(logits: Float[Tensor, "batch heads classes"]) -> Float[Tensor, "batch heads classes"]:
    """Over the classes. For few of them torch's own takes five times as long on a CPU."""
    if logits.shape[-1] >= _FEW:
        return logits.softmax(-1)
    powers = (logits - logits.amax(-1, keepdim=True)).exp_()
    return powers.div_(powers.sum(-1, keepdim=True))


def _answers(
    heads: Heads, features: Float[Tensor, "samples dim"], labels: Int[Tensor, "samples"]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and labels in parts of bounded memory."""
    for part, truth in zip(features.split(1024), labels.split(1024), strict=True):
        yield heads.logits(part), truth


class LinearProbe:
    """Chooses learning rate and weight decay on a part of the training split, then refits on all of it."""

    needs: ClassVar[FeatureKind] = "pooled"

    def __init__(self, config: LinearProbeConfig) -> None:
        """The grid has len(learning_rates) x len(weight_decays) heads."""
        self.config = config

    def __call__(self, train: Features, test: Features, num_classes: int, seed: int) -> Score:
        """Score the chosen head on `test`, which nothing else sees.

        Raises:
            DataError: no class has the two training samples that a choice needs.
        """
        grid = list(itertools.product(self.config.learning_rates, self.config.weight_decays))
        held_out = stratified(train.labels, self.config.validation, seed_of(seed, SPLIT))
        fitted = self.fit(train.pooled[~held_out], train.labels[~held_out], num_classes, grid, seed)
        best, accuracy = choose(_answers(fitted, train.pooled[held_out], train.labels[held_out]))
        final = self.fit(train.pooled, train.labels, num_classes, [grid[best]], seed)
        correct = torch.cat(
            [
                final.logits(pooled)[:, 0].argmax(1) == labels
                for pooled, labels in zip(test.pooled.split(8192), test.labels.split(8192), strict=True)
            ]
        )
        learning_rate, weight_decay = grid[best]
        chosen = {"learning_rate": learning_rate, "weight_decay": weight_decay, "validation_accuracy": accuracy}
        return Score(correct.cpu(), chosen)

    def fit(
        self,
        features: Float[Tensor, "samples dim"],
        labels: Int[Tensor, "samples"],
        num_classes: int,
        grid: Grid,
        seed: int,
    ) -> Heads:
        """Train one head per (learning rate, weight decay) with Adam and a cosine to zero, all on the same batches.

        The weights that Adam moves are those of the axes, scaled by each axis's curvature (this module's docstring).
        """
        axes = Axes.of(features)
        x, onehot = axes(features), F.one_hot(labels, num_classes).to(features)
        rates, decays = x.new_tensor(grid).T[:, :, None]  # each (heads, 1), to broadcast over classes
        curvature = _CURVATURE * (axes.variance + _NOISE * axes.variance.max())[:, None, None] + decays
        scale = (_CURVATURE / curvature.clamp(min=1e-30)).sqrt()
        weight, bias = x.new_zeros(x.shape[1], len(grid), num_classes), x.new_zeros(len(grid), num_classes)
        adam = Adam([weight, bias])
        batches = random_batches(len(x), self.config.batch_size, self.config.steps, seed)
        for step, chosen in enumerate(batches):
            batch, effective = x[chosen], scale * weight
            # d cross-entropy / d logits, in closed form
            error = (_softmax(_logits(batch, effective, bias)) - onehot[chosen][:, None]) / len(batch)
            slope = (batch.T @ error.flatten(1)).unflatten(1, bias.shape)
            adam.move([scale * (slope + decays * effective), error.sum(0)], rates * cosine(step, self.config.steps))
        return Heads(axes, scale * weight, bias)


class Adam:
    """Adam (1412.6980) with learning rates that broadcast against the parameters: one per head."""

    def __init__(self, parameters: list[Tensor]) -> None:
        """`parameters` are moved in place."""
        self.parameters = parameters
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]
        self.moves = 0

    def move(self, gradients: list[Tensor], rate: Float[Tensor, "heads 1"]) -> None:
        """One update."""
        self.moves += 1
        unbias_first, unbias_second = (1 - beta**self.moves for beta in _BETAS)
        for p, g, m, v in zip(self.parameters, gradients, self.first, self.second, strict=True):
            m.lerp_(g, 1 - _BETAS[0])
            v.lerp_(g * g, 1 - _BETAS[1])
            p.sub_(rate * (m / unbias_first) / ((v / unbias_second).sqrt() + _EPS))
