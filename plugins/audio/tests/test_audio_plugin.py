from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.utils.data import DataLoader

from jepa_audio.config import AudioConfig
from jepa_audio.plugin import audio
from jepa_core.config.text import to_yaml
from jepa_core.data import SignalDataset
from jepa_core.errors import ConfigError
from jepa_core.model import Parts
from jepa_core.recipes import read_config
from jepa_core.registry import maskings, modalities
from jepa_core.schedules import momentum_at, value_at
from jepa_core.types import SampleKey

WriteSound = Callable[..., str]
HEAVY = ("torch", "torchaudio", "soundfile", "numpy", "pyarrow")


def section(**values: Any) -> AudioConfig:
    return AudioConfig.model_validate(values)


def small(**values: Any) -> AudioConfig:
    return section(seconds=0.4, mels=16, patch=(8, 10), mean=-7.0, std=4.0, **values)


class TestRegistration:
    def test_everything_is_found_by_name(self):
        assert modalities.get("audio") is audio
        names = ["time", "frequency", "time_frequency", "inverse_block", "curriculum"]
        assert [maskings.get(name).name for name in names] == names

    def test_importing_describing_and_planning_import_nothing_heavy(self):
        program = f"""
import sys
from jepa_audio.plugin import audio
config = audio.Config.model_validate({{"seconds": 2.1}})
assert audio.grid(config).num_tokens == 65 and audio.signal_shape(config) == (1, 80, 208)
print([name for name in {HEAVY} if name in sys.modules])
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


class TestConfig:
    @pytest.mark.parametrize(
        ("values", "shape", "samples"),
        [
            ({"seconds": 2.1}, (5, 13), 208 * 160),
            ({"seconds": 6.1}, (5, 38), 608 * 160),
            ({"seconds": 2.08}, (5, 13), 208 * 160),
            ({"seconds": 2.079}, (5, 12), 192 * 160),
            ({"seconds": 0.16}, (5, 1), 16 * 160),
            ({"seconds": 2.1, "frontend": "kaldi"}, (5, 13), 207 * 160 + 400),
            ({"seconds": 2.0, "patch": (80, 4)}, (1, 50), 200 * 160),
            ({"seconds": 1.0, "sample_rate": 44_100}, (5, 6), 96 * 441),
        ],
    )
    def test_seconds_are_trimmed_to_whole_patches_of_which_no_sample_is_made_up(
        self, values: dict[str, Any], shape: tuple[int, int], samples: int
    ):
        config = section(**values)
        assert (audio.grid(config).shape, audio.grid(config).axes) == (shape, ("frequency", "time"))
        assert audio.signal_shape(config) == (1, 80, shape[1] * config.patch[1])
        assert config.clip_samples == samples

    def test_waveforms_have_one_axis_and_need_no_statistics(self):
        config = section(frontend="waveform", seconds=2.01)
        assert (audio.grid(config).shape, audio.grid(config).axes) == ((201,), ("time",))
        assert audio.signal_shape(config) == (1, 32_160)
        assert (config.mean, config.std) == (0.0, 1.0)
        audio.require_statistics(config)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"mels": 70}, "mels: 70 does not divide by the patch's 16; the nearest that do: 64 or 80"),
            ({"mels": 8}, "the nearest that do: 16"),
            ({"seconds": 0.1}, "seconds: 0.1 is too short for a token; at least 0.16"),
            ({"seconds": 0.01, "frontend": "waveform", "patch_samples": 400}, "at least 0.025"),
            ({"seconds": 0.16, "n_fft": 8192}, "at least 0.32"),
            ({"f_min": 9000.0}, "f_min: 9000.0 and f_max: 8000.0 must be ascending and at most half of sample_rate"),
            ({"f_max": 9000.0}, "at most half of sample_rate, 8000.0"),
            ({"hop": 0.01}, "hop must last at least 1 sample and window 2, of 16000 per second"),
            ({"n_fft": 256}, "n_fft must be at least the window's 400 samples"),
            ({"n_fft": 512, "frontend": "kaldi"}, "kaldi takes the next power of 2: remove n_fft"),
            ({"window_shape": "povey"}, "povey is kaldi's"),
            ({"frontend": "waveform", "mean": -7.0}, "remove mean and std"),
            ({"std": 0.0}, "greater than 0"),
            ({"divisor": 0.0}, "greater than 0"),
            ({"floor": 0.0}, "greater than 0"),
            ({"gain": -3.0}, "greater than or equal to 0"),
            ({"clips": 0}, "greater than or equal to 1"),
            ({"sample_rate": 16}, "greater than or equal to 1000"),
            ({"frontend": "stft"}, "'mel', 'kaldi' or 'waveform'"),
            ({"short": "repeat"}, "'pad', 'loop' or 'skip'"),
            ({"builtin": "mandarin-syllables", "train": "x"}, "builtin brings its own splits"),
            ({"builtin": "english"}, "'mandarin-syllables'"),
            ({"pretrain": ()}, "an empty mixture"),
            ({"mel": 80}, "Extra inputs are not permitted"),
        ],
    )
    def test_what_cannot_work_is_refused_with_what_is_allowed(self, values: dict[str, Any], message: str):
        with pytest.raises(ValidationError) as caught:
            section(**values)
        assert message in str(caught.value)

    def test_statistics_that_are_not_set_are_refused_with_the_command_that_makes_them(self):
        with pytest.raises(ConfigError, match=r"modality\.mean and modality\.std: null.*`jepa stats CONFIG`"):
            audio.require_statistics(section())
        audio.require_statistics(small())


class TestSignals:
    def test_a_missing_setting_is_named_with_the_option_that_gives_it(self):
        with pytest.raises(ConfigError, match=r"modality\.test: not set.*--set modality\.test=PATH.*mandarin"):
            audio.source(section(train="."), "probe_test")

    def test_class_folders_are_labels(self, write_sound: WriteSound, tmp_path: Path):
        for folder in ("high", "low"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "a.WAV").write_bytes(Path(write_sound("a.wav")).read_bytes())
            (tmp_path / folder / "notes.txt").touch()
        source = audio.source(section(train=str(tmp_path)), "probe_train")
        assert [source.where(index) for index in range(len(source))] == [
            str(tmp_path / folder / "a.WAV") for folder in ("high", "low")
        ]
        assert source.labels["label"].names == ("high", "low")

    def test_a_manifest_may_name_any_file(self, write_sound: WriteSound, tmp_path: Path):
        (tmp_path / "a.raw").write_bytes(Path(write_sound("a.wav")).read_bytes())
        (tmp_path / "set.csv").write_text("path,tone\na.raw,3\n")
        source = audio.open(section(), str(tmp_path / "set.csv"))
        assert source.labels["tone"].names == ("3",)
        with source.read(0) as sound:
            assert (sound.num_samples, sound.rate) == (16_000, 16_000)

    @pytest.mark.parametrize("frontend", ["mel", "kaldi", "waveform"])
    def test_a_file_at_another_rate_gives_the_features_of_one_resampled_beforehand(
        self, write_sound: WriteSound, frontend: str
    ):
        from torchaudio.functional import resample

        high = write_sound("high.wav", rate=44_100, subtype="FLOAT", seconds=3.0)
        with audio.open(section(sample_rate=44_100), high).read(0) as sound:
            before = resample(sound.read(0, sound.num_samples), 44_100, 16_000).numpy()
        low = write_sound("low.wav", values=before, subtype="FLOAT")
        statistics = {} if frontend == "waveform" else {"mean": -7.0, "std": 4.0}
        for train in (False, True):
            config = section(frontend=frontend, clips=2, gain=6.0, **statistics)
            first, second = (
                audio.transform(config, train)(audio.open(config, path).read(0), torch.Generator().manual_seed(5))
                for path in (high, low)
            )
            assert (first - second).abs().max() < 1e-3

    def test_spawned_workers_give_the_same_signals_as_none(self, write_sound: WriteSound, tmp_path: Path):
        (tmp_path / "bad.wav").write_bytes(b"no sound")
        (tmp_path / "good.wav").write_bytes(Path(write_sound("a.wav", rate=22_050)).read_bytes())
        config = small(train=str(tmp_path), gain=6.0, cyclic=True)
        dataset = SignalDataset(audio.source(config, "pretrain"), audio.transform(config, train=True), seed=3)
        keys = [[SampleKey(epoch, index) for index in range(2)] for epoch in (0, 1)]
        here, there = (
            list(
                DataLoader(
                    dataset, batch_sampler=keys, num_workers=workers, collate_fn=list, multiprocessing_context=how
                )
            )
            for workers, how in ((0, None), (1, "spawn"))
        )
        for mine, other in zip(chain(*here), chain(*there), strict=True):
            assert mine[0] == other[0]
            if mine[0].index:
                assert torch.equal(mine[1], other[1])
            else:
                assert mine[1] == other[1]
                assert mine[1].where == str(tmp_path / "bad.wav")
        assert not torch.equal(here[0][1][1], here[1][1][1])  # another epoch, another clip


class TestShown:
    def test_the_picture_has_time_to_the_right_and_frequency_downwards(self):
        signal = torch.zeros(audio.signal_shape(small()))
        signal[0, 2, 30] = 1.0
        picture = audio.picture(small(), signal)
        assert (picture.shape, picture.dtype) == ((16, 40, 3), np.uint8)
        assert np.argwhere(picture[..., 0] == 255).tolist() == [[2, 30]]
        assert not audio.picture(small(), torch.full((1, 16, 40), 3.0)).any()

    def test_the_picture_of_a_waveform_has_equally_many_columns_for_every_token(self):
        config = section(frontend="waveform", seconds=0.5)
        samples = torch.zeros(audio.signal_shape(config))
        samples[0, 160:320] = torch.tensor([2.0, -1.0]).repeat(80)  # the second of 50 tokens
        picture = audio.picture(config, samples)
        assert picture.shape[1] % 50 == 0
        lit = (picture[..., 0] == 255).sum(0).reshape(50, -1)
        assert (lit[1] > 40).all()
        assert (np.delete(lit, 1, axis=0) == 1).all()
        assert audio.picture(config, torch.zeros(1, 8000)).any()  # a line, of silence too

    def test_the_baseline_is_the_mean_log_mel(self):
        signal = torch.randn(3, 1, 16, 40)
        assert torch.equal(audio.baseline(small(), signal), signal.mean((1, 3)))

    def test_the_baseline_of_waveforms_tells_pitches_apart(self):
        config = section(frontend="waveform", seconds=0.5)
        time = torch.arange(8000) / 16_000
        signal = torch.stack([torch.sin(2 * torch.pi * pitch * time) for pitch in (300, 3000)])[:, None]
        baseline = audio.baseline(config, signal)
        assert baseline.shape == (2, 80)
        assert baseline[0].argmax() < baseline[1].argmax()


class TestRecipes:
    @pytest.mark.parametrize("preset", audio.presets)
    def test_a_preset_builds_and_survives_being_written(self, preset: str):
        config = read_config(text=f"preset: {preset}\nmodality: {{name: audio}}\nencoder: {{name: vit, size: tiny}}")
        assert read_config(text=to_yaml(config)) == config
        parts = Parts.of(config)
        assert isinstance(config.modality, AudioConfig)
        assert parts.grid == audio.grid(config.modality)

    def test_presets_differ_as_documented(self):
        read = [read_config(text=f"preset: {name}\nmodality: {{name: audio}}") for name in audio.presets]
        assert [each.masking.name for each in read] == ["curriculum", "random", "random", "inverse_block", "random"]
        assert [each.target.input for each in read] == ["all", "all", "targets", "all", "targets"]
        assert [each.target.layers for each in read] == [1, 1, 1, 12, 1]
        assert [each.objective.name for each in read] == ["l2", "l2", "l2", "l2", "smooth_l1"]
        assert [(each.predictor.width, each.predictor.depth) for each in read] == [
            (512, 16),
            (384, 6),
            (512, 8),
            (384, 6),
            (512, 8),
        ]
        assert [momentum_at(each.ema, 0, 1000, 256) for each in read] == [0.996, 0.996, 0.99995, 0.9998, 0.99995]
        assert [value_at(each.optim.lr, 0, 300) for each in read] == [0.0, 1e-6, 0.0, 0.0, 0.0]
        assert [each.optim.clip_norm for each in read] == [None, None, 3.0, 4.0, 3.0]

    def test_a_file_wins_over_its_preset_key_by_key(self):
        text = "preset: audio-jepa\nmodality: {name: audio, mels: 64}\nmasking: {name: random, ratio: 0.4}"
        modality = read_config(text=text).modality
        assert isinstance(modality, AudioConfig)
        assert (modality.mels, modality.sample_rate, modality.std) == (64, 32_000, 1.0)

    def test_without_a_preset_the_target_moves_at_every_batch_size(self):
        config = read_config(text="modality: {name: audio}")
        assert [1 - momentum_at(config.ema, 0, 1000, size) for size in (64, 2048)] == pytest.approx(
            [4.4e-5, 1.42e-3], rel=0.01
        )
