"""What an analysis says in sentences; pure functions of its numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from jepa_core.ablation.results import StudyResults
from jepa_core.report.words import flops, signed

if TYPE_CHECKING:
    from jepa_core.ablation.analysis import ArmFacts, Difference, Row

_BUDGETS = {
    "steps": "Updates",
    "samples": "Samples seen",
    "context_tokens": "Context tokens per sample",
    "predicted_tokens": "Predicted tokens per sample",
    "flops": "Compute of a run",
    "parameters": "Parameters of encoder and predictor",
}


_BY_MASKS = ("context_tokens", "predicted_tokens", "flops")
"""What varies where masks have other lengths in every batch."""

REMAINDERS = (
    "A probe that rescales features can still read what little differs between the samples of a collapsed encoder, so "
    "its accuracy does not show that the encoder learned."
)
"""Why an accuracy does not acquit."""


def bounded(low: float, high: float) -> bool:
    """Whether bounds say anything: with a single seed they are the most that accuracies can differ by, -1 and 1."""
    return low > -1 or high < 1


def differed(facts: Sequence[ArmFacts]) -> tuple[str, ...]:
    """What was not the same in all arms of a base, a sentence each; wall clock aside, which never is."""
    sentences = [
        f"Tokens per sample of {each.arm} vary by batch: about {_amount(each.context_tokens)} of context and "
        f"{_amount(each.predicted_tokens)} predicted."
        for each in facts
        if each.varies
    ]
    nearly = {each.arm: "about " if each.varies else "" for each in facts}
    for name, called in _BUDGETS.items():
        amounts = {each.arm: float(getattr(each, name)) for each in facts}
        least, most = (min(amounts.values()), max(amounts.values())) if amounts else (0.0, 0.0)
        if least != most:
            low, high = (next(arm for arm in amounts if amounts[arm] == amount) for amount in (least, most))
            factor = f", {most / least:.2f} times as many" if least else ""
            written = flops if name == "flops" else _amount
            ends = [f"{nearly[arm] if name in _BY_MASKS else ''}{written(amounts[arm])} ({arm})" for arm in (low, high)]
            sentences.append(f"{called}: {' to '.join(ends)}{factor}.")
    return tuple(sentences)


def held_equal(facts: Sequence[ArmFacts]) -> str:
    """What the finished cells had in common, and what they had not, from their counts and not from what was asked."""
    if not facts:
        return "No cell has finished yet."
    by_base: dict[str, list[ArmFacts]] = {}
    for each in facts:
        by_base.setdefault(each.base, []).append(each)
    same: list[str] = []
    other: list[str] = []
    for name, called in _BUDGETS.items():
        alike = all(_alike(name, arms) for arms in by_base.values())
        (same if alike else other).append(called[0].lower() + called[1:])
    parts = [f"In all arms of a base: {listed(same)}."] if same else []
    parts += [f"Not {'' if len(by_base) == 1 else 'on every base '}in all arms: {listed(other)}."] if other else []
    return " ".join(parts)


def _alike(name: str, arms: Sequence[ArmFacts]) -> bool:
    if name in _BY_MASKS and len(arms) > 1 and any(each.varies for each in arms):
        return False
    return len({getattr(each, name) for each in arms}) == 1


def listed(names: Sequence[str]) -> str:
    """One, two and three."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def findings(
    results: StudyResults, rows: Sequence[Row], facts: Sequence[ArmFacts], primary: Mapping[str, str]
) -> tuple[str, ...]:
    """What the study shows, base by base, and what weakens it.

    Only arms whose adjusted interval excludes zero are named as better or worse, and only beside the reference; those
    that collapsed are marked wherever they are named.
    """
    reference, confidence = results.study.reference, results.study.config.confidence
    judged = [row for row in rows if row.metric == primary[row.base]]
    collapsed = [(each.base, each.arm) for each in facts if each.verdict == "collapsed"]
    parts = [
        _on_base(
            base, reference, [row for row in judged if row.base == base], [arm for at, arm in collapsed if at == base]
        )
        for base in results.study.config.bases
    ]
    compared = [row.difference for row in judged if row.difference]
    if any(bounded(each.adjusted_low, each.adjusted_high) for each in compared):
        held = "" if len(compared) == 1 else f", and hold for all {len(compared)} comparisons at once"
        parts.append(f"Intervals are at {100 * confidence:g} %, over seeds and test samples{held}.")
    if collapsed:
        named = ", ".join(f"{arm} on {base}" for base, arm in collapsed)
        parts.append(f"Collapsed with at least one seed: {named}. {REMAINDERS}")
    if missing := len(results.unfinished):
        verb = "has" if missing == 1 else "have"
        parts.append(f"{missing} of {len(results.study.cells)} cells {verb} no result.")
    return tuple(parts)


def _on_base(base: str, reference: str, rows: Sequence[Row], collapsed: Collection[str]) -> str:
    """The comparisons with the reference, and with the network never trained."""
    if not rows:
        return f"On {base} there is no result yet."
    compared = {row.arm: row.difference for row in rows if row.difference is not None}
    if len(rows) == 1 and rows[0].arm == reference:
        sentence = f"On {base} there is no result but that of {reference}, so nothing is compared."
    elif not compared:
        sentence = f"On {base} no seed has a result of {reference} and of another arm, so nothing is compared."
    else:
        sentence = _compared(base, reference, rows, compared, collapsed)
    if reference in collapsed and compared:
        sentence += f" The reference itself collapsed: on {base} these are differences from a collapsed encoder."
    untrained = {row.arm: row.minus_random for row in rows if row.minus_random is not None}
    told = {arm: each for arm, each in untrained.items() if bounded(each.adjusted_low, each.adjusted_high)}
    return f"{sentence} {_against_untrained(told, collapsed)}" if told else sentence


def _compared(
    base: str, reference: str, rows: Sequence[Row], compared: Mapping[str, Difference], collapsed: Collection[str]
) -> str:
    """What may be said of differences, those that a single seed stands behind aside."""
    once = [row.arm for row in rows if row.arm in compared and len(shared_seeds(row, rows, reference)) < 2]
    judged = {arm: each for arm, each in compared.items() if arm not in once}
    if not judged:
        which = "there is one seed per arm" if _one_each(rows) else f"no arm shares two seeds with {reference}"
        return f"On {base} {which}: one cannot tell the effect of a choice from chance of training. Nothing is shown."
    sentence = _told(base, reference, rows[0].metric, judged, collapsed)
    if not once:
        return sentence
    return f"{sentence} Nothing is shown of {listed(once)}, with a single seed shared with {reference}."


def _one_each(rows: Sequence[Row]) -> bool:
    return all(len(row.accuracies) == 1 for row in rows)


def shared_seeds(row: Row, rows: Sequence[Row], reference: str) -> list[int]:
    """The seeds that an arm's difference is of; `rows` are those of its base and metric."""
    others = next((other.accuracies for other in rows if other.arm == reference), {})
    return [seed for seed in row.accuracies if seed in others]


def seeds_apart(row: Row, rows: Sequence[Row], reference: str) -> list[int]:
    """The seeds of an arm's difference where it is not that of the two means, as one of them is over more seeds."""
    shared = shared_seeds(row, rows, reference)
    whole = [len(each.accuracies) for each in rows if each.arm in (row.arm, reference)]
    return shared if row.difference is not None and len(shared) < max(whole) else []


def _told(
    base: str, reference: str, metric: str, compared: Mapping[str, Difference], collapsed: Collection[str]
) -> str:
    above = {arm: each for arm, each in compared.items() if each.adjusted_low > 0}
    below = {arm: each for arm, each in compared.items() if each.adjusted_high < 0}
    undecided = len(compared) - len(above) - len(below)
    if undecided == len(compared):
        which = "the interval contains zero" if undecided == 1 else f"all {undecided} intervals contain zero"
        return f"On {base} no arm can be told from {reference} by {metric}: {which}."
    parts = [f"{_named(above, collapsed)} above {reference}"] if above else []
    parts += [f"{_named(below, collapsed)} below {'it' if above else reference}"] if below else []
    if undecided:
        other = "other arm" if undecided == 1 else "others"
        parts.append(f"{undecided} {other} cannot be told from it")
    ranks = " Arms on the same side are not compared with each other." if max(len(above), len(below)) > 1 else ""
    return f"On {base}, by {metric}, {'; '.join(parts)}.{ranks}"


def _named(arms: Mapping[str, Difference], collapsed: Collection[str]) -> str:
    """Arms with their differences, and the verb."""
    named = [
        f"{arm} ({signed(each.value)} points, {signed(each.adjusted_low)} to {signed(each.adjusted_high)}"
        f"{'' if arm not in collapsed else ', but collapsed' if each.value > 0 else ', collapsed'})"
        for arm, each in arms.items()
    ]
    return f"{listed(named)} {'is' if len(named) == 1 else 'are'}"


def _against_untrained(gains: Mapping[str, Difference], collapsed: Collection[str]) -> str:
    above = [arm for arm, gain in gains.items() if gain.adjusted_low > 0]
    below = sum(gain.adjusted_high < 0 for gain in gains.values())
    arms = "arm" if len(gains) == 1 else "arms"
    text = f"Of {len(gains)} {arms}, {len(above)} {'is' if len(above) == 1 else 'are'} above the network never trained"
    if fallen := [arm for arm in above if arm in collapsed]:
        text += f" (of which {listed(fallen)} collapsed)"
    return f"{text}, {below} below." if below else f"{text}."


def _amount(value: float) -> str:
    """In full below a million, else with three digits.

    >>> _amount(36.0), _amount(12.5), _amount(5.25e12)
    ('36', '12.5', '5.25e+12')
    """
    if value >= 1_000_000:
        return f"{value:.3g}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
