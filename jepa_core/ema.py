"""The target encoder: an exponential moving average of the context encoder, outside what is trained."""

from __future__ import annotations

import copy
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from jepa_core.model import Encoder


def _local(tensor: Tensor) -> Tensor:
    """The shard that this process holds."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


class TargetEncoder(nn.Module):
    """A copy of the encoder that is never trained, only led: in evaluation mode, without gradients."""

    def __init__(self, encoder: Encoder, layers: int = 1) -> None:
        """Starts equal to the encoder; its tokens are the mean over the last `layers` blocks (`Encoder.forward`)."""
        super().__init__()
        self.layers = layers
        self.encoder = copy.deepcopy(encoder).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode: targets know no drop path."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, signal: Float[Tensor, "batch ..."], keep: Int[Tensor, "batch *blocks kept"] | None = None
    ) -> Float[Tensor, "batch *tokens dim"]:
        """Tokens of the whole signal, or of `keep` alone: (batch, n) cells, or blocks of them, each by itself."""
        return self.encoder(signal, keep, self.layers)

    @torch.no_grad()
    def follow(self, encoder: Encoder, momentum: float) -> None:
        """target = momentum * target + (1 - momentum) * context, in place, on local shards, in the weights' fp32."""
        ours = [_local(parameter) for parameter in self.encoder.parameters()]
        theirs = [_local(parameter) for parameter in encoder.parameters()]
        get_ema_multi_avg_fn(momentum)(ours, theirs, None)  # one fused lerp
        for mine, other in zip(self.encoder.buffers(), encoder.buffers(), strict=True):
            mine.copy_(other)

    @torch.no_grad()
    def distance(self, encoder: Encoder) -> float:
        """Norm of the weight difference over the norm of the encoder's weights."""
        theirs = list(encoder.parameters())
        pairs = zip(self.encoder.parameters(), theirs, strict=True)
        squares = torch.stack(
            [
                torch.stack([(_local(mine) - _local(other)).square().sum() for mine, other in pairs]).sum(),
                torch.stack([_local(other).square().sum() for other in theirs]).sum(),
            ]
        )
        if isinstance(theirs[0], DTensor):
            torch.distributed.all_reduce(squares)
        gap, size = squares.sqrt().tolist()
        return gap / size

    def shard_like(self, encoder: Encoder) -> None:
        """Shard by the plan of an encoder that FSDP2 has sharded, so that `follow` works on local shards.

        No-op where parameters are whole. Modules are wrapped from the inside out, as `fully_shard` asks.
        """
        sharded = [parameter for parameter in encoder.parameters() if isinstance(parameter, DTensor)]
        if not sharded:
            return
        mesh, ours = sharded[0].device_mesh, dict(self.encoder.named_modules())
        wrapped = [name for name, module in encoder.named_modules() if isinstance(module, FSDPModule) and name]
        for name in reversed(wrapped):
            fully_shard(ours[name], mesh=mesh, reshard_after_forward=True)
        # Without a backward pass nothing else would shard the outermost parameters again.
        fully_shard(self.encoder, mesh=mesh, reshard_after_forward=True)
