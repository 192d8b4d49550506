"""What a study's report says in words; pure functions of the analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from jepa_core.ablation.analysis import ArmFacts, Difference, Row
from jepa_core.ablation.cells import Study
from jepa_core.ablation.figures import Direction, direction
from jepa_core.ablation.findings import bounded, held_equal, listed
from jepa_core.ablation.results import CellFacts
from jepa_core.ablation.study import EvaluationConfig
from jepa_core.collapse import EXPLANATIONS
from jepa_core.report.words import Finding, Tone, command, count, percent, points, signed

_JUDGEMENTS: Mapping[Direction, tuple[str, str, Tone]] = {
    "better": ("better", "▲", "good"),
    "worse": ("worse", "▼", "bad"),
    "open": ("not told apart", "", "plain"),
    "equal": ("same answers", "=", "plain"),
}

_MATCHED = {
    "steps": "The study asked for nothing beyond what its arms set (match: steps).",
    "tokens": "The study asked for equal numbers of context and predicted tokens per sample (match: tokens).",
    "flops": "The study asked for equal compute, by more or fewer updates (match: flops).",
}
_BUT_COLLAPSED: tuple[str, str, Tone] = ("better by this probe, but collapsed", "△", "warn")


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


def judge(row: Row, reference: str, facts: ArmFacts | None) -> Judgement:
    """The verdict on an arm: only an adjusted interval on one side of zero makes it better or worse.

    An arm that collapsed with any seed is never simply better.
    """
    if row.arm == reference:
        return Judgement("reference", "", "plain")
    if row.difference is None:
        return Judgement("not compared", "", "plain")
    found = direction(row.difference)
    if found == "better" and facts is not None and facts.verdict == "collapsed":
        return Judgement(*_BUT_COLLAPSED)
    return Judgement(*_JUDGEMENTS[found])


def judgements() -> list[Judgement]:
    """All that a comparison can end in, for a legend."""
    return [Judgement(*each) for each in (*_JUDGEMENTS.values(), _BUT_COLLAPSED)]


def tags(row: Row, facts: ArmFacts | None, num_seeds: int, apart: Sequence[int]) -> list[Tag]:
    """What qualifies an arm's number: collapse, features no better than untrained ones, seeds that are missing.

    `apart` are the seeds that the arm's difference is of, where a mean is over more.
    """
    found: list[Tag] = []
    if facts and facts.verdict in ("collapsed", "suspicious"):
        reasons = "; ".join(f"{name}: {EXPLANATIONS.get(name, 'see the log')}" for name in facts.reasons)
        tone: Tone = "bad" if facts.verdict == "collapsed" else "warn"
        found.append(Tag(_verdict(facts), tone, f"The collapse monitor of at least one seed: {reasons}."))
    gain = row.minus_random
    if gain and direction(gain) != "better" and bounded(gain.adjusted_low, gain.adjusted_high):
        text = "below never trained" if direction(gain) == "worse" else "not told from never trained"
        found.append(Tag(text, "warn", f"Arm minus the same network never trained: {interval(gain)} points."))
    if len(row.accuracies) < num_seeds:
        seeds = f"{len(row.accuracies)} of {num_seeds} seeds"
        found.append(Tag(seeds, "warn", "The other seeds have no result; they are listed below."))
    if apart:
        meaning = "The difference is over the seeds that both arms have, each mean over all that the arm has."
        found.append(Tag(f"difference: {seeds_named(apart)}", "warn", meaning))
    return found


def _verdict(facts: ArmFacts) -> str:
    """The verdict, and with how many seeds where not with all."""
    number = sum(each == facts.verdict for each in facts.verdicts.values())
    return facts.verdict if number == facts.seeds else f"{facts.verdict}: {number} of {facts.seeds} seeds"


def seeds_named(seeds: Sequence[int]) -> str:
    """Which seeds.

    >>> seeds_named([0]), seeds_named([0, 2])
    ('seed 0', 'seeds 0 and 2')
    """
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {listed([str(seed) for seed in seeds])}"


def base_finding(rows: Sequence[Row], reference: str, num_test: int, facts: Sequence[ArmFacts] = ()) -> Finding:
    """What the study shows on one base by one metric, with what it could not have shown; `facts` are the base's."""
    compared = [row.difference for row in rows if row.difference]
    if not rows:
        return Finding("No result", "No cell of this base has finished.", "warn")
    means = [row.mean for row in rows]
    text = f"Mean accuracies lie between {points(min(means))} and {percent(max(means))}{_beside(rows)}"
    text += f" ({num_test:,} test samples)."
    if all(row.raw is not None and row.raw > row.mean for row in rows):
        text += " The raw input is ahead of every arm."
    fallen = {each.arm: each for each in facts if each.verdict == "collapsed"}
    if fallen:
        text += f" Collapsed: {listed(list(fallen))}."
    if not compared:
        return Finding("Nothing compared", f"{text} No arm shares a seed with {reference}.", "warn")
    words = [judge(row, reference, fallen.get(row.arm)).word for row in rows]
    said = [(word, words.count(word)) for word in ("better", "worse", _BUT_COLLAPSED[0])]
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


def alone(facts: CellFacts, measured: EvaluationConfig, threads: int | None) -> tuple[str, str]:
    """The command lines that train and evaluate one cell by itself as the study did, in a folder beside its own.

    `threads` are the study's per cell: other numbers add in another order, which changes the last bits.
    """
    again = f"{facts.folder}-again"
    chosen = [word for name in measured.probes for word in ("--probe", name)]
    with_threads = f"OMP_NUM_THREADS={threads} " if threads else ""
    train = command("jepa", "train", str(facts.folder / "config.yaml"), "--run-dir", again)
    evaluate = command("jepa", "eval", again, *chosen, "--encoder", measured.encoder)
    return f"{with_threads}{train}", f"{with_threads}{evaluate}"


def how_to_read(study: Study, facts: Sequence[ArmFacts]) -> list[tuple[str, str]]:
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
            "comparisons of the table at once, so that many arms and bases do not make a winner by luck. The plain "
            "bootstrap's are in comparisons.csv.",
        ),
        (
            "Better, worse",
            "Said only where that interval lies on one side of zero. Not told apart does not mean equal: it means that "
            "this study cannot tell. An arm that collapsed with any seed is never called better without saying so.",
        ),
        ("Held equal", f"{held_equal(facts)} {_MATCHED[config.match]}"),
        ("Limits", limits),
    ]


def _level(confidence: float) -> str:
    return f"{100 * confidence:g}\u00a0%"
