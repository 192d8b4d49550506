"""What a step predicts: tokens of the target encoder, which saw the whole signal or each target block alone.

Where it sees target blocks alone (`target.input: targets`), each is a sequence of its own, even where blocks of a
sample overlap. So the targets of a block know nothing of another block, as its predictions do not in mode `separate`;
and shapes stay fixed, which the union of overlapping blocks, of another length in every sample, would not give. Cells
that several blocks share are encoded once for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from jepa_core.config.tree import TargetConfig
from jepa_core.masking import MaskView
from jepa_core.nn.tokens import take_tokens
from jepa_core.objectives import Objective

Encode = Callable[..., Tensor]
"""From a signal, and the cells to keep of it where it is not all, to tokens: a `jepa_core.ema.TargetEncoder`."""


@dataclass(frozen=True)
class Targets:
    """What is to be predicted, normalised as the objective says."""

    views: tuple[Float[Tensor, "batch blocks target dim"], ...]
    """The tokens of every target block, view by view."""
    seen: Float[Tensor, "batch tokens dim"]
    """All tokens of the target encoder: of every cell of the grid, or of the first view's target cells."""


class TargetSide:
    """From signals and masks to what is predicted of them."""

    def __init__(self, config: TargetConfig, encoder: Encode, objective: Objective) -> None:
        """`encoder` gives tokens, `config.input` says of what, and `objective` normalises them."""
        self._whole, self._encoder, self._objective = config.input == "all", encoder, objective

    def __call__(self, signal: Float[Tensor, "batch ..."], views: Sequence[MaskView]) -> Targets:
        """The targets of a batch: one pass over the whole signal for all views, or one over the blocks of each."""
        if self._whole:
            seen = self._objective.normalise(self._encoder(signal))
            return Targets(tuple(take_tokens(seen, view.targets) for view in views), seen)
        blocks = tuple(self._objective.normalise(self._encoder(signal, view.targets)) for view in views)
        return Targets(blocks, blocks[0].flatten(1, 2))

    def of_others(
        self,
        signal: Float[Tensor, "batch ..."],
        views: Sequence[MaskView],
        targets: Targets,
        weight: Float[Tensor, "batch"],
    ) -> Float[Tensor, "batch blocks target dim"]:
        """The targets at the same cells in another sample, for the first view; rows of weight 0 are left out of turn.

        Of the whole signal they are known; else it takes a pass, in which every process takes part.
        """
        other = torch.arange(len(signal), device=signal.device)
        good = other[weight > 0]
        other[good] = good.roll(1)
        if self._whole:
            return take_tokens(targets.seen[other], views[0].targets)
        return self._objective.normalise(self._encoder(signal[other], views[0].targets))
