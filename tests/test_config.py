"""Reading, checking and showing configurations."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from pydantic import model_validator
from toy import Toy, ToyConfig, ToyRowsConfig, toy_config

from jepa_core.builtin import KnnProbeConfig, L1Config, LinearProbeConfig, ViTConfig
from jepa_core.config import Frozen, RunConfig, Section
from jepa_core.config.base import merge
from jepa_core.config.schema import file_schema
from jepa_core.config.show import commented_yaml
from jepa_core.config.text import config_hash, dump, inline, parse, to_yaml
from jepa_core.errors import ConfigError, PluginLoadError
from jepa_core.recipes import read_config
from jepa_core.registry import REGISTRIES, modalities, section_class

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

    class Nested(Toy):
        name: ClassVar[str] = "nested"
        Config: ClassVar[type[Section]] = NestedConfig

    with modalities.temporarily(Nested):
        config = read_config(text="modality: {name: nested, crop: {high: 0.8}}")
        assert config.modality == NestedConfig(crop=Crop(low=0.3, high=0.8))
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

    class Picky(Toy):
        name: ClassVar[str] = "picky"
        Config: ClassVar[type[Section]] = PickyConfig

    with modalities.temporarily(Picky):
        assert problems_of("modality: {name: picky, cells: 5}") == [
            "modality: cells is even, got 5. See: jepa config show picky"
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


# Files


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda folder: folder / "absent.yaml", "there is no such file"),
        (lambda folder: folder, "is a folder; give a .yaml file"),
        (lambda folder: write(folder / "a.yaml", b""), "is empty; see: jepa config show MODALITY"),
        (lambda folder: write(folder / "a.yaml", b"# only a comment\n"), "is empty"),
        (lambda folder: write(folder / "a.yaml", b"- 1\n"), "holds a list, and must be a mapping"),
        (lambda folder: write(folder / "a.yaml", b"toy\n"), "holds a single value, and must be a mapping"),
        (lambda folder: write(folder / "a.pt", b"PK\x03\x04\x80\xff"), "is not text in UTF-8 (byte 4)"),
        (lambda folder: write(folder / "a.pt", b"\x00" * 64), "is not valid YAML"),
        (lambda folder: write(folder / "a.pt", b"a" * (2 << 20)), "is larger than 1 MiB"),
        (
            lambda folder: write(folder / "a.yaml", b"seed: 1\nseed: 2\n"),
            "line 2, column 1: the key 'seed' is given twice",
        ),
        (lambda folder: write(folder / "a.yaml", b"train:\n\tsteps: 1\n"), "is not valid YAML: line 2, column 1"),
        (
            lambda folder: write(folder / "a.yaml", b"a: !!python/name:os.system x\n"),
            "line 1, column 4: tags are not read",
        ),
        (lambda folder: write(folder / "a.yaml", b"1: 2\n"), "line 1, column 1: a key must be text"),
        (
            lambda folder: write(folder / "a.yaml", b"a: &a [*a]\n"),
            "line 1, column 4: found unconstructable recursive node",
        ),
        (lambda folder: write(folder / "a.yaml", b"[" * 5000), "nested too deeply"),
        (lambda folder: write(folder / "a.yaml", b"a: 1\n---\nb: 2\n"), "line 2, column 1"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_with_the_reason(
    make: Callable[[Path], Path], problem: str, tmp_path: Path
) -> None:
    path = make(tmp_path)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)


def test_a_missing_file_is_answered_with_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path / "tiny.yaml", b"")
    with pytest.raises(ConfigError, match=r"there is no such file; there is .*tiny\.yaml"):
        read_config(tmp_path / "tinny.yaml")


def test_a_run_folder_is_answered_with_the_configuration_inside(tmp_path: Path) -> None:
    inside = write(tmp_path / "config.yaml", b"")
    with pytest.raises(ConfigError, match=re.escape(f"is a folder; its configuration is {inside}")):
        read_config(tmp_path)


def test_an_unreadable_file_is_refused_without_a_traceback() -> None:
    with pytest.raises(ConfigError, match="cannot be read: embedded null"):
        read_config("a\0b.yaml")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", b"\xef\xbb\xbfmodality: {name: toy}\n")
    assert read_config(path) == toy_config()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E6", 1e6),
        ("-.5", -0.5),
        ("3.", 3.0),
        ("10_000", 10_000),
        ("off", "off"),
        ("yes", "yes"),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("0x10", "0x10"),
        ("'1'", "1"),
        ("true", True),
        ("~", None),
        ("null", None),
        ("Null", "Null"),
        ("[1, [2]]", (1, (2,))),
        ("{a: {b: [1]}}", {"a": {"b": (1,)}}),
        ("[&x {a: 1}, {<<: *x, b: 2}]", ({"a": 1}, {"a": 1, "b": 2})),
    ],
)
def test_scalars_are_those_of_yaml_1_2_and_sequences_are_tuples(text: str, value: object) -> None:
    found = parse(text)
    assert found == value
    assert type(found) is type(value)


AWKWARD = [
    "1e-3",
    "off",
    "010",
    "null",
    "~",
    "",
    "1:30",
    "=",
    "<<",
    "a: b",
    "#x",
    "1_0",
    ".5",
    "é",
    "a\nb",
    " a",
    "...",
    "-",
]


@pytest.mark.parametrize("text", AWKWARD)
def test_text_that_looks_like_something_else_is_quoted_when_it_is_written(text: str) -> None:
    assert parse(dump({"a": [text]})) == {"a": (text,)}
    assert parse(f"a: {inline(text)}") == {"a": text}


# Out again


def test_the_resolved_configuration_reads_back_equal_with_an_equal_hash() -> None:
    config = toy_config(
        "preset=rows", "modality.unreadable=[3, 1]", "probes.1.k=10", f"seed={2**63 - 1}", "optim.eps=1e-30"
    )
    back = read_config(text=to_yaml(config))
    assert back == config
    assert config_hash(back) == config_hash(config)
    assert re.fullmatch("[0-9a-f]{64}", config_hash(config))


def test_the_hash_depends_on_every_value_and_on_no_order() -> None:
    assert config_hash(toy_config("seed=1")) != config_hash(toy_config())
    assert config_hash(toy_config("probes.1.temperature=0.08")) != config_hash(toy_config())
    assert config_hash(toy_config("seed=1", "train.steps=3")) == config_hash(toy_config("train.steps=3", "seed=1"))


def test_the_hash_is_the_same_in_every_release() -> None:
    class Small(Frozen):
        number: float = 1e-3
        names: tuple[str, ...] = ("b", "a")

    assert config_hash(Small()) == "bb9ac3e765bb2840dd5d781a68dd35eaee9acf3c7404feae254a91e178a1e323"


def test_the_commented_configuration_reads_back_equal() -> None:
    config = toy_config("tracking.trackers=[wandb]", "tracking.project='#1: \"a\"'", "probes.0.learning_rates=[1e-3]")
    assert read_config(text=commented_yaml(config, section_class)) == config


def test_every_field_of_the_commented_configuration_has_a_comment() -> None:
    lines = commented_yaml(toy_config("preset=rows"), section_class).splitlines()
    for number, line in enumerate(lines):
        if line and not line.lstrip().startswith(("#", "name:", "- name:")):
            assert lines[number - 1].lstrip().startswith("#"), line
    text = "\n".join(lines)
    assert "# Completed optimizer updates in the whole run. [a whole number (at least 1)]\n  steps: 8" in text
    assert "# toy_rows: Whole rows of the grid are hidden." in text
    assert max(map(len, lines)) <= 120


def fields_without_description(cls: type[Frozen]) -> Iterator[str]:
    schema = cls.model_json_schema()
    for owner, node in {cls.__name__: schema, **schema.get("$defs", {})}.items():
        for key, field in node.get("properties", {}).items():
            reference = schema.get("$defs", {}).get(field.get("$ref", "").rpartition("/")[2], {})
            if not field.get("description") and not reference.get("description"):
                yield f"{owner}.{key}"


def test_every_field_of_the_core_has_a_description() -> None:
    classes = [
        section_class(kind, entry.name)
        for kind, registry in REGISTRIES.items()
        for entry in registry.entries()
        if entry.provenance[0].distribution == "jepa-core"
    ]
    assert [missing for cls in (RunConfig, *classes) for missing in fields_without_description(cls)] == []


def test_the_schema_of_a_file_holds_the_classes_that_a_section_may_be_of() -> None:
    sections = {kind: [section_class(kind, name) for name in registry.names()] for kind, registry in REGISTRIES.items()}
    schema = file_schema({**sections, "modality": [ToyConfig], "masking": [ToyRowsConfig]})
    json.dumps(schema)
    assert schema["required"] == ["modality"]
    assert schema["properties"]["modality"]["anyOf"] == [{"$ref": "#/$defs/ToyConfig"}]
    assert schema["properties"]["modality"]["description"] == "What is learned from: data, preprocessing and tokens."
    assert {"$ref": "#/$defs/KnnProbeConfig"} in schema["properties"]["probes"]["items"]["anyOf"]
    assert schema["$defs"]["ToyRowsConfig"]["properties"]["rows"]["minimum"] == 1
    assert "required" not in schema["$defs"]["Schedule"]
    assert "x-registered" not in json.dumps(schema)
    references = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)))
    assert references <= set(schema["$defs"])


def test_sections_built_in_python_need_no_lookup() -> None:
    config = RunConfig(
        modality=ToyConfig(), masking=ToyRowsConfig(), encoder=ViTConfig(), objective=L1Config(), probes=()
    )
    assert config.modality == ToyConfig()


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        toy_config().seed = 3  # pyright: ignore[reportAttributeAccessIssue]
