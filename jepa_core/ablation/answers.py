"""The measurements of a study by what they are of, and which baseline belongs to which arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from jepa_core.ablation.cells import Study
from jepa_core.ablation.results import Measurement, StudyResults
from jepa_core.errors import ConfigError, DataError


class Place(NamedTuple):
    """A row of the tables."""

    base: str
    metric: str
    """HEADING/PROBE."""
    arm: str


BySeed = Mapping[int, Measurement]
"""Measurements that differ in the seed alone, seeds ascending."""


@dataclass(frozen=True)
class Answers:
    """What was measured."""

    study: Study
    primary: Mapping[str, str]
    """The metric that each measured base is judged by."""
    arms: Mapping[Place, BySeed]
    """Of the encoder that the study is about; in the study's order, arms without a result left out."""
    random: Mapping[Place, BySeed]
    """Of the untrained encoder, for the same places; empty where it was not measured."""
    raw: Mapping[Place, BySeed]
    """Of the raw input."""

    @classmethod
    def of(cls, results: StudyResults) -> Answers:
        """Sort the measurements of a study.

        Raises:
            ConfigError: `evaluation.primary` names a metric that was not measured.
            DataError: cells of one base were measured on different numbers of test samples.
        """
        study, metrics = results.study, _metrics(results)
        found = {
            (each.base, each.metric, each.arm, each.seed, each.representation): each for each in results.measurements
        }
        places = [Place(base, metric, arm) for base in metrics for metric in metrics[base] for arm in study.arms]

        def of(place: Place, representation: str) -> BySeed:
            """By whichever arm it was measured: a baseline is measured once for all arms that share it."""
            base, metric, arm = place
            owners = {
                seed: results.baselines.get((base, arm, seed, representation), arm) for seed in study.config.seeds
            }
            keys = {seed: (base, metric, owners[seed], seed, representation) for seed in sorted(owners)}
            return {seed: found[key] for seed, key in keys.items() if key in found}

        arms = {place: own for place in places if (own := of(place, study.config.evaluation.encoder))}
        return cls(
            study=study,
            primary=_primary(study, metrics),
            arms=arms,
            random={place: of(place, "random") for place in arms},
            raw={place: of(place, "raw") for place in arms},
        )

    def references(self) -> dict[Place, BySeed]:
        """For every arm but the reference, the reference's measurements by the same metric."""
        reference = self.study.reference
        return {
            place: self.arms.get(place._replace(arm=reference), {}) for place in self.arms if place.arm != reference
        }

    def family(self, place: Place) -> str:
        """Comparisons that are corrected together: the primary metrics of all bases, or another metric by its name."""
        return "" if self.primary[place.base] == place.metric else place.metric


Right = Bool[np.ndarray, "seeds items"]
"""Which answers were right."""


def paired(left: BySeed, right: BySeed) -> tuple[Right, Right] | None:
    """The answers of both for the seeds that both have; None where there is no such seed."""
    seeds = [seed for seed in left if seed in right]
    if not seeds:
        return None
    return np.stack([left[seed].correct for seed in seeds]), np.stack([right[seed].correct for seed in seeds])


def _metrics(results: StudyResults) -> dict[str, tuple[str, ...]]:
    """By base, in the study's order; raises DataError where answers cannot be paired."""
    items: dict[tuple[str, str], int] = {}
    for each in results.measurements:
        number = items.setdefault((each.base, each.metric), len(each.correct))
        if len(each.correct) != number:
            raise DataError(
                f"{each.base}/{each.arm}/seed_{each.seed}: {each.metric} was measured on {len(each.correct):,} test "
                f"samples, in other cells of the base on {number:,}. Answers are compared sample by sample: remove "
                "the cells that were measured on other data and run the study again."
            )
    bases = {base: tuple(metric for name, metric in items if name == base) for base in results.study.config.bases}
    return {base: metrics for base, metrics in bases.items() if metrics}


def _primary(study: Study, metrics: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    chosen = study.config.evaluation.primary
    wrong = [
        f"evaluation.primary.{base}: '{chosen[base]}' was not measured. Measured: {', '.join(measured)}."
        for base, measured in metrics.items()
        if base in chosen and chosen[base] not in measured
    ]
    if wrong:
        raise ConfigError(wrong, study.name)
    return {base: chosen.get(base, measured[0]) for base, measured in metrics.items()}
