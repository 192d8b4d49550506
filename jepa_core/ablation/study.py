"""What a study compares, and how: the study file, validated by the same rules as a run's configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from jepa_core.config.base import Frozen, merge
from jepa_core.config.loading import expand, parse_overrides
from jepa_core.config.problems import sentences_of
from jepa_core.config.text import parse_mapping, read_text
from jepa_core.errors import ConfigError
from jepa_core.registry import section_class

SCHEMA = "jepa config schema --study"
"""What shows all that a study file may hold."""

LONGEST_NAME = 100
"""Characters: names are parts of file names."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+,-]*")


def is_name(text: str) -> bool:
    """Whether it can name a base or an arm, and so a folder on any file system."""
    return bool(_NAME.fullmatch(text)) and len(text) <= LONGEST_NAME and not text.endswith(".")


def _name(text: str) -> str:
    if not is_name(text):
        raise PydanticCustomError(
            "name",
            "a name holds letters, digits and . _ = + , - alone, begins with a letter or digit, does not end in a dot, "
            "and has at most {longest} characters",
            {"longest": LONGEST_NAME},
        )
    return text


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if not seeds or len(set(seeds)) < len(seeds):
        raise PydanticCustomError("seeds", "at least one seed, and every seed once: one that is given twice is one run")
    return seeds


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PydanticCustomError("once", "'{name}' is given twice: results go by name", {"name": twice[0]})
    return names


Names = Annotated[tuple[str, ...], AfterValidator(_once)]
"""Each of them once."""
Name = Annotated[str, AfterValidator(_name)]
"""Of a base or an arm."""
Values = dict[str, Any]
"""Values over dotted keys of a run's configuration, such as `{"masking.ratio": 0.7, "encoder": {"depth": 6}}`."""


class BaseConfig(Frozen):
    """What every arm of a base starts from; a base is usually one modality."""

    config: str
    """A configuration file, relative to the study file; or `demo NAME`, the built-in demonstration of a modality."""
    set: Values = Field(default_factory=dict)
    """Values over it, by dotted key."""


class ArmConfig(Frozen):
    """One named choice."""

    set: Values = Field(default_factory=dict)
    """Values over every base, by dotted key."""
    bases: dict[str, Values | None] = Field(default_factory=dict)
    """Values over single bases, by the base's name, laid over `set`; null: the arm does not exist there."""


class EvaluationConfig(Frozen):
    """What every cell is measured by."""

    probes: Names = ()
    """Names of probes; none: those of the base."""
    headings: Names = ()
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
    bases: dict[Name, BaseConfig] = Field(min_length=1)
    """What is pretrained, by name."""
    axes: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Dotted keys, each with a list of values; together with `combine` they make arms, named after their values."""
    combine: Literal["grid", "zip"] = "grid"
    """`grid`: every combination of the axes' values; `zip`: the first values together, the second ones, and so on."""
    arms: dict[Name, ArmConfig] = Field(default_factory=dict)
    """Named arms; in tables they come before those that the axes make."""
    reference: str = ""
    """The arm that all others are compared with; the first where none is given."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**63)], ...], AfterValidator(_different)] = (0, 1, 2)
    """Seeds; all arms of a seed share initial weights, data order and augmentation."""
    match: Literal["steps", "tokens", "flops"] = "steps"
    """What all arms of a base have in common. `steps`: nothing but the number of updates, unless an arm sets it;
    `tokens`: also the number of context tokens and of predicted tokens per sample, the largest that all can meet, by
    random subsets of what an arm's own masking gives; `flops`: the compute of a run, that of the reference, by more or
    fewer updates."""
    skip_infeasible: bool = False
    """Leave an arm out of a base whose grid it cannot serve, and say so in the table; otherwise that is an error."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How the cells are measured."""
    threads: int | None = Field(default=None, ge=1)
    """Processor threads per cell; null: the cores divided by the jobs. Sums in another order change the last bits, so
    a study that is to be repeated exactly states it."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the intervals; the correction for many comparisons comes on top."""


def is_study(path: str | Path) -> bool:
    """Whether a file is a study rather than a run's configuration; raises ConfigError where it cannot be read."""
    return "bases" in parse_mapping(read_text(path), str(path))


def read_study_config(path: str | Path, overrides: Sequence[str] = ()) -> StudyConfig:
    """A study file with overrides, `set` and its like spelled out as nested sections.

    Raises:
        ConfigError: lists every problem of the file, each with its dotted path. What the values mean to a run is not
            looked at here.
    """
    data = merge(
        _spelled_out(parse_mapping(read_text(path), str(path), SCHEMA)),
        _spelled_out(parse_overrides(overrides)),
    )
    try:
        return StudyConfig.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise ConfigError(sentences_of(details, StudyConfig, data, section_class, SCHEMA), str(path)) from error


def _spelled_out(value: Any, path: tuple[str, ...] = ()) -> Any:
    """A copy in which values over dotted keys are nested, and axes dotted, so that a file and overrides can be merged.

    What has another type than it should is left to the validation.
    """
    if not isinstance(value, Mapping):
        return value
    match path:
        case ("bases", _, "set") | ("arms", _, "set") | ("arms", _, "bases", _):
            return expand(value)
        case ("axes",):
            return dict(_axes(value))
        case _:
            return {key: _spelled_out(each, (*path, key)) for key, each in value.items()}


def _axes(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _axes(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
