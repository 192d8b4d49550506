"""The collapse monitor: the loss falls under collapse as well, so it is measured, not guessed (promise 11).

Ranks are of singular values of centred features (RankMe, 2210.02885, without its epsilon; centring matters: see
docs/evaluation.md), as a share of the most they could be, min(samples - 1, channels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from jepa_core.config.tree import CollapseConfig
from jepa_core.model import ViewOutput
from jepa_core.objectives import Objective
from jepa_core.targets import Targets

METRICS = (
    "target_std",
    "context_std",
    "target_rank",
    "context_rank",
    "sample_cosine",
    "relative_loss",
    "own_gain",
    "ema_distance",
)


def effective_rank(features: Float[Tensor, "samples dim"]) -> float:
    """exp(entropy) of the normalised singular values of the centred features, as a share of min(samples - 1, dim)."""
    centred = features.double() - features.double().mean(0)
    most = min(len(features) - 1, features.shape[1])
    if most < 1:
        return 0.0
    gram = centred.T @ centred if features.shape[1] <= len(features) else centred @ centred.T
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    if not singular.sum() > 0:
        return 0.0
    share = singular / singular.sum()
    return float(torch.special.entr(share).sum().exp() / most)


def channel_std(tokens: Float[Tensor, "batch tokens dim"]) -> float:
    """Mean standard deviation per channel of layer-normed tokens, over samples and tokens: 1 at most, 0 if equal."""
    return float(F.layer_norm(tokens, tokens.shape[-1:]).flatten(0, 1).std(0).mean())


def sample_cosine(pooled: Float[Tensor, "batch dim"]) -> float:
    """Mean cosine between different samples."""
    unit, count = F.normalize(pooled, dim=-1), len(pooled)
    return float((unit.sum(0).square().sum() - count) / (count * (count - 1)))


def own_gain(
    predicted: Float[Tensor, "batch blocks target dim"],
    own: Float[Tensor, "batch blocks target dim"],
    other: Float[Tensor, "batch blocks target dim"],
) -> float:
    """Cosine of predictions with their own target, minus with another sample's target at the same position.

    Near zero the predictor knows where a token is and nothing of the sample (positional collapse; CAPI, 2502.08769).
    """
    predicted = predicted.float()
    return float((F.cosine_similarity(predicted, own, dim=-1) - F.cosine_similarity(predicted, other, dim=-1)).mean())


def relative_loss(
    objective: Objective,
    predicted: Float[Tensor, "batch blocks target dim"],
    wanted: Float[Tensor, "batch blocks target dim"],
    seen: Float[Tensor, "batch tokens dim"],
) -> float:
    """Loss as a multiple of the loss of always answering with the mean of the target encoder's tokens."""
    mean = seen.flatten(0, 1).mean(0).expand_as(wanted)
    return float(objective(predicted, wanted).mean() / objective(mean, wanted).mean().clamp(min=1e-12))


@torch.no_grad()
def measure(
    objective: Objective,
    outputs: Sequence[ViewOutput],
    targets: Targets,
    others: Float[Tensor, "batch blocks target dim"],
    weight: Float[Tensor, "batch"],
    ema_distance: float,
) -> dict[str, float | None]:
    """All METRICS of one pass; None where a metric needs a second readable sample.

    Of several views the first is measured; `others` are its targets in another sample (`TargetSide.of_others`).
    """
    good = weight > 0
    context, predicted = outputs[0].context[good].float(), outputs[0].predicted[good]
    seen, own, other = targets.seen[good], targets.views[0][good], others[good]
    if len(seen) < 2:
        return {**dict.fromkeys(METRICS), "ema_distance": ema_distance}
    return {
        "target_std": channel_std(seen),
        "context_std": channel_std(context),
        "target_rank": effective_rank(seen.flatten(0, 1)),
        "context_rank": effective_rank(context.flatten(0, 1)),
        "sample_cosine": sample_cosine(seen.mean(1)),
        "relative_loss": relative_loss(objective, predicted, own, seen),
        "own_gain": own_gain(predicted, own, other),
        "ema_distance": ema_distance,
    }


def warnings_of(values: Mapping[str, float | None], config: CollapseConfig) -> list[str]:
    """Names of the thresholds that a measurement crosses."""

    def below(metric: str, least: float) -> bool:
        value = values.get(metric)
        return value is not None and value < least

    def above(metric: str, most: float) -> bool:
        value = values.get(metric)
        return value is not None and value > most

    crossed = {
        "low_std": below("target_std", config.min_std),
        "low_rank": below("target_rank", config.min_rank),
        "same_for_all": above("sample_cosine", config.max_cosine),
        "positional": below("own_gain", config.min_own_gain),
        "no_better_than_mean": above("relative_loss", config.max_relative_loss),
    }
    return [name for name, is_crossed in crossed.items() if is_crossed]


EXPLANATIONS = {
    "low_std": "targets hardly differ from one another",
    "low_rank": "targets use few of their dimensions",
    "same_for_all": "different samples have nearly the same features",
    "positional": "predictions follow the position of a token and not the sample",
    "no_better_than_mean": "predictions are no better than the mean target",
}
"""What each warning means, for logs and reports."""


@dataclass(frozen=True)
class Verdict:
    """What the collapse monitor says of a run."""

    state: Literal["healthy", "suspicious", "collapsed", "unknown"]
    """`collapsed`: the features themselves are constant now; `suspicious`: something else is crossed or was lately."""
    reasons: tuple[str, ...]
    """Warnings behind it, by name."""


def verdict(rows: Sequence[Mapping[str, Any]], config: CollapseConfig, steps: int) -> Verdict:
    """Judge the measurements of a run (the rows of metrics.jsonl that have them), those of the grace period aside."""
    judged = [row for row in rows if "collapse/warnings" in row and row["step"] >= config.grace * steps]
    if not judged:
        return Verdict("unknown", ())
    last = judged[-1]["collapse/warnings"]
    fatal = tuple(name for name in last if name in ("low_std", "low_rank", "same_for_all"))
    if fatal:
        return Verdict("collapsed", fatal)
    recent = judged[len(judged) * 2 // 3 :]
    names = tuple(dict.fromkeys(name for row in recent for name in row["collapse/warnings"]))
    return Verdict("suspicious", names) if names else Verdict("healthy", ())
