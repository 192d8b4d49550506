"""Labels of both splits of a probe, numbered alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from jepa_core.errors import DataError
from jepa_core.plugin import Labels, Source


@dataclass(frozen=True)
class Heading:
    """The labels under one heading, with one numbering of the classes for both splits."""

    names: tuple[str, ...]
    train: Int[Tensor, "train"]
    """Class ids of the readable samples of the training split; -1 for one without a label."""
    test: Int[Tensor, "test"]

    @property
    def label_hash(self) -> str:
        """SHA-256 of the class names in order, as JSON: equal numbering, equal hash."""
        return hashlib.sha256(json.dumps(self.names).encode()).hexdigest()

    @property
    def chance(self) -> float:
        """Test accuracy of always answering the most frequent class of the training split."""
        usual = self.train[self.train >= 0].mode().values
        return (self.test[self.test >= 0] == usual).float().mean().item()


def common_headings(train: Source, test: Source) -> tuple[str, ...]:
    """The headings that both splits have.

    Raises:
        DataError: there is none, or a test split has classes that its training split lacks.
    """
    common = tuple(name for name in train.labels if name in test.labels)
    if not common:
        has = [
            f"{split} has {', '.join(source.labels) or 'none'}"
            for split, source in (("probe_train", train), ("probe_test", test))
        ]
        raise DataError(
            f"a probe needs labels under the same heading in both of its splits: {'; '.join(has)}. "
            "Name labelled data in the modality's section (one folder per class, or a manifest with a label column) "
            "or with --set; `jepa config show` describes it. For features without labels: jepa embed"
        )
    for name in common:
        names = train.labels[name].names
        known = set(names)
        unknown = [each for each in test.labels[name].names if each not in known]
        if unknown:
            raise DataError(
                f"{name}: {len(unknown)} classes of probe_test do not occur in probe_train: {_some(unknown)}. "
                f"probe_train has: {_some(names)}. Both splits must use the same class names."
            )
    return common


def fingerprint(source: Source) -> str:
    """SHA-256 of what tells labelled samples from others: their names without folders, in order, and their labels.

    A copy of the same files in another folder is the same; so is one of another resolution.
    """
    digest = hashlib.sha256()
    for index in range(len(source)):
        digest.update(PurePath(source.where(index)).name.encode() + b"\0")
    for heading, labels in sorted(source.labels.items()):
        digest.update(json.dumps([heading, labels.names]).encode())
        digest.update(np.ascontiguousarray(labels.ids, dtype="<i8").tobytes())
    return digest.hexdigest()


def match(train: Labels, train_place: Int[Tensor, "train"], test: Labels, test_place: Int[Tensor, "test"]) -> Heading:
    """The labels of the samples at the given places, numbered as the training split does.

    Raises:
        DataError: no sample of a split has a label.
    """
    number = {each: position for position, each in enumerate(train.names)}
    renumbered = torch.tensor([*(number[each] for each in test.names), -1], dtype=torch.int64)  # -1 finds the last
    heading = Heading(
        train.names,
        torch.as_tensor(train.ids)[train_place],
        renumbered[torch.as_tensor(test.ids)[test_place]],
    )
    for split, ids in (("probe_train", heading.train), ("probe_test", heading.test)):
        if not (ids >= 0).any():
            raise DataError(f"{split}: no readable sample has a label under this heading. Label some, or remove it.")
    return heading


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
