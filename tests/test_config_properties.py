"""Whatever is wrong with a configuration, it is refused with its dotted path and without a traceback."""

from __future__ import annotations

import math
import string
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy import toy_config, toy_registered

from jepa_core.config import Frozen, RunConfig
from jepa_core.config.show import commented_yaml
from jepa_core.config.text import config_hash, inline, to_yaml
from jepa_core.errors import ConfigError
from jepa_core.recipes import read_config
from jepa_core.registry import section_class

WRONG = [
    "no such choice",
    "",
    10**30,
    -(10**30),
    0.123,
    -0.5,
    math.inf,
    math.nan,
    True,
    None,
    ["deep", ["er"]],
    {"odd": 1},
    [],
]
KEYS = string.ascii_lowercase + "_"
fixed = settings(derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Leaf:
    """A field that holds a value and no section: its dotted path and what JSON schema says of it."""

    path: str
    node: dict[str, Any]
    siblings: tuple[str, ...]


@pytest.fixture(autouse=True, scope="module")
def toy() -> Iterator[None]:
    with toy_registered():
        yield


def leaves_of(model: Frozen, before: str = "") -> Iterator[Leaf]:
    schema = type(model).model_json_schema()
    for key in type(model).model_fields:
        value, path = getattr(model, key), f"{before}{key}"
        if isinstance(value, Frozen):
            yield from leaves_of(value, f"{path}.")
        elif isinstance(value, tuple) and value and isinstance(value[0], Frozen):
            for position, entry in enumerate(value):
                yield from leaves_of(entry, f"{path}.{position}.")
        else:
            yield Leaf(path, schema["properties"][key], tuple(type(model).model_fields))


@cache
def leaves() -> tuple[tuple[Leaf, ...], tuple[str, ...]]:
    """Every field of two configurations that differ in their plugins, and the override that chooses the second."""
    second = ("preset=rows", "objective.name=smooth_l1")
    named = {leaf.path: leaf for leaf in leaves_of(toy_config(*second))}
    return tuple(named.values()), second


def accepts(node: dict[str, Any], value: Any) -> bool:
    """Whether JSON schema, read by this test alone, allows the value."""
    if "anyOf" in node:
        return any(accepts(each, value) for each in node["anyOf"])
    if "const" in node or "enum" in node:
        return value in node.get("enum", [node.get("const")]) and not isinstance(value, bool)
    match node["type"]:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list) and not node.get("minItems") and not value
        case kind:
            numbers = (int,) if kind == "integer" else (int, float)
            if isinstance(value, bool) or not isinstance(value, numbers) or not math.isfinite(value):
                return False
            return (
                node.get("minimum", value) <= value <= node.get("maximum", value)
                and not ("exclusiveMinimum" in node and value <= node["exclusiveMinimum"])
                and not ("exclusiveMaximum" in node and value >= node["exclusiveMaximum"])
            )


def edge_values(node: dict[str, Any]) -> list[Any]:
    """Values at and just beyond the bounds of a number."""
    bounds = [
        each[key]
        for each in (node, *node.get("anyOf", ()))
        for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
        if key in each
    ]
    return [near for bound in bounds for near in (bound, bound - 1, bound + 1, bound - 1e-6, bound + 1e-6)]


@st.composite
def misspelt(draw: st.DrawFn, leaf: Leaf) -> tuple[str, str]:
    """An override of a key that does not exist, and the path that must be reported."""
    before, dot, key = leaf.path.rpartition(".")
    place = draw(st.integers(0, len(key) - 1))
    letter = draw(st.sampled_from(KEYS))
    changed = draw(
        st.sampled_from(
            [
                key[:place] + key[place + 1 :],
                key[:place] + letter + key[place:],
                key[:place] + letter + key[place + 1 :],
                key[:place] + key[place : place + 2][::-1] + key[place + 2 :],
                key.upper(),
                key + "s",
            ]
        ).filter(lambda each: each and each not in leaf.siblings)
    )
    return f"{before}{dot}{changed}=1", f"{before}{dot}{changed}"


@st.composite
def wrong_value(draw: st.DrawFn, leaf: Leaf) -> tuple[str, str]:
    """An override of a wrong type or out of range, and the path that must be reported."""
    choices = [each for each in (*WRONG, *edge_values(leaf.node)) if not accepts(leaf.node, each)]
    return f"{leaf.path}={inline(draw(st.sampled_from(choices)))}", leaf.path


@st.composite
def mistakes(draw: st.DrawFn) -> list[tuple[str, str]]:
    """One to four mistakes in different fields; names of plugins stay, so that all sections are looked at."""
    fields = [leaf for leaf in leaves()[0] if not leaf.path.endswith("name")]
    chosen = draw(st.lists(st.sampled_from(fields), min_size=1, max_size=4, unique_by=lambda leaf: leaf.path))
    return [draw(st.one_of(misspelt(leaf), wrong_value(leaf))) for leaf in chosen]


def problems_of(overrides: list[str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_config(text="modality: {name: toy}", overrides=[*leaves()[1], *overrides])
    return caught.value.problems


def test_the_properties_cover_the_core_and_the_plugins() -> None:
    paths = {leaf.path for leaf in leaves()[0]}
    assert len(paths) > 80
    assert {"seed", "optim.lr.value", "modality.cells", "masking.rows", "encoder.width", "probes.1.k"} <= paths


@settings(fixed, max_examples=1000)
@given(mistakes())
def test_every_misspelling_wrong_type_and_value_out_of_range_is_refused_with_its_path(
    made: list[tuple[str, str]],
) -> None:
    problems = problems_of([override for override, _ in made])
    reported = [problem.partition(": ")[0] for problem in problems]
    for override, path in made:
        assert any(each == path or each.startswith(f"{path}.") for each in reported), (override, problems)
    for each in reported:
        assert any(each == path or each.startswith(f"{path}.") for _, path in made), (made, problems)
    for problem in problems:
        assert problem.endswith("See: jepa config show toy")


@pytest.mark.parametrize("path", ["modality", "masking", "encoder", "objective", "probes.0"])
@settings(fixed, max_examples=30)
@given(value=st.one_of(st.sampled_from(WRONG), st.text(max_size=8)))
def test_every_unusable_plugin_name_is_refused_with_its_path(path: str, value: Any) -> None:
    problems = problems_of([f"{path}.name={inline(value)}"])
    assert problems[0].startswith(f"{path}.name: ") or (value is None and problems[0].startswith(f"{path}: "))


@settings(fixed, max_examples=300)
@given(st.text(max_size=60) | st.text(alphabet="{}[]:,-&*!|>'\"#%@`\n\t ab1.~?", max_size=60))
def test_no_text_whatever_ends_in_anything_but_a_configuration_or_a_configuration_error(text: str) -> None:
    for use in ({"text": text}, {"overrides": [text]}, {"overrides": [f"seed={text}"]}):
        with suppress(ConfigError):
            read_config(**use)  # pyright: ignore[reportArgumentType]


@settings(fixed, max_examples=50)
@given(
    project=st.text(),
    numbers=st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=4),
    seed=st.integers(0, 2**63 - 1),
    end=st.none() | st.floats(0, 1e300),
)
def test_a_configuration_survives_writing_and_reading_bit_for_bit(
    project: str, numbers: list[float], seed: int, end: float | None
) -> None:
    config = toy_config()
    values = config.model_dump()
    values["tracking"]["project"] = project
    values["probes"][0]["learning_rates"] = tuple(numbers)
    values["seed"], values["optim"]["lr"]["end"] = seed, end
    config = RunConfig.model_validate(values, context={"section_class": section_class})
    for text in (to_yaml(config), commented_yaml(config, section_class)):
        back = read_config(text=text)
        assert back == config
        assert config_hash(back) == config_hash(config)
