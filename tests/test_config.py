"""Layers of a configuration, and what is said of mistakes in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from pydantic import field_validator, model_validator
from toy import Toy, ToyConfig, ToyRowsConfig, toy_config

from jepa_core.builtin import KnnProbeConfig, L1Config, LinearProbeConfig, ViTConfig
from jepa_core.config import Frozen, Section
from jepa_core.config.base import merge
from jepa_core.errors import ConfigError, PluginLoadError
from jepa_core.recipes import read_config
from jepa_core.registry import REGISTRIES, modalities

pytestmark = pytest.mark.usefixtures("toy")


def problems_of(text: str | None = "modality: {name: toy}", *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_config(text=text, overrides=overrides)
    return caught.value.problems


# Layers


def test_a_modality_alone_is_a_whole_configuration_with_its_defaults() -> None:
    config = read_config(text="modality: {name: toy}")
    assert isinstance(config.modality, ToyConfig)
    assert isinstance(config.encoder, ViTConfig)
    assert (config.masking.name, config.encoder.width, config.train.steps) == ("random", 32, 8)
    assert config.optim.betas == (0.9, 0.999)


def test_sections_that_the_tree_names_by_default_are_of_their_plugins_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "defaults", {"masking": {"name": "random"}})
    config = read_config(text="modality: {name: toy}")
    assert type(config.encoder) is ViTConfig
    assert [type(probe) for probe in config.probes] == [LinearProbeConfig, KnnProbeConfig]
    assert config.objective.name == "l2"


def test_a_preset_lies_between_the_modalitys_defaults_and_the_file() -> None:
    config = read_config(text="{modality: {name: toy}, preset: wide, encoder: {heads: 8}}")
    assert isinstance(config.encoder, ViTConfig)
    assert (config.encoder.width, config.encoder.heads, config.encoder.depth) == (64, 8, 2)


def test_overrides_win_over_the_file_and_the_last_one_wins() -> None:
    config = read_config(text="{modality: {name: toy}, seed: 1}", overrides=["seed=2", "seed=3"])
    assert config.seed == 3


def test_the_modality_and_the_preset_may_come_from_overrides_alone() -> None:
    config = read_config(overrides=["modality.name=toy", "preset=rows"])
    assert config.masking == ToyRowsConfig(rows=3)
    assert config.objective == L1Config()


def test_another_name_drops_the_options_of_the_default_name() -> None:
    assert read_config(text="{modality: {name: toy}, masking: {name: toy_rows}}").masking == ToyRowsConfig()
    config = read_config(text="{modality: {name: toy}, masking: {ratio: .7}}", overrides=["masking.name=toy_rows"])
    assert config.masking == ToyRowsConfig()


def test_options_without_a_name_or_with_the_same_name_extend_the_default() -> None:
    for text in ("masking: {num_targets: 3}", "masking: {name: random, num_targets: 3}"):
        masking: Any = read_config(text=f"modality: {{name: toy}}\n{text}").masking
        assert (masking.ratio, masking.num_targets) == (0.5, 3)


def test_one_key_of_a_nested_section_leaves_the_others_at_the_defaults_of_their_place() -> None:
    lr = toy_config("optim.lr.value=3e-4").optim.lr
    assert (lr.value, lr.shape, lr.end, lr.warmup_from) == (3e-4, "cosine", 1e-6, 1e-4)


def test_a_plugins_own_nested_sections_keep_the_defaults_of_their_place_too() -> None:
    class Crop(Frozen):
        low: float = 0.0
        high: float = 1.0

    class NestedConfig(Section):
        name: Literal["nested"] = "nested"
        crop: Crop = Crop(low=0.3)
        crops: tuple[Crop, ...] = (Crop(low=0.1), Crop(low=0.2))

    class Nested(Toy):
        name: ClassVar[str] = "nested"
        Config: ClassVar[type[Section]] = NestedConfig

    with modalities.temporarily(Nested):
        config = read_config(text="modality: {name: nested, crop: {high: 0.8}}")
        assert config.modality == NestedConfig(crop=Crop(low=0.3, high=0.8))
        config = read_config(text="modality: {name: nested}", overrides=["modality.crops.1.high=0.8"])
        assert config.modality == NestedConfig(crops=(Crop(low=0.1), Crop(low=0.2, high=0.8)))
        assert problems_of("modality: {name: nested, crop: {hihg: 0.8}}") == [
            "modality.crop.hihg: unknown key. Did you mean 'high'? See: jepa config show nested"
        ]


def test_a_position_in_an_override_changes_one_entry_of_a_list() -> None:
    config = toy_config("probes.1.k=10", "optim.betas.0=0.8")
    assert [probe.name for probe in config.probes] == ["linear", "knn"]
    assert isinstance(config.probes[1], KnnProbeConfig)
    assert config.probes[1].k == 10
    assert config.optim.betas == (0.8, 0.999)


def test_a_position_past_the_end_is_an_error() -> None:
    (problem,) = problems_of("modality: {name: toy}", "probes.2.k=10")
    assert problem.startswith("probes: expected a list, each entry a section with a name")
    assert 'got {"2": {"k": 10}}' in problem


def test_a_list_in_the_file_replaces_the_default_list() -> None:
    assert [probe.name for probe in toy_config("probes=[{name: knn}]").probes] == ["knn"]
    assert toy_config("probes=[]").probes == ()


def test_null_in_the_file_is_a_value() -> None:
    with_default = read_config(text="{modality: {name: toy}, encoder: {size: tiny, width: null}}").encoder
    assert isinstance(with_default, ViTConfig)
    assert with_default.width is None


def test_merging_changes_neither_layer() -> None:
    below, above = {"a": {"b": [1, 2]}}, {"a": {"b": {"0": 3}, "c": 4}}
    assert merge(below, above) == {"a": {"b": (3, 2), "c": 4}}
    assert (below, above) == ({"a": {"b": [1, 2]}}, {"a": {"b": {"0": 3}, "c": 4}})


# Problems


def test_every_problem_of_every_section_is_reported_at_once_with_its_path() -> None:
    text = """
modality: {name: toy, siez: 3, cells: 1.5}
preset: wid
masking: {name: randm}
encoder: 3
predictor: {heads: 1.5, width: "3"}
ema: {momentum: {value: 1.5}}
optim: {betas: [1, 2, 3], lr: 3e-4, eps: 0}
train: {workers: -1, steps: 0, precison: fp32, compile: 1, lr: 3, precision: fp8}
probes: [{name: knn, k: 0}, {name: lin}, 3, {k: 3}, {name: 7}]
seed: -1
lr: 3
"""
    problems = problems_of(text)
    assert [problem.split(": ")[0] for problem in problems] == [
        "preset",
        "seed",
        "modality.cells",
        "modality.siez",
        "masking.name",
        "encoder",
        "predictor.width",
        "predictor.heads",
        "ema",
        "optim.lr",
        "optim.betas",
        "optim.eps",
        "train.steps",
        "train.precision",
        "train.compile",
        "train.workers",
        "train.precison",
        "train.lr",
        "probes.0.k",
        "probes.1.name",
        "probes.2",
        "probes.3",
        "probes.4.name",
        "lr",
    ]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("modality.nosie=3", "modality.nosie: unknown key. Did you mean 'noise'?"),
        ("train.lr=3", "train.lr: unknown key here. Did you mean optim.lr?"),
        ("ratio=.5", "ratio: unknown key here. Did you mean masking.ratio?"),
        (
            "optim.lr.qqq=3",
            "optim.lr.qqq: unknown key. Allowed: value, end, shape, warmup, warmup_from, decay, horizon.",
        ),
        ("train.steps=0", "train.steps: expected a whole number (at least 1); got 0."),
        ("train.steps=2.5", "train.steps: expected a whole number (at least 1); got 2.5."),
        ("train.steps=many", "train.steps: expected a whole number (at least 1); got 'many'."),
        ("train.steps=", "train.steps: expected a whole number (at least 1); got null."),
        ("train.compile=off", "train.compile: expected true or false; got 'off'."),
        ("predictor.heads=x", "predictor.heads: expected a whole number (at least 1), or null; got 'x'."),
        ("train.workers=none", "train.workers: expected a whole number (at least 0), or 'auto'; got 'none'."),
        ("masking.ratio=1", "masking.ratio: expected a number (above 0 and below 1); got 1."),
        ("optim.eps=.nan", "optim.eps: expected a number (above 0); got NaN."),
        ("predictor.mode=both", "predictor.mode: expected one of 'separate', 'joint'; got 'both'."),
        ("tracking.project=[a]", 'tracking.project: expected text; got ["a"].'),
        (
            "tracking.trackers=wandb",
            "tracking.trackers: expected a list, each entry one of 'tensorboard', 'wandb'; got",
        ),
        ("tracking.trackers.0=mlflow", "tracking.trackers: expected a list"),
        ("tracking.trackers=[mlflow]", "tracking.trackers.0: expected one of 'tensorboard', 'wandb'; got 'mlflow'."),
        ("optim.betas=[.9, 1]", "optim.betas.1: expected a number (at least 0 and below 1); got 1."),
        ("optim.lr=3e-4", "optim.lr: expected a section with the keys value, end, shape, warmup,"),
        ("train=3", "train: expected a section with the keys steps, batch_size,"),
        ("optim.betas=[.9]", "optim.betas.1: is required: a number (at least 0 and below 1). See"),
        ("optim.betas=.9", "optim.betas: expected a list of 2, each a number (at least 0 and below 1); got 0.9."),
        ("masking=random", "masking: expected a section with a name, such as {name: ...}"),
        ("probes.0.learning_rates=[]", "probes.0.learning_rates: expected a list of at least 1, each entry a number"),
        ("ema.momentum.value=2", "ema: momentum lies between 0 and 1, got 2.0."),
        ("encoder.heads=5", "encoder: width 32 does not divide by heads 5."),
        ("preset=wid", "preset: 'wid' is no preset of toy. Did you mean 'wide'? Known: wide, rows."),
        ("masking.name=toy_row", "masking.name: masking 'toy_row' is not installed. Did you mean 'toy_rows'?"),
        ("masking.name=3", "masking.name: expected text, an installed name; got 3."),
    ],
)
def test_a_problem_says_where_and_what_was_given_and_what_is_allowed(override: str, problem: str) -> None:
    (found,) = problems_of("modality: {name: toy}", override)
    assert found.startswith(problem)
    assert found.endswith("See: jepa config show toy") or "Installed: " in found


def test_a_required_key_is_described() -> None:
    class NeedyConfig(Section):
        name: Literal["needy"] = "needy"
        root: str
        """Where the samples
        are."""

    class Needy(Toy):
        name: ClassVar[str] = "needy"
        Config: ClassVar[type[Section]] = NeedyConfig

    with modalities.temporarily(Needy):
        assert problems_of("modality: {name: needy}") == [
            "modality.root: is required: text. Where the samples are. See: jepa config show needy"
        ]


def test_without_a_modality_nothing_else_is_said_to_be_missing() -> None:
    (problem,) = problems_of("{}")
    assert problem.startswith("modality: is required: a section with a name")
    name, steps = problems_of("{modality: {name: ty}, train: {stes: 3}}")
    assert name.startswith("modality.name: modality 'ty' is not installed. Did you mean 'toy'?")
    assert steps == "train.stes: unknown key. Did you mean 'steps'? See: jepa plugins list"


def test_a_modality_without_a_default_strategy_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "defaults", {})
    (problem,) = problems_of()
    assert problem.startswith("masking: is required: a section with a name")


def test_an_error_of_a_plugins_own_validator_keeps_its_path_and_words() -> None:
    class PickyConfig(ToyConfig):
        name: Literal["picky"] = "picky"  # pyright: ignore[reportIncompatibleVariableOverride]

        @model_validator(mode="after")
        def _is_even(self) -> PickyConfig:
            if self.cells % 2:
                raise ValueError(f"cells is even, got {self.cells}")
            return self

        @field_validator("noise")
        @classmethod
        def _is_quiet(cls, value: float) -> float:
            if value > 1:
                raise ValueError("noise drowns the signal.")
            return value

    class Picky(Toy):
        name: ClassVar[str] = "picky"
        Config: ClassVar[type[Section]] = PickyConfig

    with modalities.temporarily(Picky):
        assert problems_of("modality: {name: picky, cells: 5}") == [
            "modality: cells is even, got 5. See: jepa config show picky"
        ]
        assert problems_of("modality: {name: picky, noise: 2}") == [
            "modality.noise: noise drowns the signal; got 2. See: jepa config show picky"
        ]


def test_a_broken_plugin_is_a_problem_among_others_and_its_import_error_is_the_cause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = PluginLoadError("masking 'random': cannot be imported")
    real = REGISTRIES["masking"].get

    def get(name: str) -> Any:
        if name == "random":
            raise original
        return real(name)

    monkeypatch.setattr(REGISTRIES["masking"], "get", get)
    with pytest.raises(ConfigError) as caught:
        read_config(text="{modality: {name: toy}, seed: x}")
    assert len(caught.value.problems) == 2
    assert caught.value.problems[1] == "masking.name: masking 'random': cannot be imported"
    assert caught.value.__cause__ is original


def test_a_long_value_is_cut() -> None:
    (problem,) = problems_of("modality: {name: toy}", f"train.precision={'x' * 500}")
    assert len(problem) < 200
    assert " ..." in problem


def test_problems_carry_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("{modality: {name: toy}, seed: x}")
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: seed: expected a whole number")


@pytest.mark.parametrize("override", ["", "seed", "=3", ".=3", "a..b=3", "a.=3"])
def test_an_override_of_another_form_is_refused_with_an_example(override: str) -> None:
    (problem,) = problems_of("modality: {name: toy}", override)
    assert problem == f"--set '{override}': expected KEY.KEY=VALUE, such as optim.lr.value=3e-4."


def test_all_bad_overrides_are_reported_at_once() -> None:
    first, second = problems_of("modality: {name: toy}", "seed", "seed=[")
    assert first.startswith("--set 'seed': expected")
    assert second.startswith("--set 'seed=[': the value is not valid YAML: line 1, column 2")
