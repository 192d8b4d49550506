"""What a study shows: means, paired differences with their intervals, and which of them stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jepa_core.ablation.results import StudyResults


@dataclass(frozen=True)
class Difference:
    """An arm minus the reference, paired by seed and test sample."""

    value: float
    """Mean over seeds of the difference of accuracies."""
    low: float
    """Bounds of the interval at the study's level, for this comparison alone."""
    high: float
    adjusted_low: float
    """Bounds that hold for all comparisons of a metric at once."""
    adjusted_high: float
    p: float
    """Two-sided, of no difference."""
    adjusted_p: float
    """Holm's, over all comparisons of the family."""

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
    std: float | None
    """Over seeds, of the sample; None for one seed."""
    difference: Difference | None
    """To the reference; None for the reference itself, or where no seed is shared."""
    minus_random: Difference | None
    """To the same network never trained; None without baselines. (A family of its own.)"""
    normalised_gain: float | None
    """(arm - random) / (best - random), best being the best arm's mean: modalities can share one figure. None without
    baselines, or where no arm is above random."""
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
    verdict: Literal["healthy", "suspicious", "collapsed", "unknown"]
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
    finding: str
    """One sentence, or a few: what the study shows. Names no winner whose interval contains zero."""


def analyse(results: StudyResults) -> Analysis:
    """All numbers of the report; a function of the results alone, bit for bit."""
    raise NotImplementedError
