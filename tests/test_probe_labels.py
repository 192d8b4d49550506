from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from jepa_core.errors import DataError
from jepa_core.plugin import Labels
from jepa_core.probes.labels import common_headings, fingerprint, match


@dataclass(frozen=True)
class Labelled:
    """A source that has labels and nothing else."""

    labels: Mapping[str, Labels] = field(default_factory=dict)

    def __len__(self) -> int:
        return 0

    def read(self, index: int) -> None:
        raise AssertionError

    def where(self, index: int) -> str:
        raise AssertionError


def labels(names: str, ids: list[int]) -> Labels:
    return Labels(np.array(ids, dtype=np.int64), tuple(names.split()))


def test_classes_are_matched_by_name_and_not_by_number() -> None:
    train, test = labels("ant bee cat", [0, 1, 2, 2]), labels("cat ant", [0, 1, 1])
    heading = match(train, torch.arange(4), test, torch.arange(3))
    assert heading.names == ("ant", "bee", "cat")
    assert heading.train.tolist() == [0, 1, 2, 2]
    assert heading.test.tolist() == [2, 0, 0]


def test_only_the_readable_samples_are_labelled() -> None:
    train, test = labels("ant bee", [0, 1, 0, 1]), labels("ant bee", [1, 0, 1])
    heading = match(train, torch.tensor([1, 3]), test, torch.tensor([0]))
    assert (heading.train.tolist(), heading.test.tolist()) == ([1, 1], [1])


def test_a_class_that_only_the_test_split_has_is_an_error_that_names_it() -> None:
    train, test = labels("ant bee", [0, 1]), labels("ant wasp", [0, 1])
    assert common_headings(Labelled({"animal": test}), Labelled({"animal": labels("wasp", [0])})) == ("animal",)
    with pytest.raises(DataError, match=r"animal: 1 classes of probe_test do not occur in probe_train: wasp\."):
        common_headings(Labelled({"animal": train}), Labelled({"animal": test}))


def test_chance_is_the_accuracy_of_always_answering_the_most_frequent_training_class() -> None:
    train, test = labels("ant bee", [1, 1, 0]), labels("ant bee", [0, 0, 0, 1])
    assert match(train, torch.arange(3), test, torch.arange(4)).chance == 0.25


def test_the_hash_names_the_classes_and_their_order() -> None:
    def hash_of(names: str) -> str:
        return match(labels(names, [0]), torch.arange(1), labels(names, [0]), torch.arange(1)).label_hash

    assert hash_of("ant bee") == hash_of("ant bee")
    assert len({hash_of("ant bee"), hash_of("bee ant"), hash_of("ant"), hash_of("antbee")}) == 4


@dataclass(frozen=True)
class Named(Labelled):
    """A source whose samples have names."""

    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def where(self, index: int) -> str:
        return self.names[index]


def test_samples_are_told_apart_by_their_names_order_and_labels_and_not_by_their_folder() -> None:
    animal = {"animal": labels("ant bee", [0, 1])}
    found = fingerprint(Named(animal, ("a/1.png", "a/2.png")))
    assert fingerprint(Named(animal, ("b/1.png", "b/2.png"))) == found
    others = [
        Named(animal, ("a/2.png", "a/1.png")),
        Named(animal, ("a/1.png2.png",)),
        Named({"animal": labels("ant bee", [1, 0])}, ("a/1.png", "a/2.png")),
        Named({"animal": labels("ant wasp", [0, 1])}, ("a/1.png", "a/2.png")),
        Named({"plant": labels("ant bee", [0, 1])}, ("a/1.png", "a/2.png")),
    ]
    assert len({found, *map(fingerprint, others)}) == 6


def test_data_without_common_labels_is_an_error_that_says_what_there_is() -> None:
    animal, plant = {"animal": labels("ant", [0])}, {"plant": labels("oak", [0])}
    assert common_headings(Labelled(animal | plant), Labelled(plant)) == ("plant",)
    with pytest.raises(DataError, match=r"probe_train has animal; probe_test has plant.*jepa embed"):
        common_headings(Labelled(animal), Labelled(plant))
    with pytest.raises(DataError, match="probe_train has none; probe_test has none"):
        common_headings(Labelled(), Labelled())


def test_samples_without_a_label_stay_without_one_and_count_for_nothing() -> None:
    train, test = labels("ant bee", [-1, -1, -1, 1, 0, 1]), labels("bee ant", [-1, 1, 0, -1])
    heading = match(train, torch.arange(6), test, torch.arange(4))
    assert heading.train.tolist() == [-1, -1, -1, 1, 0, 1]
    assert heading.test.tolist() == [-1, 0, 1, -1]
    assert heading.chance == 0.5
    with pytest.raises(DataError, match="probe_test: no readable sample has a label"):
        match(train, torch.arange(6), test, torch.tensor([0, 3]))
