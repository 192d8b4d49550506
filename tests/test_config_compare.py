"""Where two configurations differ, in the fewest words that say it."""

from __future__ import annotations

import pytest
from toy import toy_config

from jepa_core.config import RunConfig
from jepa_core.config.compare import Change, changes, choices
from jepa_core.recipes import read_config

pytestmark = pytest.mark.usefixtures("toy")


def told(*overrides: str, base: RunConfig | None = None) -> list[str]:
    return [str(change) for change in choices(base or toy_config(), toy_config(*overrides))]


def test_equal_configurations_do_not_differ() -> None:
    assert told() == []


def test_values_are_told_by_dotted_path_in_the_order_of_the_tree() -> None:
    assert told("train.steps=3", "seed=1", "optim.lr.value=0.5") == [
        "seed: 0 -> 1",
        "optim.lr.value: 0.001 -> 0.5",
        "train.steps: 8 -> 3",
    ]


def test_a_value_may_be_null_or_a_list() -> None:
    assert told("optim.clip_norm=2.0", "optim.betas=[0.5, 0.6]") == [
        "optim.betas: [0.9, 0.999] -> [0.5, 0.6]",
        "optim.clip_norm: null -> 2.0",
    ]


def test_a_section_of_another_name_is_one_change_without_its_defaults() -> None:
    assert told("masking={name: toy_rows, rows: 2}") == ["masking: random {ratio: 0.5} -> toy_rows"]
    assert told("masking={name: toy_rows, rows: 4}") == ["masking: random {ratio: 0.5} -> toy_rows {rows: 4}"]


def test_a_section_of_the_same_name_is_told_value_by_value() -> None:
    assert told("masking.ratio=0.3") == ["masking.ratio: 0.5 -> 0.3"]


def test_sections_inside_a_section_keep_their_names() -> None:
    limited = "masking={name: limited, of: {name: toy_rows, rows: 3}, context_tokens: 4}"
    assert told(limited) == [
        "masking: random {ratio: 0.5} -> limited {context_tokens: 4, of: {name: toy_rows, rows: 3}}"
    ]


def test_lists_of_sections_of_one_length_are_told_entry_by_entry() -> None:
    assert told("probes.1.k=7") == ["probes.1.k: 5 -> 7"]


def test_lists_of_sections_of_other_names_or_lengths_are_told_whole() -> None:
    assert told("probes=[{name: knn}]") == [
        "probes: [{batch_size: 32, name: linear, steps: 50}, {k: 5, name: knn}] -> [{name: knn}]"
    ]


def test_the_way_back_tells_the_same_places() -> None:
    one, other = toy_config(), toy_config("masking.name=toy_rows", "train.steps=3", "probes.1.k=7")
    forth, back = list(choices(one, other)), list(choices(other, one))
    assert [(change.path, change.new, change.old) for change in forth] == [
        (change.path, change.old, change.new) for change in back
    ]


def test_dumped_configurations_are_compared_key_by_key() -> None:
    found = list(changes({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4}, "e": 5}))
    assert found == [Change("b.c", 2, 4), Change("b.d", 3, None), Change("e", None, 5)]


def test_layers_lie_over_the_file_and_under_the_overrides() -> None:
    text = "modality: {name: toy}\ntrain: {steps: 1, batch_size: 2}"
    layers = [{"train": {"steps": 3}}, {"train": {"steps": 4, "log_every": 5}, "masking": {"name": "toy_rows"}}]
    config = read_config(text=text, layers=layers, overrides=["train.log_every=6"])
    assert (config.train.steps, config.train.batch_size, config.train.log_every) == (4, 2, 6)
    assert config.masking.name == "toy_rows"
