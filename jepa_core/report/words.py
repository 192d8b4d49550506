"""What a report says in sentences; pure functions of the facts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from jepa_core.collapse import EXPLANATIONS
from jepa_core.report.gather import ProbeResult, ProbeTable, RunFacts
from jepa_core.report.pictures import runs_upward
from jepa_core.types import TokenGrid

Tone = Literal["good", "warn", "bad", "plain"]

REPRESENTATIONS = {
    "target": "target encoder",
    "context": "context encoder",
    "random": "never trained",
    "raw": "raw input",
}
"""How the representations of an evaluation are called, in the order in which they are shown; controls follow."""

_FEATURES = {
    "target": "the target encoder's features",
    "context": "the context encoder's features",
    "random": "those of the same network never trained",
    "raw": "the raw input",
}

HOW_TO_READ_PROBES = (
    "How to read it: the encoder stays frozen and a small classifier is fitted on its features. The target encoder "
    "minus the same network never trained is what pretraining added. The raw input is the score without any network; "
    "on small, centred samples it is hard to beat. Whiskers are 95\u00a0% confidence intervals, the dotted line is the "
    "score of always giving the same answer."
)

ADVICE = (
    "First to try: a target that follows more slowly (ema.half_life_samples, or ema.momentum nearer to 1), then a "
    "lower optim.lr, then masks that leave less context. Judge by these curves and by the probe: the loss falls under "
    "collapse too."
)


@dataclass(frozen=True)
class Finding:
    """A headline and what stands under it."""

    headline: str
    text: str
    tone: Tone


def called(representation: str) -> str:
    """In words.

    >>> called("random"), called("raw, one half")
    ('never trained', 'raw, one half')
    """
    return REPRESENTATIONS.get(representation, representation)


def in_order(representations: Iterable[str]) -> list[str]:
    """As they are shown."""
    return sorted(representations, key=lambda name: (list(REPRESENTATIONS).index(name.partition(",")[0]), name))


def points(share: float) -> str:
    """A share as per cent with one decimal, without the sign."""
    return f"{100 * share:.1f}"


def signed(share: float) -> str:
    """As `points`, with its sign: +9.2, −0.4."""
    return f"{'−' if share < 0 else '+'}{points(abs(share))}"


def percent(share: float) -> str:
    """As `points`, with its sign on the same line."""
    return f"{points(share)}\u00a0%"


def duration(seconds: float) -> str:
    """45 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def count(number: int) -> str:
    """12,300 in full, from a million on 2.7 million."""
    if number < 1_000_000:
        return f"{number:,}"
    scale, word = (1e9, "billion") if number >= 1_000_000_000 else (1e6, "million")
    return f"{number / scale:.3g} {word}"


def flops(number: float) -> str:
    """Floating-point operations with a unit that fits: 581 MFLOP, 2.35 PFLOP."""
    prefixes = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))
    scale, prefix = next(((scale, prefix) for scale, prefix in prefixes if number >= scale), (1.0, ""))
    return f"{number / scale:.3g}\u00a0{prefix}FLOP"


def command(*words: str) -> str:
    """A command line that a shell takes as it stands."""
    return shlex.join(words)


def commands(run: RunFacts) -> dict[str, str]:
    """The command lines that make what a report may miss, and that make the run again."""
    config, folder = str(run.path / "config.yaml"), str(run.path)
    return {
        "train": command("jepa", "train", config, "--run-dir", folder, "--resume"),
        "eval": command("jepa", "eval", folder),
        "again": command("jepa", "train", config, "--run-dir", f"{folder}-again"),
    }


def facts_table(run: RunFacts) -> list[tuple[str, str]]:
    """Where the numbers come from: checkpoint, time, data, versions."""
    rows = [("run folder", str(run.path)), ("seed", str(run.config.seed))]
    if run.state is None:
        return [*rows, ("checkpoint", "none yet")]
    rows.append(("checkpoint", f"step {run.state['step']:,}"))
    if imported := run.state.get("imported"):
        rows.append(("imported", f"{imported['file']} ({imported['format']})"))
    rows.append(("training time", duration(run.state["seconds"])))
    if device := run.state.get("device"):  # not where weights were imported
        rows.append(("device", device))
    rows.append(("configuration", run.state["config_hash"][:12]))
    versions = ", ".join(f"{name} {version}" for name, version in run.state["versions"].items())
    return [*rows, ("versions", versions)]


def lead(run: RunFacts) -> str:
    """What was trained on what."""
    config, step = run.config, run.last_step
    size = f" of {count(run.num_parameters)} parameters" if run.num_parameters else ""
    of = "" if step == config.train.steps else f" of {config.train.steps:,}"
    views = [
        f"{budget.context} of {run.grid.num_tokens} tokens and predicted "
        + ("the other " if budget.context + budget.target == run.grid.num_tokens else "")
        + (f"{budget.num_targets} blocks of {budget.target}" if budget.num_targets > 1 else f"{budget.target}")
        for budget in run.budgets
    ]
    views = [views[0], *(f"in another view it saw {view}" for view in views[1:])]
    shape = " × ".join(map(str, run.grid.shape))
    return (
        f"A {config.encoder.name} encoder{size} learned from {config.modality.name} data without labels: {step:,}{of} "
        f"steps of {config.train.batch_size:,} samples on a grid of {shape} tokens ({', '.join(run.grid.axes)}). "
        f"In every sample it saw {', and '.join(views)} ({config.masking.name} masks)."
    )


def axes_line(grid: TokenGrid, upward: Sequence[str]) -> str:
    """How to read the pictures of a grid; "" where height runs downwards and width to the right, as anywhere.

    >>> axes_line(TokenGrid((4, 8), ("pitch", "time")), upward=("pitch",))
    'Time runs to the right, pitch upwards.'
    """
    strip, plane = grid.axes[:-2], grid.axes[-2:]
    parts = [(" and ".join(strip), "from one part of a strip to the next")] if strip else []
    if plane != ("height", "width"):
        parts.append((plane[-1], "to the right"))
        parts += [(axis, "upwards" if runs_upward(grid, upward) else "downwards") for axis in plane[:-1]]
    if not parts:
        return ""
    (first, where), *others = parts
    verb = "run" if len(strip) > 1 else "runs"
    return ", ".join([f"{first[0].upper()}{first[1:]} {verb} {where}", *map(" ".join, others)]) + "."


def main_table(tables: list[ProbeTable]) -> ProbeTable | None:
    """The table of the headline: the first linear probe, or the first of any kind."""
    return next((table for table in tables if table.probe == "linear"), tables[0] if tables else None)


def probe_finding(run: RunFacts) -> Finding:
    """The headline of the evaluation, its numbers, and whether the gain could be chance."""
    table = main_table(run.probes)
    ours = table.of(table.encoder) if table else None
    if table is None or ours is None:
        return Finding("Not evaluated yet", "No probe has read the encoder's features.", "plain")
    text = f"A {table.probe} probe for “{table.heading}” is right {_read_from(table, ours)}."
    raw = table.of("raw")
    if raw and raw.accuracy > ours.accuracy:
        text += f" The raw input is {points(raw.accuracy - ours.accuracy)} points ahead."
    if ours.gain is None:
        return Finding(f"{percent(ours.accuracy)}, {table.probe}", text, "plain")
    value, low, high = (signed(share) for share in (ours.gain.value, ours.gain.low, ours.gain.high))
    headline = f"{value} points by pretraining"
    text += f" The gain over the network never trained lies between {low} and {high} points"
    if ours.gain.low > 0:
        return Finding(headline, f"{text}.", "good")
    if ours.gain.high < 0:
        return Finding(headline, f"{text}: pretraining made the features worse.", "bad")
    return Finding(headline, f"{text}, which holds zero: none is shown.", "warn")


def gain_line(table: ProbeTable) -> str:
    """The paired difference under a table, or "" where it has none."""
    ours = table.of(table.encoder)
    if ours is None or ours.gain is None:
        return ""
    value, low, high = (signed(share) for share in (ours.gain.value, ours.gain.low, ours.gain.high))
    return f"{called(ours.representation)} minus never trained: {value} points ({low} to {high})"


def _read_from(table: ProbeTable, ours: ProbeResult) -> str:
    others = [each for name in ("random", "raw") if (each := table.of(name))]
    parts = [
        f"in {percent(each.accuracy)} ({points(each.low)}–{points(each.high)}) with {_FEATURES[each.representation]}"
        for each in (ours, *others)
    ]
    return f"{_listed(parts)} ({table.num_test:,} test samples, 95\u00a0% intervals)"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"


def collapse_finding(run: RunFacts) -> Finding:
    """The verdict of the collapse monitor in words."""
    state, reasons = run.verdict.state, run.verdict.reasons
    because = "; ".join(f"{name}: {EXPLANATIONS.get(name, 'see the log')}" for name in reasons)
    measured = run.measured
    if state == "healthy":
        return Finding("Healthy", f"{len(measured)} measurements; no threshold was crossed in the last third.", "good")
    if state == "suspicious":
        return Finding("Suspicious", f"Crossed in the last third of {len(measured)} measurements: {because}.", "warn")
    if state == "collapsed":
        return Finding("Collapsed", f"At step {measured[-1]['step']:,}: {because}.", "bad")
    grace = run.config.collapse.grace
    text = f"There is no measurement yet after the first {grace:.0%} of the run, in which nothing is judged."
    return Finding("Not judged yet", text, "plain")


def training_finding(run: RunFacts) -> Finding:
    """How far the run is, how long that took and at what pace."""
    steps, step = run.config.train.steps, run.last_step
    headline = f"{step:,} steps" if step >= steps else f"{step:,} of {steps:,} steps"
    parts: list[str] = []
    _, losses = run.series("loss")
    if losses:
        parts.append(f"loss {losses[-1]:.3g}")
    _, pace = run.series("samples_per_second")
    if pace:
        parts.append(f"{sorted(pace)[len(pace) // 2]:,.0f} samples a second (median)")
    if run.state and run.state.get("seconds"):
        parts.append(f"{duration(run.state['seconds'])} of training")
    parts.append(f"{len(run.unreadable):,} unreadable samples" if run.unreadable else "no unreadable sample")
    return Finding(headline, "; ".join(parts).capitalize() + ".", "plain" if step >= steps else "warn")


def warning_rows(run: RunFacts) -> list[tuple[str, str, int, int, int]]:
    """Name, meaning, number of measurements, first and last step of every warning raised after the grace period."""
    steps: dict[str, list[int]] = {}
    since = run.config.collapse.grace * run.config.train.steps
    for row in (row for row in run.measured if row["step"] >= since):
        for name in row["collapse/warnings"]:
            steps.setdefault(name, []).append(row["step"])
    return [(name, EXPLANATIONS.get(name, ""), len(at), at[0], at[-1]) for name, at in steps.items()]
