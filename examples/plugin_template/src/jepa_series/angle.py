"""What the objective computes."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from jepa_core.objectives import Objective
from jepa_series.objective import AngleConfig


class Angle(Objective):
    """One minus the cosine, as the squared distance of two vectors of length 1: (u - v)^2 / 2."""

    config: AngleConfig

    def distance(
        self, predicted: Float[Tensor, "batch *tokens dim"], targets: Float[Tensor, "batch *tokens dim"]
    ) -> Float[Tensor, "batch *tokens dim"]:
        """Channel by channel; their mean, which the loss takes, is one minus the cosine."""
        dim = predicted.shape[-1]
        difference = F.normalize(predicted, dim=-1, eps=self.config.eps) - F.normalize(
            targets, dim=-1, eps=self.config.eps
        )
        return difference.square() * dim / 2
