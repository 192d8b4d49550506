from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from jepa_core import loading
from jepa_core.config.text import to_yaml
from jepa_core.data import SignalDataset
from jepa_core.errors import ConfigError, DataError
from jepa_core.model import Parts
from jepa_core.plugin import Split
from jepa_core.recipes import read_config
from jepa_core.registry import maskings, modalities
from jepa_core.types import SampleKey
from jepa_image import builtin
from jepa_image.config import ImageConfig
from jepa_image.plugin import image

WriteImages = Callable[..., Path]
RECIPES = sorted((Path(__file__).parents[3] / "configs" / "image").glob("*.yaml"))
HEAVY = ("torch", "torchvision", "PIL", "numpy", "pyarrow")


def section(**values: Any) -> ImageConfig:
    return ImageConfig.model_validate(values)


def fashion(**values: Any) -> ImageConfig:
    return section(builtin="fashion-mnist", channels=1, size=28, patch=4, **values)


class TestRegistration:
    def test_everything_is_found_by_name(self):
        assert modalities.get("image") is image
        assert [maskings.get(name).name for name in ("multiblock", "block", "quadrant")] == [
            "multiblock",
            "block",
            "quadrant",
        ]

    def test_importing_describing_and_planning_import_nothing_heavy(self):
        program = f"""
import sys
from jepa_image.plugin import image
config = image.Config.model_validate({{"builtin": "fashion-mnist", "channels": 1, "size": 28, "patch": 4}})
assert image.grid(config).num_tokens == 49 and image.signal_shape(config) == (1, 28, 28) and image.demo()
print([name for name in {HEAVY} if name in sys.modules])
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


class TestConfig:
    def test_one_number_is_a_square_and_a_pair_is_height_and_width(self):
        config = section(size=[32, 64], patch=[4, 16])
        assert image.grid(config).shape == (8, 4)
        assert image.grid(config).axes == ("height", "width")
        assert image.signal_shape(config) == (3, 32, 64)
        assert section(size=32, patch=4).size == (32, 32)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (
                {"size": 30, "patch": 4},
                "the height 30 does not divide by the patch's 4; the nearest that does: 28 or 32",
            ),
            (
                {"size": [32, 30], "patch": 16},
                "the width 30 does not divide by the patch's 16; the nearest that does: 16 or 32",
            ),
            ({"size": 8, "patch": 16}, "the nearest that does: 16"),
            ({"size": 0}, "greater than or equal to 1"),
            ({"size": "large"}, "valid tuple"),
            ({"size": True}, "valid tuple"),
            ({"crop_scale": [0.5, 0.3]}, r"must be [low, high] with 0 < low <= high <= 1"),
            ({"crop_scale": [0.5, 1.3]}, r"must be [low, high] with 0 < low <= high <= 1"),
            ({"crop_ratio": [0.0, 1.3]}, r"must be [low, high] with 0 < low <= high"),
            ({"resize": 192}, "resize must be at least size"),
            ({"flip": 1.5}, "less than or equal to 1"),
            ({"builtin": "fashion-mnist", "train": "x"}, "builtin brings its own splits"),
            ({"builtin": "mnist"}, "'fashion-mnist'"),
            ({"siez": 32}, "Extra inputs are not permitted"),
        ],
    )
    def test_what_cannot_work_is_refused_with_what_is_allowed(self, values: dict[str, Any], message: str):
        tuples = {
            key: tuple(value) if isinstance(value, list) and key != "size" else value for key, value in values.items()
        }
        with pytest.raises(ValidationError) as caught:
            section(**tuples)
        assert message in str(caught.value)

    @pytest.mark.parametrize(
        ("values", "mean", "std"),
        [
            ({}, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ({"builtin": "fashion-mnist"}, (0.2859,), (0.3518,)),
            ({"channels": 12, "mean": (0.5,), "std": (0.2,)}, (0.5,), (0.2,)),
        ],
    )
    def test_statistics_are_numbers_in_the_configuration(self, values: dict[str, Any], mean: Any, std: Any):
        config = section(**values)
        assert (config.mean, config.std) == (mean, std)
        assert config.model_dump()["mean"] == mean

    @pytest.mark.parametrize("values", [{"channels": 1}, {"channels": 12}, {"mean": (0.5, 0.5)}])
    def test_unknown_statistics_are_refused_with_the_command_that_makes_them(self, values: dict[str, Any]):
        with pytest.raises(ValidationError, match=r"one number per channel .* `jepa stats CONFIG` measures them"):
            section(**values)

    def test_deviation_must_be_positive(self):
        with pytest.raises(ValidationError, match="must be above 0"):
            section(std=(0.2, 0.0, 0.2))

    def test_wrong_channels_are_one_problem_and_not_three(self):
        with pytest.raises(ValidationError) as caught:
            section(channels=0)
        assert caught.value.error_count() == 1

    def test_built_in_statistics_are_those_of_the_training_part(self):
        images, _ = builtin.fashion_mnist()
        values = images[builtin.split_indices(test=False)] / 255
        assert section(builtin="fashion-mnist").mean == (round(values.mean().item(), 4),)
        assert section(builtin="fashion-mnist").std == (round(values.std().item(), 4),)


class TestSplits:
    def test_pretraining_reads_its_own_path_or_else_the_training_data(self, write_images: WriteImages):
        train, test, more = write_images("train", a=2, b=2), write_images("test", a=1, b=1), write_images("more", x=7)
        config = section(train=str(train), test=str(test))
        assert [len(image.source(config, split)) for split in ("pretrain", "probe_train", "probe_test")] == [4, 4, 2]
        config = section(train=str(train), test=str(test), pretrain=str(more))
        assert [len(image.source(config, split)) for split in ("pretrain", "probe_train", "probe_test")] == [7, 4, 2]

    def test_test_labels_follow_the_training_data(self, write_images: WriteImages):
        train, test = write_images("train", a=1, b=1, c=1), write_images("test", b=1, c=1)
        labels = image.source(section(train=str(train), test=str(test)), "probe_test").labels["label"]
        assert (labels.ids.tolist(), labels.names) == ([1, 2], ("a", "b", "c"))
        wrong = write_images("wrong", b=1, z=1)
        with pytest.raises(DataError, match="does not have: z"):
            image.source(section(train=str(train), test=str(wrong)), "probe_test")

    @pytest.mark.parametrize(
        ("split", "key"), [("pretrain", "train"), ("probe_train", "train"), ("probe_test", "train")]
    )
    def test_missing_setting_is_named_with_the_option_that_gives_it(self, split: Split, key: str):
        with pytest.raises(ConfigError, match=rf"modality\.{key}: not set.*--set modality\.{key}=PATH"):
            image.source(section(), split)

    def test_builtin_splits(self):
        assert [len(image.source(fashion(), split)) for split in ("pretrain", "probe_train", "probe_test")] == [
            8000,
            8000,
            2000,
        ]

    def test_open_reads_what_the_command_line_names(self, write_images: WriteImages):
        assert len(image.open(section(), str(write_images("any", x=3)))) == 3


class TestSignals:
    def test_train_is_random_and_evaluation_is_not(self):
        config, raw = fashion(), image.source(fashion(), "pretrain").read(0)
        for train, differ in ((True, True), (False, False)):
            transform = image.transform(config, train)
            first, second = (transform(raw, torch.Generator().manual_seed(seed)) for seed in (0, 1))
            assert first.shape == image.signal_shape(config)
            assert torch.equal(first, second) != differ

    def test_spawned_workers_give_the_same_signals_as_none(
        self, write_images: WriteImages, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(loading, "START_METHOD", "spawn")
        root = write_images("train", a=3, b=3)
        (root / "a" / "bad.png").write_bytes(b"not an image")
        config = section(train=str(root), size=8, patch=4, flip=0.5)
        dataset = SignalDataset(image.source(config, "pretrain"), image.transform(config, train=True), seed=3)
        keys = [[SampleKey(epoch, index) for index in range(7)] for epoch in (0, 1)]
        here, there = (
            list(loading.Loader(dataset, list, keys, workers=workers, timeout=60, room=7 * 3 * 8 * 8 * 4))
            for workers in (0, 1)
        )
        for mine, other in zip(chain(*here), chain(*there), strict=True):
            assert mine[0] == other[0]
            if isinstance(mine[1], torch.Tensor):
                assert isinstance(other[1], torch.Tensor)
                assert torch.equal(mine[1], other[1])
            else:
                assert mine[1] == other[1]
                assert mine[1].where == str(root / "a" / "bad.png")
        first, again = here[0][0][1], here[1][0][1]
        assert isinstance(first, torch.Tensor)
        assert isinstance(again, torch.Tensor)
        assert not torch.equal(first, again)  # another epoch, another crop

    def test_picture_is_the_image_before_normalisation(self):
        config = fashion()
        raw = image.source(config, "pretrain").read(0)
        picture = image.picture(config, image.transform(config, train=False)(raw, torch.Generator()))
        assert (picture.shape, picture.dtype) == ((28, 28, 3), np.uint8)
        assert (picture == raw[0].numpy()[..., None]).all()

    @pytest.mark.parametrize("channels", [1, 2, 3, 4, 12])
    def test_picture_has_three_channels_and_a_range_whatever_the_signal(self, channels: int):
        config = section(channels=channels, size=8, patch=4, mean=(0.0,), std=(1.0,))
        picture = image.picture(config, 1000 * torch.randn(channels, 8, 8))
        assert (picture.shape, picture.dtype) == ((8, 8, 3), np.uint8)
        assert picture.max() == 255 or channels > 3
        assert picture.min() < 100

    def test_baseline_is_the_pixels_and_of_large_images_their_averages(self):
        small = torch.randn(2, 1, 28, 28)
        assert torch.equal(image.baseline(fashion(), small), small.flatten(1))
        large = torch.randn(2, 3, 64, 96)
        baseline = image.baseline(section(size=[64, 96], patch=16), large)
        assert baseline.shape == (2, 3 * 32 * 32)
        assert baseline[0, 0].item() == pytest.approx(large[0, 0, :2, :3].mean().item(), abs=1e-6)


class TestRecipes:
    def test_demo_is_a_run_on_built_in_data(self):
        section = Parts.of(read_config(text=image.demo())).config.modality
        assert isinstance(section, ImageConfig)
        assert len(image.source(section, "pretrain")) == 8000

    @pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
    def test_recipe_builds_and_states_command_price_and_result(self, path: Path):
        parts = Parts.of(read_config(path))
        assert parts.config.modality.name == "image"
        header = [line for line in path.read_text().splitlines() if line.startswith("#")]
        assert [line[2:11] for line in header if line[2:11] in {"Command: ", "Price:   ", "Expected:"}] == [
            "Command: ",
            "Price:   ",
            "Expected:",
        ]
        assert f"configs/image/{path.name}" in "".join(header)

    def test_there_are_recipes(self):
        assert {path.stem for path in RECIPES} >= {
            "cifar10_cpu",
            "cifar10",
            "imagenette",
            "vith14_in1k",
            "vith16_448_in1k",
        }

    def test_paper_recipe_has_the_papers_numbers(self):
        config = read_config(Path(RECIPES[0]).parent / "vith14_in1k.yaml")
        assert (config.optim.lr.value, config.optim.lr.warmup_from, config.optim.lr.end) == (1e-3, 1e-4, 1e-6)
        assert config.optim.lr.warmup == pytest.approx(15 / 300)
        assert (config.optim.weight_decay.value, config.optim.weight_decay.end) == (0.04, 0.4)
        assert (config.ema.momentum.value, config.ema.momentum.end, config.train.batch_size) == (0.996, 1.0, 2048)
        assert config.train.steps == round(300 * 1_281_167 / 2048)

    def test_presets_differ_as_documented(self):
        read = {name: read_config(text=f"preset: {name}\nmodality: {{name: image}}") for name in image.presets}
        assert [read[name].objective.name for name in ("paper", "official", "article")] == ["l2", "smooth_l1", "l2"]
        assert [read[name].optim.lr.warmup_from for name in read] == [1e-4, 2e-4, 1e-4]
        assert [read[name].optim.weight_decay.shape for name in read] == ["linear", "cosine", "cosine"]
        assert [read[name].ema.momentum.shape for name in read] == ["linear", "linear", "cosine"]
        assert [read[name].masking.model_dump()["preset"] for name in read] == list(read)

    def test_configuration_survives_being_written(self):
        config = read_config(text=image.demo())
        assert read_config(text=to_yaml(config)) == config


def test_the_licence_of_the_built_in_data_travels_with_it():
    folder = resources.files("jepa_image") / "data"
    assert "Zalando SE" in (folder / "LICENSE").read_text()
    assert {entry.name for entry in folder.iterdir()} == {
        "LICENSE",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    }
