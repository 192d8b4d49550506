"""A made-up study with its analysis, for tests of what is written about studies: no cell of it ever ran.

`made_up_study()` has two bases, four arms and three seeds; `analysed(study)` invents accuracies around `LEVELS` and
compares them with intervals of two and three points. Call both while the toy modality is registered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from toy import toy_config

from jepa_core.ablation.analysis import Analysis, ArmFacts, Difference, Row
from jepa_core.ablation.cells import Cell, Study
from jepa_core.ablation.results import CellFacts, Measurement, StudyResults
from jepa_core.ablation.study import BaseConfig, StudyConfig
from jepa_core.collapse import Verdict
from jepa_core.config.text import config_hash

ARMS = ("half", "rows", "most", "fast")
OVERRIDES: Mapping[str, tuple[str, ...]] = {
    "half": (),
    "rows": ("preset=rows",),
    "most": ("masking.ratio=0.8",),
    "fast": ("optim.lr.value=0.01",),
}
LEVELS: Mapping[tuple[str, str], float] = {
    ("waves", "half"): 0.70,
    ("waves", "rows"): 0.78,
    ("waves", "most"): 0.705,
    ("waves", "fast"): 0.42,
    ("tides", "half"): 0.61,
    ("tides", "most"): 0.615,
    ("tides", "fast"): 0.58,
}
"""Of the linear probe; (tides, rows) does not exist."""
NUM_TEST = 400
RANDOM, RAW = 0.55, 0.6
PROBES = ("linear", "knn")


def made_up_study(
    arms: Sequence[str] = ARMS,
    seeds: tuple[int, ...] = (0, 1, 2),
    bases: Sequence[str] = ("waves", "tides"),
    absent: Mapping[tuple[str, str], str] | None = None,
    overrides: Mapping[str, tuple[str, ...]] = OVERRIDES,
) -> Study:
    """Every arm on every base with every seed, but for those that are absent."""
    absent = {("tides", "rows"): "a grid of one axis has no rows"} if absent is None else absent
    config = StudyConfig(
        title="Which cells should be hidden?",
        bases={base: BaseConfig(config="demo toy") for base in bases},
        seeds=seeds,
    )
    cells = tuple(
        Cell(base, arm, seed, toy_config(f"seed={seed}", *overrides.get(arm, ())))
        for base in bases
        for seed in seeds
        for arm in arms
        if (base, arm) not in absent
    )
    return Study("hidden", config, tuple(arms), arms[0], cells, absent)


def made_up_results(
    study: Study,
    unfinished: Mapping[str, str] | None = None,
    levels: Mapping[tuple[str, str], float] = LEVELS,
    folder: Path = Path("runs/ablate-hidden"),
    random: float = RANDOM,
) -> StudyResults:
    """Accuracies around `levels`, the same at every call; an arm of accuracy below 0.5 collapsed."""
    unfinished, generator = unfinished or {}, np.random.default_rng(0)
    measurements: list[Measurement] = []
    facts: list[CellFacts] = []
    for cell in study.cells:
        level = levels[cell.base, cell.arm] + generator.normal(0, 0.006)
        if cell.name in unfinished:
            continue
        for probe in PROBES:
            shown = {"target": level, "random": random, "raw": RAW}
            for name, accuracy in shown.items():
                drawn = generator if name == "target" else np.random.default_rng(cell.seed)  # all arms share baselines
                correct = drawn.random(NUM_TEST) < accuracy - 0.03 * (probe == "knn")
                place = (cell.base, cell.arm, cell.seed, "direction", probe, name)
                measurements.append(Measurement(*place, accuracy=float(correct.mean()), correct=correct))
        facts.append(_cell_facts(cell, folder, collapsed=levels[cell.base, cell.arm] < 0.5))
    return StudyResults(study, tuple(measurements), tuple(facts), unfinished)


def _cell_facts(cell: Cell, folder: Path, *, collapsed: bool) -> CellFacts:
    noise, rows = np.random.default_rng(cell.seed), cell.arm == "rows"
    curve = tuple(
        (step, float(0.2 + 0.8 * np.exp(-step / 60) * (0.2 if collapsed else 1) + noise.normal(0, 0.01)))
        for step in range(10, 410, 10)
    )
    return CellFacts(
        base=cell.base,
        arm=cell.arm,
        seed=cell.seed,
        folder=folder / "cells" / cell.name,
        config_hash=config_hash(cell.config),
        steps=400,
        seconds=95.0 if rows else 61.0 + cell.seed,
        flops=2_400_000_000_000 if rows else 1_500_000_000_000,
        context_tokens=18,
        predicted_tokens=18,
        parameters=27_904,
        verdict=Verdict("collapsed", ("low_std", "low_rank")) if collapsed else Verdict("healthy", ()),
        collapse={"target_rank": 0.012 if collapsed else 0.61, "target_std": 0.03 if collapsed else 0.92},
        loss=curve[-1][1],
        curve=curve,
        versions={"jepa-core": "0.1.0", "torch": "2.11.0"},
        device="1 x cpu",
    )


def analysed(results: StudyResults) -> Analysis:
    """What a study of these results would show, with intervals that are made up too."""
    study = results.study
    metrics = list(dict.fromkeys(each.metric for each in results.measurements))
    rows = [
        row
        for base in study.config.bases
        for metric in metrics
        for arm in study.arms
        if (row := _row(results, base, metric, arm)) is not None
    ]
    best = {(base, metric): _best(rows, base, metric) for base in study.config.bases for metric in metrics}
    rows = [_with_gain(row, best[row.base, row.metric]) for row in rows]
    return Analysis(
        results=results,
        rows=tuple(rows),
        facts=tuple(_facts_of(results)),
        primary={base: metrics[0] for base in study.config.bases if metrics},
        differed={"waves": ("rows computes 1.60 times as much as half, although it trains for as many updates.",)},
        finding="On waves, rows is better than half and fast is worse. On tides no arm can be told apart from half.",
    )


def _accuracies(results: StudyResults, base: str, metric: str, arm: str, representation: str) -> dict[int, float]:
    return {
        each.seed: each.accuracy
        for each in results.measurements
        if (each.base, each.metric, each.arm, each.representation) == (base, metric, arm, representation)
    }


def _row(results: StudyResults, base: str, metric: str, arm: str) -> Row | None:
    own = _accuracies(results, base, metric, arm, "target")
    if not own:
        return None
    reference = results.study.reference
    others = {} if arm == reference else _accuracies(results, base, metric, reference, "target")
    random = _accuracies(results, base, metric, arm, "random")
    return Row(
        base=base,
        arm=arm,
        metric=metric,
        accuracies=own,
        mean=fmean(own.values()),
        std=stdev(own.values()) if len(own) > 1 else None,
        difference=difference_of(own, others),
        minus_random=difference_of(own, random),
        normalised_gain=None,
        random=fmean(random.values()) if random else None,
        raw=RAW if random else None,
    )


def difference_of(own: Mapping[int, float], other: Mapping[int, float]) -> Difference | None:
    """Own minus other by seed, with intervals of two and three hundredths to each side."""
    shared = own.keys() & other.keys()
    if not shared:
        return None
    value = fmean(own[seed] - other[seed] for seed in sorted(shared))
    stands = abs(value) > 0.03
    p = 0.0004 if stands else 0.41
    return Difference(value, value - 0.02, value + 0.02, value - 0.03, value + 0.03, p, min(1.0, 2 * p))


def _best(rows: Sequence[Row], base: str, metric: str) -> float:
    return max((row.mean for row in rows if (row.base, row.metric) == (base, metric)), default=0.0)


def _with_gain(row: Row, best: float) -> Row:
    if row.random is None or best <= row.random:
        return row
    return replace(row, normalised_gain=(row.mean - row.random) / (best - row.random))


def _facts_of(results: StudyResults) -> list[ArmFacts]:
    found: list[ArmFacts] = []
    for base in results.study.config.bases:
        for arm in results.study.arms:
            own = [each for each in results.facts if (each.base, each.arm) == (base, arm)]
            if own:
                found.append(_arm_facts(own))
    return found


def _arm_facts(own: Sequence[CellFacts]) -> ArmFacts:
    first = own[0]
    return ArmFacts(
        base=first.base,
        arm=first.arm,
        seeds=len(own),
        verdict=first.verdict.state,
        reasons=first.verdict.reasons,
        verdicts={each.seed: each.verdict.state for each in own},
        target_rank=first.collapse["target_rank"],
        target_std=first.collapse["target_std"],
        seconds=fmean(each.seconds for each in own),
        flops=fmean(each.flops for each in own),
        steps=first.steps,
        context_tokens=first.context_tokens,
        predicted_tokens=first.predicted_tokens,
        parameters=first.parameters,
    )
