"""What a study compares, and how: the study file, validated by the same rules as a run's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from jepa_core.config.base import Frozen

Values = Mapping[str, Any]
"""Values over dotted keys of a run's configuration, such as `{"masking.ratio": 0.7, "encoder": {"depth": 6}}`."""


class BaseConfig(Frozen):
    """What every arm of a base starts from; a base is usually one modality."""

    config: str
    """A configuration file, relative to the study file; or `demo NAME`, the built-in demonstration of a modality."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Values over it, by dotted key."""


class ArmConfig(Frozen):
    """One named choice."""

    set: dict[str, Any] = Field(default_factory=dict)
    """Values over every base, by dotted key."""
    bases: dict[str, dict[str, Any] | None] = Field(default_factory=dict)
    """Values over single bases, by the base's name, laid over `set`; null: the arm does not exist there."""


class EvaluationConfig(Frozen):
    """What every cell is measured by."""

    probes: tuple[str, ...] = ()
    """Names of probes; none: those of the base."""
    headings: tuple[str, ...] = ()
    """Label sets that count; none: all."""
    encoder: Literal["target", "context"] = "target"
    """Which encoder the table is about."""
    baselines: bool = True
    """Measure the untrained encoder and the raw input too, once per base and seed: normalised gains need them."""
    primary: dict[str, str] = Field(default_factory=dict)
    """The metric that a base is judged by, as HEADING/PROBE, by the base's name; the first one where none is given."""


class StudyConfig(Frozen):
    """A whole study: every arm on every base with every seed is a cell, and a cell is an ordinary run."""

    title: str = ""
    """The question, in a sentence; the report begins with it."""
    bases: dict[str, BaseConfig] = Field(min_length=1)
    """What is pretrained, by name."""
    axes: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Dotted keys, each with a list of values; together with `combine` they make arms, named after their values."""
    combine: Literal["grid", "zip"] = "grid"
    """`grid`: every combination of the axes' values; `zip`: the first values together, the second ones, and so on."""
    arms: dict[str, ArmConfig] = Field(default_factory=dict)
    """Named arms, beside those that the axes make."""
    reference: str = ""
    """The arm that all others are compared with; the first where none is given."""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    """Seeds; all arms of a seed share initial weights, data order and augmentation."""
    match: Literal["steps", "tokens", "flops"] = "steps"
    """What all arms of a base have in common. `steps`: nothing but the number of updates; `tokens`: also the number of
    context tokens and of predicted tokens per sample; `flops`: the compute of a run, by more or fewer updates."""
    skip_infeasible: bool = False
    """Leave an arm out of a base whose grid it cannot serve, and say so in the table; otherwise that is an error."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """What every cell is measured by."""
    threads: int | None = Field(default=None, ge=1)
    """Processor threads per cell; null: the cores divided by the jobs. Sums in another order change the last bits, so
    a study that is to be repeated exactly states it."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the intervals; the correction for many comparisons comes on top."""
