"""The report of a study: one self-contained HTML file that begins with the finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jepa_core.ablation import sentences
from jepa_core.ablation.analysis import Analysis, ArmFacts, Row
from jepa_core.ablation.cells import Cell, Study
from jepa_core.ablation.figures import Forest, HeatCell, forest, heat_map, learning_curves, legend
from jepa_core.ablation.findings import REMAINDERS, seeds_apart
from jepa_core.ablation.headline import headline, scope
from jepa_core.ablation.results import CellFacts, StudyResults
from jepa_core.collapse import EXPLANATIONS
from jepa_core.config.compare import Change, choices
from jepa_core.config.text import config_hash, to_yaml
from jepa_core.report import words
from jepa_core.report.page import environment, require_folder, write_page
from jepa_core.report.words import Finding

SECTIONS = (
    ("arms", "Arms"),
    ("results", "Results"),
    ("gains", "Normalised gain"),
    ("differences", "Differences"),
    ("curves", "Learning curves"),
    ("collapse", "Collapse"),
    ("cost", "Cost"),
    ("unequal", "What differed anyway"),
    ("missing", "Missing"),
    ("numbers", "All numbers"),
    ("reproduce", "Reproduce"),
)
"""Anchor and name of every section, in order."""

_HASH_DIGITS = 12
_FILTERS: Mapping[str, Callable[..., object]] = {
    "interval": sentences.interval,
    "bounds": sentences.bounds,
    "tick": sentences.tick,
    "p": sentences.p_value,
    "alone": sentences.alone,
    "by_seed": sentences.by_seed,
    "duration": words.duration,
    "flops": words.flops,
    "count": sentences.whole,
}


@dataclass(frozen=True)
class _Entry:
    """One arm on one base in the table of results."""

    row: Row | None
    judgement: sentences.Judgement | None
    tags: list[sentences.Tag]
    heat: HeatCell | None
    absent: str
    """Why there is no number, or ""."""


@dataclass(frozen=True)
class _Arm:
    """What an arm is."""

    name: str
    changes: list[str]
    """Where its configuration differs from the reference's; the reference's own from its base, and so all of them where
    the reference does not exist."""
    matched: str
    """What `match` changed, in words."""


@dataclass(frozen=True)
class _Base:
    """What the page says of one base."""

    name: str
    metric: str
    """The primary one; "" where nothing was measured."""
    num_test: int
    rows: list[Row]
    """By arm, of the primary metric."""
    finding: Finding
    forest: Forest | None
    facts: list[ArmFacts]
    has_reference: bool
    """Whether the reference exists here; where it does not, nothing is compared."""
    reference: ArmFacts | None
    """What the reference cost."""
    differed: Sequence[str]
    metrics: list[tuple[str, list[Row]]]
    """Every metric with its rows."""
    arms: list[_Arm]
    cells: list[tuple[Cell, CellFacts | None]]


def write_study_report(analysis: Analysis, out: Path, command: str = "") -> Path:
    """Write the report of a study, finished or not.

    Args:
        analysis: what the finished cells show.
        out: the HTML file; its folder exists.
        command: the command line that ran the study; by default `jepa ablate` with the study's file.

    Returns:
        The file that was written.

    Raises:
        UsageError: there is no such folder, or the file cannot be written.
    """
    require_folder(out)
    study = analysis.results.study
    return write_page(_render(analysis, command or words.command("jepa", "ablate", str(study.path))), out)


def _render(analysis: Analysis, command: str) -> str:
    results = analysis.results
    study, bases = results.study, [_base(analysis, name) for name in results.study.config.bases]
    templates = environment("ablation")
    templates.filters.update(_FILTERS)
    return templates.get_template("study.html.j2").render(
        title=study.config.title or study.name,
        study=study,
        scope=scope(analysis),
        headline=headline(analysis),
        findings=analysis.findings,
        how_to_read=sentences.how_to_read(study, analysis.facts),
        judgements=sentences.judgements(),
        bases=bases,
        collapsed=any(each.verdict == "collapsed" for each in analysis.facts),
        table=[(arm, [_entry(analysis, base, arm) for base in bases]) for arm in study.arms],
        controls=_controls(bases),
        sections=SECTIONS,
        legend=legend(study.arms),
        curves=learning_curves(analysis),
        explanations=EXPLANATIONS,
        remainders=REMAINDERS,
        threads=results.threads,
        unfinished=results.unfinished,
        origin=_origin(results),
        command=command,
        study_yaml=to_yaml(study.config),
        hash_digits=_HASH_DIGITS,
    )


def _base(analysis: Analysis, name: str) -> _Base:
    results, metric = analysis.results, analysis.primary.get(name, "")
    study = results.study
    own = [row for row in analysis.rows if row.base == name]
    metrics = [(each, [row for row in own if row.metric == each]) for each in dict.fromkeys(row.metric for row in own)]
    rows = dict(metrics).get(metric, [])
    num_test = _num_test(results, name, metric)
    facts = [each for each in analysis.facts if each.base == name]
    cells = [cell for cell in study.cells if cell.base == name]
    done = {(each.arm, each.seed): each for each in results.facts if each.base == name}
    return _Base(
        name=name,
        metric=metric,
        num_test=num_test,
        rows=rows,
        finding=sentences.base_finding(rows, study.reference, num_test, facts),
        forest=forest(rows, study.reference),
        facts=facts,
        has_reference=any(cell.arm == study.reference for cell in cells),
        reference=next((each for each in facts if each.arm == study.reference), None),
        differed=analysis.differed.get(name, ()),
        metrics=metrics,
        arms=_arms(study, name, cells),
        cells=[(cell, done.get((cell.arm, cell.seed))) for cell in cells],
    )


def _num_test(results: StudyResults, base: str, metric: str) -> int:
    """How many test samples a metric was measured on."""
    return max(
        (len(each.correct) for each in results.measurements if (each.base, each.metric) == (base, metric)), default=0
    )


def _arms(study: Study, base: str, cells: Sequence[Cell]) -> list[_Arm]:
    """Every arm that exists on a base, as the configurations of the first seed have it."""
    configs = {cell.arm: cell.config for cell in reversed(cells)}
    reference = configs.get(study.reference)

    def changes(arm: str) -> Iterable[Change]:
        if reference is None or arm == study.reference:
            return study.changes.get((base, arm), ())
        return choices(reference, configs[arm])

    return [
        _Arm(arm, [str(change) for change in changes(arm)], study.matched.get((base, arm), ""))
        for arm in study.arms
        if arm in configs
    ]


def _entry(analysis: Analysis, base: _Base, arm: str) -> _Entry:
    results = analysis.results
    study = results.study
    row = next((row for row in base.rows if row.arm == arm), None)
    if row is None:
        absent = study.absent.get((base.name, arm), "no cell of this arm has a result")
        return _Entry(None, None, [], None, absent)
    facts = next((each for each in base.facts if each.arm == arm), None)
    remarks = sentences.tags(row, facts, len(study.config.seeds), seeds_apart(row, base.rows, study.reference))
    return _Entry(row, sentences.judge(row, study.reference, facts), remarks, heat_map([row])[base.name, arm], "")


def _controls(bases: Sequence[_Base]) -> list[tuple[str, list[str]]]:
    """The lines under the table of results: the untrained encoder and the raw input on every base."""
    found = [sentences.controls(base.rows) for base in bases]
    lines = {name: [each[name] for each in found] for name in found[0]}
    return [(name, values) for name, values in lines.items() if any(values)]


def _origin(results: StudyResults) -> list[tuple[str, str]]:
    """Where the numbers come from: the study's terms, and the machines and packages of its cells."""
    config = results.study.config
    sources = [f"{name}: {base.config}" for name, base in config.bases.items()]
    probes = ", ".join(config.evaluation.probes) or "those of the base"
    return [
        ("bases", "; ".join(sources)),
        ("seeds", ", ".join(map(str, config.seeds))),
        ("match", config.match),
        ("probes", f"{probes}, on the {config.evaluation.encoder} encoder"),
        ("intervals", f"{config.confidence:.0%}"),
        ("study, SHA-256", config_hash(config)[:_HASH_DIGITS]),
        ("threads per cell", str(results.threads or "not recorded")),
        ("devices", "; ".join(_counted([each.device for each in results.facts if each.device])) or "not stated"),
        ("versions", "; ".join(_counted([_versions(each.versions) for each in results.facts])) or "not stated"),
    ]


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _counted(values: Sequence[str]) -> list[str]:
    """The different values; where there are several, each with the number of its cells."""
    kinds = [value for value in dict.fromkeys(values) if value]
    return kinds if len(kinds) < 2 else [f"{value} ({values.count(value)} cells)" for value in kinds]
