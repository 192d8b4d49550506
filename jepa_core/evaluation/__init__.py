"""Frozen evaluation: probes on the features of trained encoders, beside those of an untrained one and the raw input.

An accuracy alone says little: raw input is hard to beat on small centred samples, and random features are far above
chance. So every probe reads four representations of the same samples (promise 15), and the number that speaks for
pretraining is a paired difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import get_args

import torch

from jepa_core.checkpoint import RunFolder, Which, load_encoder, read_state
from jepa_core.config import RunConfig
from jepa_core.errors import CheckpointError, ConfigError, PluginIncompatible, UsageError
from jepa_core.evaluation.outcome import Correct, Evaluation, Result, read_correct
from jepa_core.evaluation.scoring import RANDOM, score
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
from jepa_core.plugin import Split
from jepa_core.probes import FeatureKind, Probe
from jepa_core.probes.labels import Heading, common_headings, fingerprint, match
from jepa_core.registry import probes as probe_registry

__all__ = ["Correct", "Evaluation", "Result", "evaluate", "read_correct", "score"]

SPLITS: tuple[Split, Split] = ("probe_train", "probe_test")
RAW = "raw"


def evaluate(
    run: RunFolder,
    *,
    probes: Sequence[str] = (),
    representations: Sequence[str] | None = None,
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
        representations: what is computed, by `Result.representation`; None for all. Without "random" no `minus_random`.
        encoder: which encoder the summary is about; the other one is measured too, where the run has it.
        checkpoint: "latest" or "step_N".
        overrides: as `--set`, for what `jepa_core.frozen.checkpoint_config` allows.
        device: where encoders and probes compute; None takes an accelerator where there is one.
        precision: what encoders compute in; it is no property of the machine, so that numbers can be compared.
        watch: is told how far the work is.

    Raises:
        DataError: no labels, classes that only the test split has, too many unreadable samples.
        CheckpointError: the checkpoint lacks the encoder that was asked for.
        UsageError: an override that is not allowed, a device that this machine lacks, an unknown representation.
    """
    place, folder = find_device(device), run.find(checkpoint)
    config = checkpoint_config(folder, overrides)
    fitted = {name: _probe(name, config) for name in probes or _names(config)}
    parts = Parts.of(config)
    shown = _representations(run, checkpoint, parts, encoder, place, precision, representations)
    headings, train, test, test_hash = _represented(parts, shown, list(fitted.values()), place, watch)
    results, correct = score(fitted, headings, train, test, config.seed, place, watch)
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
        test_hash=test_hash,
        results=results,
        correct=correct,
    )


def _represented(
    parts: Parts, shown: Mapping[str, Represent], probes: Sequence[Probe], device: torch.device, watch: Watch
) -> tuple[dict[str, Heading], Extracted, Extracted, str]:
    """Labels by heading, and the features of both splits, computed once for all probes; and the test samples' hash."""
    sources = {split: parts.modality.source(parts.config.modality, split) for split in SPLITS}
    names = common_headings(*sources.values())  # before anything is computed
    tokens = any(probe.needs == "tokens" for probe in probes)
    train, test = (extract(parts, source, shown, device, split, watch, tokens) for split, source in sources.items())
    known, asked = (source.labels for source in sources.values())
    headings = {name: match(known[name], train.place, asked[name], test.place) for name in names}
    return headings, train, test, fingerprint(sources["probe_test"])


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
    run: RunFolder,
    checkpoint: str,
    parts: Parts,
    encoder: Which,
    device: torch.device,
    precision: Precision,
    wanted: Sequence[str] | None,
) -> dict[str, Represent]:
    """What the probes are fitted on, by name: the encoder that was asked for comes first."""
    folder = run.find(checkpoint)
    files = {"target": folder / "target_encoder.safetensors", "context": folder / "encoder.safetensors"}
    if not files[encoder].exists():
        other = "context" if encoder == "target" else "target"
        raise CheckpointError(f"{folder}: holds no {encoder} encoder. Evaluate the other one: --encoder {other}")

    def trained(which: Which) -> Represent:
        return encode_with(parts, load_encoder(run, which, checkpoint, parts.config)[1], device, precision)

    made: dict[str, Callable[[], Represent]] = {}
    for which in sorted(get_args(Which), key=lambda which: which != encoder):
        if files[which].exists():
            made[which] = partial(trained, which)
    made[RANDOM] = lambda: encode_with(parts, untrained_encoder(parts), device, precision)
    made[RAW] = partial(baseline_of, parts)
    for name, control in parts.modality.controls(parts.config.modality).items():
        made[f"{RAW}, {name}"] = partial(baseline_of, parts, control)
    chosen = made if wanted is None else wanted
    if unknown := [name for name in chosen if name not in made]:
        raise UsageError(f"representations: there is no {unknown[0]!r} in {folder}. There are: {', '.join(made)}.")
    return {name: make() for name, make in made.items() if name in chosen}
