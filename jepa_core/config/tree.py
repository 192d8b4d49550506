"""The configuration of a run: one frozen tree. `jepa config show` prints it with every default and comment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializeAsAny,
    ValidationInfo,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from jepa_core.config.base import Frozen, Section
from jepa_core.errors import PluginError

PLACEHOLDER = "x-registered"
"""Key of the JSON schema under which `OwnedBy` leaves its kind."""

Rate = Annotated[float, Field(ge=0, lt=1)]
Precision = Literal["auto", "bf16", "fp16", "fp32"]


@dataclass(frozen=True)
class OwnedBy:
    """Marks a section that the registered name in it validates, by the class that its plugin supplies.

    The validation context holds "section_class", which is `registry.section_class`: this module stands below the
    registry. A name that cannot be used is one problem among others, so that a file's problems are reported together.
    """

    kind: str
    """What is registered: modality, masking, encoder, objective or probe."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The plugin's class first; then what it made is checked to be a section."""
        return core_schema.with_info_before_validator_function(self._validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A placeholder: `jepa_core.config.schema` puts the installed plugins' classes in its place."""
        return {PLACEHOLDER: self.kind}

    def _validate(self, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, Section):
            return value
        name = value.get("name") if isinstance(value, dict) else None
        if not isinstance(name, str):
            raise PydanticCustomError("section", "not a section with a name")
        assert info.context is not None, "read configurations with jepa_core.recipes.read_config"
        try:
            section = info.context["section_class"](self.kind, name)
        except PluginError as error:
            raise PydanticCustomError("plugin", "{message}", {"message": str(error), "error": error}) from error
        return section.model_validate(value, context=info.context)


class Schedule(Frozen):
    """A closed-form function of the step: an optional warm-up, then a move from `value` to `end`."""

    value: float = Field(ge=0)
    """The value after the warm-up."""
    end: float | None = Field(default=None, ge=0)
    """The value at the horizon; null keeps `value`."""
    shape: Literal["linear", "cosine"] = "linear"
    """How it moves from `value` to `end`."""
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Share of the run's steps that the linear warm-up takes."""
    warmup_from: float = Field(default=0.0, ge=0)
    """The value at step 0 when there is a warm-up."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """Share of the horizon, at its end, in which the move takes place; below 1 the value is held until then
    (warm-up, constant, decay)."""
    horizon: float = Field(default=1.0, ge=1)
    """Length of the schedule in runs: 1.25 stops the run at four fifths of the schedule (V-JEPA's `ipe_scale`)."""


class EmaConfig(Frozen):
    """How the target encoder follows the context encoder: target = m * target + (1 - m) * context."""

    momentum: Schedule = Schedule(value=0.996, end=1.0)
    """The momentum m as a function of the step (I-JEPA, appendix A.1: .996 to 1, linear)."""
    half_life_samples: float | None = Field(default=None, gt=0)
    """Replaces `momentum.value` by the m at which the target forgets half of its past in this many samples,
    so that it means the same at every batch size."""

    @model_validator(mode="after")
    def _momentum_is_a_share(self) -> Self:
        largest = max(self.momentum.value, self.momentum.end or 0.0)
        if largest > 1:
            raise PydanticCustomError("momentum", "momentum lies between 0 and 1, got {value}", {"value": largest})
        return self


class TargetConfig(Frozen):
    """What the target encoder is shown, which of its layers are predicted, and whether it is an encoder of its own."""

    input: Literal["all", "targets"] = "all"
    """`all`: every token of the signal (I-JEPA, V-JEPA). `targets`: of each target block its own tokens alone, so that
    what is predicted holds nothing of the context (M2D, 2210.14648), nor of other blocks."""
    layers: int = Field(default=1, ge=1)
    """1: the encoder's output, after its last norm. More: the mean over so many of its last blocks, the output of each
    layer-normed without affine (data2vec, 2202.03555); `objective.targets` then applies to that mean."""
    stop_gradient: bool = True
    """Off: targets are the trained encoder's own tokens, gradient included, and `ema` has no part; for studies of
    collapse, to which this is the shortest way (SimSiam, 2011.10566, figure 2)."""


class OptimConfig(Frozen):
    """AdamW, its schedules and its gradient clipping; biases and norms are not decayed."""

    lr: Schedule = Schedule(value=1e-3, end=1e-6, shape="cosine", warmup=0.025, warmup_from=1e-4)
    """Learning rate of the encoder."""
    predictor_lr_scale: float = Field(default=1.0, gt=0)
    """The predictor's learning rate as a multiple of the encoder's."""
    weight_decay: Schedule = Schedule(value=0.04, end=0.4)
    """Decoupled weight decay of matrices."""
    betas: tuple[Rate, Rate] = (0.9, 0.999)
    """AdamW's decay rates of the first and the second moment."""
    eps: float = Field(default=1e-8, gt=0)
    """AdamW's denominator offset."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest gradient norm, applied to encoder and predictor apart, after unscaling; null clips nothing."""


class PredictorConfig(Frozen):
    """The narrow transformer that answers for the hidden tokens."""

    width: int = Field(default=384, ge=2)
    """Channels per token."""
    depth: int = Field(default=6, ge=1)
    """Transformer blocks."""
    heads: int | None = Field(default=None, ge=1)
    """Attention heads; null takes the encoder's number (as the public code does)."""
    mlp_ratio: float = Field(default=4.0, gt=0)
    """Hidden width of the MLP as a multiple of `width`."""
    mode: Literal["separate", "joint"] = "separate"
    """`separate`: one sequence per target block (paper); `joint`: all blocks of a view in one sequence (cheaper)."""
    mask_token_per_view: bool = False
    """Learn one mask token per mask view instead of a single one (V-JEPA)."""
    mask_tokens: int | None = Field(default=None, ge=1)
    """How many mask tokens there are; null: as many as are used. Weights of V-JEPA 2 hold more of them, of which the
    first is used; they are kept, so that they can go back as they came."""
    zero_init_mask_tokens: bool = False
    """Start mask tokens at zero instead of at a truncated normal."""


class TrainConfig(Frozen):
    """The loop."""

    steps: int = Field(default=10_000, ge=1)
    """Completed optimizer updates in the whole run."""
    batch_size: int = Field(default=256, ge=1)
    """Samples per step over all processes and accumulation steps; never scaled in silence."""
    accumulate: int = Field(default=1, ge=1)
    """Forward and backward passes per step; batch_size must divide by processes x accumulate."""
    precision: Precision = "auto"
    """`auto`: bf16 where the processor computes with it (CPUs included), else fp32."""
    compile: bool = False
    """Compile encoder and predictor with torch.compile."""
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Loader processes per training process; `auto` counts cores; 0 loads in the training process."""
    log_every: int = Field(default=10, ge=1)
    """Steps between two lines of metrics.jsonl."""


class DataConfig(Frozen):
    """What happens to samples that cannot be read."""

    max_unreadable: float = Field(default=0.01, ge=0, le=1)
    """The run stops when more than this share of the source's samples is unreadable; below it each is counted,
    named in unreadable.jsonl and skipped."""
    read_timeout: float | None = Field(default=120.0, gt=0)
    """Seconds that reading one sample may take; one that takes longer is unreadable, as is one whose reader crashes.
    Needs loader processes (`train.workers` of 1 or more), which alone can be ended; null waits for ever."""


class CheckpointConfig(Frozen):
    """When checkpoints are written and which are kept."""

    every: int = Field(default=1000, ge=1)
    """Steps between two checkpoints; the last step is always saved."""
    keep_last: int = Field(default=2, ge=1)
    """How many of the newest are kept."""
    keep_every: int | None = Field(default=None, ge=1)
    """Checkpoints at multiples of this step are never removed."""


class CollapseConfig(Frozen):
    """Thresholds of the collapse monitor; crossing one raises a named warning in the log and the report."""

    every: int = Field(default=100, ge=1)
    """Steps between two measurements."""
    min_rank: float = Field(default=0.05, ge=0, le=1)
    """`low_rank`: effective rank of the target tokens, as a share of the most it could be."""
    min_std: float = Field(default=0.1, ge=0)
    """`low_std`: mean standard deviation per channel of layer-normed target tokens (1 is the most)."""
    max_cosine: float = Field(default=0.98, ge=-1, le=1)
    """`same_for_all`: mean cosine between pooled features of different samples."""
    min_own_gain: float = Field(default=0.01, ge=-2, le=2)
    """`positional`: cosine of a prediction with its own target minus that with another sample's target at the same
    position; near zero the predictor knows the position and nothing of the sample."""
    max_relative_loss: float = Field(default=1.0, gt=0)
    """`no_better_than_mean`: loss as a multiple of the loss of always predicting the mean target."""
    grace: float = Field(default=0.1, ge=0, le=1)
    """Share of the run, at its start, in which nothing is raised."""
    stop: bool = False
    """End the run with an error at the first warning."""


class FeaturesConfig(Frozen):
    """From the tokens of a trained encoder to the one vector per sample that probes and other programs get."""

    concatenate: tuple[str, ...] = ()
    """Axes of the token grid whose cells stand side by side in the vector; over all others tokens are averaged. None:
    the mean over all tokens. `[frequency]` on frequency x time: one mean over time per band (M2D)."""


class TrackingConfig(Frozen):
    """Experiment trackers, through accelerate; metrics.jsonl is always written."""

    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Which trackers to feed."""
    project: str = "jepa"
    """Project name shown by the tracker."""


ModalitySection = Annotated[SerializeAsAny[Section], OwnedBy("modality")]
MaskingSection = Annotated[SerializeAsAny[Section], OwnedBy("masking")]
EncoderSection = Annotated[SerializeAsAny[Section], OwnedBy("encoder")]
ObjectiveSection = Annotated[SerializeAsAny[Section], OwnedBy("objective")]
ProbeSection = Annotated[SerializeAsAny[Section], OwnedBy("probe")]


class RunConfig(Frozen):
    """A whole run. Only `modality` must be given: it brings defaults for every other section."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """All randomness of the run is a function of this."""
    preset: str | None = None
    """One of the modality's named sets of values, such as paper or official; the file's own values win."""
    modality: ModalitySection
    """What is learned from: data, preprocessing and tokens."""
    masking: MaskingSection
    """Which tokens are context and which are targets."""
    encoder: EncoderSection = Field(default_factory=lambda: {"name": "vit"})  # pyright: ignore[reportAssignmentType]
    """The network that is pretrained."""
    predictor: PredictorConfig = PredictorConfig()
    """The network that predicts targets from context."""
    objective: ObjectiveSection = Field(default_factory=lambda: {"name": "l2"})  # pyright: ignore[reportAssignmentType]
    """The distance between predicted and target tokens."""
    ema: EmaConfig = EmaConfig()
    """How the target encoder follows the context encoder."""
    target: TargetConfig = TargetConfig()
    """What is predicted of the target encoder."""
    optim: OptimConfig = OptimConfig()
    """The optimizer."""
    train: TrainConfig = TrainConfig()
    """The loop."""
    data: DataConfig = DataConfig()
    """Unreadable samples."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Checkpoints."""
    collapse: CollapseConfig = CollapseConfig()
    """The collapse monitor."""
    features: FeaturesConfig = FeaturesConfig()
    """Pooled features."""
    tracking: TrackingConfig = TrackingConfig()
    """Experiment trackers."""
    probes: tuple[ProbeSection, ...] = Field(default_factory=lambda: ({"name": "linear"}, {"name": "knn"}))  # pyright: ignore[reportAssignmentType]
    """What `jepa eval` fits on frozen features when no --probe is given."""


def owned_sections(config: Frozen) -> Iterator[tuple[str, Section]]:
    """The sections that registered names own, each with its kind, and those inside of them; `probes` left out."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Frozen):
            yield from ((owner.kind, value) for owner in field.metadata if isinstance(owner, OwnedBy))  # pyright: ignore[reportReturnType]
            yield from owned_sections(value)
