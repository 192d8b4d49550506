"""The figures of a study's report as geometry: a heat map, forest plots and learning curves that its page draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.ticker import MaxNLocator

from jepa_core.ablation.analysis import Analysis, Difference, Row
from jepa_core.ablation.findings import bounded
from jepa_core.ablation.results import CellFacts
from jepa_core.report.charts import NUM_COLOURS, STROKES, Curve, condense, line_chart

Direction = Literal["better", "worse", "open", "equal"]
"""What a comparison ends in: an interval above zero, below it, or around it; equal: not one answer differs."""

_MOST_POINTS = 80
"""Of a learning curve: each is a mean over some steps and all seeds, which needs no band."""


@dataclass(frozen=True)
class Axis:
    """A horizontal axis in points of accuracy; places on it are shares of its length."""

    low: float
    high: float
    ticks: tuple[float, ...]
    """Round values in [low, high], zero among them."""

    def at(self, value: float) -> float:
        """Where a value lies, 0 being the left end and 1 the right one.

        >>> Axis(-2.0, 6.0, (0.0,)).at(0.0)
        0.25
        """
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Line:
    """One arm of a forest plot; its numbers are in points of accuracy, on the forest's axis."""

    arm: str
    difference: Difference
    direction: Direction
    seeds: tuple[float, ...]
    """The difference of every seed that both arms have."""
    bounded: bool
    """Whether there is an interval to draw: one seed has none."""


@dataclass(frozen=True)
class Forest:
    """Differences from the reference on one base, by one metric."""

    axis: Axis
    lines: tuple[Line, ...]
    """By arm, without those that were not compared."""


@dataclass(frozen=True)
class HeatCell:
    """One arm on one base."""

    gain: float | None
    """Normalised; at most 1, below 0 where the arm is worse than the encoder never trained. None without a number."""
    share: float
    """Strength of the colour, in [0, 1]."""
    direction: Direction | None
    """What the comparison with the reference says; None for the reference, and where there was none."""


@dataclass(frozen=True)
class Legend:
    """How an arm's curves are drawn."""

    arm: str
    colour: int
    """Position in the page's palette."""
    stroke: str
    """solid, dashed or dotted."""


def direction(difference: Difference) -> Direction:
    """What a difference shows: better and worse by its adjusted interval alone, equal by the answers themselves."""
    if difference.stands:
        return "better" if difference.value > 0 else "worse"
    return "equal" if difference.same_answers else "open"


def forest(rows: Sequence[Row], reference: str) -> Forest | None:
    """The forest plot of one base and metric; None where nothing was compared."""
    base = next((row for row in rows if row.arm == reference), None)
    lines = [_line(row, row.difference, base) for row in rows if row.difference]
    if not lines:
        return None
    reach = [value for line in lines for value in (line.difference.value, *line.seeds)]
    reach += [
        end for line in lines if line.bounded for end in (line.difference.adjusted_low, line.difference.adjusted_high)
    ]
    return Forest(_axis(min(0.0, *reach), max(0.0, *reach)), tuple(lines))


def _line(row: Row, difference: Difference, reference: Row | None) -> Line:
    others = reference.accuracies if reference else {}
    seeds = tuple(row.accuracies[seed] - others[seed] for seed in sorted(row.accuracies.keys() & others.keys()))
    has_interval = bounded(difference.adjusted_low, difference.adjusted_high)
    return Line(row.arm, difference, direction(difference), seeds, has_interval)


def _axis(low: float, high: float) -> Axis:
    """The values with a little air, and round ticks on a scale of points."""
    air = 0.05 * (high - low) or 0.01  # a study of equal arms has no span: then a point to each side
    low, high = low - air, high + air
    found = np.asarray(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(100 * low, 100 * high)) / 100
    return Axis(low, high, tuple(float(tick) for tick in found if low <= tick <= high))


def heat_map(rows: Sequence[Row]) -> Mapping[tuple[str, str], HeatCell]:
    """Normalised gains by (base, arm); `rows` are those of one metric per base."""
    return {(row.base, row.arm): _heat_cell(row) for row in rows}


def _heat_cell(row: Row) -> HeatCell:
    gain = row.normalised_gain
    share = 0.0 if gain is None else min(abs(gain), 1.0)
    return HeatCell(gain, share, direction(row.difference) if row.difference else None)


def legend(arms: Sequence[str]) -> tuple[Legend, ...]:
    """Colour and stroke of every arm, by its place in the study: the same on every base."""
    return tuple(
        Legend(arm, number % NUM_COLOURS, STROKES[number // NUM_COLOURS % len(STROKES)])
        for number, arm in enumerate(arms)
    )


def learning_curves(analysis: Analysis) -> Mapping[str, str]:
    """A chart per base that has logged losses: an SVG element with a curve per arm, the mean over its seeds."""
    study = analysis.results.study
    charts: dict[str, str] = {}
    for base in study.config.bases:
        by_arm = {arm: _of(analysis.results.facts, base, arm) for arm in study.arms}
        curves = [
            _mean_curve(facts, number)
            for number, facts in enumerate(by_arm.values())
            if any(one.curve for one in facts)
        ]
        if curves:
            charts[base] = line_chart(f"Loss by step on {base}", curves)
    return charts


def _of(facts: Sequence[CellFacts], base: str, arm: str) -> list[CellFacts]:
    return [one for one in facts if (one.base, one.arm) == (base, arm)]


def _mean_curve(facts: Sequence[CellFacts], number: int) -> Curve:
    """The mean over seeds at every step that all of them logged, then over neighbouring steps."""
    logged = [dict(one.curve) for one in facts if one.curve]
    shared = sorted(set[int].intersection(*map(set, logged)))
    values = np.array([[losses[step] for step in shared] for losses in logged]).mean(0)
    steps, mean, _, _ = condense(np.array(shared, float), values, most=_MOST_POINTS)
    return Curve(steps.tolist(), mean.tolist(), number)
