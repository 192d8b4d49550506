"""What the checks of encoders are given: networks on a few grids, and tokens for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from jepa_core.plugin import EncoderPlugin
from jepa_core.testing.attempts import attempt
from jepa_core.testing.checks import Case, NotApplicable
from jepa_core.types import TokenGrid

BATCH = 2
_GRIDS = (
    TokenGrid((12,), ("first",)),
    TokenGrid((3, 5), ("first", "second")),
    TokenGrid((2, 3, 3), ("first", "second", "third")),
)
_SEED = 0


@dataclass(frozen=True)
class Network:
    """An encoder on a grid, in evaluation mode."""

    grid: TokenGrid
    module: Any

    @torch.no_grad()
    def __call__(self, *given: Any) -> Float[Tensor, "batch token width"]:
        """What the module gives, without gradients."""
        return self.module(*given)

    @cached_property
    def sample(self) -> tuple[Float[Tensor, "batch half width"], Int[Tensor, "batch half"]]:
        """Tokens of half of the cells, and these cells."""
        return self.tokens(self.half), self.cells(self.half)

    @cached_property
    def answer(self) -> Float[Tensor, "batch half width"]:
        """What the module gives for `sample`."""
        return self(*self.sample)

    @property
    def half(self) -> int:
        """Half of the grid's cells."""
        return self.grid.num_tokens // 2

    def tokens(self, count: int) -> Float[Tensor, "batch {count} width"]:
        """Random tokens of standard deviation 1, the same whenever they are asked for."""
        return torch.randn(BATCH, count, self.module.width, generator=torch.Generator().manual_seed(_SEED))

    def cells(self, count: int) -> Int[Tensor, "batch {count}"]:
        """Random cells of every sample, none twice, in no order."""
        generator = torch.Generator().manual_seed(_SEED)
        return torch.stack([torch.randperm(self.grid.num_tokens, generator=generator)[:count] for _ in range(BATCH)])

    @staticmethod
    def directions(like: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Random weights of a sum: the plain sum of normed channels is constant and has no gradient."""
        return torch.randn(like.shape, generator=torch.Generator().manual_seed(_SEED + 1))


@dataclass(frozen=True, kw_only=True)
class EncoderCase(Case):
    """An encoder on grids of one, two and three axes, with its section's values; large ones take their time."""

    plugin: EncoderPlugin

    def build(self, grid: TokenGrid, seed: int = _SEED) -> nn.Module:
        """A new module in evaluation mode, its weights drawn from torch's global generator with this seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.plugin.build(self.section, grid).eval()

    @cached_property
    def built(self) -> list[tuple[TokenGrid, nn.Module]]:
        """The module on every grid."""
        return [(grid, self.build(grid)) for grid in _GRIDS]

    @cached_property
    def networks(self) -> list[Network]:
        """Those that state their width."""
        return [Network(*each) for each in self.built if isinstance(getattr(each[1], "width", None), int)]

    @cached_property
    def _sound(self) -> list[Network]:
        return [network for network in self.networks if _answers(network)]

    @property
    def sound(self) -> list[Network]:
        """Those that turn tokens into as many tokens; raises NotApplicable where one does not."""
        if len(self._sound) < len(_GRIDS):
            raise NotApplicable("it does not turn tokens into tokens: tokens_in_tokens_out says why")
        return self._sound


def _answers(network: Network) -> bool:
    found = attempt(lambda: network.answer)
    return not isinstance(found, Exception) and found.shape == network.sample[0].shape
