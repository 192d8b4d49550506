"""Tokens by index, and the places on the grid that indices stand for."""

from __future__ import annotations

from collections.abc import Sequence

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


def places_of(cells: Int[Tensor, "*any"], shape: Sequence[int]) -> tuple[Int[Tensor, "*any"], ...]:
    """Coordinates along every axis of cells that are counted in row-major order.

    What `torch.unravel_index` gives, without its copy of the shape to the device, which waits for the device.

    >>> import torch
    >>> [place.tolist() for place in places_of(torch.tensor([0, 5, 23]), (2, 3, 4))]
    [[0, 0, 1], [0, 1, 2], [0, 1, 3]]
    """
    places: list[Tensor] = []
    for extent in reversed(shape):
        places.insert(0, cells % extent)
        cells = cells // extent
    return tuple(places)
