"""Whole runs on files: the commands as a user gives them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from jepa_core.cli import app
from jepa_core.sources import memory
from jepa_video.config import VideoConfig
from jepa_video.decoding import backends
from jepa_video.plugin import video

WriteVideo = Callable[..., str]
CONFIG = """
modality: {name: video, train: TRAIN, test: TRAIN, frames: 4, stride: 1, size: 16, patch: 8}
masking: {name: tube, ratio: 0.5}
encoder: {name: vit, size: null, width: 16, depth: 1, heads: 2}
predictor: {width: 8, depth: 1, heads: 2}
train: {steps: 4, batch_size: 10, precision: fp32, workers: 0, log_every: 1}
collapse: {every: 4}
checkpoint: {every: 4}
"""
BAD = {"empty.mp4": b"", "text.mp4": b"no video", "noise.mkv": bytes(range(256)) * 40}


@pytest.fixture
def make_set(write_video: WriteVideo, tmp_path: Path) -> Callable[[int, int], Path]:
    """A configuration of 20 videos, some of which cannot be read."""

    def make(bad: int, good: int) -> Path:
        for folder in ("left", "right"):
            (tmp_path / "videos" / folder).mkdir(parents=True)
        for number in range(good):
            side = ("left", "right")[number % 2]
            shutil.copy(write_video("a.mp4"), tmp_path / "videos" / side / f"clip number {number}.mp4")
        truncated = Path(write_video("a.mp4")).read_bytes()[:900]
        kinds = [*BAD.items(), ("truncated.mp4", truncated)]
        for number in range(bad):
            name, content = kinds[number % len(kinds)]
            (tmp_path / "videos" / "left" / f"{number} {name}").write_bytes(content)
        config = tmp_path / "config.yaml"
        config.write_text(CONFIG.replace("TRAIN", str(tmp_path / "videos")))
        return config

    return make


def jepa(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


def test_one_bad_file_in_twenty_is_named_and_the_run_ends(make_set: Callable[[int, int], Path], tmp_path: Path):
    config, run = make_set(1, 19), tmp_path / "run"
    code, output = jepa("train", str(config), "--run-dir", str(run), "--set", "data.max_unreadable=0.1")
    assert code == 0, output
    rows = [json.loads(line) for line in (run / "unreadable.jsonl").read_text().splitlines()]
    assert [Path(row["where"]).name for row in rows] == ["0 empty.mp4"]
    code, output = jepa("report", str(run))
    assert code == 0, output
    assert "0 empty.mp4" in (run / "report.html").read_text()


def test_a_set_that_is_half_bad_stops_with_their_number_and_names(make_set: Callable[[int, int], Path], tmp_path: Path):
    config, run = make_set(10, 10), tmp_path / "run"
    code, output = jepa("train", str(config), "--run-dir", str(run), "--set", "data.max_unreadable=0.1")
    assert code == 1
    words = " ".join(output.split())
    assert "of 20 samples cannot be read, and 10.0% are allowed. The first is" in words
    assert "Traceback" not in output
    named = {Path(json.loads(line)["where"]).name for line in (run / "unreadable.jsonl").read_text().splitlines()}
    assert len(named) > 2
    assert named <= {path.name for path in (tmp_path / "videos" / "left").iterdir()}


def test_a_decoder_that_is_absent_leaves_no_run_folder(
    make_set: Callable[[int, int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(backends, "why_not", lambda name: "not installed")
    config, run = make_set(0, 2), tmp_path / "run"
    code, output = jepa("train", str(config), "--run-dir", str(run), "--set", "modality.decoder=torchcodec")
    assert code == 2
    assert "torchcodec is not installed" in " ".join(output.split())
    assert not run.exists()


def test_a_run_on_files_is_trained_evaluated_embedded_and_reported(
    make_set: Callable[[int, int], Path], tmp_path: Path
):
    config, run, out = make_set(0, 20), tmp_path / "run", tmp_path / "features.npz"
    for arguments in (
        ("train", str(config), "--run-dir", str(run)),
        ("eval", str(run), "--probe", "knn", "--set", "modality.clips=2"),
        ("embed", str(run), str(tmp_path / "videos"), "--out", str(out)),
        ("report", str(run)),
    ):
        code, output = jepa(*arguments)
        assert code == 0, output
    results = json.loads((run / "eval.json").read_text())["results"]
    assert {row["representation"] for row in results} >= {"target", "context", "random", "raw"}
    assert out.exists()


@pytest.mark.parametrize("clips", [1, 2])
@pytest.mark.parametrize("workers", [0, 1])
def test_files_that_stay_in_memory_change_no_weight(
    clips: int, workers: int, make_set: Callable[[int, int], Path], tmp_path: Path
):
    config = make_set(1, 9)
    options = "train.steps=8", f"train.workers={workers}", f"modality.pretrain_clips={clips}", "data.max_unreadable=0.1"
    weights = set[bytes]()
    for gib in ("0", "1"):
        run = tmp_path / f"run {gib}"
        given = [word for each in (*options, f"modality.keep_gib={gib}") for word in ("--set", each)]
        code, output = jepa("train", str(config), "--run-dir", str(run), *given)
        assert code == 0, output
        weights.add((run / "checkpoints" / "step_00000008" / "encoder.safetensors").read_bytes())
        kept = [len(found.kept) for found in memory._memories.values()]
        assert kept == ([9] if gib == "1" and not workers else [])
    assert len(weights) == 1
    code, output = jepa("train", str(config), "--resume", "--run-dir", str(tmp_path / "run 0"), *given)
    assert code == 0, output  # a resumed run may keep files that it did not keep before


def test_built_in_files_stay_in_memory_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JEPA_CACHE", str(tmp_path))
    source = video.source(VideoConfig(builtin="moving-fashion-small", keep_gib=1), "probe_test")
    first, second = (source.read(0).read([0, 3]) for _ in range(2))
    Path(source.where(0)).unlink()
    assert torch.equal(source.read(0).read([0, 3]), first)
    assert torch.equal(first, second)
