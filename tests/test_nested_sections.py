"""A strategy made of strategies: sections inside a section, each validated, shown and built by the name in it."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from typing import Any, Literal

import pytest
from pydantic import Field
from toy import toy_config
from typer.testing import CliRunner

from jepa_core.cli import app
from jepa_core.config import Section
from jepa_core.config.schema import file_schema
from jepa_core.config.show import commented_yaml
from jepa_core.config.text import to_yaml
from jepa_core.config.tree import MaskingSection, owned_sections
from jepa_core.errors import ConfigError, PluginIncompatible
from jepa_core.masking.nested import build_nested
from jepa_core.model import Parts
from jepa_core.plugin import Masking, MaskingStrategy
from jepa_core.recipes import read_config, versions
from jepa_core.registry import REGISTRIES, maskings, section_class
from jepa_core.types import Provenance, TokenGrid


class BothConfig(Section):
    """Uses one of two strategies."""

    name: Literal["both"] = "both"
    """The registered name."""
    first: MaskingSection = Field(default={"name": "random", "ratio": 0.25})  # pyright: ignore[reportAssignmentType]
    """A masking section: the strategy that is used."""
    second: MaskingSection
    """A masking section: the strategy that is not."""


def both(config: BothConfig, grid: TokenGrid) -> MaskingStrategy:
    return build_nested({"first": config.first, "second": config.second}, grid)["first"]


@pytest.fixture(autouse=True)
def registered(toy: object) -> Generator[None]:
    with maskings.temporarily(Masking("both", BothConfig, both, "for tests")):
        yield


def masking(*overrides: str) -> Any:
    return toy_config("masking={name: both, second: {name: toy_rows}}", *overrides).masking


def problems(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        masking(*overrides)
    return refused.value.problems


def test_each_section_is_of_the_class_of_its_name() -> None:
    config = masking()
    assert type(config.first) is section_class("masking", "random")
    assert type(config.second) is section_class("masking", "toy_rows")
    assert config.first.model_dump()["ratio"] == 0.25


def test_an_override_changes_one_value_and_another_name_starts_afresh() -> None:
    assert masking("masking.first.num_targets=3").first.model_dump() == {
        "name": "random",
        "ratio": 0.25,
        "num_targets": 3,
    }
    assert masking("masking.first={name: toy_rows}").first.rows == 2
    assert masking("masking.second.name=random").second.ratio == 0.6


def test_errors_name_the_place_and_what_is_allowed_there() -> None:
    found = problems("masking.first.ratoi=1", "masking.second.rows=none", "train.steps=0")
    assert [problem.split(":")[0] for problem in found] == ["masking.first.ratoi", "masking.second.rows", "train.steps"]
    assert "Did you mean 'ratio'?" in found[0]
    assert "a whole number (at least 1); got 'none'" in found[1]


def test_unknown_names_and_wrong_types_are_told_with_their_place() -> None:
    (unknown,) = problems("masking.first={name: rendom}")
    assert unknown.startswith("masking.first.name: masking 'rendom' is not installed. Did you mean 'random'?")
    (number,) = problems("masking.first=3")
    assert number.startswith("masking.first: expected a section with a name")
    with pytest.raises(ConfigError, match=r"masking.second: is required: a section with a name"):
        toy_config("masking={name: both}")


def test_a_default_that_is_not_installed_is_told_with_its_own_place() -> None:
    class LackingConfig(BothConfig):
        """Its default is supplied by nobody."""

        first: MaskingSection = Field(default={"name": "nobodys"})  # pyright: ignore[reportAssignmentType]
        """A masking section."""

    with maskings.temporarily(Masking("both", LackingConfig, both, "for tests")):
        (problem,) = problems()
    assert problem.startswith("masking.first.name: masking 'nobodys' is not installed")


def test_sections_nest_to_any_depth() -> None:
    deep = "masking.first={name: both, first: {name: toy_rows, rows: 4}, second: {name: random}}"
    assert masking(deep).first.first.rows == 4
    (problem,) = problems(deep, "masking.first.first.rows=0")
    assert problem.startswith("masking.first.first.rows: expected a whole number (at least 1)")
    with pytest.raises(ConfigError, match=r"^masking\.first\.first\.rows: "):
        Parts.of(toy_config("masking={name: both, second: {name: toy_rows}}", deep, "masking.first.first.rows=99"))


def test_what_cannot_work_on_the_grid_is_reported_for_all_sections_at_once() -> None:
    config = masking("masking.first.ratio=0.999", "masking.second={name: random, ratio: 0.998}")
    with pytest.raises(ConfigError) as refused:
        maskings.get("both").build(config, TokenGrid((6, 6), ("rows", "columns")))
    first, second = refused.value.problems
    assert first.startswith("masking.first.ratio: 0.999 leaves no context")
    assert second.startswith("masking.second.ratio: 0.998 leaves no context")


def test_a_strategy_that_cannot_serve_the_grid_is_told_with_its_place() -> None:
    elsewhere = Masking("toy_rows", section_class("masking", "toy_rows"), both, "", needs_axes=("depth",))
    with (
        maskings.temporarily(elsewhere),
        pytest.raises(PluginIncompatible, match=r"^masking\.second\.name: 'toy_rows'"),
    ):
        Parts.of(toy_config("masking={name: both, second: {name: toy_rows}}"))


def test_the_built_strategy_is_the_named_one() -> None:
    parts = Parts.of(toy_config("masking={name: both, second: {name: toy_rows}}"))
    assert parts.masking.budgets[0].target == 9


def test_what_is_printed_reads_back_equal_and_explains_the_inner_fields() -> None:
    config = toy_config("masking={name: both, second: {name: toy_rows, rows: 3}}")
    assert read_config(text=to_yaml(config)) == config
    text = commented_yaml(config, section_class)
    assert read_config(text=text) == config
    assert "  # A masking section: the strategy that is used.\n  # random: Unstructured masking" in text
    assert "    # Rows that are hidden, each one target block; fewer than the grid has." in text
    assert "\n    rows: 3\n" in text


def test_the_schema_offers_every_installed_strategy_inside() -> None:
    sections = {kind: [section_class(kind, name) for name in registry.names()] for kind, registry in REGISTRIES.items()}
    schema = file_schema(sections)
    offered = {each["$ref"] for each in schema["properties"]["masking"]["anyOf"]}
    inside = schema["$defs"]["BothConfig"]["properties"]["first"]
    assert {each["$ref"] for each in inside["anyOf"]} == offered
    assert inside["default"] == {"name": "random", "ratio": 0.25}
    assert "x-registered" not in json.dumps(schema)


def test_whoever_supplies_an_inner_strategy_is_among_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    config = toy_config("masking={name: both, second: {name: toy_rows}}")
    for kind, registry in REGISTRIES.items():

        def suppliers(name: str, kind: str = kind) -> tuple[Provenance, ...]:
            asked.append((kind, name))
            return (Provenance("numpy", ""),) if name == "toy_rows" else ()

        monkeypatch.setattr(registry, "suppliers", suppliers)
    assert set(versions(config)) == {"jepa-core", "torch", "accelerate", "numpy"}
    assert {("modality", "toy"), ("masking", "both"), ("masking", "random"), ("encoder", "vit")} <= set(asked)
    assert [kind for kind, _ in owned_sections(config)] == ["modality", *["masking"] * 3, "encoder", "objective"]


def test_config_show_takes_a_nested_override() -> None:
    arguments = ["config", "show", "toy", "--set", "masking={name: both, second: {name: random}}"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    shown: Mapping[str, Any] = read_config(text=done.output).masking.model_dump()
    assert shown["second"]["name"] == "random"
