"""What a study shows: means, paired differences with their intervals, and which of them stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from jepa_core.ablation.answers import Answers, BySeed, Place, Right, paired
from jepa_core.ablation.findings import differed, findings
from jepa_core.ablation.intervals import Contrast, bootstrap, contrast, holm, moderated
from jepa_core.ablation.results import CellFacts, StudyResults

State = Literal["healthy", "suspicious", "collapsed", "unknown"]
_WORST_FIRST: tuple[State, ...] = ("collapsed", "suspicious", "unknown", "healthy")


@dataclass(frozen=True)
class Difference:
    """An arm minus the reference, paired by seed and test sample.

    The primary metrics of all bases are one family of comparisons, so that the chance of any false claim in a study's
    finding is bounded; every other metric is one by its name. Comparisons of one base and metric inform each other of
    how much the seed matters (`intervals.moderated`). With one seed the intervals are [-1, 1]: that is unknown.
    """

    value: float
    """Mean over seeds of the difference of accuracies."""
    low: float
    """Bounds of the interval at the study's level, for this comparison alone."""
    high: float
    adjusted_low: float
    """Bounds that hold for all comparisons of the family at once (Bonferroni's)."""
    adjusted_high: float
    p: float
    """Two-sided, of no difference."""
    adjusted_p: float
    """Holm's, over the same family. It may pass where the adjusted interval holds zero: what stands is the interval's
    to say."""
    bootstrap_low: float = -1.0
    """Bounds of the bootstrap over seeds and test samples, for this comparison alone. They decide nothing."""
    bootstrap_high: float = 1.0
    same_answers: bool = False
    """Not one answer differs, with any seed: as far as was measured, the two are the same."""

    @property
    def stands(self) -> bool:
        """Whether the adjusted interval lies on one side of zero."""
        return self.adjusted_low > 0 or self.adjusted_high < 0


@dataclass(frozen=True)
class Row:
    """One arm on one base by one metric."""

    base: str
    arm: str
    metric: str
    """HEADING/PROBE."""
    accuracies: Mapping[int, float]
    """By seed."""
    mean: float
    """Over seeds."""
    std: float | None
    """Over seeds, of the sample; None for one seed."""
    difference: Difference | None
    """To the reference; None for the reference itself, or where no seed is shared."""
    minus_random: Difference | None
    """To the same network never trained; None without baselines. (A family of its own.)"""
    normalised_gain: float | None
    """(arm - random) / (best - random), best being the best arm's mean: modalities can share one figure. Where arms
    have different untrained networks, random is the reference's. None without baselines, or where no arm is above
    random."""
    random: float | None
    """Mean accuracy of the untrained encoder."""
    raw: float | None
    """Mean accuracy of the raw input."""


@dataclass(frozen=True)
class ArmFacts:
    """What an arm cost and whether it collapsed, on one base."""

    base: str
    arm: str
    seeds: int
    """Finished ones."""
    verdict: State
    """The worst of its seeds'."""
    reasons: tuple[str, ...]
    """Warnings behind it."""
    verdicts: Mapping[int, str]
    """By seed."""
    target_rank: float | None
    """Mean of the last measurements."""
    target_std: float | None
    seconds: float
    """Mean wall clock."""
    flops: float
    """Mean, of a run."""
    steps: float
    context_tokens: float
    predicted_tokens: float
    parameters: float
    samples: float = 0.0
    """Mean, that the updates saw."""
    varies: bool = False
    """The masks have other lengths in every batch, so that tokens and FLOPs are nearly these."""
    sample_cosine: float | None = None
    """Mean of the last measurements: of target tokens between different samples, 1 where all look alike."""
    own_gain: float | None = None
    """Mean of the last measurements: near 0 predictions fit another sample as well as their own."""


@dataclass(frozen=True)
class Analysis:
    """The whole."""

    results: StudyResults
    rows: tuple[Row, ...]
    """By base, metric and arm, in the study's order."""
    facts: tuple[ArmFacts, ...]
    primary: Mapping[str, str]
    """The metric that a base is judged by."""
    differed: Mapping[str, tuple[str, ...]]
    """By base: sentences about what differed between arms besides the studied choice (compute, tokens, steps)."""
    findings: tuple[str, ...]
    """What the study shows, base by base, and what weakens it. Names no winner whose interval contains zero."""

    @property
    def finding(self) -> str:
        """All findings, one after the other."""
        return " ".join(self.findings)


def analyse(results: StudyResults) -> Analysis:
    """All numbers of the report; a function of the results alone, bit for bit.

    Raises:
        ConfigError: `evaluation.primary` names a metric that was not measured.
        DataError: cells of one base were measured on different test samples.
    """
    answers = Answers.of(results)
    rows, facts = _rows(answers), _facts(results)
    return Analysis(
        results=results,
        rows=rows,
        facts=facts,
        primary=answers.primary,
        differed={base: differed([each for each in facts if each.base == base]) for base in results.study.config.bases},
        findings=findings(results, rows, facts, answers.primary),
    )


def _rows(answers: Answers) -> tuple[Row, ...]:
    differences = _differences(answers, answers.references())
    gains = _differences(answers, answers.random)
    means = {place: _mean(measured) for place, measured in answers.arms.items()}
    random, raw = (
        {place: _mean(measured) for place, measured in found.items() if measured}
        for found in (answers.random, answers.raw)
    )
    scales = {(place.base, place.metric): _scale(answers, place, means, random) for place in answers.arms}
    return tuple(
        Row(
            base=place.base,
            arm=place.arm,
            metric=place.metric,
            accuracies={seed: each.accuracy for seed, each in measured.items()},
            mean=means[place],
            std=stdev(each.accuracy for each in measured.values()) if len(measured) > 1 else None,
            difference=differences.get(place),
            minus_random=gains.get(place),
            normalised_gain=_normalised(means[place], scales[place.base, place.metric]),
            random=random.get(place),
            raw=raw.get(place),
        )
        for place, measured in answers.arms.items()
    )


def _mean(measured: BySeed) -> float:
    return fmean(each.accuracy for each in measured.values())


def _scale(
    answers: Answers, place: Place, means: Mapping[Place, float], random: Mapping[Place, float]
) -> tuple[float, float] | None:
    """What a normalised gain of 0 and of 1 stand for, by the metric of `place`; None without a baseline.

    Where arms have different untrained networks, 0 is the reference's.
    """
    arms = [other for other in answers.arms if other[:2] == place[:2]]
    origins = [arm for arm in (place._replace(arm=answers.study.reference), *arms) if arm in random]
    return (random[origins[0]], max(means[arm] for arm in arms)) if origins else None


def _normalised(mean: float, scale: tuple[float, float] | None) -> float | None:
    if scale is None or scale[1] <= scale[0]:
        return None
    return (mean - scale[0]) / (scale[1] - scale[0])


def _differences(answers: Answers, others: Mapping[Place, BySeed]) -> dict[Place, Difference]:
    """Every arm minus its counterpart in `others`, each family corrected for the number of its comparisons."""
    error = 1 - answers.study.config.confidence
    pairs = _pairs(answers, others)
    contrasts = _contrasts(pairs)
    families: dict[str, list[Place]] = {}
    for place in contrasts:
        families.setdefault(answers.family(place), []).append(place)
    found: dict[Place, Difference] = {}
    for family in families.values():
        p_values = [contrasts[place].p_value() for place in family]
        for place, p, adjusted in zip(family, p_values, holm(p_values), strict=True):
            own, together = contrasts[place].interval(error), contrasts[place].interval(error / len(family))
            resampled = bootstrap(*pairs[place], error)
            same = contrasts[place].disagreements == 0
            found[place] = Difference(contrasts[place].value, *own, *together, p, adjusted, *resampled, same)
    return found


def _pairs(answers: Answers, others: Mapping[Place, BySeed]) -> dict[Place, tuple[Right, Right]]:
    """Which answers of an arm and of its counterpart were right, where a seed is shared."""
    pairs = {place: paired(answers.arms[place], other) for place, other in others.items()}
    return {place: pair for place, pair in pairs.items() if pair is not None}


def _contrasts(pairs: Mapping[Place, tuple[Right, Right]]) -> dict[Place, Contrast]:
    """Each pair; those of one base and metric together."""
    alone = {place: contrast(*pair) for place, pair in pairs.items()}
    tables: dict[tuple[str, str], list[Place]] = {}
    for place in alone:
        tables.setdefault((place.base, place.metric), []).append(place)
    return {
        place: found
        for table in tables.values()
        for place, found in zip(table, moderated([alone[place] for place in table]), strict=True)
    }


def _facts(results: StudyResults) -> tuple[ArmFacts, ...]:
    study = results.study
    cells = {
        (base, arm): sorted((f for f in results.facts if (f.base, f.arm) == (base, arm)), key=lambda fact: fact.seed)
        for base in study.config.bases
        for arm in study.arms
    }
    return tuple(_arm_facts(base, arm, found) for (base, arm), found in cells.items() if found)


def _arm_facts(base: str, arm: str, cells: Sequence[CellFacts]) -> ArmFacts:
    def mean(name: str) -> float:
        return fmean(getattr(cell, name) for cell in cells)

    def measured(name: str) -> float | None:
        values = [value for cell in cells if (value := cell.collapse.get(name)) is not None]
        return fmean(values) if values else None

    return ArmFacts(
        base=base,
        arm=arm,
        seeds=len(cells),
        verdict=next(state for state in _WORST_FIRST if any(cell.verdict.state == state for cell in cells)),
        reasons=tuple(dict.fromkeys(reason for cell in cells for reason in cell.verdict.reasons)),
        verdicts={cell.seed: cell.verdict.state for cell in cells},
        target_rank=measured("target_rank"),
        target_std=measured("target_std"),
        **{
            name: mean(name)
            for name in ("seconds", "flops", "steps", "context_tokens", "predicted_tokens", "parameters", "samples")
        },
        varies=any(cell.varies for cell in cells),
        sample_cosine=measured("sample_cosine"),
        own_gain=measured("own_gain"),
    )
