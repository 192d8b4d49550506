"""From a study file to its cells: every arm on every base with every seed, each an ordinary configuration."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from jepa_core.ablation.arms import Arm, arms_of
from jepa_core.ablation.matching import Matched, match
from jepa_core.ablation.study import StudyConfig, read_study_config
from jepa_core.config import RunConfig
from jepa_core.config.compare import Change, choices
from jepa_core.config.text import read_text
from jepa_core.cores import cores
from jepa_core.errors import ConfigError, PluginError, PluginIncompatible, UsageError
from jepa_core.model import Parts
from jepa_core.recipes import read_config
from jepa_core.registry import modalities, probes

DEMO = "demo "
LEFT_OUT = "the study leaves it out"

Place = tuple[str, str]
"""(base, arm)."""

_SHARED: Mapping[str, tuple[str, Callable[[RunConfig], Any]]] = {
    "seed": ("the study sets the seeds: `seeds`.", lambda run: run.seed),
    "modality.name": (
        "arms of a base are compared sample by sample, so the modality is the base's. Make it another base.",
        lambda run: run.modality.name,
    ),
    "probes": (
        "all arms of a base are measured alike. Put it under the base's `set`, or choose with `evaluation.probes`.",
        lambda run: run.probes,
    ),
}
"""What an arm must leave as its base has it, and why."""

_STEPS: Mapping[str, str] = {
    "tokens": "`match: tokens` gives all arms of a base the same number of updates. Put it under the base's `set`.",
    "flops": "`match: flops` sets the number of updates. Remove one of them.",
}
"""Why an arm must leave `train.steps` as its base has it, by what is matched."""


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    base: str
    arm: str
    seed: int
    config: RunConfig
    """Resolved, with what `match` changed."""

    @property
    def name(self) -> str:
        """Its folder below the study's: "BASE/ARM/seed_N"."""
        return f"{self.base}/{self.arm}/seed_{self.seed}"


@dataclass(frozen=True)
class Study:
    """A study with everything resolved."""

    name: str
    """Of the file, without its ending."""
    config: StudyConfig
    arms: tuple[str, ...]
    """Names, in the order of tables."""
    reference: str
    cells: tuple[Cell, ...]
    """By base, then seed, then arm."""
    absent: Mapping[Place, str]
    """(base, arm) that there is not, and why."""
    path: Path = Path()
    """The study file."""
    bases: Mapping[str, RunConfig] = field(default_factory=dict)
    """What every arm of a base starts from, resolved, by the base's name."""
    changes: Mapping[Place, tuple[Change, ...]] = field(default_factory=dict)
    """How an arm differs from its base, before `match`, by (base, arm)."""
    matched: Mapping[Place, str] = field(default_factory=dict)
    """What `match` changed, in words, by (base, arm); nothing where it changed nothing."""

    def threads(self, jobs: int) -> int:
        """Processor threads of a cell where so many run at a time."""
        return self.config.threads or max(1, len(cores()) // jobs)


def read_study(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """A study file and all its configurations.

    Args:
        path: of the study file; other files that it names are relative to it.
        overrides: `--set` texts over the study file, such as "seeds=[0]" or "bases.mine.set.train.steps=100".

    Raises:
        ConfigError: lists every problem of the study and of its arms.
    """
    path = Path(path)
    config = read_study_config(path, overrides)
    arms, problems = arms_of(config)
    bases, more = _bases(config, path.parent)
    found = _resolved(bases, arms, config)
    problems += [*more, *_unmeasured(config, bases), *_told(found.problems, len(arms))]
    reference = config.reference or (arms[0].name if arms else "")
    if not problems:
        problems += _gaps(found.configs, reference)
    matched, more = _matched(found.configs, config, reference) if not problems else ({}, [])
    if problems or more:
        raise ConfigError([*problems, *more], str(path))
    return Study(
        name=path.stem,
        config=config,
        arms=tuple(arm.name for arm in arms),
        reference=reference,
        cells=tuple(
            Cell(base, arm, seed, each.config.model_copy(update={"seed": seed}))
            for base in bases
            for seed in config.seeds
            for arm, each in matched[base].items()
        ),
        absent=found.absent,
        path=path,
        bases={name: base.config for name, base in bases.items()},
        changes={
            (name, arm): tuple(choices(base.config, own))
            for name, base in bases.items()
            for arm, own in found.configs[name].items()
        },
        matched={(base, arm): each.words for base in bases for arm, each in matched[base].items() if each.words},
    )


@dataclass(frozen=True)
class _Base:
    """A base, read."""

    text: str
    values: Mapping[str, Any]
    config: RunConfig

    def with_arm(self, layers: Sequence[Mapping[str, Any]]) -> RunConfig:
        """The configuration of an arm; raises ConfigError."""
        return read_config(text=self.text, layers=[self.values, *layers])


@dataclass(frozen=True)
class _Found:
    """What the arms are on the bases."""

    configs: dict[str, dict[str, RunConfig]]
    """By base and arm."""
    absent: dict[Place, str] = field(default_factory=dict)
    problems: dict[str, list[Place]] = field(default_factory=dict)
    """Where each of them is met."""

    def note(self, problems: Sequence[str], place: Place) -> None:
        """Add what is wrong at a place."""
        for problem in problems:
            self.problems.setdefault(problem, []).append(place)


class _Infeasible(ConfigError):
    """Valid in itself, but not on this grid or with these parts."""


def _bases(config: StudyConfig, folder: Path) -> tuple[dict[str, _Base], list[str]]:
    """The bases that can be read, and what is wrong with the others."""
    bases, problems = dict[str, _Base](), list[str]()
    for name, base in config.bases.items():
        try:
            text = _text(base.config, folder)
            own = read_config(text=text, layers=[base.set])
            modalities.get(own.modality.name).require_statistics(own.modality)
        except ConfigError as error:
            problems += [f"bases.{name} ({base.config}): {problem}" for problem in error.problems]
        except (PluginError, UsageError) as error:
            problems.append(f"bases.{name}.config: {error}")
        else:
            bases[name] = _Base(text, base.set, own)
    return bases, problems


def _unmeasured(config: StudyConfig, bases: Mapping[str, _Base]) -> Iterator[str]:
    """Probes that there are not, and metrics to judge by that no probe gives."""
    asked = config.evaluation
    for name in asked.probes:
        try:
            probes.get(name)
        except PluginError as error:
            yield f"evaluation.probes: {error}"
    for name, base in bases.items():
        metric = asked.primary.get(name)
        fitted = asked.probes or tuple(section.name for section in base.config.probes)
        heading, _, probe = (metric or "").rpartition("/")
        if metric is not None and not (heading and probe in fitted):
            known = ", ".join(f"HEADING/{each}" for each in fitted)
            yield f"evaluation.primary.{name}: '{metric}' is not measured. Measured: {known}."
        elif metric is not None and asked.headings and heading not in asked.headings:
            counted = ", ".join(asked.headings)
            yield f"evaluation.primary.{name}: '{heading}' is not among evaluation.headings: {counted}."


def _text(config: str, folder: Path) -> str:
    """The configuration that a base names."""
    if not config.startswith(DEMO):
        return read_text(folder / config)
    name = config.removeprefix(DEMO).strip()
    text = modalities.get(name).demo()
    if text is None:
        raise UsageError(f"'{name}' has no built-in demonstration. Give a configuration file.")
    return text


def _resolved(bases: Mapping[str, _Base], arms: Sequence[Arm], config: StudyConfig) -> _Found:
    """Every arm on every base: its configuration, why it is absent, or what is wrong with it."""
    found = _Found({name: {} for name in bases})
    for (name, base), arm in itertools.product(bases.items(), arms):
        place, layers = (name, arm.name), arm.layers[name]
        if layers is None:
            found.absent[place] = LEFT_OUT
            continue
        try:
            found.configs[name][arm.name] = _on_base(base, layers, config)
        except ConfigError as error:
            if config.skip_infeasible and isinstance(error, _Infeasible):
                found.absent[place] = " ".join(error.problems)
            else:
                found.note(error.problems, place)
    return found


def _on_base(base: _Base, layers: Sequence[Mapping[str, Any]], config: StudyConfig) -> RunConfig:
    """An arm's configuration; raises ConfigError, or _Infeasible where its parts do not work together."""
    own = base.with_arm(layers)
    problems = [f"{key}: {why}" for key, (why, part) in _SHARED.items() if part(own) != part(base.config)]
    if own.train.steps != base.config.train.steps and config.match in _STEPS:
        problems.append(f"train.steps: {_STEPS[config.match]}")
    if problems:
        raise ConfigError(problems)
    try:
        with torch.device("meta"):
            Parts.of(own).model()
    except ConfigError as error:
        raise _Infeasible(error.problems) from error
    except PluginIncompatible as error:
        raise _Infeasible(str(error)) from error
    return own


def _told(problems: Mapping[str, Sequence[Place]], num_arms: int) -> Iterator[str]:
    """Problems of arms; what is the same in several is said once."""
    for problem, places in problems.items():
        met = list(dict.fromkeys(arm for _, arm in places))
        who = "every arm" if len(met) == num_arms > 1 else f"arm {'; '.join(met)}"
        yield f"{who} on {', '.join(dict.fromkeys(base for base, _ in places))}: {problem}"


def _gaps(configs: Mapping[str, Mapping[str, RunConfig]], reference: str) -> Iterator[str]:
    """Bases that nothing is left of, and a reference that is nowhere."""
    yield from (f"bases.{base}: no arm exists here. Remove the base." for base, own in configs.items() if not own)
    if not any(reference in own for own in configs.values()):
        yield f"reference: the arm '{reference}' exists on no base. Choose another one."


def _matched(
    configs: Mapping[str, Mapping[str, RunConfig]], config: StudyConfig, reference: str
) -> tuple[dict[str, dict[str, Matched]], list[str]]:
    """Every arm of every base after matching, and why that cannot be done."""
    matched, problems = dict[str, dict[str, Matched]](), list[str]()
    for base, own in configs.items():
        try:
            matched[base] = match(config.match, own, reference if reference in own else next(iter(own)))
        except ConfigError as error:
            problems += [f"match on {base}: {problem}" for problem in error.problems]
    return matched, problems
