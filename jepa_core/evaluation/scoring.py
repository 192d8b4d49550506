"""Probes are fitted on every representation, and what they answer is compared sample by sample."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from jepa_core.evaluation.outcome import Correct, Result
from jepa_core.features import Extracted, Watch, unwatched
from jepa_core.probes import FeatureKind, Features, Probe
from jepa_core.probes.estimates import paired_difference, wilson
from jepa_core.probes.labels import Heading

RANDOM = "random"
"""The representation by an untrained encoder, which others are compared with."""


def score(
    probes: Mapping[str, Probe],
    headings: Mapping[str, Heading],
    train: Extracted,
    test: Extracted,
    seed: int,
    device: torch.device,
    watch: Watch = unwatched,
) -> tuple[list[Result], dict[str, Correct]]:
    """Fit and score: headings x probes x representations, in this order; and `Evaluation.correct`."""
    results: list[Result] = []
    items: dict[str, Correct] = {}
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
            for representation, right in correct.items():
                result = _result(name, probe_name, representation, heading, correct, chosen[representation])
                items[result.key] = right.numpy()
                results.append(result)
    return results, items


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
    own, untrained = correct[representation], None if representation == RANDOM else correct.get(RANDOM)
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
        minus_random=None if untrained is None else paired_difference(own, untrained),
        chosen=chosen,
    )
