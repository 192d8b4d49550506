"""A configuration, out again: resolved, hashed, commented, described."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from toy import ToyConfig, ToyRowsConfig, toy_config

from jepa_core.builtin import L1Config, ViTConfig
from jepa_core.config import Frozen, RunConfig
from jepa_core.config.schema import file_schema
from jepa_core.config.show import commented_yaml
from jepa_core.config.text import config_hash, to_yaml
from jepa_core.recipes import read_config
from jepa_core.registry import REGISTRIES, section_class

pytestmark = pytest.mark.usefixtures("toy")


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
