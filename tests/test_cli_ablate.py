"""`jepa ablate`, from the command line to the files that it leaves; and studies in `jepa config`."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from small_study import install_toy

from jepa_core.ablation import launching, pace
from jepa_core.ablation.cells import Study
from jepa_core.ablation.folder import StudyFolder
from jepa_core.ablation.running import work
from jepa_core.cli import main

pytestmark = pytest.mark.usefixtures("toy", "logging_as_before")

STUDY = """
title: Which cells should be hidden?
bases:
  waves:
    config: demo toy
    set:
      train.steps: 2
      modality.train_samples: 32
      probes: [{name: knn, k: 5}]
arms:
  half: {}
  most: {set: {masking.ratio: 0.8}}
  all-rows: {set: {masking: {name: toy_rows, rows: 6}}}
seeds: [0, 1]
skip_infeasible: true
threads: 1
"""

Told = tuple[int, str, str]


@pytest.fixture
def jepa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Runs a command in a folder with a study; exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "mine.yaml").write_text(STUDY)

    def run(*arguments: str) -> Told:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        told = capfd.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    """Cells run in this process; how the runner was called."""
    calls: list[Mapping[str, Any]] = []

    def run_here(study: Study, folder: StudyFolder, *, resume: bool, only: str | None, **how: Any) -> bool:
        calls.append({"resume": resume, "only": only, **how})
        if how["launcher"] == "slurm":
            return True
        folder.open(study, resume=resume, threads=1)
        work(study, folder, only=only)
        return all(state.state == "done" for state in folder.states(study).values())

    monkeypatch.setattr(launching, "run_study", run_here)
    return calls


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step takes a second."""
    monkeypatch.setattr(pace, "_seconds_per_step", lambda *_: 1.0)


# Dry run


@pytest.mark.usefixtures("steady")
def test_a_dry_run_says_every_arm_its_difference_its_amounts_and_the_time(
    jepa: Callable[..., Told], tmp_path: Path
) -> None:
    code, out, _ = jepa("ablate", "mine.yaml", "--dry-run", "--jobs", "2")
    assert code == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert rows["arm"] == ["arm", "parameters", "context", "predicted", "updates", "work", "time"]
    assert "half (reference): as the base" in out
    assert "most: masking.ratio: 0.5 -> 0.8" in out
    assert "all-rows: absent: masking.rows: 6 rows hide the whole grid" in out
    assert "times: 6 steps of 16 samples of half, measured now" in out
    assert "4 cells with 2 seeds; pretraining takes about 3 s with 2 jobs, and evaluation comes on top." in out
    (half,) = (line for line in out.splitlines() if line.startswith("half  "))
    assert half.split()[1:5] == ["30,032", "18", "18", "2"]
    assert {path.name for path in tmp_path.iterdir()} == {"mine.yaml"}


@pytest.mark.usefixtures("steady")
def test_a_dry_run_as_json_holds_the_same(jepa: Callable[..., Told]) -> None:
    code, out, _ = jepa("ablate", "mine.yaml", "--dry-run", "--json", "--set", "seeds=[3]")
    told = json.loads(out)
    assert code == 0
    assert (told["cells"], told["seeds"], told["match"]) == (2, [3], "steps")
    assert [arm["cost"] is None for arm in told["arms"]] == [False, False, True]


def test_every_problem_of_a_study_is_an_error_of_usage(jepa: Callable[..., Told]) -> None:
    code, _, err = jepa("ablate", "mine.yaml", "--dry-run", "--set", "reference=mots", "--set", "arms.b.set.sed=1")
    assert code == 2
    assert "error: mine.yaml: 2 problems" in err
    assert "reference: 'mots' is no arm. Did you mean 'most'?" in err
    assert "arm b on waves: sed: unknown key. Did you mean 'seed'?" in err


# Running


def test_a_study_leaves_tables_and_a_report_and_says_what_it_found(
    jepa: Callable[..., Told], here: list[Mapping[str, Any]], tmp_path: Path
) -> None:
    code, out, _ = jepa("ablate", "mine.yaml", "--jobs", "3")
    folder = tmp_path / "runs" / "ablate-mine"
    assert code == 0
    assert {"results.csv", "results.parquet", "table.md", "table.tex", "report.html", "study.yaml"} <= {
        path.name for path in folder.iterdir()
    }
    assert out.splitlines()[-1] == "report: runs/ablate-mine/report.html"
    assert "half" in out
    assert "jepa ablate mine.yaml" in (folder / "report.html").read_text()
    assert here == [{"resume": False, "only": None, "jobs": 3, "launcher": "local", "options": {}}]
    assert (folder / "cells" / "waves" / "most" / "seed_1" / "eval.json").is_file()


def test_part_of_a_study_can_be_run_and_the_rest_later(
    jepa: Callable[..., Told], here: list[Mapping[str, Any]], tmp_path: Path
) -> None:
    code, _, err = jepa("ablate", "mine.yaml", "--only", "*/half/*", "--run-dir", "there")
    assert code == 1  # cells are waiting
    assert "no result of waves/most/seed_0: " in err
    code, out, _ = jepa("ablate", "mine.yaml", "--run-dir", "there", "--status")
    assert code == 0
    assert "4 cells: 2 done, 2 waiting" in out
    states = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert states["half"] == ["done", "done"]
    assert states["most"] == ["waiting", "waiting"]
    assert states["all-rows"] == ["absent", "absent"]
    code, out, _ = jepa("ablate", "mine.yaml", "--run-dir", "there", "--resume", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["unfinished"] == {}
    assert "there/report.html" in told["files"]
    assert told["findings"]
    assert [call["resume"] for call in here] == [False, True]


@pytest.mark.usefixtures("here")
def test_a_failed_cell_is_told_and_the_others_are_compared(jepa: Callable[..., Told]) -> None:
    bad = "arms.bad.set.modality={unreadable: [0, 1, 2, 3]}"
    code, out, err = jepa("ablate", "mine.yaml", "--set", "seeds=[0]", "--set", bad)
    assert code == 1
    assert "no result of waves/bad/seed_0: " in err
    assert "report: " in out
    code, out, _ = jepa("ablate", "mine.yaml", "--set", "seeds=[0]", "--set", bad, "--status", "--json")
    states = json.loads(out)
    assert states["waves/bad/seed_0"]["state"] == "failed"
    assert "unreadable" in states["waves/bad/seed_0"]["note"]
    assert states["waves/half/seed_0"] == {"state": "done", "step": 2, "steps": 2, "note": ""}


@pytest.mark.usefixtures("here")
def test_a_study_of_which_nothing_is_done_has_no_report(jepa: Callable[..., Told], tmp_path: Path) -> None:
    all_bad = "bases.waves.set.modality.unreadable=[0, 1, 2, 3]"
    code, out, _ = jepa("ablate", "mine.yaml", "--set", "seeds=[0]", "--set", all_bad, "--json")
    assert code == 1
    told = json.loads(out)
    assert told["findings"] == ["No cell is done, so there is nothing to compare."]
    assert told["files"] == []
    assert set(told["unfinished"]) == {"waves/half/seed_0", "waves/most/seed_0"}
    assert not (tmp_path / "runs" / "ablate-mine" / "report.html").exists()


@pytest.mark.usefixtures("here")
def test_a_second_study_needs_resume_or_another_folder(jepa: Callable[..., Told]) -> None:
    assert jepa("ablate", "mine.yaml", "--only", "*/half/seed_0")[0] == 1
    code, _, err = jepa("ablate", "mine.yaml")
    assert code == 2
    assert "holds a study. Continue it with --resume, or choose another --run-dir" in err


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "absent",
    [
        ("--set", "arms.half.bases.waves=null"),
        ("--set", "reference=all-rows"),  # which leaves nothing to see on the smaller grid
    ],
)
def test_a_reference_that_one_base_does_not_have_leaves_a_report_of_both(
    jepa: Callable[..., Told], tmp_path: Path, absent: tuple[str, ...]
) -> None:
    tides = "bases.tides={config: demo toy, set: {modality.cells: 8, train.steps: 2, probes: [{name: knn, k: 5}]}}"
    code, out, _ = jepa("ablate", "mine.yaml", "--set", "seeds=[0]", "--set", tides, *absent)
    assert code == 0
    assert "report: runs/ablate-mine/report.html" in out
    folder = tmp_path / "runs" / "ablate-mine"
    with (folder / "comparisons.csv").open() as file:
        compared = {row["base"] for row in csv.DictReader(file) if row["minus"] != "never trained"}
    assert compared == {"tides"}
    with (folder / "results.csv").open() as file:
        assert {row["base"] for row in csv.DictReader(file)} == {"waves", "tides"}


@pytest.mark.usefixtures("here")
def test_a_cell_that_is_done_and_has_no_result_is_a_failure(jepa: Callable[..., Told], tmp_path: Path) -> None:
    one = ("ablate", "mine.yaml", "--set", "seeds=[0]")
    assert jepa(*one)[0] == 0
    (tmp_path / "runs" / "ablate-mine" / "cells" / "waves" / "most" / "seed_0" / "metrics.jsonl").unlink()
    code, _, err = jepa(*one, "--resume")
    assert code == 1
    assert "no result of waves/most/seed_0: " in err
    assert jepa(*one, "--resume", "--only", "*/half/*")[0] == 0


# Status


@pytest.mark.usefixtures("here")
def test_cells_of_another_configuration_are_told_as_such(jepa: Callable[..., Told]) -> None:
    one = ("ablate", "mine.yaml", "--set", "seeds=[0]")
    assert jepa(*one)[0] == 0
    code, out, _ = jepa(*one, "--set", "arms.most.set.masking.ratio=0.7", "--status")
    assert code == 0
    assert "2 cells: 1 done, 1 another configuration" in out
    assert "waves/most/seed_0: masking.ratio: 0.8 in the checkpoint, 0.7 given" in out


def test_the_status_of_a_folder_that_there_is_not_is_an_error(jepa: Callable[..., Told], tmp_path: Path) -> None:
    code, out, err = jepa("ablate", "mine.yaml", "--status")
    assert (code, out) == (2, "")
    assert "runs/ablate-mine: there is no such folder. `jepa ablate STUDY` makes one." in err
    (tmp_path / "runs" / "ablate-mine").mkdir(parents=True)
    assert "is no study folder" in jepa("ablate", "mine.yaml", "--status")[2]


# Clusters


def test_parameters_of_a_cluster_without_one_are_an_error(
    jepa: Callable[..., Told], here: list[Mapping[str, Any]]
) -> None:
    code, _, err = jepa("ablate", "mine.yaml", "--slurm", "timeout_min=60")
    assert code == 2
    assert "--slurm: is for a cluster; give --launcher slurm, or leave it out" in err
    assert here == []


def test_a_cluster_gets_its_parameters_and_nothing_is_compared_yet(
    jepa: Callable[..., Told], here: list[Mapping[str, Any]], tmp_path: Path
) -> None:
    cluster = ("--launcher", "slurm", "--slurm", "timeout_min=60", "--slurm", "slurm_partition=gpu")
    assert jepa("ablate", "mine.yaml", *cluster)[0] == 0
    assert here[0]["options"] == {"timeout_min": 60, "slurm_partition": "gpu"}
    assert not (tmp_path / "runs").exists()


def test_a_study_runs_in_processes_of_its_own(
    jepa: Callable[..., Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_toy(tmp_path / "installed", monkeypatch)
    code, out, _ = jepa("ablate", "mine.yaml", "--set", "seeds=[0]")
    assert code == 0
    assert (tmp_path / "runs" / "ablate-mine" / "report.html").is_file()
    assert "report: runs/ablate-mine/report.html" in out


# jepa config


def test_a_study_is_validated_as_configurations_are(jepa: Callable[..., Told], tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text("modality: {name: toy}")
    (tmp_path / "wrong.yaml").write_text(STUDY.replace("masking.ratio", "masking.ratoi"))
    code, out, err = jepa("config", "validate", "mine.yaml", "toy.yaml", "wrong.yaml")
    assert code == 2
    assert out.splitlines() == ["mine.yaml: ok", "toy.yaml: ok"]
    assert "error: wrong.yaml: arm most on waves: masking.ratoi: unknown key. Did you mean 'ratio'?" in err


def test_the_schema_of_study_files_can_be_printed(jepa: Callable[..., Told]) -> None:
    code, out, _ = jepa("config", "schema", "--study")
    assert code == 0
    schema = json.loads(out)
    assert schema["required"] == ["bases"]
    assert {"arms", "axes", "seeds", "match", "evaluation"} <= set(schema["properties"])
