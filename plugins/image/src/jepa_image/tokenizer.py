"""From pixels to tokens."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from jepa_core.nn.tokens import take_tokens


def patchify(
    signal: Float[Tensor, "batch channels height width"], patch: tuple[int, int]
) -> Float[Tensor, "batch patches values"]:
    """Non-overlapping patches in row-major order.

    A patch's values run over (channel, row, column), so that the weight of an equivalent `nn.Conv2d`, flattened from
    its second axis, is the weight of the projection.
    """
    batch, channels, height, width = signal.shape
    rows, columns = height // patch[0], width // patch[1]
    cells = signal.reshape(batch, channels, rows, patch[0], columns, patch[1])
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, channels * patch[0] * patch[1])


class PatchTokenizer(nn.Module):
    """Patches and one matrix product; patches that are not kept are never projected."""

    def __init__(self, channels: int, patch: tuple[int, int], width: int) -> None:
        """`patch` is (height, width) in pixels; `width` is the encoder's."""
        super().__init__()
        self.patch = patch
        self.projection = nn.Linear(channels * patch[0] * patch[1], width)
        # As a linear layer of its fan-in (MAE does the same): the public I-JEPA code's standard deviation of .02 leaves
        # the tokens of small patches (16 values and not 768) far below the position embedding.
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def forward(
        self, signal: Float[Tensor, "batch channels height width"], keep: Int[Tensor, "batch kept"] | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """Tokens of the kept cells of the grid, or of all, without positions."""
        patches = patchify(signal, self.patch)
        return self.projection(patches if keep is None else take_tokens(patches, keep))
