"""What a study will be, before anything runs: `jepa ablate STUDY --dry-run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jepa_core.ablation.cells import Cell, Study
from jepa_core.ablation.labelled import require_labels
from jepa_core.ablation.pace import pace_of
from jepa_core.checkpoint import RunFolder
from jepa_core.config.compare import Change
from jepa_core.planning import Work, work


@dataclass(frozen=True)
class Cost:
    """What one cell of an arm takes."""

    parameters: int
    """Encoder and predictor."""
    context_tokens: int
    """Per sample, over all views."""
    predicted_tokens: int
    """Per sample, over all views and blocks."""
    steps: int
    """Updates."""
    flops: int
    """Of pretraining, as `jepa plan` counts."""
    seconds: float
    """Of pretraining, estimated."""


@dataclass(frozen=True)
class ArmOutline:
    """One arm on one base."""

    base: str
    arm: str
    changes: tuple[Change, ...]
    """How it differs from the base, before matching."""
    matched: str
    """What `match` changed, in words; nothing where it changed nothing."""
    absent: str
    """Why the arm does not exist on this base; nothing where it does."""
    cost: Cost | None
    """None where it does not exist."""


@dataclass(frozen=True)
class Outline:
    """A whole study."""

    study: Study
    arms: tuple[ArmOutline, ...]
    """By base, in the order of tables."""
    timing: Mapping[str, str]
    """What the times are estimated from, by base."""
    jobs: int
    """Cells at a time."""

    @property
    def seconds(self) -> float:
        """Of pretraining all cells; evaluation comes on top."""
        one_seed = sum(arm.cost.seconds for arm in self.arms if arm.cost)
        return one_seed * len(self.study.config.seeds) / min(self.jobs, len(self.study.cells))

    def as_json(self) -> dict[str, Any]:
        """Plain types."""
        study = self.study
        return {
            "study": study.name,
            "title": study.config.title,
            "reference": study.reference,
            "match": study.config.match,
            "seeds": list(study.config.seeds),
            "cells": len(study.cells),
            "jobs": self.jobs,
            "seconds": self.seconds,
            "timing": dict(self.timing),
            "arms": [asdict(arm) for arm in self.arms],
        }


def outline(study: Study, run_of: Callable[[Cell], RunFolder], jobs: int = 1) -> Outline:
    """Count and estimate every arm of a study.

    Args:
        study: with its cells resolved.
        run_of: where a cell is, or would be: finished cells say how long the others will take. Where there are none,
            a few steps of one cell of every base are trained in a temporary folder.
        jobs: cells at a time, which share the processor's cores.

    Raises:
        ConfigError: the data that is at hand cannot be measured as the study asks.
    """
    require_labels(study)
    arms, timing = list[ArmOutline](), dict[str, str]()
    for base in study.config.bases:
        cells = [cell for cell in study.cells if cell.base == base]
        counted = {cell.arm: (cell, work(cell.config)) for cell in cells if cell.seed == study.config.seeds[0]}
        pace = pace_of(cells, {arm: amount for arm, (_, amount) in counted.items()}, run_of, study.threads(jobs))
        timing[base] = pace.source
        for arm in study.arms:
            place = (base, arm)
            cost = _cost(*counted[arm], pace.seconds_per_flop) if arm in counted else None
            changes, matched = study.changes.get(place, ()), study.matched.get(place, "")
            arms.append(ArmOutline(base, arm, changes, matched, study.absent.get(place, ""), cost))
    return Outline(study, tuple(arms), timing, jobs)


def _cost(cell: Cell, amount: Work, seconds_per_flop: float) -> Cost:
    return Cost(
        parameters=amount.parameters.encoder + amount.parameters.predictor,
        context_tokens=amount.context_tokens,
        predicted_tokens=amount.predicted_tokens,
        steps=cell.config.train.steps,
        flops=amount.flops.run,
        seconds=amount.flops.run * seconds_per_flop,
    )
