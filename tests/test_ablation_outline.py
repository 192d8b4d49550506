"""What a study will be, before anything runs, and how long its cells will take."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from toy import toy_registered
from toy_train import train_toy

from jepa_core.ablation import pace
from jepa_core.ablation.cells import Cell, Study, read_study
from jepa_core.ablation.outline import ArmOutline, Cost, Outline, outline
from jepa_core.ablation.pace import Pace, pace_of
from jepa_core.checkpoint import RunFolder, read_state
from jepa_core.config import RunConfig
from jepa_core.planning import plan, work

pytestmark = pytest.mark.usefixtures("toy")

ARMS = "{plain: {}, rows: {set: {masking: {name: toy_rows, rows: 4}}}, deep: {set: {predictor.depth: 4}}}"
TWO = f"""
bases: {{toy: {{config: demo toy}}, small: {{config: demo toy, set: {{modality.cells: 4, train.steps: 40}}}}}}
arms: {ARMS}
seeds: [0, 1]
skip_infeasible: true
"""
ONE = "bases: {toy: {config: demo toy}}\narms: {plain: {}, deep: {set: {predictor.depth: 2}}}\nseeds: [0]"


def steady(_config: RunConfig, _threads: int) -> float:
    """A step takes a tenth of a second."""
    return 0.1


def nowhere(cell: Cell) -> RunFolder:
    return RunFolder(Path("nowhere") / cell.name)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Three arms on two bases, on one of which there are two."""
    path = tmp_path_factory.mktemp("two") / "study.yaml"
    path.write_text(TWO)
    with toy_registered():
        return read_study(path)


@pytest.fixture(scope="module")
def found(two: Study) -> Outline:
    """What it will be."""
    with toy_registered(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "_seconds_per_step", steady)
        return outline(two, nowhere)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Study]:
    """Reads a study of two arms with overrides."""

    def read(*overrides: str) -> Study:
        path = tmp_path / "study.yaml"
        path.write_text(ONE)
        return read_study(path, overrides)

    return read


@pytest.fixture
def run_of(tmp_path: Path) -> Callable[[Cell], RunFolder]:
    """Where cells are."""
    return lambda cell: RunFolder(tmp_path / "cells" / cell.name)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RunConfig, int]]:
    """What would have been measured, with how many threads."""
    asked: list[tuple[RunConfig, int]] = []

    def note(config: RunConfig, threads: int) -> float:
        asked.append((config, threads))
        return steady(config, threads)

    monkeypatch.setattr(pace, "_seconds_per_step", note)
    return asked


def at(found: Outline, base: str, arm: str) -> ArmOutline:
    (place,) = (each for each in found.arms if (each.base, each.arm) == (base, arm))
    return place


def cost(found: Outline, base: str, arm: str) -> Cost:
    its = at(found, base, arm).cost
    assert its is not None
    return its


# The outline


def test_every_arm_is_counted_as_jepa_plan_counts(two: Study, found: Outline) -> None:
    assert [(arm.base, arm.arm) for arm in found.arms] == [
        (base, arm) for base in ("toy", "small") for arm in ("plain", "rows", "deep")
    ]
    deep = cost(found, "toy", "deep")
    planned = plan(next(cell.config for cell in two.cells if (cell.base, cell.arm) == ("toy", "deep")))
    assert deep.flops == planned.flops.run
    assert deep.parameters == planned.parameters.encoder + planned.parameters.predictor
    assert (deep.context_tokens, deep.predicted_tokens, deep.steps) == (18, 18, 8)
    assert [str(change) for change in at(found, "toy", "deep").changes] == ["predictor.depth: 1 -> 4"]


def test_arms_that_do_not_exist_are_listed_with_their_reason_and_cost_nothing(found: Outline) -> None:
    absent = at(found, "small", "rows")
    assert absent.absent.startswith("masking.rows: 4 rows hide the whole grid")
    assert (absent.cost, absent.changes, absent.matched) == (None, (), "")


def test_the_time_of_a_study_is_that_of_its_cells_divided_by_the_jobs(found: Outline) -> None:
    cells = [arm.cost.seconds for arm in found.arms if arm.cost]
    assert len(cells) == 5
    assert found.seconds == pytest.approx(2 * sum(cells))
    assert replace(found, jobs=2).seconds == pytest.approx(found.seconds / 2)
    assert replace(found, jobs=99).seconds == pytest.approx(found.seconds / 10)  # one cell each


def test_arms_take_time_in_proportion_to_their_flops(found: Outline) -> None:
    plain, deep = cost(found, "toy", "plain"), cost(found, "toy", "deep")
    assert plain.seconds == pytest.approx(0.1 * 8)
    assert deep.seconds / plain.seconds == pytest.approx(deep.flops / plain.flops)
    assert deep.flops > 1.1 * plain.flops


@pytest.mark.usefixtures("asked")
def test_matching_shows_in_amounts_and_in_words(read: Callable[..., Study]) -> None:
    study = read("match=tokens", "arms.rows.set.masking={name: toy_rows, rows: 4}")
    found = outline(study, nowhere)
    costs = [cost(found, "toy", arm) for arm in ("plain", "rows", "deep")]
    assert {(each.context_tokens, each.predicted_tokens) for each in costs} == {(12, 16)}
    assert at(found, "toy", "rows").matched.endswith("to 12 context + 4 x 4 predicted tokens")


def test_an_outline_is_plain_json(two: Study, found: Outline) -> None:
    told = json.loads(json.dumps(found.as_json()))
    assert (told["study"], told["reference"], told["cells"], told["jobs"]) == ("study", "plain", len(two.cells), 1)
    assert told["seeds"] == [0, 1]
    assert told["timing"] == dict(found.timing)
    deep = next(arm for arm in told["arms"] if arm["arm"] == "deep")
    assert deep["changes"] == [{"path": "predictor.depth", "old": 1, "new": 4}]
    assert deep["cost"] == asdict(cost(found, "toy", "deep"))


# The pace


def pace_here(study: Study, run_of: Callable[[Cell], RunFolder] = nowhere) -> Pace:
    return pace_of(study.cells, {cell.arm: work(cell.config) for cell in study.cells}, run_of, threads=1)


def test_a_few_steps_are_measured_where_no_cell_is_finished(
    read: Callable[..., Study], run_of: Callable[[Cell], RunFolder]
) -> None:
    threads = torch.get_num_threads()
    study = read()
    found = pace_here(study, run_of)
    assert found.source == "6 steps of 16 samples of plain, measured now"
    assert 1e-12 < found.seconds_per_flop < 1e-6
    assert torch.get_num_threads() == threads
    assert not run_of(study.cells[0]).path.exists()


def test_the_measured_steps_are_short_untracked_and_never_stopped(
    read: Callable[..., Study],
    run_of: Callable[[Cell], RunFolder],
    asked: list[tuple[RunConfig, int]],
) -> None:
    study = read("bases.toy.set={collapse.stop: true, train.accumulate: 4, tracking.trackers: [tensorboard]}")
    pace_here(study, run_of)
    ((config, threads),) = asked
    assert (config.train.steps, config.train.batch_size, config.train.log_every) == (8, 16, 1)
    assert (config.train.accumulate, config.collapse.stop, config.tracking.trackers) == (1, False, ())
    assert threads == 1


def test_large_batches_are_measured_in_part(
    read: Callable[..., Study],
    run_of: Callable[[Cell], RunFolder],
    asked: list[tuple[RunConfig, int]],
) -> None:
    found = pace_here(read("bases.toy.set.train.batch_size=1000000"), run_of)
    ((config, _),) = asked
    samples = config.train.batch_size
    per_sample = work(config).flops.step / samples
    assert samples * per_sample <= 4e10 < (samples + 1) * per_sample
    assert found.source == f"6 steps of {samples} of 1000000 samples of plain, measured now"
    assert found.seconds_per_flop == pytest.approx(0.1 / (samples * per_sample))


def test_networks_too_large_to_be_measured_in_passing_go_by_the_peak_of_a_machine(
    read: Callable[..., Study],
    run_of: Callable[[Cell], RunFolder],
    asked: list[tuple[RunConfig, int]],
) -> None:
    found = pace_here(read("bases.toy.set.encoder={width: 2048, depth: 3, heads: 16}"), run_of)
    assert asked == []
    assert found.source == "312 TFLOPS at 40% of the peak, as `jepa plan` (too large to be measured in passing)"
    assert found.seconds_per_flop == pytest.approx(1 / (312e12 * 0.4))


def test_data_that_is_not_here_is_no_error_of_a_dry_run(
    read: Callable[..., Study], run_of: Callable[[Cell], RunFolder]
) -> None:
    found = pace_here(read("bases.toy.set.modality.train_samples=0"), run_of)
    assert "(plain could not be measured here: modality: the source of pretraining has no samples." in found.source


def test_finished_cells_say_how_long_the_others_will_take(
    read: Callable[..., Study],
    run_of: Callable[[Cell], RunFolder],
    asked: list[tuple[RunConfig, int]],
) -> None:
    study = read()
    first, *_ = study.cells
    run = run_of(first)
    train_toy(run.path, [f"seed={first.seed}"])
    found = pace_here(study, run_of)
    assert asked == []
    assert found.source == "1 finished cell"
    seconds = read_state(run.checkpoint(8))["seconds"]
    assert found.seconds_per_flop == pytest.approx(seconds / work(first.config).flops.run)


def test_cells_that_are_not_finished_say_nothing(
    read: Callable[..., Study],
    run_of: Callable[[Cell], RunFolder],
    asked: list[tuple[RunConfig, int]],
) -> None:
    study = read()
    train_toy(run_of(study.cells[0]).path, ["train.steps=4"])
    assert pace_here(study, run_of).source.endswith("measured now")
    assert len(asked) == 1
