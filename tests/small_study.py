"""Studies that a test can run: tiny cells on the toy modality, and that modality installed for other processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from study_toy import made_up_study
from toy_train import rows, weights

from jepa_core.ablation.cells import Study
from jepa_core.ablation.results import StudyResults

STEPS = 6
TINY = (
    f"train.steps={STEPS}",
    "checkpoint.every=2",
    "collapse={every: 3, grace: 0}",
    "modality.train_samples=32",
    "probes=[{name: knn, k: 5}]",
)
ARMS: Mapping[str, tuple[str, ...]] = {"half": (), "most": ("masking.ratio=0.8",), "rows": ("preset=rows",)}


def small_study(
    arms: Mapping[str, Sequence[str]] = ARMS, *always: str, seeds: tuple[int, ...] = (0,), **evaluation: Any
) -> Study:
    """`arms` on one base; what is in `always` holds for all of them. Call it while the toy modality is registered."""
    overrides = {arm: (*TINY, *always, *own) for arm, own in arms.items()}
    study = made_up_study(tuple(arms), seeds, bases=("waves",), absent={}, overrides=overrides)
    measured = study.config.evaluation.model_copy(update=evaluation)
    return replace(study, config=study.config.model_copy(update={"evaluation": measured}))


def trace(run: Path) -> dict[str, Any]:
    """Everything that a cell left but for what depends on the clock."""
    whole = {name: (run / name).read_bytes() for name in ("config.yaml", "eval.json", "eval_items.safetensors")}
    return {"rows": rows(run), "weights": weights(run), **whole}


def found(results: StudyResults) -> list[Any]:
    """Results without what depends on the clock, on the folder and on how the toy modality is supplied."""
    measured = [{**vars(each), "correct": each.correct.tolist()} for each in results.measurements]
    facts = [replace(each, seconds=0.0, folder=Path(), versions={}) for each in results.facts]
    return [measured, facts, results.unfinished, results.baselines]


def install_toy(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str = "") -> None:
    """Let processes that are started from now on find the toy modality as an installed package.

    `module` is the text of one more module, `extra` in the folder `modules`, that supplies the objective `deadly`.
    """
    info = folder / "toy_modality-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-modality\nVersion: 0.1\n")
    points = "[jepa.modalities]\ntoy = toy:TOY\n[jepa.maskings]\ntoy_rows = toy:TOY_ROWS\n"
    if module:
        (folder / "modules").mkdir()
        (folder / "modules" / "extra.py").write_text(module)
        points += "[jepa.objectives]\ndeadly = extra:DEADLY\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (folder, folder / "modules", Path(__file__).parent))))


def work_in_child(folder: Path, kill_at: int = 0, only: str | None = None, mine: Path | None = None) -> None:
    """Work on a study; kill this process at the so many-th sign of life, and write which cells it began into `mine`."""
    import torch
    from toy import toy_registered

    from jepa_core.ablation.cells import Cell
    from jepa_core.ablation.folder import StudyFolder
    from jepa_core.ablation.running import work

    torch.set_num_threads(1)
    told: list[str] = []

    def tell(cell: Cell, what: str, done: int, _total: int) -> None:
        told.append(cell.name)
        if mine is not None and (what, done) == ("pretraining", 1):
            with mine.open("a") as file:
                file.write(f"{cell.name}\n")
        if len(told) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with toy_registered():
        place = StudyFolder(folder)
        assert work(place.read(), place, only=only, worker=str(os.getpid()), tell=tell)


def run_study_in_child(path: Path) -> None:
    """Be the runner of a study that was opened."""
    from toy import toy_registered

    from jepa_core.ablation.folder import StudyFolder
    from jepa_core.ablation.launching import run_study

    with toy_registered():
        folder = StudyFolder(path)
        run_study(folder.read(), folder, resume=True)
