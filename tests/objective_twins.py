"""Objectives that each break one promise: `TWINS[check]` must fail that check of the kit and no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from jepa_core.builtin import ObjectiveConfig
from jepa_core.objectives import Objective
from jepa_core.plugin import ObjectivePlugin


class TwinConfig(ObjectiveConfig):
    """Squared error."""

    name: Literal["twin"] = "twin"
    """The registered name."""


class Right(Objective):
    """An objective without a fault, which the twins derive from."""

    def distance(self, predicted: Tensor, targets: Tensor) -> Tensor:
        return (predicted - targets).square()


class AveragesSamples(Right):
    def __call__(self, predicted: Tensor, targets: Tensor) -> Tensor:
        return super().__call__(predicted, targets).mean()


class AveragesTokens(Right):
    def normalise(self, tokens: Tensor) -> Tensor:
        return super().normalise(tokens).mean(-2)


class StaysInBf16(Right):
    def __call__(self, predicted: Tensor, targets: Tensor) -> Tensor:
        return (predicted - targets).square().flatten(1).mean(1).float()


class RewardsDistance(Right):
    def distance(self, predicted: Tensor, targets: Tensor) -> Tensor:
        return -super().distance(predicted, targets)


class TakesARoot(Right):
    def distance(self, predicted: Tensor, targets: Tensor) -> Tensor:
        return super().distance(predicted, targets).sum(-1).sqrt()


class DetachesPredictions(Right):
    def distance(self, predicted: Tensor, targets: Tensor) -> Tensor:
        return super().distance(predicted.detach(), targets) + 0 * predicted


class NormalisesOverTheBatch(Right):
    def normalise(self, tokens: Tensor) -> Tensor:
        return super().normalise(tokens) / (1e-3 + tokens.float().square().mean().sqrt())


class SumsOverTokens(Right):
    def __call__(self, predicted: Tensor, targets: Tensor) -> Tensor:
        return super().__call__(predicted, targets) * predicted.shape[-2]


class AddsNoise(Right):
    def __call__(self, predicted: Tensor, targets: Tensor) -> Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        return super().__call__(predicted, targets) * (1 + 1e-6 * (self.calls % 2))


class ClearsItsTargets(Right):
    def distance(self, predicted: Tensor, targets: Tensor) -> Tensor:
        found = super().distance(predicted, targets)
        with torch.no_grad():
            targets.zero_()
        return found


# What the message of the check must name, besides.
TWINS: dict[str, tuple[type[Right], str]] = {
    "one_loss_per_sample": (AveragesSamples, "expected a loss of shape (4,), torch.float32"),
    "normalise_keeps_shape": (AveragesTokens, "expected (4, 6, 16), torch.float32, found (4, 16)"),
    "computed_in_fp32": (StaysInBf16, "in bf16 as in fp32"),
    "own_target_is_nearest": (RewardsDistance, "for its own"),
    "finite_everywhere": (TakesARoot, "expected a finite gradient for exact predictions"),
    "gradient_reaches_every_prediction": (DetachesPredictions, "at 60 predicted tokens, found none at 60"),
    "samples_do_not_mix": (NormalisesOverTheBatch, "alone as in a batch"),
    "mean_over_tokens": (SumsOverTokens, "with every token twice"),
    "loss_repeats": (AddsNoise, "found differences of up to"),
    "inputs_left_alone": (ClearsItsTargets, "values changed by the loss"),
}

# Of a twin's other checks, those that cannot say anything because of its mistake; all others pass.
SILENCED: dict[str, set[str]] = {
    "one_loss_per_sample": TWINS.keys() - {"one_loss_per_sample", "normalise_keeps_shape", "inputs_left_alone"},
    "normalise_keeps_shape": TWINS.keys() - {"normalise_keeps_shape"},
}


def twin(factory: Callable[..., Any]) -> ObjectivePlugin:
    return ObjectivePlugin("twin", TwinConfig, factory, "breaks one promise")
