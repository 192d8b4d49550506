"""The numbers of a study as files: unrounded for programs, and as tables for a page or a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jepa_core.ablation.analysis import Analysis, ArmFacts, Difference, Row
from jepa_core.ablation.answers import Answers
from jepa_core.ablation.findings import seeds_apart
from jepa_core.ablation.latex import latex_table
from jepa_core.ablation.sentences import interval, judge, p_value, seeds_named
from jepa_core.errors import UsageError
from jepa_core.report.words import points

Record = Mapping[str, str | int | float | bool | None]
"""A line of a file, by column."""

_RESULT = {
    "base": pa.string(),
    "arm": pa.string(),
    "seed": pa.int64(),
    "heading": pa.string(),
    "probe": pa.string(),
    "primary": pa.bool_(),
    "encoder": pa.string(),
    "accuracy": pa.float64(),
    "random": pa.float64(),
    "raw": pa.float64(),
    "correct": pa.int64(),
    "items": pa.int64(),
    "config_hash": pa.string(),
}


_COLLAPSE = ("target_rank", "target_std", "sample_cosine", "own_gain")
"""What the collapse monitor measured last, as far as it decides or explains a verdict."""


def write_tables(analysis: Analysis, folder: Path) -> list[Path]:
    """Put the tables of a study into its folder, in place of earlier ones; returns the files.

    results.csv and results.parquet: a line per cell and metric. comparisons.csv: a line per arm, metric and what it is
    compared with. cells.csv: what every cell was and cost. table.md, table.tex: what one reads. Only cells.csv depends
    on the clock.

    Raises:
        UsageError: the disk refuses.
    """
    results, schema = result_records(analysis), pa.schema(list(_RESULT.items()))
    writers: Mapping[str, Callable[[Path], object]] = {
        "results.csv": lambda path: _write(path, _csv(results)),
        "results.parquet": lambda path: pq.write_table(pa.Table.from_pylist(results, schema), path),
        "comparisons.csv": lambda path: _write(path, _csv(comparison_records(analysis))),
        "cells.csv": lambda path: _write(path, _csv(cell_records(analysis))),
        "table.md": lambda path: _write(path, markdown(analysis)),
        "table.tex": lambda path: _write(path, latex_table(analysis)),
    }
    for name, write in writers.items():
        path, partial = folder / name, folder / f"{name}.tmp"
        try:
            write(partial)
            partial.replace(path)
        except OSError as error:
            raise UsageError(f"{path}: could not be written ({error}). Give another folder: --run-dir") from error
    return [folder / name for name in writers]


def result_records(analysis: Analysis) -> list[Record]:
    """A line per cell and metric, with the baselines of the same seed."""
    answers = Answers.of(analysis.results)
    hashes = {(fact.base, fact.arm, fact.seed): fact.config_hash for fact in analysis.results.facts}
    encoder = analysis.results.study.config.evaluation.encoder
    records: list[Record] = []
    for place, measured in answers.arms.items():
        baselines = {"random": answers.random[place], "raw": answers.raw[place]}
        for seed, each in measured.items():
            records.append(
                {
                    "base": place.base,
                    "arm": place.arm,
                    "seed": seed,
                    "heading": each.heading,
                    "probe": each.probe,
                    "primary": analysis.primary[place.base] == place.metric,
                    "encoder": encoder,
                    "accuracy": each.accuracy,
                    **{name: found[seed].accuracy if seed in found else None for name, found in baselines.items()},
                    "correct": int(each.correct.sum()),
                    "items": len(each.correct),
                    "config_hash": hashes[place.base, place.arm, seed],
                }
            )
    return records


def comparison_records(analysis: Analysis) -> list[Record]:
    """A line per arm, metric and what it is compared with: the reference, or its own network never trained."""
    reference = analysis.results.study.reference
    return [
        _comparison(analysis, row, other, difference)
        for row in analysis.rows
        for other, difference in ((reference, row.difference), ("never trained", row.minus_random))
        if difference is not None
    ]


def _comparison(analysis: Analysis, row: Row, other: str, difference: Difference) -> Record:
    names = ("value", "low", "high", "adjusted_low", "adjusted_high", "bootstrap_low", "bootstrap_high")
    names += ("p", "adjusted_p", "stands")
    return {
        "base": row.base,
        "metric": row.metric,
        "primary": analysis.primary[row.base] == row.metric,
        "arm": row.arm,
        "minus": other,
        **{name: getattr(difference, name) for name in names},
    }


def cell_records(analysis: Analysis) -> list[Record]:
    """A line per cell, those without a result included."""
    results = analysis.results
    facts = {(fact.base, fact.arm, fact.seed): fact for fact in results.facts}
    plain = ("config_hash", "steps", "seconds", "flops", "context_tokens", "predicted_tokens", "parameters", "loss")
    records: list[Record] = []
    for cell in results.study.cells:
        fact = facts.get((cell.base, cell.arm, cell.seed))
        records.append(
            {
                "base": cell.base,
                "arm": cell.arm,
                "seed": cell.seed,
                "unfinished": results.unfinished.get(cell.name),
                **{name: getattr(fact, name, None) for name in plain},
                "verdict": fact.verdict.state if fact else None,
                "warnings": " ".join(fact.verdict.reasons) if fact else None,
                **{name: fact.collapse.get(name) if fact else None for name in _COLLAPSE},
            }
        )
    return records


def markdown(analysis: Analysis) -> str:
    """The findings, and a table per base and metric, the primary one first."""
    study = analysis.results.study
    title = study.config.title or study.name
    parts = [f"# {title}", "\n".join(f"- {sentence}" for sentence in analysis.findings)]
    for base in study.config.bases:
        rows = [row for row in analysis.rows if row.base == base]
        metrics = sorted(dict.fromkeys(row.metric for row in rows), key=lambda metric: metric != analysis.primary[base])
        facts = {each.arm: each for each in analysis.facts if each.base == base}
        parts += [
            _markdown_table(analysis, base, metric, [row for row in rows if row.metric == metric], facts)
            for metric in metrics
        ]
    missing = [f"- {base}/{arm}: {why}" for (base, arm), why in study.absent.items()]
    missing += [f"- {name}: {why}" for name, why in analysis.results.unfinished.items()]
    parts += ["Without a result:\n\n" + "\n".join(missing)] if missing else []
    return "\n\n".join(parts) + "\n"


def _markdown_table(
    analysis: Analysis, base: str, metric: str, rows: Sequence[Row], facts: Mapping[str, ArmFacts]
) -> str:
    study = analysis.results.study
    reference, num_seeds = study.reference, len(study.config.seeds)
    head = (
        "arm",
        "seeds",
        "accuracy, %",
        f"minus {reference}, points",
        "adjusted p",
        "",
        "never trained",
        "raw input",
        "gain",
        "collapse",
    )
    lines = [
        (
            row.arm,
            _seeds(row, num_seeds),
            accuracy(row),
            _difference(row, seeds_apart(row, rows, reference)),
            p_value(row.difference.adjusted_p) if row.difference else "",
            judge(row, reference, facts.get(row.arm)).word,
            "" if row.random is None else points(row.random),
            "" if row.raw is None else points(row.raw),
            "" if row.normalised_gain is None else f"{row.normalised_gain:.2f}",
            facts[row.arm].verdict if row.arm in facts else "",
        )
        for row in rows
    ]
    table = [head, ("---",) * len(head), *lines]
    text = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in table)
    return f"## {base}, {metric}\n\n{text}"


def _seeds(row: Row, num_seeds: int) -> str:
    """How many, and which of the study's where some have no result."""
    number = len(row.accuracies)
    return str(number) if number == num_seeds else f"{number} of {num_seeds}: {', '.join(map(str, row.accuracies))}"


def _difference(row: Row, apart: Sequence[int]) -> str:
    """With the seeds that it is of, where a mean is over more."""
    if row.difference is None:
        return ""
    fewer = f", {seeds_named(apart)}" if apart else ""
    return f"{interval(row.difference)}{fewer}"


def accuracy(row: Row) -> str:
    """Mean and standard deviation over seeds, in per cent."""
    return points(row.mean) if row.std is None else f"{points(row.mean)} ± {points(row.std)}"


def _csv(records: Sequence[Record]) -> str:
    """Numbers in full: reading them back gives the same."""
    text = io.StringIO()
    if records:
        writer = csv.DictWriter(text, fieldnames=list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
