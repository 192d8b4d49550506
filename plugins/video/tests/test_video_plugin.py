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
from PIL import Image
from pydantic import ValidationError
from torch.utils.data import DataLoader

from jepa_core.config.text import to_yaml
from jepa_core.data import SignalDataset
from jepa_core.errors import ConfigError, MissingDependency
from jepa_core.model import Parts
from jepa_core.order import portions_of
from jepa_core.recipes import read_config
from jepa_core.registry import maskings, modalities
from jepa_core.schedules import momentum_at, value_at
from jepa_core.types import Portion, SampleKey
from jepa_video.config import VideoConfig
from jepa_video.decoding import backends
from jepa_video.plugin import video

WriteVideo = Callable[..., str]
RECIPES = sorted((Path(__file__).parents[3] / "configs" / "video").glob("*.yaml"))
HEAVY = ("torch", "torchvision", "PIL", "numpy", "pyarrow", "av", "decord")


def section(**values: Any) -> VideoConfig:
    return VideoConfig.model_validate(values)


def small(**values: Any) -> VideoConfig:
    return section(frames=4, stride=2, size=(16, 24), patch=(8, 8), **values)


class TestRegistration:
    def test_everything_is_found_by_name(self):
        assert modalities.get("video") is video
        names = ["multiblock3d", "tube", "causal", "frame_drop"]
        assert [maskings.get(name).name for name in names] == names

    def test_importing_describing_and_planning_import_nothing_heavy(self):
        program = f"""
import sys
from jepa_video.plugin import video
config = video.Config.model_validate({{"frames": 8, "size": 32, "patch": 8}})
assert video.grid(config).num_tokens == 64 and video.signal_shape(config) == (3, 8, 32, 32) and video.demo()
print([name for name in {HEAVY} if name in sys.modules])
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


class TestConfig:
    def test_grid_is_time_height_width(self):
        config = section(frames=16, tubelet=2, size=(32, 64), patch=(4, 16))
        assert (video.grid(config).shape, video.grid(config).axes) == ((8, 8, 4), ("time", "height", "width"))
        assert video.signal_shape(config) == (3, 16, 32, 64)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"frames": 7}, "frames: 7 does not divide by the tubelet's 2; the nearest that do: 6 or 8"),
            ({"frames": 1}, "the nearest that do: 2"),
            ({"size": 30}, "the height 30 does not divide by the patch's 16; the nearest that does: 16 or 32"),
            ({"stride": 2, "fps": 4.0}, "stride and fps exclude each other: remove one"),
            ({"stride": 0}, "greater than or equal to 1"),
            ({"fps": 0.0}, "greater than 0"),
            ({"short": "error"}, "'loop', 'pad' or 'skip'"),
            ({"decoder": "opencv"}, "'decord'"),
            ({"channels": 2}, "1 or 3"),
            ({"crop_scale": (0.5, 1.3)}, "0 < low <= high <= 1"),
            ({"resize": 192}, "resize must be at least size"),
            ({"builtin": "moving-fashion", "train": "x"}, "builtin brings its own splits"),
            ({"channels": 1}, "one number per channel (1) or one for all: `jepa stats CONFIG` measures them"),
            ({"pretrain": ()}, "an empty mixture"),
            ({"frame": 8}, "Extra inputs are not permitted"),
        ],
    )
    def test_what_cannot_work_is_refused_with_what_is_allowed(self, values: dict[str, Any], message: str):
        with pytest.raises(ValidationError) as caught:
            section(**values)
        assert message in str(caught.value)

    def test_statistics_are_numbers_in_the_configuration(self):
        assert section().mean == (0.485, 0.456, 0.406)
        assert section(builtin="moving-fashion", channels=1).model_dump()["std"] == (0.3314,)


class TestSignals:
    def test_train_is_random_and_evaluation_is_not(self, write_video: WriteVideo):
        config, path = small(), write_video("a.mp4")
        for train in (True, False):
            transform = video.transform(config, train)
            raw = [video.open(config, path).read(0) for _ in range(2)]
            first, second = (transform(raw[seed], torch.Generator().manual_seed(seed)) for seed in (0, 1))
            assert first.shape == video.signal_shape(config)
            assert torch.equal(first, second) != train

    def test_several_clips_of_evaluation_are_views(self, write_video: WriteVideo):
        config = small(clips=3)
        signal = video.transform(config, False)(video.open(config, write_video("a.mp4")).read(0), torch.Generator())
        assert signal.shape == (video.views(config), *video.signal_shape(config))
        assert not torch.equal(signal[0], signal[2])

    def test_pretraining_takes_several_clips_of_a_video_from_its_parts(self, write_video: WriteVideo, tmp_path: Path):
        config = small(pretrain_clips=3, train=str(tmp_path), pretrain=write_video("a.mp4", frames=60))
        source = video.source(config, "pretrain")
        assert len(source) == 3
        starts = list[float]()
        for index in range(3):
            with source.read(index) as opened:
                starts.append(float(opened.part[0]))
        assert starts == [0, 1, 2]
        assert source.where(2) == source.where(0)

    def test_a_mixture_has_the_samples_of_all_its_parts(self, write_video: WriteVideo):
        parts = [{"path": write_video(name), "weight": weight} for name, weight in (("a.mp4", 1.0), ("b.mp4", 3.0))]
        text = f"modality: {{name: video, pretrain_clips: 3, pretrain: {parts}}}"
        config = read_config(text=text).modality
        assert isinstance(config, VideoConfig)
        source = video.source(config, "pretrain")
        assert len(source) == 6
        assert portions_of(source) == (Portion(3, 1.0), Portion(3, 3.0))

    def test_class_folders_of_pictures_are_videos_or_stills(self, tmp_path: Path):
        for number, name in enumerate(("a", "a", "b", "b", "b")):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (24, 16), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
        for setting, samples, classes in (("video", 2, ()), ("stills", 5, ("a", "b"))):
            config = small(train=str(tmp_path), pretrain=({"path": str(tmp_path)},), picture_folders=setting)
            sources = video.source(config, "pretrain"), video.open(config, str(tmp_path))
            assert [len(source) for source in sources] == [samples, samples]
            assert tuple(name for labels in sources[1].labels.values() for name in labels.names) == classes
            assert sources[1].read(0).still == (setting == "stills")

    def test_a_clock_needs_the_rate_of_folders_of_pictures(self, tmp_path: Path):
        for number in range(8):
            Image.new("RGB", (24, 16), (number, 0, 0)).save(tmp_path / f"{number}.png")
        values = {"frames": 4, "size": (16, 24), "patch": (8, 8), "fps": 5.0, "mean": (0.0,), "std": (1 / 255,)}
        for known in (10.0, None):
            config = section(**values, pictures_fps=known)
            raw, transform = video.open(config, str(tmp_path)).read(0), video.transform(config, train=False)
            if known:
                assert transform(raw, torch.Generator())[0, :, 0, 0].round().tolist() == [0, 2, 4, 6]
                continue
            with pytest.raises(ConfigError, match=r"modality\.pictures_fps"):
                transform(raw, torch.Generator())

    def test_a_named_decoder_that_is_absent_is_refused_before_anything_is_read(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(backends, "why_not", lambda name: "not installed")
        config = section(train="nowhere", decoder="torchcodec")
        with pytest.raises(MissingDependency, match=r"modality\.decoder: torchcodec is not installed"):
            video.source(config, "pretrain")
        with pytest.raises(MissingDependency, match=r"modality\.decoder: torchcodec is not installed"):
            video.open(config, "nowhere")

    def test_missing_setting_is_named_with_the_option_that_gives_it(self):
        with pytest.raises(ConfigError, match=r"modality\.test: not set.*--set modality\.test=PATH.*moving-fashion"):
            video.source(section(train="."), "probe_test")

    def test_spawned_workers_give_the_same_signals_as_none(self, write_video: WriteVideo, tmp_path: Path):
        (tmp_path / "bad.mp4").write_bytes(b"no video")
        (tmp_path / "good.mp4").write_bytes(Path(write_video("a.mp4")).read_bytes())
        config = small(train=str(tmp_path))
        dataset = SignalDataset(video.source(config, "pretrain"), video.transform(config, train=True), seed=3)
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
                assert mine[1].where == str(tmp_path / "bad.mp4")
        assert not torch.equal(here[0][1][1], here[1][1][1])  # another epoch, another clip

    @pytest.mark.parametrize("channels", [1, 3])
    def test_picture_has_the_time_steps_side_by_side(self, channels: int):
        config = small(channels=channels, mean=(0.5,), std=(0.5,))
        signal = torch.full(video.signal_shape(config), -1.0)
        signal[:, 2] = 1.0  # the first frame of the second time step
        picture = video.picture(config, signal)
        assert (picture.shape, picture.dtype) == ((16, 2 * 24, 3), np.uint8)
        assert (picture[:, :24] == 0).all()
        assert (picture[:, 24:] == 255).all()

    def test_baseline_is_grey_and_of_large_clips_averages(self):
        assert video.baseline(small(), torch.randn(2, 3, 4, 16, 24)).shape == (2, 4 * 16 * 16)
        signal = torch.randn(2, 3, 32, 64, 64)
        baseline = video.baseline(section(frames=32, size=64), signal)
        assert baseline.shape == (2, 8 * 16 * 16)
        assert baseline[0, 0].item() == pytest.approx(signal[0, :, :4, :4, :4].mean().item(), abs=1e-6)

    def test_the_control_is_the_middle_frame_standing_still(self):
        signal = torch.randn(2, 3, 4, 16, 24)
        (control,) = video.controls(small()).values()
        still = control(signal)
        assert still.shape == signal.shape
        assert all(torch.equal(still[:, :, step], signal[:, :, 2]) for step in range(4))


class TestRecipes:
    def test_demo_is_a_run_on_built_in_data(self):
        config = read_config(text=video.demo()).modality
        assert isinstance(config, VideoConfig)
        assert config.builtin == "moving-fashion"

    @pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
    def test_recipe_builds_and_states_command_price_and_result(self, path: Path):
        parts = Parts.of(read_config(path))
        assert parts.config.modality.name == "video"
        header = [line for line in path.read_text().splitlines() if line.startswith("#")]
        assert [line[2:11] for line in header if line[2:11] in {"Command: ", "Price:   ", "Expected:"}] == [
            "Command: ",
            "Price:   ",
            "Expected:",
        ]
        assert f"configs/video/{path.name}" in "".join(header)

    def test_v_jepa_ends_where_the_papers_stretched_schedules_do(self):
        config = read_config(RECIPES[0].parent / "vitl16_vm2m.yaml")
        last = config.train.steps
        assert value_at(config.optim.lr, 12_000, last) == pytest.approx(6.25e-4)
        assert value_at(config.optim.lr, last, last) == pytest.approx(7.5e-5, rel=0.01)
        assert momentum_at(config.ema, last, last, 3072) == pytest.approx(0.9996)

    def test_v_jepa_2_warms_up_holds_and_cools_down(self):
        first, second = (
            read_config(RECIPES[0].parent / f"{name}.yaml")
            for name in ("vjepa2_vitg16_vm22m", "vjepa2_vitg16_384_cooldown")
        )
        rates = [value_at(first.optim.lr, step, 240_000) for step in (0, 12_000, 240_000)]
        assert rates == pytest.approx([1e-4, 5.25e-4, 5.25e-4])
        rates = [value_at(second.optim.lr, step, 12_000) for step in (0, 6_000, 12_000)]
        assert rates == pytest.approx([5.25e-4, (5.25e-4 + 1e-6) / 2, 1e-6])
        assert {momentum_at(each.ema, 5, each.train.steps, 3072) for each in (first, second)} == {0.99925}
        assert Parts.of(second).grid.shape == (32, 24, 24)

    def test_presets_differ_as_documented(self):
        read = {name: read_config(text=f"preset: {name}\nmodality: {{name: video}}") for name in video.presets}
        assert [each.encoder.model_dump()["positions"] for each in read.values()] == ["sincos", "sincos", "rope"]
        assert [each.masking.model_dump()["preset"] for each in read.values()] == ["paper", "official", "paper"]
        assert [each.optim.weight_decay.shape for each in read.values()] == ["linear", "cosine", "linear"]
        assert [each.optim.clip_norm for each in read.values()] == [10.0, 10.0, None]
        assert [each.ema.momentum.end for each in read.values()] == [1.0, 1.0, None]

    def test_configuration_survives_being_written(self):
        config = read_config(text=video.demo())
        assert read_config(text=to_yaml(config)) == config
