"""The folder of a study: what is kept, who may enter it, and how a cell's state is read from its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_study import STEPS, small_study
from toy import toy_registered

from jepa_core.ablation.cells import Study
from jepa_core.ablation.folder import StudyFolder
from jepa_core.ablation.record import StudyRecord
from jepa_core.ablation.results import read_results
from jepa_core.ablation.running import work
from jepa_core.config.text import parse_mapping, to_yaml
from jepa_core.errors import CheckpointError, ConfigError, UsageError

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def study() -> Study:
    return small_study({"half": (), "most": ("masking.ratio=0.8",)}, seeds=(0, 1))


@pytest.fixture
def folder(tmp_path: Path, study: Study) -> StudyFolder:
    folder = StudyFolder(tmp_path / "study")
    folder.open(study, resume=False, threads=1)
    return folder


def log(folder: StudyFolder, study: Study, position: int, text: str) -> None:
    folder.run(study.cells[position]).metrics_path.write_text(text)


# What is kept


def test_a_study_can_be_read_back_from_its_folder(folder: StudyFolder, study: Study) -> None:
    again = folder.read()
    assert (again.name, again.config, again.arms, again.reference) == (study.name, study.config, study.arms, "half")
    assert again.cells == study.cells


def test_arms_that_there_are_not_are_kept_with_their_reason(tmp_path: Path) -> None:
    study = replace(small_study(), absent={("waves", "tube"): "it needs an axis 'time'"})
    folder = StudyFolder(tmp_path / "study")
    folder.open(study, resume=False)
    assert folder.read().absent == study.absent


def test_a_cell_is_kept_under_its_name_with_its_whole_configuration(folder: StudyFolder, study: Study) -> None:
    path = folder.path / "cells" / "waves" / "most" / "seed_1" / "config.yaml"
    assert path.read_text() == to_yaml(study.cells[3].config)


def test_the_hash_changes_with_any_cell(tmp_path: Path) -> None:
    def hash_of(name: str, study: Study) -> str:
        folder = StudyFolder(tmp_path / name)
        folder.open(study, resume=False)
        return parse_mapping(folder.record_path.read_text(), name)["hash"]

    assert hash_of("a", small_study()) == hash_of("b", small_study())
    assert hash_of("a2", small_study()) != hash_of("c", small_study({"half": (), "most": ("masking.ratio=0.7",)}))


def test_the_threads_of_the_first_time_hold_for_all_cells(folder: StudyFolder, study: Study) -> None:
    assert folder.open(study, resume=True, threads=8).threads == 1


def test_a_folder_without_a_study_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no study folder.*`jepa ablate STUDY` makes one"):
        StudyFolder(tmp_path).read()


def test_a_record_of_another_version_is_refused(folder: StudyFolder) -> None:
    folder.record_path.write_text(folder.record_path.read_text() + "colour: red\n")
    with pytest.raises(ConfigError, match="was changed, or written by another version"):
        StudyRecord.read(folder.record_path)


def test_a_configuration_that_was_edited_by_hand_is_refused(folder: StudyFolder, study: Study) -> None:
    path = folder.run(study.cells[0]).config_path
    path.write_text(path.read_text().replace("ratio: 0.5", "ratio: 0.6"))
    with pytest.raises(ConfigError, match=r"half/seed_0/config\.yaml: was changed after the study began"):
        folder.read()


# Who may enter


def test_a_second_study_needs_resume_or_another_folder(folder: StudyFolder, study: Study) -> None:
    with pytest.raises(UsageError, match=r"holds a study\. Continue it with --resume, or choose another --run-dir"):
        folder.open(study, resume=False)


def test_cells_that_never_began_may_change(folder: StudyFolder) -> None:
    changed = small_study({"half": ("optim.lr.value=0.5",), "less": ("masking.ratio=0.2",)})
    folder.open(changed, resume=True)
    assert folder.read().cells == changed.cells


def test_cells_that_began_may_not(folder: StudyFolder, study: Study) -> None:
    log(folder, study, 1, '{"step": 1}\n')
    changed = small_study({"half": ("optim.lr.value=0.5",), "most": ("masking.ratio=0.7",)}, seeds=(0, 1))
    with pytest.raises(CheckpointError) as refused:
        folder.open(changed, resume=True)
    assert "waves/most/seed_0: masking.ratio: 0.8 in the checkpoint, 0.7 given" in str(refused.value)
    assert "another --run-dir, or remove the folders of these cells" in str(refused.value)
    assert "optim.lr" not in str(refused.value)
    assert folder.read().cells == study.cells


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, study: Study) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file.study: cannot be written .*Choose another --run-dir"):
        StudyFolder(tmp_path / "file" / "study").open(study, resume=False)


def test_a_run_that_is_entered_never_has_half_a_configuration(
    folder: StudyFolder, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, write = study.cells[0], Path.write_text

    def torn(self: Path, text: str) -> int:
        write(self, text[:100])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", torn)
    with pytest.raises(UsageError, match="no space left"):
        folder.run(cell).open(cell.config, resume=True)
    monkeypatch.undo()
    assert folder.read().cells == study.cells


# Claims


def test_a_claim_is_for_one_at_a_time_and_ends_with_its_block(folder: StudyFolder, study: Study) -> None:
    cell = study.cells[0]
    with folder.claim(cell, "one") as one:
        with folder.claim(cell, "two") as two:
            assert (one, two) == (True, False)
        assert folder.is_claimed(cell)
        assert folder.left_by(study, "one") == [cell]
        assert folder.states(study)[cell.name].state == "running"
    assert not folder.is_claimed(cell)
    assert folder.left_by(study, "one") == []
    with folder.claim(cell, "two") as two:
        assert two


def test_who_ended_without_handing_back_can_be_found(folder: StudyFolder, study: Study) -> None:
    with pytest.raises(KeyboardInterrupt), folder.claim(study.cells[2], "one"):
        raise KeyboardInterrupt
    assert folder.left_by(study, "one") == [study.cells[2]]
    assert folder.left_by(study, "two") == []
    folder.fail(study.cells[2], "it died")
    assert folder.left_by(study, "one") == []


def test_failures_of_cells_that_somebody_runs_are_kept(folder: StudyFolder, study: Study) -> None:
    for cell in study.cells[:2]:
        folder.fail(cell, "a disk\nwas full", "details")
    assert folder.error_path(study.cells[0]).read_text() == "a disk was full\n\ndetails\n"
    with folder.claim(study.cells[0], "one"):
        folder.forget_failures(study)
    assert [folder.error_path(cell).exists() for cell in study.cells[:2]] == [True, False]


# States


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("", 0),
        ('{"step": 1}\n{"step": 4}\n', 4),
        ('{"step": 1}\n{"step": 3}\n{"st', 3),
        ("".join(json.dumps({"step": step, "note": "x" * 100}) + "\n" for step in range(1, 200)), 199),
        ('{"step": 1, "note": "' + "x" * 10_000, 0),
    ],
)
def test_the_last_step_is_read_from_the_end_of_the_log(folder: StudyFolder, study: Study, text: str, step: int) -> None:
    log(folder, study, 0, text)
    state = folder.states(study)["waves/half/seed_0"]
    assert (state.state, state.step, state.steps) == ("interrupted", step, STEPS)


def test_a_cell_that_nobody_began_waits(folder: StudyFolder, study: Study) -> None:
    assert {state.state for state in folder.states(study).values()} == {"waiting"}
    assert read_results(study, folder.path).unfinished["waves/most/seed_1"] == "waiting"


# Results that are damaged, of another study, or of other samples


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    folder = StudyFolder(tmp_path_factory.mktemp("finished") / "study")
    with toy_registered():
        study = small_study({"half": (), "most": ("masking.ratio=0.8",)})
        folder.open(study, resume=False, threads=1)
        assert work(study, folder)
    return folder


@pytest.fixture
def copied(finished: StudyFolder, tmp_path: Path) -> tuple[StudyFolder, Study, Path]:
    """A finished study, its own, and the run folder of its second cell."""
    from shutil import copytree

    folder = StudyFolder(copytree(finished.path, tmp_path / "study"))
    study = folder.read()
    return folder, study, folder.run(study.cells[1]).path


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    "changed",
    [{"step": 2}, {"config_hash": "0" * 64}, {"results": []}, {"precision": "bf16"}],
    ids=["an earlier checkpoint", "another configuration", "fewer probes", "another precision"],
)
def test_an_evaluation_of_something_else_does_not_count(
    copied: tuple[StudyFolder, Study, Path], changed: dict[str, Any]
) -> None:
    folder, study, run = copied
    change(run / "eval.json", **changed)
    assert read_results(study, folder.path).unfinished == {"waves/most/seed_0": "interrupted, after step 6 of 6"}


def torn(items: bytes) -> bytes:
    return items[: len(items) // 2]


def answers_turned(items: bytes) -> bytes:
    """One answer of the last result is the other one."""
    return items[:-1] + bytes([1 - items[-1]])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("eval.json", lambda _: b'{"step"'),
        ("eval.json", lambda _: b"[]"),
        ("eval.json", lambda _: b'{"step": 6}'),
        ("eval.json", lambda _: b"\xff\xfe"),
        ("eval.json", lambda text: text.replace(b'"num_test": 32', b'"num_test": 7')),
        ("eval.json", lambda text: text.replace(b'"num_test": 32', b'"num_test": null')),
        ("eval_items.safetensors", torn),
        ("eval_items.safetensors", answers_turned),
        ("eval_items.safetensors", lambda _: b""),
    ],
)
def test_a_damaged_measurement_is_made_again_with_the_same_result(
    copied: tuple[StudyFolder, Study, Path], name: str, damage: Callable[[bytes], bytes]
) -> None:
    folder, study, run = copied
    before = {each: (run / each).read_bytes() for each in ("eval.json", "eval_items.safetensors")}
    assert folder.states(study)["waves/most/seed_0"].state == "done"
    (run / name).write_bytes(damage(before[name]))
    assert (run / name).read_bytes() != before[name]
    assert read_results(study, folder.path).unfinished == {"waves/most/seed_0": "interrupted, after step 6 of 6"}
    assert work(study, folder)
    assert {each: (run / each).read_bytes() for each in before} == before


def test_half_a_measurement_does_not_count(copied: tuple[StudyFolder, Study, Path]) -> None:
    folder, study, run = copied
    (run / "eval_items.safetensors").unlink()
    assert folder.states(study)["waves/most/seed_0"].state == "interrupted"


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"unreadable": {"probe_train": [], "probe_test": [{"index": 3}]}}, "unreadable test samples"),
        ({"test_hash": "0" * 64}, "test samples"),
        ({"headings": {"direction": {"label_hash": "0" * 64}, "side": {"label_hash": "1" * 64}}}, "classes"),
    ],
)
def test_cells_that_were_tested_on_other_samples_are_not_compared(
    copied: tuple[StudyFolder, Study, Path], changed: dict[str, Any], what: str
) -> None:
    folder, study, run = copied
    change(run / "eval.json", **changed)
    results = read_results(study, folder.path)
    assert f"eval.json: has other {what} than waves/half/seed_0, and" in results.unfinished["waves/most/seed_0"]
    assert {each.arm for each in results.measurements} == {"half"}
    turned = read_results(replace(study, reference="most"), folder.path)
    assert f"eval.json: has other {what} than waves/most/seed_0, and" in turned.unfinished["waves/half/seed_0"]


def test_an_evaluation_that_does_not_name_its_samples_is_compared_by_what_it_says(
    copied: tuple[StudyFolder, Study, Path],
) -> None:
    folder, study, run = copied
    change(run / "eval.json", test_hash=None)
    assert read_results(study, folder.path).unfinished == {}


def test_a_log_that_is_gone_is_said(copied: tuple[StudyFolder, Study, Path]) -> None:
    folder, study, run = copied
    (run / "metrics.jsonl").unlink()
    assert "metrics.jsonl: is gone or empty" in read_results(study, folder.path).unfinished["waves/most/seed_0"]


def test_facts_are_those_of_the_run(copied: tuple[StudyFolder, Study, Path]) -> None:
    folder, study, run = copied
    fact = read_results(study, folder.path).facts[1]
    assert (fact.arm, fact.folder, fact.steps, fact.device) == ("most", run, STEPS, "1 x cpu")
    assert (fact.context_tokens, fact.predicted_tokens) == (7, 29)
    assert [step for step, _ in fact.curve] == list(range(1, STEPS + 1))
    assert fact.loss == fact.curve[-1][1]
    assert (
        fact.collapse["target_rank"]
        == json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["collapse/target_rank"]
    )
    assert fact.verdict.state in ("healthy", "suspicious", "collapsed")
    assert "torch" in fact.versions
    assert fact.parameters > 0
    assert (fact.samples, fact.varies) == (STEPS * 16, False)
    assert fact.seconds > 0
