"""What the core itself registers, through the same entry points as anybody: light objects, no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from pydantic_core import PydanticCustomError

from jepa_core.config.base import Section
from jepa_core.config.fields import Auto, Tokens
from jepa_core.config.tree import MaskingSection
from jepa_core.plugin import EncoderPlugin, Masking, ObjectivePlugin, ProbePlugin

# width, depth, heads, mlp ratio; "giant" and "gigantic" as in the scaling-ViT paper (2106.04560, Table 2).
VIT_SIZES: dict[str, tuple[int, int, int, float]] = {
    "tiny": (192, 12, 3, 4.0),
    "small": (384, 12, 6, 4.0),
    "base": (768, 12, 12, 4.0),
    "large": (1024, 24, 16, 4.0),
    "huge": (1280, 32, 16, 4.0),
    "giant": (1408, 40, 16, 48 / 11),
    "gigantic": (1664, 48, 16, 64 / 13),
}


class ViTConfig(Section):
    """A pre-norm vision transformer on any token grid, without a class token."""

    name: Literal["vit"] = "vit"
    """The registered name."""
    size: Literal["tiny", "small", "base", "large", "huge", "giant", "gigantic"] | None = "base"
    """A named size; the four values below override single parts of it, and null makes width, depth, heads required."""
    width: int | None = Field(default=None, ge=2)
    """Channels per token."""
    depth: int | None = Field(default=None, ge=1)
    """Transformer blocks."""
    heads: int | None = Field(default=None, ge=1)
    """Attention heads; divides width."""
    mlp_ratio: float | None = Field(default=None, gt=0)
    """Hidden width of the MLP as a multiple of `width`."""
    positions: Literal["sincos", "sincos_half_first", "learned", "rope", "rope_vjepa2"] = "sincos"
    """How tokens know their cell: fixed sine-cosine with equal shares of the channels per axis, or with half of them
    for the first axis; learned; rotary in every block; or rotary with the released V-JEPA 2 weights' layout of the
    frequencies, which is for loading those weights and no choice for new models."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Largest probability of skipping a block's branch, growing linearly with depth."""
    norm_eps: float = Field(default=1e-6, gt=0)
    """Epsilon of the layer norms."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.size is None and None in (self.width, self.depth, self.heads):
            raise PydanticCustomError("vit", "size is null, so width, depth and heads must be given")
        width, _, heads, _ = self.dimensions
        if width % heads:
            raise PydanticCustomError(
                "vit", "width {width} does not divide by heads {heads}", {"width": width, "heads": heads}
            )
        return self

    @property
    def dimensions(self) -> tuple[int, int, int, float]:
        """Width, depth, heads and MLP ratio after the overrides."""
        named = VIT_SIZES[self.size] if self.size else (0, 0, 0, 4.0)
        width, depth, heads, ratio = (
            self.width or named[0],
            self.depth or named[1],
            self.heads or named[2],
            self.mlp_ratio or named[3],
        )
        return width, depth, heads, ratio


class RandomMaskingConfig(Section):
    """Unstructured masking: every token alike (MAE; M2D)."""

    name: Literal["random"] = "random"
    """The registered name."""
    ratio: float = Field(default=0.6, gt=0, lt=1)
    """Share of the grid that is hidden; the rest is context."""
    num_targets: int = Field(default=1, ge=1)
    """How many disjoint groups the hidden tokens are divided into."""


class LimitedConfig(Section):
    """Another strategy's masks, cut down to budgets by random subsets: for comparisons at equal numbers of tokens."""

    name: Literal["limited"] = "limited"
    """The registered name."""
    of: MaskingSection = RandomMaskingConfig()
    """A masking section: the strategy whose masks are cut."""
    context_tokens: Tokens | tuple[Tokens, ...] | Auto = "auto"
    """Context tokens per sample in every mask view, or one number for each view. `auto`: all that there are."""
    target_tokens: Tokens | tuple[Tokens, ...] | Auto = "auto"
    """Predicted tokens in every target block, or one number for the blocks of each view. `auto`: all that there are."""


class ObjectiveConfig(Section):
    """A distance in latent space, averaged over channels and tokens."""

    targets: Literal["layer_norm", "raw"] = "layer_norm"
    """Layer-norm the targets without affine, as the public code does, or take them as they are."""


class L2Config(ObjectiveConfig):
    """Squared error (I-JEPA, equation 1)."""

    name: Literal["l2"] = "l2"
    """The registered name."""


class L1Config(ObjectiveConfig):
    """Absolute error (V-JEPA)."""

    name: Literal["l1"] = "l1"
    """The registered name."""


class SmoothL1Config(ObjectiveConfig):
    """Huber-like error (the public I-JEPA code)."""

    name: Literal["smooth_l1"] = "smooth_l1"
    """The registered name."""
    beta: float = Field(default=1.0, gt=0)
    """Where the quadratic part ends."""


class LinearProbeConfig(Section):
    """A linear classifier on standardised pooled features; heads over a grid are trained in one pass."""

    name: Literal["linear"] = "linear"
    """The registered name."""
    learning_rates: tuple[PositiveFloat, ...] = Field(default=(0.01, 0.1), min_length=1)
    """Learning rates of the grid: the largest reaches the optimum, a smaller one stops before it, which is the better
    penalty where classes are many and samples few."""
    weight_decays: tuple[NonNegativeFloat, ...] = Field(
        default=(1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0), min_length=1
    )
    """Weight decays of the grid: half the weights' squared length times this is added to the mean cross-entropy."""
    steps: int = Field(default=400, ge=1)
    """Updates of every head, whatever the number of samples."""
    batch_size: int = Field(default=1024, ge=1)
    """Features per update."""
    validation: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training split, stratified, on which the head is chosen; the test split is never used for it."""


class AttentiveProbeConfig(Section):
    """V-JEPA's: a learned query attends to all tokens, then an MLP and a linear layer; a grid of heads in one pass."""

    name: Literal["attentive"] = "attentive"
    """The registered name."""
    learning_rates: tuple[PositiveFloat, ...] = Field(default=(3e-4, 1e-3, 3e-3), min_length=1)
    """Learning rates of the grid, each falling to zero along a cosine."""
    weight_decays: tuple[NonNegativeFloat, ...] = Field(default=(0.01, 0.4), min_length=1)
    """Weight decays of the grid (AdamW's), constant and on all parameters."""
    blocks: int = Field(default=1, ge=1)
    """1: the cross-attention block alone (V-JEPA). More: self-attention on all tokens before it (V-JEPA 2: 4)."""
    heads: int = Field(default=16, ge=1)
    """Attention heads; of features whose width does not divide by it, the largest number below that does."""
    epochs: int = Field(default=20, ge=1)
    """Passes over the samples that are fitted on."""
    min_steps: int = Field(default=500, ge=1)
    """Updates at least, in more passes where the samples are few."""
    batch_size: int = Field(default=64, ge=1)
    """Samples per update (V-JEPA: 256 clips)."""
    validation: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training split, stratified, on which the head is chosen; the test split is never used for it."""


class KnnProbeConfig(Section):
    """A weighted vote of the nearest training features by cosine."""

    name: Literal["knn"] = "knn"
    """The registered name."""
    k: int = Field(default=20, ge=1)
    """Neighbours."""
    temperature: float = Field(default=0.07, gt=0)
    """Temperature of the votes' softmax weights."""


vit = EncoderPlugin("vit", ViTConfig, "jepa_core.nn.vit:Transformer", "pre-norm ViT on any token grid")
random = Masking(
    "random", RandomMaskingConfig, "jepa_core.masking.unstructured:RandomMasking", "unstructured masking, any grid"
)
limited = Masking(
    "limited", LimitedConfig, "jepa_core.masking.limited:Limited", "another strategy's masks, cut to token budgets"
)
l2 = ObjectivePlugin("l2", L2Config, "jepa_core.objectives:L2", "squared error")
l1 = ObjectivePlugin("l1", L1Config, "jepa_core.objectives:L1", "absolute error")
smooth_l1 = ObjectivePlugin("smooth_l1", SmoothL1Config, "jepa_core.objectives:SmoothL1", "Huber-like error")
linear = ProbePlugin(
    "linear",
    LinearProbeConfig,
    "jepa_core.probes.linear:LinearProbe",
    "linear heads over a grid, standardised pooled features",
)
attentive = ProbePlugin(
    "attentive",
    AttentiveProbeConfig,
    "jepa_core.probes.attentive:AttentiveProbe",
    "attentive heads over a grid, all tokens",
)
knn = ProbePlugin("knn", KnnProbeConfig, "jepa_core.probes.knn:KnnProbe", "cosine k nearest neighbours")
