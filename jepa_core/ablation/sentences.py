"""What a study's report says in words; pure functions of the analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from jepa_core.ablation.analysis import Analysis, ArmFacts, Difference, Row
from jepa_core.ablation.cells import Study
from jepa_core.ablation.figures import Direction, bounded, direction
from jepa_core.ablation.results import CellFacts
from jepa_core.collapse import EXPLANATIONS
from jepa_core.report.words import Finding, Tone, command, count, percent, points, signed

_JUDGEMENTS: Mapping[Direction, tuple[str, str, Tone]] = {
    "better": ("better", "▲", "good"),
    "worse": ("worse", "▼", "bad"),
    "open": ("not told apart", "", "plain"),
    "equal": ("same answers", "=", "plain"),
}

_MATCHED = {
    "steps": "All arms of a base train for the same number of updates; tokens and compute were left as they came.",
    "tokens": "All arms of a base see the same number of context tokens and predict the same number of tokens per "
    "sample, for the same number of updates.",
    "flops": "All arms of a base get the same compute, by more or fewer updates.",
}


@dataclass(frozen=True)
class Judgement:
    """What may be said of an arm beside the reference."""

    word: str
    mark: str
    """A sign that needs no colour, or ""."""
    tone: Tone


@dataclass(frozen=True)
class Tag:
    """A short remark on an arm."""

    text: str
    tone: Tone
    meaning: str
    """In a sentence."""


def judge(row: Row, reference: str) -> Judgement:
    """The verdict on an arm: only an adjusted interval on one side of zero makes it better or worse."""
    if row.arm == reference:
        return Judgement("reference", "", "plain")
    if row.difference is None:
        return Judgement("not compared", "", "plain")
    return Judgement(*_JUDGEMENTS[direction(row.difference)])


def judgements() -> list[Judgement]:
    """All that a comparison can end in, for a legend."""
    return [Judgement(*each) for each in _JUDGEMENTS.values()]


def tags(row: Row, facts: ArmFacts | None, num_seeds: int) -> list[Tag]:
    """What qualifies an arm's number: collapse, features no better than untrained ones, seeds that are missing."""
    found: list[Tag] = []
    if facts and facts.verdict in ("collapsed", "suspicious"):
        reasons = "; ".join(f"{name}: {EXPLANATIONS.get(name, 'see the log')}" for name in facts.reasons)
        tone: Tone = "bad" if facts.verdict == "collapsed" else "warn"
        found.append(Tag(facts.verdict, tone, f"The collapse monitor of at least one seed: {reasons}."))
    gain = row.minus_random
    if gain and direction(gain) != "better" and bounded(gain.adjusted_low, gain.adjusted_high):
        text = "below never trained" if direction(gain) == "worse" else "not told from never trained"
        found.append(Tag(text, "warn", f"Arm minus the same network never trained: {interval(gain)} points."))
    if len(row.accuracies) < num_seeds:
        seeds = f"{len(row.accuracies)} of {num_seeds} seeds"
        found.append(Tag(seeds, "warn", "The other seeds have no result; they are listed below."))
    return found


def base_finding(rows: Sequence[Row], reference: str, num_test: int) -> Finding:
    """What the study shows on one base by one metric, with what it could not have shown."""
    compared = [row.difference for row in rows if row.difference]
    if not rows:
        return Finding("No result", "No cell of this base has finished.", "warn")
    means = [row.mean for row in rows]
    text = f"Mean accuracies lie between {points(min(means))} and {percent(max(means))}{_beside(rows)}"
    text += f" ({num_test:,} test samples)."
    if all(row.raw is not None and row.raw > row.mean for row in rows):
        text += " The raw input is ahead of every arm."
    if not compared:
        return Finding("Nothing compared", f"{text} No arm shares a seed with {reference}.", "warn")
    said = [(word, sum(direction(each) == word for each in compared)) for word in ("better", "worse")]
    told = ", ".join(f"{number} {word}" for word, number in said if number)
    arms = "the one other arm" if len(compared) == 1 else f"{len(compared)} other arms"
    return Finding(told or "None told apart", f"Of {arms} against {reference}. {text} {_resolution(compared)}", "plain")


def _beside(rows: Sequence[Row]) -> str:
    """The untrained encoder and the raw input, where they were measured."""
    said = ", ".join(f"{name} {value}" for name, value in controls(rows).items() if value)
    return f"; {said}" if said else ""


def _resolution(compared: Sequence[Difference]) -> str:
    """How small a difference could have stood: half the width of a typical adjusted interval."""
    pairs = [(each.adjusted_low, each.adjusted_high) for each in compared]
    widths = [(high - low) / 2 for low, high in pairs if bounded(low, high)]
    if not widths:
        return "With so few seeds the intervals have no bounds: nothing is said to be better or worse."
    half = median(widths)
    return f"A typical interval reaches {points(half)} points to each side: smaller differences seldom show here."


def controls(rows: Sequence[Row]) -> dict[str, str]:
    """Accuracies without pretraining, by what was measured; "" where it was not.

    They differ where arms have different untrained encoders. Arms that lack seeds are left out: they would seem to.
    """
    most = max((len(row.accuracies) for row in rows), default=0)
    whole = [row for row in rows if len(row.accuracies) == most]
    return {
        "never trained": shown_range([row.random for row in whole]),
        "raw input": shown_range([row.raw for row in whole]),
    }


def shown_range(values: Sequence[float | None]) -> str:
    """Accuracies as one number where they agree to the decimal that is shown, else from least to greatest."""
    found = [value for value in values if value is not None]
    if not found:
        return ""
    low, high = points(min(found)), percent(max(found))
    return high if f"{low}\u00a0%" == high else f"{low}–{high}"


def bounds(difference: Difference, *, adjusted: bool = True) -> str:
    """The interval of a difference in points, where it has one: +0.1 to +2.3."""
    low = difference.adjusted_low if adjusted else difference.low
    high = difference.adjusted_high if adjusted else difference.high
    return f"{signed(low)} to {signed(high)}" if bounded(low, high) else "no bounds"


def interval(difference: Difference) -> str:
    """A difference in points with the bounds that decide: +1.2 (+0.1 to +2.3)."""
    return f"{signed(difference.value)} ({bounds(difference)})"


def tick(share: float) -> str:
    """A label of an axis, in points.

    >>> tick(-0.005), tick(0.0), tick(0.1)
    ('−0.5', '0', '+10')
    """
    return f"{round(100 * share, 6):+g}".replace("-", "−") if share else "0"


def by_seed(verdicts: Mapping[int, str]) -> str:
    """Which seeds have which verdict.

    >>> by_seed({0: "healthy", 1: "collapsed", 2: "healthy"}), by_seed({0: "healthy", 1: "healthy"})
    ('healthy: 0, 2; collapsed: 1', 'all alike')
    """
    kinds = dict.fromkeys(verdicts.values())
    if len(kinds) < 2:
        return "all alike" if len(verdicts) > 1 else "one seed"
    listed = {kind: ", ".join(str(seed) for seed, each in verdicts.items() if each == kind) for kind in kinds}
    return "; ".join(f"{kind}: {seeds}" for kind, seeds in listed.items())


def p_value(p: float) -> str:
    """Two digits, or that it is small.

    >>> p_value(0.03456), p_value(0.0000012)
    ('0.035', '<0.001')
    """
    return "<0.001" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def whole(mean: float) -> str:
    """A mean of counts, rounded to a whole number, as a count."""
    return count(round(mean))


def alone(facts: CellFacts) -> tuple[str, str]:
    """The command lines that train and evaluate one cell by itself, in a folder beside its own."""
    again = f"{facts.folder}-again"
    return command("jepa", "train", str(facts.folder / "config.yaml"), "--run-dir", again), command(
        "jepa", "eval", again
    )


def how_to_read(study: Study) -> list[tuple[str, str]]:
    """The terms of the page, each with a sentence or two."""
    level, config = _level(study.config.confidence), study.config
    encoder = f"the {config.evaluation.encoder} encoder stays frozen and a probe is fitted on its features"
    limits = (
        "Intervals cover other seeds and other test samples, and nothing else: other data, sizes or lengths of "
        "training may order the arms differently."
    )
    if len(config.seeds) == 1:
        limits = "One seed shows no spread between seeds, so intervals have no bounds and no arm is better or worse."
    return [
        ("Accuracy", f"The share of test samples answered rightly: {encoder}. Mean ± standard deviation over seeds."),
        (
            "Difference",
            f"An arm minus {study.reference}, in points of accuracy, paired: the same seed, hence the same initial "
            "weights, data order and augmentation, and the same test samples.",
        ),
        (
            "Interval",
            f"From the spread over seeds and over test samples together; where three arms or more are compared with "
            f"{study.reference}, each draws on the spread over seeds of all. The {level} hold for all "
            "comparisons of the table at once, so that many arms and bases do not make a winner by luck.",
        ),
        (
            "Better, worse",
            "Said only where that interval lies on one side of zero. Not told apart does not mean equal: it means that "
            "this study cannot tell.",
        ),
        ("Held equal", _MATCHED[config.match]),
        ("Limits", limits),
    ]


def _level(confidence: float) -> str:
    return f"{100 * confidence:g}\u00a0%"


def headline(analysis: Analysis) -> str:
    """The finding in a sentence or two: what is better and what is worse than the reference, without numbers."""
    reference = analysis.results.study.reference
    judged = [row for row in analysis.rows if row.metric == analysis.primary[row.base] and row.difference]
    told = {word: [row for row in judged if row.difference and direction(row.difference) == word] for word in _TOLD}
    if not judged:
        return f"There is nothing yet to compare with {reference}."
    if not any(told.values()):
        where = "" if len(analysis.primary) == 1 else " on any base"
        return f"No arm can be told apart from {reference}{where}."
    parts = [f"{begin} than {reference}: {_by_base(told[word])}." for word, begin in _TOLD.items() if told[word]]
    if rest := len(judged) - sum(map(len, told.values())):
        parts.append(f"Not told apart: {'all others' if rest > 1 else 'the other one'}.")
    return " ".join(parts)


_TOLD: Mapping[Direction, str] = {"better": "Better", "worse": "Worse"}


def _by_base(rows: Sequence[Row]) -> str:
    """Arms with the bases that they stand out on: a and b on one; c on another and a third."""
    arms: dict[str, list[str]] = {}
    for row in rows:
        arms.setdefault(row.base, []).append(row.arm)
    bases: dict[str, list[str]] = {}
    for base, names in arms.items():
        bases.setdefault(_listed(names), []).append(base)
    return "; ".join(f"{names} on {_listed(where)}" for names, where in bases.items())


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


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
