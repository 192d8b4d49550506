"""Frozen evaluation: probes on the features of trained encoders, beside those of an untrained one and the raw input.

An accuracy alone says little: raw input is hard to beat on small centred samples, and random features are far above
chance. So every probe reads four representations of the same samples (promise 15), and the number that speaks for
pretraining is a paired difference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from jepa_core.checkpoint import RunFolder, Which, load_encoder, read_state
from jepa_core.config import RunConfig
from jepa_core.config.text import config_hash
from jepa_core.errors import CheckpointError, ConfigError, PluginIncompatible
from jepa_core.features import (
    Extracted,
    Precision,
    Represent,
    Watch,
    baseline_of,
    encode_with,
    extract,
    unwatched,
)
from jepa_core.frozen import checkpoint_config, find_device, untrained_encoder
from jepa_core.model import Parts
from jepa_core.probes import FeatureKind, Features, Probe
from jepa_core.probes.estimates import Estimate, paired_difference, wilson
from jepa_core.probes.labels import Heading, common_headings, match
from jepa_core.recipes import versions
from jepa_core.registry import probes as probe_registry
from jepa_core.unreadable import Unreadable

PROTOCOL = "cached features, evaluation preprocessing"
"""Features are computed once, without augmentation, also those that a probe is fitted on."""

SPLITS = ("probe_train", "probe_test")
RANDOM, RAW = "random", "raw"


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
    """Accuracy minus that of the untrained encoder on the same samples, with its interval; None for itself."""
    chosen: Mapping[str, float | int]
    """Hyper-parameters that the probe chose without the test split."""


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
    results: Sequence[Result]

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
            "unreadable": {split: [asdict(each) for each in found] for split, found in self.unreadable.items()},
            "results": [asdict(result) for result in self.results],
        }

    def write(self, path: Path) -> None:
        """Put eval.json in place of an earlier one, at once; raises CheckpointError where the disk refuses."""
        partial = path.with_suffix(".tmp")
        try:
            partial.write_text(json.dumps(self.as_json(), indent=1, allow_nan=False) + "\n")
            partial.replace(path)
        except OSError as error:
            raise CheckpointError(
                f"{path}: could not be written ({error}). --json prints the results instead."
            ) from error


def evaluate(
    run: RunFolder,
    *,
    probes: Sequence[str] = (),
    encoder: Which = "target",
    checkpoint: str = "latest",
    overrides: Sequence[str] = (),
    device: str | torch.device | None = None,
    precision: Precision = "fp32",
    watch: Watch = unwatched,
) -> Evaluation:
    """Fit every probe on every representation of a run's labelled splits.

    Args:
        run: with at least one checkpoint.
        probes: names; those of the configuration where none is given.
        encoder: which encoder the summary is about; the other one is measured too, where the run has it.
        checkpoint: "latest" or "step_N".
        overrides: as `--set`, for what `jepa_core.frozen.checkpoint_config` allows.
        device: where encoders and probes compute; None takes an accelerator where there is one.
        precision: what encoders compute in; it is no property of the machine, so that numbers can be compared.
        watch: is told how far the work is.

    Raises:
        DataError: no labels, classes that only the test split has, too many unreadable samples.
        CheckpointError: the checkpoint lacks the encoder that was asked for.
        UsageError: an override that is not allowed, a device that this machine lacks.
    """
    place, folder = find_device(device), run.find(checkpoint)
    config = checkpoint_config(folder, overrides)
    fitted = {name: _probe(name, config) for name in probes or _names(config)}
    parts = Parts.of(config)
    train_source, test_source = (parts.modality.source(config.modality, split) for split in SPLITS)
    names = common_headings(train_source, test_source)  # before anything is computed
    representations = _representations(run, checkpoint, parts, encoder, place, precision)
    tokens = any(probe.needs == "tokens" for probe in fitted.values())
    train, test = (
        extract(parts, source, representations, place, split, watch, tokens)
        for split, source in zip(SPLITS, (train_source, test_source), strict=True)
    )
    headings = {
        name: match(train_source.labels[name], train.place, test_source.labels[name], test.place) for name in names
    }
    return Evaluation(
        run=run.path.resolve().name,
        encoder=encoder,
        checkpoint=folder.name,
        step=read_state(folder)["step"],
        config=config,
        precision=precision,
        views=parts.modality.views(config.modality),
        headings=headings,
        unreadable=dict(zip(SPLITS, (train.unreadable, test.unreadable), strict=True)),
        results=score(fitted, headings, train, test, config.seed, place, watch),
    )


def _names(config: RunConfig) -> list[str]:
    """Of the configured probes; raises ConfigError where one occurs twice: results go by name."""
    names = [section.name for section in config.probes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"probes: '{twice[0]}' occurs {names.count(twice[0])} times. Keep one section per probe.")
    return names


def _probe(name: str, config: RunConfig) -> Probe:
    """A probe as the configuration has it, or with its defaults where the configuration has none of that name."""
    plugin = probe_registry.get(name)
    section = next((section for section in config.probes if section.name == name), None)
    probe = plugin.build(section or plugin.Config())  # pyright: ignore[reportCallIssue]
    if probe.needs not in get_args(FeatureKind):
        offered = ", ".join(get_args(FeatureKind))
        raise PluginIncompatible(f"probe '{name}': it needs {probe.needs!r} features, and this core has: {offered}.")
    return probe


def _representations(
    run: RunFolder, checkpoint: str, parts: Parts, encoder: Which, device: torch.device, precision: Precision
) -> dict[str, Represent]:
    """What the probes are fitted on, by name: the encoder that was asked for comes first."""
    folder = run.find(checkpoint)
    files = {"target": folder / "target_encoder.safetensors", "context": folder / "encoder.safetensors"}
    if not files[encoder].exists():
        other = "context" if encoder == "target" else "target"
        raise CheckpointError(f"{folder}: holds no {encoder} encoder. Evaluate the other one: --encoder {other}")
    found: dict[str, Represent] = {}
    for which in sorted(get_args(Which), key=lambda which: which != encoder):
        if files[which].exists():
            _, module = load_encoder(run, which, checkpoint, parts.config)
            found[which] = encode_with(parts, module, device, precision)
    found[RANDOM] = encode_with(parts, untrained_encoder(parts), device, precision)
    found[RAW] = baseline_of(parts)
    for name, control in parts.modality.controls(parts.config.modality).items():
        found[f"{RAW}, {name}"] = baseline_of(parts, control)
    return found


def score(
    probes: Mapping[str, Probe],
    headings: Mapping[str, Heading],
    train: Extracted,
    test: Extracted,
    seed: int,
    device: torch.device,
    watch: Watch = unwatched,
) -> list[Result]:
    """Fit and score: headings x probes x representations, in this order."""
    results: list[Result] = []
    total = len(headings) * len(probes) * len(train.features)
    watch("probes", 0, total)
    for name, heading in headings.items():
        for probe_name, probe in probes.items():
            correct: dict[str, Tensor] = {}
            chosen: dict[str, Mapping[str, float | int]] = {}
            for representation in train.features:
                known = _features(train, representation, heading.train, device, probe.needs)
                asked = _features(test, representation, heading.test, device, probe.needs)
                scored = probe(known, asked, len(heading.names), seed)
                correct[representation], chosen[representation] = scored.correct, scored.chosen
                watch("probes", len(results) + len(correct), total)
            results += [
                _result(name, probe_name, representation, heading, correct, chosen[representation])
                for representation in correct
            ]
    return results


def _features(
    extracted: Extracted, representation: str, labels: Int[Tensor, "samples"], device: torch.device, needs: FeatureKind
) -> Features:
    """What a probe sees: samples with a label. Tokens stay where they are, and the probe moves them batch by batch."""
    pooled = extracted.features[representation]
    tokens = extracted.tokens[representation] if needs == "tokens" else None
    if (labels >= 0).all():
        return Features(pooled.to(device), labels.to(device), tokens)
    labelled = torch.nonzero(labels >= 0)[:, 0]  # of tokens, which may fill a file, no copy is made
    return Features(pooled[labelled].to(device), labels[labelled].to(device), tokens, labelled)


def _result(
    name: str,
    probe: str,
    representation: str,
    heading: Heading,
    correct: Mapping[str, Bool[Tensor, "test"]],
    chosen: Mapping[str, float | int],
) -> Result:
    own = correct[representation]
    interval = wilson(int(own.sum()), len(own))
    return Result(
        heading=name,
        probe=probe,
        representation=representation,
        accuracy=interval.value,
        low=interval.low,
        high=interval.high,
        chance=heading.chance,
        num_train=int((heading.train >= 0).sum()),
        num_test=len(own),
        minus_random=None if representation == RANDOM else paired_difference(own, correct[RANDOM]),
        chosen=chosen,
    )
