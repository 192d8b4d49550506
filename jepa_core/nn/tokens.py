"""Choosing tokens by index."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor


def take_tokens(
    tokens: Float[Tensor, "batch tokens dim"], index: Int[Tensor, "batch *chosen"]
) -> Float[Tensor, "batch *chosen dim"]:
    """The tokens at `index`, sample by sample.

    Args:
        tokens: (batch, tokens, dim).
        index: (batch, ...) positions in [0, tokens).
    """
    flat = index.flatten(1)
    chosen = tokens.gather(1, flat.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
    return chosen.view(*index.shape, tokens.shape[-1])
