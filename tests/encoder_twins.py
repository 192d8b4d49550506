"""Encoders that each break one promise: `TWINS[check]` must fail that check of the kit and no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_core.config import Section
from jepa_core.plugin import EncoderPlugin
from jepa_core.types import TokenGrid

WIDTH = 8


class TwinConfig(Section):
    """Two layers of width 8."""

    name: Literal["twin"] = "twin"
    """The registered name."""


class Right(nn.Module):
    """An encoder without a fault, which the twins derive from: tokens, their mean and a linear map, twice."""

    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        super().__init__()
        self.width, self.heads, self.depth = WIDTH, 2, 2
        self.table = nn.Parameter(torch.randn(grid.num_tokens, WIDTH))
        self.blocks = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, tokens: Tensor, keep: Tensor | None = None, layers: int = 1) -> Tensor:
        x, mean = self.placed(tokens, keep), torch.zeros(())
        for number, block in enumerate(self.blocks, 1):
            x = x + block(F.gelu(x) + x.mean(1, keepdim=True))
            if number > len(self.blocks) - layers:
                mean = mean + self.normed(x) / layers
        return self.norm(x) if layers == 1 else mean

    def placed(self, tokens: Tensor, keep: Tensor | None) -> Tensor:
        return tokens.float() + (self.table if keep is None else self.table[keep])

    def normed(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (WIDTH,))


class HasHeadsInWords(Right):
    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        super().__init__(config, grid)
        self.heads = "two"


class AddsAClassToken(Right):
    def forward(self, tokens: Tensor, keep: Tensor | None = None, layers: int = 1) -> Tensor:
        found = super().forward(tokens, keep, layers)
        return torch.cat([found.mean(1, keepdim=True), found], 1)


class CountsBackwards(Right):
    def placed(self, tokens: Tensor, keep: Tensor | None) -> Tensor:
        return super().placed(tokens, keep) if keep is not None else tokens + self.table.flip(0)


class CountsInTheSequence(Right):
    def placed(self, tokens: Tensor, keep: Tensor | None) -> Tensor:
        return super().placed(tokens, keep) + torch.linspace(0, 1, tokens.shape[1])[:, None]


class KnowsNoPlace(Right):
    def placed(self, tokens: Tensor, keep: Tensor | None) -> Tensor:
        return tokens.float() + 0 * self.table.mean()


class NormsOverTheBatch(Right):
    def placed(self, tokens: Tensor, keep: Tensor | None) -> Tensor:
        x = super().placed(tokens, keep)
        return x - 0.1 * x.mean(0) if self.training else x


class HasASpareLayer(Right):
    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        super().__init__(config, grid)
        self.spare = nn.Linear(WIDTH, WIDTH)


class DropsInEvaluation(Right):
    def placed(self, tokens: Tensor, keep: Tensor | None) -> Tensor:
        return super().placed(tokens, keep) + 1e-6 * torch.rand(())


class ScalesWithItsInput(Right):
    def forward(self, tokens: Tensor, keep: Tensor | None = None, layers: int = 1) -> Tensor:
        found = super().forward(tokens, keep, layers)
        return found * tokens.float().std(-1, keepdim=True) if layers == 1 else found


class SeedsItself(Right):
    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        super().__init__(config, grid)
        generator = torch.Generator()
        generator.seed()
        nn.init.normal_(self.table, generator=generator)


class HidesAShift(Right):
    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        super().__init__(config, grid)
        self.shift = torch.randn(WIDTH)

    def placed(self, tokens: Tensor, keep: Tensor | None) -> Tensor:
        return super().placed(tokens, keep) + self.shift


class CopiesNothing(Right):
    def __deepcopy__(self, memo: object) -> CopiesNothing:
        return self


class AveragesAsItIs(Right):
    def normed(self, x: Tensor) -> Tensor:
        return x


class MixesPrecisions(Right):
    def placed(self, tokens: Tensor, keep: Tensor | None) -> Tensor:
        return torch.lerp(tokens, super().placed(tokens, keep), 1.0)


# What the message of the check must name, besides.
TWINS: dict[str, tuple[type[Right], str]] = {
    "width_and_heads_stated": (HasHeadsInWords, "expected heads as a whole number of at least 1, found 'two'"),
    "tokens_in_tokens_out": (AddsAClassToken, "expected (2, 12, 8) for all cells, found (2, 13, 8)"),
    "all_cells_are_the_whole_grid": (CountsBackwards, "with all cells kept"),
    "order_does_not_matter": (CountsInTheSequence, "in another order"),
    "positions_are_known": (KnowsNoPlace, "expected other outputs at other cells, found a difference of 0"),
    "samples_do_not_mix": (NormsOverTheBatch, "expected no gradient from sample 0 to another"),
    "every_parameter_is_used": (HasASpareLayer, "found 2 idle: spare.weight, spare.bias"),
    "evaluation_repeats": (DropsInEvaluation, "found the generator of torch moved"),
    "output_is_normed": (ScalesWithItsInput, "for tokens of size 10"),
    "seed_decides_weights": (SeedsItself, "found 1 others: table"),
    "state_restores": (HidesAShift, "with the same state"),
    "copy_is_independent": (CopiesNothing, "after its copy has changed"),
    "layers_are_averaged": (AveragesAsItIs, "for layers=2, found mean"),
    "works_in_bf16": (MixesPrecisions, "expected tokens, found RuntimeError"),
}

# Of a twin's other checks, those that cannot say anything because of its mistake; all others pass.
SILENCED: dict[str, set[str]] = {
    "tokens_in_tokens_out": TWINS.keys() - {"width_and_heads_stated", "tokens_in_tokens_out"},
}


def twin(factory: Callable[..., Any]) -> EncoderPlugin:
    return EncoderPlugin("twin", TwinConfig, factory, "breaks one promise")
