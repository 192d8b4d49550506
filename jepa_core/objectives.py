"""Distances between predicted and target tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from jepa_core.builtin import ObjectiveConfig, SmoothL1Config


class Objective(ABC):
    """A distance in latent space; computed in fp32 whatever the precision of the networks."""

    def __init__(self, config: ObjectiveConfig) -> None:
        """`config.targets` decides whether targets are layer-normed."""
        self.config = config

    def normalise(self, tokens: Float[Tensor, "batch *tokens dim"]) -> Float[Tensor, "batch *tokens dim"]:
        """The target encoder's tokens as they are predicted; layer norm has no affine (I-JEPA, public code)."""
        tokens = tokens.float()
        return F.layer_norm(tokens, tokens.shape[-1:]) if self.config.targets == "layer_norm" else tokens

    def __call__(
        self, predicted: Float[Tensor, "batch *tokens dim"], targets: Float[Tensor, "batch *tokens dim"]
    ) -> Float[Tensor, "batch"]:
        """One loss per sample: the mean over its tokens and channels."""
        return self.distance(predicted.float(), targets.float()).flatten(1).mean(1)

    @abstractmethod
    def distance(
        self, predicted: Float[Tensor, "batch *tokens dim"], targets: Float[Tensor, "batch *tokens dim"]
    ) -> Float[Tensor, "batch *tokens dim"]:
        """Element by element."""


class L2(Objective):
    """Squared error (I-JEPA, equation 1)."""

    def distance(
        self, predicted: Float[Tensor, "batch *tokens dim"], targets: Float[Tensor, "batch *tokens dim"]
    ) -> Float[Tensor, "batch *tokens dim"]:
        """(predicted - target)^2."""
        return F.mse_loss(predicted, targets, reduction="none")


class L1(Objective):
    """Absolute error (V-JEPA, equation 1)."""

    def distance(
        self, predicted: Float[Tensor, "batch *tokens dim"], targets: Float[Tensor, "batch *tokens dim"]
    ) -> Float[Tensor, "batch *tokens dim"]:
        """|predicted - target|."""
        return F.l1_loss(predicted, targets, reduction="none")


class SmoothL1(Objective):
    """Quadratic below beta, linear above (the public I-JEPA code, with beta 1)."""

    config: SmoothL1Config

    def distance(
        self, predicted: Float[Tensor, "batch *tokens dim"], targets: Float[Tensor, "batch *tokens dim"]
    ) -> Float[Tensor, "batch *tokens dim"]:
        """Huber's loss over beta."""
        return F.smooth_l1_loss(predicted, targets, reduction="none", beta=self.config.beta)
