"""What an analysis says in sentences; pure functions of its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jepa_core.ablation.results import StudyResults
from jepa_core.report.words import flops, signed

if TYPE_CHECKING:
    from jepa_core.ablation.analysis import ArmFacts, Difference, Row

_BUDGETS = {
    "steps": "Updates",
    "context_tokens": "Context tokens per sample",
    "predicted_tokens": "Predicted tokens per sample",
    "flops": "Compute of a run",
    "parameters": "Parameters of encoder and predictor",
}


def differed(facts: Sequence[ArmFacts]) -> tuple[str, ...]:
    """What was not the same in all arms of a base, a sentence each; wall clock aside, which never is."""
    sentences: list[str] = []
    for name, called in _BUDGETS.items():
        amounts = {each.arm: float(getattr(each, name)) for each in facts}
        least, most = (min(amounts.values()), max(amounts.values())) if amounts else (0.0, 0.0)
        if least != most:
            low, high = (next(arm for arm in amounts if amounts[arm] == amount) for amount in (least, most))
            factor = f", {most / least:.2f} times as many" if least else ""
            shown = flops if name == "flops" else _amount
            sentences.append(f"{called}: {shown(least)} ({low}) to {shown(most)} ({high}){factor}.")
    return tuple(sentences)


def findings(
    results: StudyResults, rows: Sequence[Row], facts: Sequence[ArmFacts], primary: Mapping[str, str]
) -> tuple[str, ...]:
    """What the study shows, base by base, and what weakens it.

    Only arms whose adjusted interval excludes zero are named as better or worse, and only beside the reference.
    """
    reference, confidence = results.study.reference, results.study.config.confidence
    judged = [row for row in rows if row.metric == primary[row.base]]
    parts = [
        _on_base(base, reference, [row for row in judged if row.base == base]) for base in results.study.config.bases
    ]
    compared = sum(row.difference is not None for row in judged)
    if compared and any(len(row.accuracies) > 1 for row in judged):
        held = "" if compared == 1 else f", and hold for all {compared} comparisons at once"
        parts.append(f"Intervals are at {100 * confidence:g} %, over seeds and test samples{held}.")
    collapsed = [f"{each.arm} on {each.base}" for each in facts if each.verdict == "collapsed"]
    if collapsed:
        parts.append(f"Collapsed with at least one seed: {', '.join(collapsed)}.")
    if missing := len(results.unfinished):
        verb = "has" if missing == 1 else "have"
        parts.append(f"{missing} of {len(results.study.cells)} cells {verb} no result.")
    return tuple(parts)


def _on_base(base: str, reference: str, rows: Sequence[Row]) -> str:
    """The comparisons with the reference, and with the network never trained."""
    if not rows:
        return f"On {base} there is no result yet."
    compared = {row.arm: row.difference for row in rows if row.difference is not None}
    if len(rows) == 1 and rows[0].arm == reference:
        sentence = f"On {base} there is no result but that of {reference}, so nothing is compared."
    elif not compared:
        sentence = f"On {base} no seed has a result of {reference} and of another arm, so nothing is compared."
    elif all(len(row.accuracies) == 1 for row in rows):
        sentence = (
            f"On {base} there is one seed per arm, which cannot tell the effect of a choice from chance of training: "
            "nothing is shown."
        )
    else:
        sentence = _compared(base, reference, rows[0].metric, compared)
    trained = [row.minus_random for row in rows if row.minus_random is not None]
    return f"{sentence} {_against_untrained(trained)}" if trained else sentence


def _compared(base: str, reference: str, metric: str, compared: Mapping[str, Difference]) -> str:
    above = {arm: each for arm, each in compared.items() if each.adjusted_low > 0}
    below = {arm: each for arm, each in compared.items() if each.adjusted_high < 0}
    undecided = len(compared) - len(above) - len(below)
    if undecided == len(compared):
        which = "the interval contains zero" if undecided == 1 else f"all {undecided} intervals contain zero"
        return f"On {base} no arm can be told from {reference} by {metric}: {which}."
    parts = [f"{_named(above)} above {reference}"] if above else []
    parts += [f"{_named(below)} below {'it' if above else reference}"] if below else []
    if undecided:
        other = "other arm" if undecided == 1 else "others"
        parts.append(f"{undecided} {other} cannot be told from it")
    ranks = " Arms on the same side are not compared with each other." if max(len(above), len(below)) > 1 else ""
    return f"On {base}, by {metric}, {'; '.join(parts)}.{ranks}"


def _named(arms: Mapping[str, Difference]) -> str:
    """Arms with their differences, and the verb."""
    named = [
        f"{arm} ({signed(each.value)} points, {signed(each.adjusted_low)} to {signed(each.adjusted_high)})"
        for arm, each in arms.items()
    ]
    return f"{named[0]} is" if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]} are"


def _against_untrained(gains: Sequence[Difference]) -> str:
    above, below = sum(gain.adjusted_low > 0 for gain in gains), sum(gain.adjusted_high < 0 for gain in gains)
    arms = "arm" if len(gains) == 1 else "arms"
    text = f"Of {len(gains)} {arms}, {above} {'is' if above == 1 else 'are'} above the network never trained"
    return f"{text}, {below} below." if below else f"{text}."


def _amount(value: float) -> str:
    """In full below a million, else with three digits.

    >>> _amount(36.0), _amount(12.5), _amount(5.25e12)
    ('36', '12.5', '5.25e+12')
    """
    if value >= 1_000_000:
        return f"{value:.3g}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
