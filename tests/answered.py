"""Results of studies that never ran: who answered what is drawn from stated accuracies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from toy import toy_config

from jepa_core.ablation.cells import Cell, Study
from jepa_core.ablation.results import CellFacts, Measurement, StudyResults
from jepa_core.ablation.study import BaseConfig, EvaluationConfig, StudyConfig
from jepa_core.collapse import Verdict

SEEDS = (0, 1, 2)


def study_of(
    arms: Sequence[str], seeds: Sequence[int] = SEEDS, bases: Sequence[str] = ("waves",), **evaluation: object
) -> Study:
    """Arms on bases; the first arm is the reference. Call it while the toy modality is registered."""
    config = StudyConfig(
        bases={base: BaseConfig(config="demo toy") for base in bases},
        seeds=tuple(seeds),
        evaluation=EvaluationConfig.model_validate(evaluation),
    )
    configs = {seed: toy_config(f"seed={seed}") for seed in seeds}
    cells = tuple(Cell(base, arm, seed, configs[seed]) for base in bases for seed in seeds for arm in arms)
    return Study("made-up", config, tuple(arms), arms[0], cells, {})


def results_of(
    study: Study,
    levels: Mapping[str, float],
    *,
    items: int = 200,
    metrics: Sequence[str] = ("side/linear",),
    seed_spread: float = 0.02,
    draw: int = 0,
) -> StudyResults:
    """True accuracies by arm, and of `random` where it is to be measured (in the first arm alone); each cell's own
    accuracy lies `seed_spread` around it."""
    generator = np.random.default_rng(draw)
    measurements: list[Measurement] = []
    for cell in study.cells:
        own = {"target": levels[cell.arm]}
        if "random" in levels and cell.arm == study.arms[0]:
            own |= {"random": levels["random"], "raw": 0.5}
        for metric in metrics:
            heading, _, probe = metric.rpartition("/")
            for representation, level in own.items():
                correct = generator.random(items) < level + seed_spread * generator.standard_normal()
                measurements.append(
                    Measurement(
                        cell.base, cell.arm, cell.seed, heading, probe, representation, float(correct.mean()), correct
                    )
                )
    baselines = {
        (cell.base, cell.arm, cell.seed, name): study.arms[0]
        for cell in study.cells
        for name in ("random", "raw")
        if "random" in levels
    }
    return StudyResults(study, tuple(measurements), tuple(map(facts_of, study.cells)), {}, baselines)


def facts_of(cell: Cell) -> CellFacts:
    """A healthy run."""
    return CellFacts(
        base=cell.base,
        arm=cell.arm,
        seed=cell.seed,
        folder=Path("cells") / cell.name,
        config_hash=f"hash of {cell.name}",
        steps=100,
        seconds=10.0,
        flops=2_000_000,
        context_tokens=18,
        predicted_tokens=18,
        parameters=1000,
        verdict=Verdict("healthy", ()),
        collapse={"target_rank": 0.5, "target_std": 0.9, "sample_cosine": 0.2},
        loss=0.25,
        curve=((100, 0.25),),
    )


def renamed(results: StudyResults, names: Mapping[str, str]) -> StudyResults:
    """The same results under other names of arms; their order stays."""
    study = replace(
        results.study,
        arms=tuple(names.get(arm, arm) for arm in results.study.arms),
        reference=names.get(results.study.reference, results.study.reference),
        cells=tuple(replace(cell, arm=names.get(cell.arm, cell.arm)) for cell in results.study.cells),
    )
    return replace(
        results,
        study=study,
        measurements=tuple(replace(each, arm=names.get(each.arm, each.arm)) for each in results.measurements),
        facts=tuple(replace(each, arm=names.get(each.arm, each.arm)) for each in results.facts),
        baselines={
            (base, names.get(arm, arm), seed, name): names.get(owner, owner)
            for (base, arm, seed, name), owner in results.baselines.items()
        },
    )
