"""The studies in configs/ablation: each in two sizes, valid as a whole, with its command and price."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jepa_core.ablation import pace
from jepa_core.ablation.cells import read_study
from jepa_core.checkpoint import RunFolder
from jepa_core.masking.inspect import measure
from jepa_core.model import Parts
from jepa_core.planning import work

FOLDER = Path(__file__).parent.parent / "configs" / "ablation"
STUDIES = sorted(FOLDER.glob("*.yaml"))
TOPICS = {
    "masking",
    "target_scale",
    "context_scale",
    "num_targets",
    "target_masking",
    "predictor_depth",
    "weight_decay",
    "predictor_width",
    "collapse",
    "objective",
    "visible_ratio",
    "positions",
    "truncation",
}


def test_every_topic_has_a_tiny_form_and_one_of_the_size_of_papers() -> None:
    assert {path.stem for path in STUDIES} == {f"{topic}_{size}" for topic in TOPICS for size in ("tiny", "paper")}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_is_feasible_in_every_cell_and_states_command_and_price(path: Path) -> None:
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert f"# Command:  jepa ablate configs/ablation/{path.name}" in "\n".join(header)
    stated = {found[1]: found[2] for line in header if (found := re.match(r"# (\w+): +(\S.*)", line))}
    assert stated.keys() >= {"Price", "Expected"}
    assert not {word for text in stated.values() for word in text.split()} & {"PRICE", "EXPECTED"}
    study = read_study(path)
    assert study.config.title.endswith("?")
    assert len(study.config.seeds) in {3, 5}
    assert set(study.absent.values()) <= {"the study leaves it out"}
    if path.stem.endswith("_tiny"):
        assert re.match(rf"(about )?\d+ minutes on two cores.* {len(study.cells)} cells", stated["Price"])
        assert study.config.threads == 1, "the table would depend on the number of jobs"


def test_all_arms_of_the_masking_study_show_and_predict_equally_many_tokens() -> None:
    study = read_study(FOLDER / "masking_tiny.yaml", ["seeds=[0]"])
    counts: dict[str, set[tuple[int, int]]] = {}
    for cell in study.cells:
        views = measure(Parts.of(cell.config).masking, samples=8).views
        assert all(len(set(view.context_tokens)) == len(set(view.target_tokens)) == 1 for view in views)
        shown = sum(view.context_tokens[0] for view in views)
        predicted = sum(view.target_tokens[0] * view.budget.num_targets for view in views)
        counts.setdefault(cell.base, set()).add((shown, predicted))
    assert counts.keys() == {"image", "video", "audio"}
    assert {len(found) for found in counts.values()} == {1}


@pytest.mark.parametrize(("base", "measured"), [("image", 3.0), ("video", 1.0)])
def test_a_base_that_keeps_its_files_is_timed_with_files_in_memory(
    base: str, measured: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = read_study(FOLDER / "objective_tiny.yaml", ["seeds=[0]"])
    cell = next(cell for cell in study.cells if cell.base == base)
    seconds = iter((3.0, 2.0, 1.0))
    monkeypatch.setattr(pace, "_seconds_per_step", lambda *_: next(seconds))
    planned = work(cell.config)
    found = pace.pace_of([cell], {cell.arm: planned}, lambda _: RunFolder(tmp_path), threads=1)
    assert found.seconds_per_flop * planned.flops.step == pytest.approx(measured)
