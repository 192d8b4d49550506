"""A made-up study, for tests of what is written about studies: no cell of it ever ran.

`made_up_study()` has two bases, four arms and three seeds; `made_up_results(study)` invents answers around `LEVELS`.
Call both while the toy modality is registered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from toy import toy_config

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
NUM_TEST = 2000
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
    return Study("hidden", config, tuple(arms), arms[0], cells, absent, Path("studies/hidden.yaml"))


def made_up_results(
    study: Study,
    unfinished: Mapping[str, str] | None = None,
    levels: Mapping[tuple[str, str], float] = LEVELS,
    folder: Path = Path("runs/ablate-hidden"),
    random: float = RANDOM,
) -> StudyResults:
    """Answers around `levels`, the same at every call; an arm of accuracy below 0.5 collapsed.

    A test sample is as hard for all arms, so that they differ on few of them, and the luck of a seed is an arm's own.
    """
    unfinished = unfinished or {}
    measurements: list[Measurement] = []
    facts: list[CellFacts] = []
    for cell in (cell for cell in study.cells if cell.name not in unfinished):
        level = levels[cell.base, cell.arm]
        luck = np.random.default_rng([cell.seed, round(1000 * level)]).normal(0, 0.004)
        for probe in PROBES:
            hardness = np.random.default_rng([cell.seed, len(probe)]).random(NUM_TEST) + 0.03 * (probe == "knn")
            for name, accuracy in {"target": level + luck, "random": random, "raw": RAW}.items():
                correct = hardness < accuracy
                place = (cell.base, cell.arm, cell.seed, "direction", probe, name)
                measurements.append(Measurement(*place, accuracy=float(correct.mean()), correct=correct))
        facts.append(_cell_facts(cell, folder, collapsed=level < 0.5))
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
