"""The two networks that are trained, as one module, and how a configuration becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from jepa_core.config import RunConfig
from jepa_core.config.tree import TargetConfig
from jepa_core.errors import ConfigError
from jepa_core.masking import MaskView
from jepa_core.nn.pooling import Pooling
from jepa_core.nn.predictor import Predictor
from jepa_core.objectives import Objective
from jepa_core.plugin import MaskingStrategy, Modality
from jepa_core.registry import encoders, maskings, modalities, objectives
from jepa_core.targets import TargetSide
from jepa_core.types import TokenGrid


class Encoder(nn.Module):
    """A modality's tokenizer and a backbone: from a signal to tokens."""

    def __init__(self, tokenizer: nn.Module, backbone: nn.Module) -> None:
        """Both work on the same token grid and have the same width."""
        super().__init__()
        self.tokenizer = tokenizer
        self.backbone = backbone

    def forward(
        self,
        signal: Float[Tensor, "batch ..."],
        keep: Int[Tensor, "batch *blocks kept"] | None = None,
        layers: int = 1,
    ) -> Float[Tensor, "batch *tokens dim"]:
        """Tokens of the kept cells, or of all: what is not kept is neither projected nor attended to.

        Args:
            signal: (batch, ...).
            keep: (batch, n) cells of one sequence per sample; or (batch, blocks, n), where every block is a sequence of
                its own, and the tokens come as (batch, blocks, n, dim).
            layers: 1 for the backbone's output; more for the mean over so many of its last blocks.
        """
        deeper = {} if layers == 1 else {"layers": layers}  # which not every backbone knows: see `Parts.model`
        if keep is None or keep.ndim == 2:
            return self.backbone(self.tokenizer(signal, keep), keep, **deeper)
        tokens = self.tokenizer(signal, keep.flatten(1)).unflatten(1, keep.shape[1:])
        return self.backbone(tokens.flatten(0, 1), keep.flatten(0, 1), **deeper).unflatten(0, keep.shape[:2])


@dataclass(frozen=True)
class ViewOutput:
    """What one mask view gave."""

    context: Float[Tensor, "batch context dim"]
    """The context encoder's tokens."""
    predicted: Float[Tensor, "batch blocks target dim"]
    """The predictor's answers."""


class JEPA(nn.Module):
    """The trainable part: context encoder and predictor, one forward call a step (so that DDP sees one)."""

    def __init__(self, encoder: Encoder, predictor: Predictor, objective: Objective, target: TargetConfig) -> None:
        """The target encoder stays outside (`jepa_core.ema`)."""
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor
        self.objective = objective
        self.target = target
        self._own_targets = TargetSide(target, self._tokens, objective)

    def _tokens(
        self, signal: Float[Tensor, "batch ..."], keep: Int[Tensor, "batch *blocks kept"] | None = None
    ) -> Float[Tensor, "batch *tokens dim"]:
        """The encoder in the place of a target encoder."""
        return self.encoder(signal, keep, self.target.layers)

    def forward(
        self,
        signal: Float[Tensor, "batch ..."],
        views: tuple[MaskView, ...],
        targets: Sequence[Float[Tensor, "batch blocks target dim"]] | None,
    ) -> tuple[Float[Tensor, "batch"], list[ViewOutput]]:
        """Loss per sample, averaged over views (I-JEPA, equation 1; V-JEPA averages its two views alike).

        `targets` are, view by view, what is to be predicted (`jepa_core.targets`); None: the encoder's own tokens, and
        the gradient flows through them too (`target.stop_gradient: false`).
        """
        if targets is None:
            targets = self._own_targets(signal, views).views
        loss, outputs = torch.zeros(len(signal), device=signal.device), []
        for number, (view, wanted) in enumerate(zip(views, targets, strict=True)):
            context = self.encoder(signal, keep=view.context)  # visible tokens only
            predicted = self.predictor(context, view, number)  # each target block from the context
            loss = loss + self.objective(predicted, wanted)
            outputs.append(ViewOutput(context, predicted))
        return loss / len(views), outputs


@dataclass(frozen=True)
class Parts:
    """The objects that a configuration names."""

    config: RunConfig
    modality: Modality
    grid: TokenGrid
    masking: MaskingStrategy
    objective: Objective
    pooling: Pooling

    @classmethod
    def of(cls, config: RunConfig) -> Parts:
        """Look every name up and check that the parts fit; raises ConfigError or PluginError, allocates nothing."""
        modality = modalities.get(config.modality.name)
        grid = modality.grid(config.modality)
        masking = maskings.get(config.masking.name).build(config.masking, grid)
        objective = objectives.get(config.objective.name).build(config.objective)
        return cls(config, modality, grid, masking, objective, Pooling(config.features, grid))

    def encoder(self) -> Encoder:
        """A new encoder, randomly initialised from torch's global generator."""
        backbone = encoders.get(self.config.encoder.name).build(self.config.encoder, self.grid)
        return Encoder(self.modality.tokenizer(self.config.modality, backbone.width), backbone)  # pyright: ignore[reportArgumentType]

    def model(self) -> JEPA:
        """A new encoder and predictor, randomly initialised from torch's global generator.

        Raises ConfigError where the encoder has not the layers that are to be predicted.
        """
        encoder = self.encoder()
        self._require_layers(encoder.backbone)
        predictor = Predictor(self.config.predictor, self.grid, encoder.backbone, num_views=len(self.masking.budgets))
        return JEPA(encoder, predictor, self.objective, self.config.target)

    def _require_layers(self, backbone: nn.Module) -> None:
        wanted, depth = self.config.target.layers, getattr(backbone, "depth", None)
        if wanted == 1 or (depth is not None and wanted <= depth):
            return
        name = self.config.encoder.name
        has = "gives its output alone. Allowed: 1" if depth is None else f"has {depth} layers. Allowed: 1 to {depth}"
        raise ConfigError(f"target.layers: {wanted}, but the encoder '{name}' {has}.")
