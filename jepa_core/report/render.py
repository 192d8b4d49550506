"""From facts and pictures to one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jepa_core.config.text import to_yaml
from jepa_core.report import words
from jepa_core.report.charts import NUM_COLOURS
from jepa_core.report.gallery import MAX_PLAYED, FeatureGallery, MaskGallery, Sample
from jepa_core.report.gather import ProbeResult, ProbeTable, RunFacts, config_differences
from jepa_core.report.page import environment
from jepa_core.report.panels import COLLAPSE, TRAINING, draw
from jepa_core.report.pictures import BLOCK_COLOURS, data_uri, embedded

SECTIONS = (
    ("probes", "Probes"),
    ("training", "Loss and schedules"),
    ("collapse", "Collapse"),
    ("masks", "Masks"),
    ("features", "Features"),
    ("neighbours", "Neighbours"),
    ("data", "Unreadable samples"),
    ("reproduce", "Reproduce"),
)
"""Anchor and name of every section, in order."""

NUM_UNREADABLE = 10
"""How many unreadable samples are listed."""
_WIDE, _LONG = 1.5, 3.0
"""Aspects from which on pictures stand one below the other, and neighbours do not fit into a row."""


@dataclass(frozen=True)
class RunReport:
    """One run of a report."""

    facts: RunFacts
    masks: list[MaskGallery] | str
    """One per mask view, or why there are none."""
    features: FeatureGallery | str
    """What the encoder makes of samples, or why that cannot be shown."""


@dataclass(frozen=True)
class _Line:
    """One bar of a probe table; `result` is None where the run has no such number."""

    colour: str
    result: ProbeResult | None


@dataclass(frozen=True)
class _Comparison:
    """One probe on one heading, all runs."""

    heading: str
    probe: str
    chance: float
    num_test: int
    encoder: str
    """The representation that stands out."""
    gains: list[tuple[int, str]]
    """Position of a run, and its paired difference in words."""
    groups: list[tuple[str, list[_Line]]]
    """Representation, and one line per run."""


def render(reports: Sequence[RunReport], command: str) -> str:
    """The page; `command` is the command line that it names as its origin."""
    templates = environment()
    templates.filters |= {"uri": data_uri, "shape": _shape}
    facts = [report.facts for report in reports]
    return templates.get_template("template.html.j2").render(
        title=" · ".join(run.name for run in facts),
        many=len(reports) > 1,
        runs=[_run(number, report) for number, report in enumerate(reports)],
        sections=SECTIONS,
        comparisons=_compare(facts),
        training=draw(TRAINING, facts) if any(run.rows for run in facts) else [],
        collapse=draw(COLLAPSE, facts) if any(run.measured for run in facts) else [],
        differences=config_differences([run.config for run in facts]),
        called=words.called,
        embedded=embedded,
        max_played=f"{MAX_PLAYED / 1e6:.0f}\u00a0MB",
        how_to_read_probes=words.HOW_TO_READ_PROBES,
        advice=words.ADVICE,
        block_colours=BLOCK_COLOURS,
        num_colours=NUM_COLOURS,
        num_unreadable=NUM_UNREADABLE,
        command=command,
    )


def _run(number: int, report: RunReport) -> dict[str, Any]:
    """What the template says of one run."""
    facts, features = report.facts, report.features if isinstance(report.features, FeatureGallery) else None
    rows = features.neighbours if features else ()
    shown = [sample for row in rows for sample in (row.query, *(each for each, _ in row.found))]
    pairs = [(row.query.label, sample.label) for row in rows for sample, _ in row.found]
    return {
        "number": number,
        "title": facts.name,
        "facts": facts,
        "tables": facts.probes,
        "lead": words.lead(facts),
        "probe": words.probe_finding(facts),
        "collapse": words.collapse_finding(facts),
        "training": words.training_finding(facts),
        "warnings": words.warning_rows(facts),
        "commands": words.commands(facts),
        "masks": [] if isinstance(report.masks, str) else report.masks,
        "no_masks": report.masks,
        "features": features,
        "no_features": report.features,
        "axes": words.axes_line(facts.grid, facts.upward),
        "plays": any(sample.player for sample in shown),
        "started": any(sample.player and not sample.player.is_picture for sample in shown),
        "same": sum(query == other for query, other in pairs),
        "pairs": len(pairs),
        "facts_table": words.facts_table(facts),
        "config_yaml": to_yaml(facts.config),
    }


def _shape(samples: Sequence[Sample]) -> str:
    """How pictures of such proportions are laid out, as a class of the style sheet: "", "wide" or "wide long"."""
    aspect = samples[0].aspect
    return "wide long" if aspect > _LONG else "wide" if aspect > _WIDE else ""


def _compare(runs: Sequence[RunFacts]) -> list[_Comparison]:
    """The probe tables of all runs, one per heading and probe, in the order of the files."""
    keys = dict.fromkeys((table.heading, table.probe) for run in runs for table in run.probes)
    return [_comparison(*key, runs) for key in keys]


def _comparison(heading: str, probe: str, runs: Sequence[RunFacts]) -> _Comparison:
    tables: list[ProbeTable | None] = [
        next((table for table in run.probes if (table.heading, table.probe) == (heading, probe)), None) for run in runs
    ]
    have = [table for table in tables if table]
    seen = dict.fromkeys(result.representation for table in have for result in table.results)
    groups = [
        (
            name,
            [
                _Line(_colour(name == have[0].encoder, number, len(runs)), table.of(name) if table else None)
                for number, table in enumerate(tables)
            ],
        )
        for name in words.in_order(seen)
    ]
    gains = [(number, words.gain_line(table)) for number, table in enumerate(tables) if table]
    first = have[0]
    return _Comparison(
        heading=heading,
        probe=probe,
        chance=first.chance,
        num_test=max(table.num_test for table in have),
        encoder=first.encoder,
        gains=[(number, gain) for number, gain in gains if gain],
        groups=groups,
    )


def _colour(stands_out: bool, number: int, num_runs: int) -> str:
    """One run: the encoder stands out. Several: every run has its own."""
    if num_runs > 1:
        return f"var(--series-{number % NUM_COLOURS})"
    return "var(--accent)" if stands_out else "var(--bar)"
