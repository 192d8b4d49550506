"""The attentive classifier of V-JEPA (2404.08471): a learned query asks all tokens, a linear layer answers."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, empty, nn

from jepa_core.builtin import ViTConfig
from jepa_core.nn.block import MLP, Block, initialise_linear

MLP_RATIO = 4.0
"""Of the official classifiers, whatever the encoder has."""


class AttentiveClassifier(nn.Module):
    """Classes from tokens, in any order and number: q + attention(q, norm(tokens)), then + mlp(norm(.)), then linear.

    The cross-attention has no projection after it: V-JEPA's code holds one and never applies it, and V-JEPA 2's removed
    it. Positions, if they matter, are in the tokens.

    There is one query and it is the same for all samples, so keys and values are not computed token by token. The
    similarity of head h is q_h . (K_h x + k_h) = (K_h^T q_h) . x + const, and the softmax over tokens takes the
    constant away; the mean of the values is V_h mean(x) + v_h. What is left per token are two products with as many
    vectors as there are heads, instead of two with `width` vectors: the same function at a fraction of the cost.
    """

    def __init__(self, width: int, heads: int, num_classes: int, blocks: int = 1, norm_eps: float = 1e-5) -> None:
        """Initialised from torch's global generator.

        Args:
            width: channels per token.
            heads: attention heads; divides `width`.
            num_classes: how many logits there are.
            blocks: 1 (V-JEPA), or more: all but the last are self-attention on the tokens (V-JEPA 2: 4).
            norm_eps: epsilon of the layer norms.
        """
        super().__init__()
        self.heads = heads
        style = ViTConfig(size=None, width=width, depth=blocks, heads=heads, mlp_ratio=MLP_RATIO, norm_eps=norm_eps)
        self.blocks = nn.ModuleList(Block(style, number) for number in range(blocks - 1))
        self.query = nn.Parameter(empty(width))
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = MLP(width, round(width * MLP_RATIO), residual_scale=1.0)
        # The official .02 is about this for 1024 channels; for 64 it starts so low that training takes twice as long.
        for linear in self.modules():
            if isinstance(linear, nn.Linear):
                nn.init.xavier_uniform_(linear.weight)
                nn.init.zeros_(linear.bias)
        nn.init.trunc_normal_(self.query, std=0.02)
        self.linear = nn.Linear(width, num_classes)
        initialise_linear(self.linear)

    def forward(self, tokens: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch classes"]:
        """Logits."""
        for block in self.blocks:
            tokens = block(tokens, None)
        pooled = (self.query + self.attend(tokens))[:, None]
        pooled = pooled + self.mlp(self.norm2(pooled))
        return self.linear(pooled[:, 0])

    def attend(self, tokens: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch dim"]:
        """What the query gets from the tokens: its heads' values side by side."""
        width, head = len(self.query), len(self.query) // self.heads
        scale, shift = self.norm1.weight, self.norm1.bias
        key, value = self.kv.weight.view(2, self.heads, head, width)
        normed = F.layer_norm(tokens, (width,), eps=self.norm1.eps)  # its scale and shift are applied to the few below
        asked = (self.q(self.query).view(self.heads, 1, head) @ key)[:, 0] * scale * head**-0.5
        share = (normed @ asked.T).transpose(1, 2).softmax(-1)
        seen = (share @ normed) * scale + shift  # (batch, heads, width)
        values = (seen.transpose(0, 1) @ value.transpose(1, 2)).transpose(0, 1)
        return values.flatten(1) + self.kv.bias[width:]
