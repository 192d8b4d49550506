"""What an evaluation found, and its two files: eval.json, and which samples were answered rightly beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from jepa_core.checkpoint import Which
from jepa_core.config import RunConfig
from jepa_core.config.text import config_hash
from jepa_core.errors import CheckpointError
from jepa_core.features import Precision
from jepa_core.probes.estimates import Estimate
from jepa_core.probes.labels import Heading
from jepa_core.recipes import versions
from jepa_core.unreadable import Unreadable

PROTOCOL = "cached features, evaluation preprocessing"
"""Features are computed once, without augmentation, also those that a probe is fitted on."""

ITEMS = "eval_items.safetensors"
"""The file beside eval.json that says of every test sample whether it was answered rightly."""

Correct = Bool[np.ndarray, "samples"]


@dataclass(frozen=True)
class Result:
    """What one probe read from one representation under one heading."""

    heading: str
    """Which labels."""
    probe: str
    representation: str
    """target, context, random (never trained), raw (no network), or "raw, NAME" for one of `Modality.controls`."""
    accuracy: float
    low: float
    """Bounds of the 95 % interval (Wilson)."""
    high: float
    chance: float
    """Accuracy of always answering the most frequent class of the training split."""
    num_train: int
    num_test: int
    minus_random: Estimate | None
    """Accuracy minus that of the untrained encoder on the same samples, with its interval; None for itself, and where
    that one was not asked for."""
    chosen: Mapping[str, float | int]
    """Hyper-parameters that the probe chose without the test split."""

    @property
    def key(self) -> str:
        """HEADING/PROBE/REPRESENTATION: its name in `Evaluation.correct`."""
        return f"{self.heading}/{self.probe}/{self.representation}"


@dataclass(frozen=True)
class Evaluation:
    """Everything that one evaluation found; eval.json is `as_json()`."""

    run: str
    """The run folder's name."""
    encoder: Which
    """The encoder that heads tables and summaries."""
    checkpoint: str
    step: int
    """Updates that its weights have seen."""
    config: RunConfig
    """The checkpoint's, with what was overridden."""
    precision: Precision
    views: int
    """Of every sample (`Modality.views`)."""
    headings: Mapping[str, Heading]
    unreadable: Mapping[str, Sequence[Unreadable]]
    """By split; left out of every number."""
    test_hash: str
    """Equal for equal test samples (`jepa_core.probes.labels.fingerprint`): their answers can be paired."""
    results: Sequence[Result]
    correct: Mapping[str, Correct]
    """By `Result.key`: which test samples the probe answered rightly, of those with a label, in the source's order."""

    def as_json(self) -> dict[str, Any]:
        """Plain types."""
        return {
            "protocol": PROTOCOL,
            "run": self.run,
            "encoder": self.encoder,
            "checkpoint": self.checkpoint,
            "step": self.step,
            "seed": self.config.seed,
            "precision": self.precision,
            "views": self.views,
            "pooling": self.config.features.model_dump(mode="json"),
            "config_hash": config_hash(self.config),
            "versions": versions(self.config),
            "headings": {
                name: {"num_classes": len(each.names), "label_hash": each.label_hash}
                for name, each in self.headings.items()
            },
            "test_hash": self.test_hash,
            "unreadable": {split: [asdict(each) for each in found] for split, found in self.unreadable.items()},
            "results": [asdict(result) for result in self.results],
        }

    def write(self, path: Path) -> None:
        """Put eval.json, and the file `ITEMS` beside it, in place of earlier ones, eval.json last.

        Raises CheckpointError where the disk refuses.
        """
        items = path.with_name(ITEMS)
        texts = {
            items: save({key: correct.astype(np.uint8) for key, correct in self.correct.items()}),
            path: (json.dumps(self.as_json(), indent=1, allow_nan=False) + "\n").encode(),
        }
        try:
            for file, content in texts.items():
                file.with_suffix(".tmp").write_bytes(content)
            for file in texts:
                file.with_suffix(".tmp").replace(file)
        except OSError as error:
            raise CheckpointError(
                f"{path}: could not be written ({error}). --json prints the results instead."
            ) from error


def read_correct(folder: Path) -> dict[str, Correct]:
    """`Evaluation.correct` of the evaluation that was written into a run's folder.

    Raises:
        CheckpointError: there is none, or its file is damaged.
    """
    path = folder / ITEMS
    try:
        return {key: items.astype(np.bool_) for key, items in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}). Make it again: jepa eval {folder}") from error
