"""`jepa train` and `jepa demo`, from the command line to the files that they leave."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from jepa_core.cli import main
from jepa_core.trainer import Trainer

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def jepa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command in an empty folder and returns its exit code."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.yaml").write_text("modality: {name: toy}\n")

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        return int(ended.value.code or 0)

    return run


def test_a_run_is_kept_under_the_name_of_its_configuration(jepa: Callable[..., int], tmp_path: Path) -> None:
    assert jepa("train", "toy.yaml", "--set", "train.steps=2") == 0
    run = tmp_path / "runs" / "toy"
    assert {path.name for path in run.iterdir()} == {"checkpoints", "config.yaml", "metrics.jsonl"}
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [1, 2]


def test_what_will_be_trained_is_said_first(jepa: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> None:
    assert jepa("train", "toy.yaml", "--set", "train.steps=2", "--run-dir", "there") == 0
    told = capfd.readouterr().err
    assert "64 samples" in told
    assert "18 context, 1 x 18 target" in told
    assert "2 steps of 16 samples (1 processes x 1 passes x 16)" in told
    assert "EMA half-life" in told
    assert "next: jepa eval there; jepa report there" in told


def test_a_second_run_needs_resume_or_another_folder(
    jepa: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert jepa("train", "toy.yaml", "--set", "train.steps=2") == 0
    assert jepa("train", "toy.yaml", "--set", "train.steps=2") == 2
    assert "holds a run. Continue it with --resume, or choose another --run-dir" in capfd.readouterr().err
    assert jepa("train", "toy.yaml", "--set", "train.steps=2", "--resume") == 0
    assert jepa("train", "toy.yaml", "--set", "seed=1", "--run-dir", "second", "--init", "runs/toy") == 0


def test_an_interrupted_run_says_how_to_continue(
    jepa: Callable[..., int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Trainer._watch_collapse

    def interrupt(self: Trainer, row: Mapping[str, Any]) -> None:
        watch(self, row)
        if row["step"] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Trainer, "_watch_collapse", interrupt)
    assert jepa("train", "toy.yaml") == 130
    assert "stopped after step 4 of 8; continue with --resume --run-dir runs/toy" in capfd.readouterr().err
    assert jepa("train", "toy.yaml", "--resume") == 0


def test_the_demo_trains_evaluates_reports_and_may_be_run_again(
    jepa: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert jepa("demo", "toy") == 0
    run = tmp_path / "runs" / "demo-toy"
    shown = capfd.readouterr().out
    assert "target encoder" in shown
    assert "never trained" in shown
    assert f"report: {run.relative_to(tmp_path) / 'report.html'}" in shown
    assert json.loads((run / "eval.json").read_text())["step"] == 8
    assert "<html" in (run / "report.html").read_text()
    assert jepa("demo", "toy") == 0


def test_a_demo_of_several_modalities_asks_which(jepa: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> None:
    assert jepa("demo") == 2
    assert "which modality? Installed: audio, image, toy, video" in capfd.readouterr().err
