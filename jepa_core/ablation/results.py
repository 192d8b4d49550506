"""What the finished cells of a study found, as plain rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from jepa_core.ablation.cells import Cell, Study
from jepa_core.ablation.folder import CellState, StudyFolder
from jepa_core.ablation.record import StudyRecord
from jepa_core.checkpoint import read_state
from jepa_core.collapse import METRICS, Verdict, verdict
from jepa_core.config.text import config_hash
from jepa_core.errors import CheckpointError, JepaError
from jepa_core.evaluation import read_correct
from jepa_core.masking.limited import is_steady
from jepa_core.metrics import read_log
from jepa_core.model import Parts
from jepa_core.planning import Work, work

_Samples = Mapping[str, Any]


@dataclass(frozen=True)
class Measurement:
    """One probe on one representation of one cell, under one heading."""

    base: str
    arm: str
    seed: int
    heading: str
    probe: str
    representation: str
    """target, context, random (never trained), raw, or "raw, NAME"."""
    accuracy: float
    """Share of the test samples that were answered rightly, in [0, 1]."""
    correct: Bool[np.ndarray, "items"]
    """Which of the test samples: the same samples in the same order for all cells of a base."""

    @property
    def metric(self) -> str:
        """HEADING/PROBE."""
        return f"{self.heading}/{self.probe}"


@dataclass(frozen=True)
class CellFacts:
    """What a finished cell was, and what became of it."""

    base: str
    arm: str
    seed: int
    folder: Path
    config_hash: str
    steps: int
    seconds: float
    """Wall clock of pretraining."""
    flops: int
    """Of the whole run, as `jepa plan` counts."""
    context_tokens: int
    """Per sample, over all views."""
    predicted_tokens: int
    """Per sample, over all views and blocks; cells in several blocks count as often."""
    parameters: int
    """Encoder and predictor."""
    verdict: Verdict
    """Of the collapse monitor."""
    collapse: Mapping[str, float | None]
    """Its last measurement, by metric."""
    loss: float
    """The last one logged."""
    curve: tuple[tuple[int, float], ...]
    """(step, loss) of every logged step."""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the packages that it was trained with, as its checkpoint states them."""
    device: str = ""
    """What it was trained on, such as `1 x cpu`."""
    samples: int = 0
    """That the updates saw, each as often as it was drawn."""
    varies: bool = False
    """The masks have other lengths in every batch, so that tokens and FLOPs are those of the budget, nearly."""


@dataclass(frozen=True)
class StudyResults:
    """Everything that analysis and report are made from."""

    study: Study
    measurements: tuple[Measurement, ...]
    """Of finished cells, in the study's order; a baseline that several arms share is here once, under the arm that
    measured it."""
    facts: tuple[CellFacts, ...]
    unfinished: Mapping[str, str]
    """Cells without a result, by name, and why: waiting, running, or what went wrong."""
    baselines: Mapping[tuple[str, str, int, str], str] = field(default_factory=dict[tuple[str, str, int, str], str])
    """(base, arm, seed, representation) to the arm whose measurement of `random` or `raw` holds for it too."""
    threads: int | None = None
    """Processor threads per cell, as the study's folder records them; None where it does not."""


def read_results(study: Study, folder: Path) -> StudyResults:
    """Read the cells' folders below `folder`; what is damaged is unfinished, with the reason."""
    place = StudyFolder(folder)
    states, wanted, works = place.states(study), place.wanted(study), _Works()
    measurements: list[Measurement] = []
    facts: list[CellFacts] = []
    unfinished: dict[str, str] = {}
    tested = _tested(study, place, states)
    for cell in study.cells:
        try:
            found = _measurements(study, cell, place, states[cell.name], wanted[cell.name])
            _require_same_samples(cell, place, *tested[cell.base])
            fact = _facts(cell, place, works)
        except JepaError as error:
            unfinished[cell.name] = " ".join(str(error).split())
        else:
            measurements += found
            facts.append(fact)
    threads = StudyRecord.read(place.record_path).threads if place.record_path.exists() else None
    return StudyResults(study, tuple(measurements), tuple(facts), unfinished, place.baselines(study), threads)


def _measurements(
    study: Study, cell: Cell, place: StudyFolder, state: CellState, wanted: tuple[str, ...]
) -> list[Measurement]:
    """Everything that a cell is to measure; raises CheckpointError where it is not there."""
    if state.state != "done":
        raise CheckpointError(_why(state))
    found, headings = place.evaluation(cell), study.config.evaluation.headings
    assert found is not None
    correct = read_correct(place.run(cell).path)
    return [
        Measurement(
            base=cell.base,
            arm=cell.arm,
            seed=cell.seed,
            heading=result["heading"],
            probe=result["probe"],
            representation=result["representation"],
            accuracy=result["accuracy"],
            correct=correct["/".join(result[name] for name in ("heading", "probe", "representation"))],
        )
        for result in found["results"]
        if result["representation"] in wanted and (not headings or result["heading"] in headings)
    ]


def _why(state: CellState) -> str:
    match state.state:
        case "failed":
            return state.note
        case "interrupted" | "running":
            return f"{state.state}, after step {state.step} of {state.steps}"
        case _:
            return state.state


def _tested(study: Study, place: StudyFolder, states: Mapping[str, CellState]) -> dict[str, tuple[str, _Samples]]:
    """By base, the cell whose test samples hold for all, the reference's where it is done; and which these are."""
    found: dict[str, tuple[str, _Samples]] = {}
    for cell in sorted(study.cells, key=lambda cell: cell.arm != study.reference):
        if states[cell.name].state == "done":
            found.setdefault(cell.base, (cell.name, _samples(place, cell)))
    return found


def _samples(place: StudyFolder, cell: Cell) -> _Samples:
    """What tells the test samples of a finished cell from others; None where an older evaluation does not say."""
    found = place.evaluation(cell)
    assert found is not None
    return {
        "classes": {name: heading["label_hash"] for name, heading in found["headings"].items()},
        "test samples": found.get("test_hash"),
        "unreadable test samples": [each["index"] for each in found["unreadable"]["probe_test"]],
    }


def _require_same_samples(cell: Cell, place: StudyFolder, other: str, tested: _Samples) -> None:
    """Raise CheckpointError where a cell was not tested on the samples that another one was tested on."""
    for what, own in _samples(place, cell).items():
        if own is not None and tested[what] is not None and own != tested[what]:
            raise CheckpointError(
                f"{place.run(cell).path / 'eval.json'}: has other {what} than {other}, and answers are compared sample "
                "by sample. Mend the data, remove eval.json, and continue with --resume; an arm that is to have other "
                "data needs a base of its own."
            )


class _Works:
    """What `jepa plan` counts of a configuration: the same for every seed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Work, bool]] = {}

    def of(self, cell: Cell) -> Work:
        return self._of(cell)[0]

    def varies(self, cell: Cell) -> bool:
        """Whether its masks have other lengths in every batch."""
        return self._of(cell)[1]

    def _of(self, cell: Cell) -> tuple[Work, bool]:
        key = config_hash(cell.config.model_copy(update={"seed": 0}))
        if key not in self._known:
            self._known[key] = work(cell.config), not is_steady(Parts.of(cell.config).masking)
        return self._known[key]


def _facts(cell: Cell, place: StudyFolder, works: _Works) -> CellFacts:
    """What became of a cell that is done; raises CheckpointError where its checkpoint is damaged."""
    run, planned = place.run(cell), works.of(cell)
    state, rows = read_state(run.find()), read_log(run.metrics_path)
    measured = [row for row in rows if "collapse/warnings" in row]
    steps = cell.config.train.steps
    if not rows:
        raise CheckpointError(f"{run.metrics_path}: is gone or empty. Remove the cell's folder to run it anew.")
    return CellFacts(
        base=cell.base,
        arm=cell.arm,
        seed=cell.seed,
        folder=run.path,
        config_hash=config_hash(cell.config),
        steps=state["step"],
        seconds=state["seconds"],
        flops=planned.flops.run,
        context_tokens=planned.context_tokens,
        predicted_tokens=planned.predicted_tokens,
        parameters=planned.parameters.encoder + planned.parameters.predictor,
        verdict=verdict(measured, cell.config.collapse, steps),
        collapse={name: measured[-1].get(f"collapse/{name}") for name in METRICS} if measured else {},
        loss=rows[-1]["loss"],
        curve=tuple((row["step"], row["loss"]) for row in rows),
        versions=state["versions"],
        device=state["device"],
        samples=state["step"] * cell.config.train.batch_size,
        varies=works.varies(cell),
    )
