"""Whole runs on files: the commands as a user gives them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from torchaudio.functional import resample
from typer.testing import CliRunner

from jepa_core.cli import app

WriteSound = Callable[..., str]
CONFIG = """
modality: {name: audio, train: TRAIN, test: TRAIN, seconds: 0.4, mels: 16, patch: [8, 5]STATISTICS}
masking: {name: random, ratio: 0.5}
encoder: {name: vit, size: null, width: 16, depth: 1, heads: 2}
predictor: {width: 8, depth: 1, heads: 2}
train: {steps: 4, batch_size: 10, precision: fp32, workers: 0, log_every: 1}
collapse: {every: 4}
checkpoint: {every: 4}
"""
STATISTICS = ", mean: -7.0, std: 4.0"


def jepa(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


@pytest.fixture
def make_set(write_sound: WriteSound, tmp_path: Path) -> Callable[..., Path]:
    """A configuration of 20 sounds of two classes, and of the bad files that are given."""

    def make(statistics: str = STATISTICS, bad: tuple[str, ...] = ()) -> Path:
        for number in range(20 - len(bad)):
            folder = tmp_path / "sounds" / ("low", "high")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(write_sound("a.wav", seconds=0.5, seed=number % 4), folder / f"sound number {number}.wav")
        for path in bad:
            shutil.copy(path, tmp_path / "sounds" / "low" / f"bad {Path(path).name}")
        config = tmp_path / "config.yaml"
        config.write_text(CONFIG.replace("TRAIN", str(tmp_path / "sounds")).replace("STATISTICS", statistics))
        return config

    return make


@pytest.fixture
def bad_files(write_sound: WriteSound, cut_in_half: Callable[[str], str], tmp_path: Path) -> tuple[str, ...]:
    """One file of each kind that cannot be read."""
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp3").write_bytes(b"no sound at all" * 50)
    numbers = np.full(8000, np.nan)
    return (
        str(tmp_path / "empty.wav"),
        str(tmp_path / "text.mp3"),
        write_sound("none.wav", values=np.zeros(0)),
        write_sound("nan.wav", values=numbers, subtype="FLOAT"),
        cut_in_half(write_sound("cut.flac", subtype="PCM_16")),
    )


def test_without_statistics_nothing_is_trained_and_the_named_command_gives_them(
    make_set: Callable[..., Path], tmp_path: Path
):
    config, run = make_set(statistics=", divisor: 2.0"), str(tmp_path / "run")
    code, output = jepa("train", str(config), "--run-dir", run)
    assert code == 2
    assert "`jepa stats CONFIG`" in " ".join(output.split())
    printed = [
        jepa("stats", str(config), "--json", "--set", f"modality.{option}")[1]
        for option in ("divisor=2.0", "divisor=1.0", "frontend_on=device")
    ]
    measured, *others = (json.JSONDecoder().raw_decode(text)[0] for text in printed)
    assert others == [measured, measured]
    mean, std = measured["mean"][0], measured["std"][0]
    assert -16 < mean < 0 < std
    code, output = jepa("train", str(config), "--run-dir", run, "--set", f"modality.mean={mean}",
                        "--set", f"modality.std={std}")  # fmt: skip
    assert code == 0, output
    code, output = jepa("eval", run, "--probe", "knn", "--set", "modality.std=1.0")
    assert code == 2
    assert "normalisation statistics belong to it" in " ".join(output.split())


def test_bad_files_are_named_and_the_others_are_trained_on(
    make_set: Callable[..., Path], bad_files: tuple[str, ...], tmp_path: Path
):
    config, run = make_set(bad=bad_files), tmp_path / "run"
    code, output = jepa("train", str(config), "--run-dir", str(run), "--set", "data.max_unreadable=0.3")
    assert code == 0, output
    rows = [json.loads(line) for line in (run / "unreadable.jsonl").read_text().splitlines()]
    reasons = {Path(row["where"]).name: row["reason"] for row in rows}
    assert set(reasons) == {f"bad {Path(path).name}" for path in bad_files}
    assert reasons["bad empty.wav"] == "the file is empty"
    assert reasons["bad none.wav"] == "holds no samples"
    assert "no numbers" in reasons["bad nan.wav"]
    assert "cut short" in reasons["bad cut.flac"]
    assert "no known format" in reasons["bad text.mp3"]


def test_a_run_is_trained_evaluated_embedded_at_other_lengths_and_reported(
    make_set: Callable[..., Path], tmp_path: Path
):
    config, run, sounds = make_set(), str(tmp_path / "run"), str(tmp_path / "sounds")
    for arguments in (
        ("train", str(config), "--run-dir", run),
        ("eval", run, "--probe", "knn", "--set", "modality.clips=2"),
        ("embed", run, sounds, "--out", str(tmp_path / "short.npz")),
        ("embed", run, sounds, "--out", str(tmp_path / "tokens.npz"), "--tokens", "--set", "modality.seconds=0.5"),
        ("report", run),
    ):
        code, output = jepa(*arguments)
        assert code == 0, output
    results = json.loads((tmp_path / "run" / "eval.json").read_text())["results"]
    assert {row["representation"] for row in results} >= {"target", "context", "random", "raw"}
    assert np.load(tmp_path / "short.npz")["embedding"].shape == (20, 16)
    assert np.load(tmp_path / "tokens.npz")["embedding"].shape == (20, 2 * 10, 16)


@pytest.mark.parametrize("options", ["frontend: waveform", f"frontend_on: device{STATISTICS}"])
def test_waveforms_are_trained_on_and_embedded(make_set: Callable[..., Path], tmp_path: Path, options: str):
    config, run = make_set(statistics=f", {options}"), str(tmp_path / "run")
    for arguments in (
        ("plan", str(config)),
        ("masks", str(config), "--out", str(tmp_path / "masks.png")),
        ("train", str(config), "--run-dir", run),
        ("embed", run, str(tmp_path / "sounds"), "--out", str(tmp_path / "features.npz")),
        ("report", run),
    ):
        code, output = jepa(*arguments)
        assert code == 0, output
    assert np.isfinite(np.load(tmp_path / "features.npz")["embedding"]).all()


def test_files_at_other_rates_have_the_features_of_files_resampled_beforehand(
    make_set: Callable[..., Path], write_sound: WriteSound, tmp_path: Path
):
    import torch

    config, run = make_set(), str(tmp_path / "run")
    assert jepa("train", str(config), "--run-dir", run)[0] == 0
    features: dict[str, np.ndarray] = {}
    for rate in (44_100, 96_000, 8000):
        high = write_sound("high.wav", rate=rate, subtype="FLOAT", seconds=1.0, channels=2)
        mono = torch.from_numpy(soundfile.read(high, dtype="float32")[0]).mean(1)
        low = write_sound("low.wav", values=resample(mono, rate, 16_000).numpy(), subtype="FLOAT")
        for name, path in (("high", high), ("low", low)):
            out = str(tmp_path / f"{name}{rate}.npz")
            code, output = jepa("embed", run, path, "--out", out)
            assert code == 0, output
            features[name] = np.load(out)["embedding"]
        assert np.abs(features["high"] - features["low"]).max() < 1e-3
        assert np.abs(features["high"]).max() > 0.1


def test_what_an_evaluation_fits_on_does_not_depend_on_the_rate_of_the_files(
    make_set: Callable[..., Path], write_sound: WriteSound, tmp_path: Path
):
    import torch

    from jepa_core.features import encode_with, extract
    from jepa_core.frozen import load

    config, run = make_set(), tmp_path / "run"
    assert jepa("train", str(config), "--run-dir", str(run))[0] == 0
    high = write_sound("high.wav", rate=44_100, subtype="FLOAT", seconds=1.0)
    values = resample(torch.from_numpy(soundfile.read(high, dtype="float32")[0]), 44_100, 16_000)
    low = write_sound("low.wav", values=values.numpy(), subtype="FLOAT")
    frozen, cpu = load(run, device="cpu"), torch.device("cpu")
    ways = {"target": encode_with(frozen.parts, frozen.encoder, cpu, "fp32")}
    first, second = (
        extract(frozen.parts, frozen.parts.modality.open(frozen.config.modality, path), ways, cpu, "probe_test")
        for path in (high, low)
    )
    assert torch.allclose(first.features["target"], second.features["target"], atol=1e-3)
    assert not torch.equal(first.features["target"], second.features["target"])  # they were two files
