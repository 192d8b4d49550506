"""The first lines of a study's report; pure functions of the analysis."""

from __future__ import annotations

from collections.abc import Sequence

from jepa_core.ablation.analysis import Analysis, Row
from jepa_core.ablation.figures import Direction, direction
from jepa_core.ablation.findings import listed


def headline(analysis: Analysis) -> str:
    """The finding in a sentence or two: what is better and what is worse than the reference, without numbers.

    Arms that collapsed are named as such, and never as simply better.
    """
    reference = analysis.results.study.reference
    judged = [row for row in analysis.rows if row.metric == analysis.primary[row.base] and row.difference]
    fallen = [(each.base, each.arm) for each in analysis.facts if each.verdict == "collapsed"]
    better, worse = _places(judged, "better"), _places(judged, "worse")
    doubtful = [place for place in better if place in fallen]
    said = {
        f"Better than {reference}": [place for place in better if place not in fallen],
        "Better by this probe, but collapsed": doubtful,
        f"Worse than {reference}": worse,
    }
    parts = [f"{begin}: {_by_base(places)}." for begin, places in said.items() if places]
    if not judged:
        parts = [f"There is nothing yet to compare with {reference}."]
    elif not parts:
        where = "" if len(analysis.primary) == 1 else " on any base"
        parts = [f"No arm can be told apart from {reference}{where}."]
    elif rest := len(judged) - len(better) - len(worse):
        parts.append(f"Not told apart: {'all others' if rest > 1 else 'the other one'}.")
    if others := [place for place in fallen if place not in doubtful]:
        parts.append(f"Collapsed: {_by_base(others)}.")
    return " ".join(parts)


def _places(rows: Sequence[Row], found: Direction) -> list[tuple[str, str]]:
    return [(row.base, row.arm) for row in rows if row.difference and direction(row.difference) == found]


def _by_base(places: Sequence[tuple[str, str]]) -> str:
    """Arms with the bases that they stand out on: a and b on one; c on another and a third."""
    arms: dict[str, list[str]] = {}
    for base, arm in places:
        arms.setdefault(base, []).append(arm)
    bases: dict[str, list[str]] = {}
    for base, names in arms.items():
        bases.setdefault(listed(names), []).append(base)
    return "; ".join(f"{names} on {listed(where)}" for names, where in bases.items())


def scope(analysis: Analysis) -> str:
    """How much was run, in a line."""
    study = analysis.results.study
    bases, arms, seeds = len(study.config.bases), len(study.arms), len(study.config.seeds)
    cells, done = len(study.cells), len(study.cells) - len(analysis.results.unfinished)
    parts = [_many(arms, "arm"), _many(bases, "base"), _many(seeds, "seed")]
    finished = f"all {cells:,} cells finished" if done == cells else f"{done:,} of {cells:,} cells have a result"
    return f"{' × '.join(parts)}; {finished}. Reference: {study.reference}."


def _many(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
