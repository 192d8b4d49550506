"""The two networks that are trained, as one module, and how a configuration becomes one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from jepa_core.config import RunConfig
from jepa_core.masking import MaskView
from jepa_core.nn.predictor import Predictor
from jepa_core.nn.tokens import take_tokens
from jepa_core.objectives import Objective
from jepa_core.plugin import MaskingStrategy, Modality
from jepa_core.registry import encoders, maskings, modalities, objectives
from jepa_core.types import TokenGrid


class Encoder(nn.Module):
    """A modality's tokenizer and a backbone: from a signal to tokens."""

    def __init__(self, tokenizer: nn.Module, backbone: nn.Module) -> None:
        """Both work on the same token grid and have the same width."""
        super().__init__()
        self.tokenizer = tokenizer
        self.backbone = backbone

    def forward(
        self, signal: Float[Tensor, "batch ..."], keep: Int[Tensor, "batch kept"] | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        """Tokens of the kept cells, or of all: what is not kept is neither projected nor attended to."""
        return self.backbone(self.tokenizer(signal, keep), keep)


@dataclass(frozen=True)
class ViewOutput:
    """What one mask view gave."""

    context: Float[Tensor, "batch context dim"]
    """The context encoder's tokens."""
    predicted: Float[Tensor, "batch blocks target dim"]
    """The predictor's answers."""


class JEPA(nn.Module):
    """The trainable part: context encoder and predictor, one forward call a step (so that DDP sees one)."""

    def __init__(self, encoder: Encoder, predictor: Predictor, objective: Objective) -> None:
        """The target encoder stays outside (`jepa_core.ema`)."""
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor
        self.objective = objective

    def forward(
        self,
        signal: Float[Tensor, "batch ..."],
        views: tuple[MaskView, ...],
        targets: Float[Tensor, "batch tokens dim"],
    ) -> tuple[Float[Tensor, "batch"], list[ViewOutput]]:
        """Loss per sample, averaged over views (I-JEPA, equation 1; V-JEPA averages its two views alike)."""
        loss, outputs = torch.zeros(len(signal), device=signal.device), []
        for number, view in enumerate(views):
            context = self.encoder(signal, keep=view.context)  # visible tokens only
            predicted = self.predictor(context, view, number)  # each target block from the context
            loss = loss + self.objective(predicted, take_tokens(targets, view.targets))
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

    @classmethod
    def of(cls, config: RunConfig) -> Parts:
        """Look every name up and check that the parts fit; raises ConfigError or PluginError, allocates nothing."""
        modality = modalities.get(config.modality.name)
        grid = modality.grid(config.modality)
        masking = maskings.get(config.masking.name).build(config.masking, grid)
        objective = objectives.get(config.objective.name).build(config.objective)
        return cls(config, modality, grid, masking, objective)

    def encoder(self) -> Encoder:
        """A new encoder, randomly initialised from torch's global generator."""
        backbone = encoders.get(self.config.encoder.name).build(self.config.encoder, self.grid)
        return Encoder(self.modality.tokenizer(self.config.modality, backbone.width), backbone)  # pyright: ignore[reportArgumentType]

    def model(self) -> JEPA:
        """A new encoder and predictor, randomly initialised from torch's global generator."""
        encoder = self.encoder()
        predictor = Predictor(self.config.predictor, self.grid, encoder.backbone, num_views=len(self.masking.budgets))
        return JEPA(encoder, predictor, self.objective)
