"""The pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)) (2010.11929, equations 2 and 3)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from jepa_core.builtin import ViTConfig
from jepa_core.nn.rope import Rotation, rotate


def initialise_linear(linear: nn.Linear, scale: float = 1.0) -> None:
    """Weights from a normal of standard deviation .02 * scale, biases zero."""
    nn.init.trunc_normal_(linear.weight, std=0.02)
    with torch.no_grad():
        linear.weight.mul_(scale)
    nn.init.zeros_(linear.bias)


def attend(
    query: Float[Tensor, "batch heads token head"],
    key: Float[Tensor, "batch heads token head"],
    value: Float[Tensor, "batch heads token head"],
) -> Float[Tensor, "batch heads token head"]:
    """Values mixed by softmax(query key^T / sqrt(head)), a softmax that computes in fp32 whatever the precision.

    Torch's fused kernel, except for bf16 on a CPU: there, forward and backward take 1.2 (1568 tokens) to 5 times
    (22 tokens) as long as two matrix products (torch 2.11, AVX-512; `benchmarks/README.md`, "Attention").
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        similarity = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        return similarity.softmax(-1) @ value
    return F.scaled_dot_product_attention(query, key, value)


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int, residual_scale: float) -> None:
        """`heads` divides `width`; `residual_scale` shrinks the first weights of what joins the residual stream."""
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        initialise_linear(self.qkv)
        initialise_linear(self.proj, residual_scale)

    def forward(
        self, tokens: Float[Tensor, "batch token dim"], rotation: Rotation | None
    ) -> Float[Tensor, "batch token dim"]:
        """Every token attends to every token of its own sequence."""
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        return self.proj(attend(query, key, value).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear maps with a GELU between them."""

    def __init__(self, width: int, hidden: int, residual_scale: float) -> None:
        """From `width` to `hidden` and back; `residual_scale` as in `Attention`."""
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        initialise_linear(self.fc1)
        initialise_linear(self.fc2, residual_scale)

    def forward(self, tokens: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Token by token."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class DropPath(nn.Module):
    """Stochastic depth (1603.09382): in training, drop a residual branch for whole sequences, and rescale the rest."""

    def __init__(self, probability: float) -> None:
        """`probability` in [0, 1) of dropping; draws come from torch's global generator."""
        super().__init__()
        self.probability = probability

    def forward(self, branch: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """The branch, or zeros."""
        if not self.training or self.probability == 0:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.probability
        return branch * kept / (1 - self.probability)


class Block(nn.Module):
    """One transformer block; the unit of activation checkpointing and of parameter sharding."""

    def __init__(self, config: ViTConfig, number: int) -> None:
        """Block `number` of a transformer, from 0; initialised from torch's global generator.

        What writes into the residual stream starts smaller the deeper it stands: by 1 / sqrt(2 * layer) (BEiT,
        2106.08254, section 2.5). The public I-JEPA and V-JEPA code does so too, but then draws every linear weight
        again, so that their released weights began without it; V-JEPA 2 kept it.
        """
        super().__init__()
        width, depth, heads, ratio = config.dimensions
        residual_scale = 1 / math.sqrt(2 * (number + 1))
        self.norm1 = nn.LayerNorm(width, eps=config.norm_eps)
        self.attn = Attention(width, heads, residual_scale)
        self.norm2 = nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp = MLP(width, round(width * ratio), residual_scale)
        self.drop_path = DropPath(config.drop_path * number / max(1, depth - 1))

    def forward(
        self, tokens: Float[Tensor, "batch token dim"], rotation: Rotation | None
    ) -> Float[Tensor, "batch token dim"]:
        """`rotation` comes from `RotaryPositions`, or is None."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), rotation))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))
