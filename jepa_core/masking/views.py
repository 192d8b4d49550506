"""A mask view: which tokens are context and which are to be predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Int64
from torch import Tensor


@dataclass(frozen=True)
class MaskView:
    """One context index set and K target index sets per sample; indices are row-major cells of the token grid."""

    context: Int[Tensor, "batch context"]
    """Cells that the context encoder sees, ascending, without repetition."""
    targets: Int[Tensor, "batch blocks target"]
    """Cells that are predicted, one row per target block, ascending within a block."""

    @classmethod
    def of(
        cls, context: Int64[np.ndarray, "batch context"], targets: Int64[np.ndarray, "batch blocks target"]
    ) -> MaskView:
        """A view of NumPy indices, which masking strategies compute with."""
        return cls(torch.from_numpy(context), torch.from_numpy(targets))

    def to(self, device: object, non_blocking: bool = True) -> MaskView:
        """The same view on another device."""
        move = {"device": device, "non_blocking": non_blocking}
        return MaskView(self.context.to(**move), self.targets.to(**move))  # pyright: ignore[reportCallIssue, reportArgumentType]

    def rows(self, start: int, stop: int) -> MaskView:
        """The view of some of the samples."""
        return MaskView(self.context[start:stop], self.targets[start:stop])
