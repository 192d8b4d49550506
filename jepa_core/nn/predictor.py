"""The narrow network that answers for hidden tokens (I-JEPA, section 3, "Prediction")."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jepa_core.builtin import ViTConfig
from jepa_core.config.tree import PredictorConfig
from jepa_core.errors import ConfigError
from jepa_core.masking import MaskView
from jepa_core.nn.block import initialise_linear
from jepa_core.nn.vit import Transformer
from jepa_core.types import TokenGrid


def narrow(config: PredictorConfig, backbone: nn.Module) -> ViTConfig:
    """The predictor's transformer; what its own section does not say is as in the encoder, where that is a ViT."""
    style = backbone.config if isinstance(backbone, Transformer) else ViTConfig()
    heads = config.heads or int(backbone.heads)  # pyright: ignore[reportArgumentType]  (the plugin interface)
    if config.width % heads:
        raise ConfigError(
            f"predictor.heads: {heads}, the encoder's number unless it is given, does not divide predictor.width "
            f"{config.width}. Set predictor.heads to a divisor of it."
        )
    return ViTConfig(
        size=None,
        width=config.width,
        depth=config.depth,
        heads=heads,
        mlp_ratio=config.mlp_ratio,
        positions=style.positions,
        norm_eps=style.norm_eps,
        activation_checkpointing=style.activation_checkpointing,
    )


def _num_mask_tokens(config: PredictorConfig, num_views: int) -> int:
    """As configured, or as many as are used; raises ConfigError where there are fewer than are used."""
    used = num_views if config.mask_token_per_view else 1
    if config.mask_tokens is not None and config.mask_tokens < used:
        raise ConfigError(
            f"predictor.mask_tokens: {config.mask_tokens}, but the masking has {num_views} views and each has its own "
            f"(mask_token_per_view). Set it to {used} or more, or to null."
        )
    return config.mask_tokens or used


class Predictor(nn.Module):
    """Context tokens and mask tokens at the target cells in, the encoder's tokens of the target cells out."""

    def __init__(self, config: PredictorConfig, grid: TokenGrid, backbone: nn.Module, num_views: int) -> None:
        """`backbone` is the encoder's, `num_views` the masking's number of views; raises ConfigError."""
        super().__init__()
        self.config = config
        width = int(backbone.width)  # pyright: ignore[reportArgumentType]  (the plugin interface)
        self.embed = nn.Linear(width, config.width)
        self.mask_tokens = nn.Parameter(torch.zeros(_num_mask_tokens(config, num_views), config.width))
        self.transformer = Transformer(narrow(config, backbone), grid)
        self.project = nn.Linear(config.width, width)
        initialise_linear(self.embed)
        initialise_linear(self.project)
        if not config.zero_init_mask_tokens:
            nn.init.trunc_normal_(self.mask_tokens, std=0.02)

    def forward(
        self, context: Float[Tensor, "batch context dim"], view: MaskView, number: int = 0
    ) -> Float[Tensor, "batch blocks target dim"]:
        """Answers for every target block of the view.

        In mode `separate` each block is a sequence of its own with the context, so that blocks do not see each other;
        in mode `joint` all blocks of a sample share one.

        Args:
            context: the encoder's tokens of `view.context`.
            view: which cells are context and which are targets.
            number: the view's position in the step; chooses the mask token where there is one per view.
        """
        targets = view.targets if self.config.mode == "separate" else view.targets.flatten(1)[:, None]
        groups, hidden = targets.shape[1:]
        seen = view.context[:, None].expand(-1, groups, -1)
        cells = torch.cat([seen, targets], dim=2).flatten(0, 1)

        embedded = self.embed(context)[:, None].expand(-1, groups, -1, -1)
        mask = self.mask_tokens[number if self.config.mask_token_per_view else 0]
        asked = mask.expand(len(context), groups, hidden, -1)
        tokens = torch.cat([embedded, asked], dim=2).flatten(0, 1)

        answers = self.transformer(tokens, cells)[:, -hidden:]
        return self.project(answers).view(*view.targets.shape, -1)
