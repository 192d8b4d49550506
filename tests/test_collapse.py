from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from jepa_core.builtin import L2Config
from jepa_core.collapse import METRICS, channel_std, effective_rank, measure, sample_cosine, verdict, warnings_of
from jepa_core.config.tree import CollapseConfig
from jepa_core.model import ViewOutput
from jepa_core.objectives import L2
from jepa_core.targets import Targets

BATCH, TOKENS, DIM = 16, 12, 8
CONFIG = CollapseConfig(grace=0.0)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def measured(
    seen: torch.Tensor, predicted: torch.Tensor, weight: torch.Tensor | None = None
) -> dict[str, float | None]:
    """Of a target encoder that gave the tokens `seen` of the whole grid."""
    output, weight = ViewOutput(noise(BATCH, 6, DIM), predicted), torch.ones(BATCH) if weight is None else weight
    targets, other = Targets((wanted(seen),), seen), torch.arange(BATCH)
    other[weight > 0] = other[weight > 0].roll(1)
    return measure(L2(L2Config()), [output], targets, wanted(seen[other]), weight, ema_distance=0.5)


def wanted(targets: torch.Tensor) -> torch.Tensor:
    return targets[:, 6:].reshape(BATCH, 2, 3, DIM)


def test_a_healthy_model_raises_nothing() -> None:
    targets = noise(BATCH, TOKENS, DIM)
    values = measured(targets, wanted(targets) + 0.1)
    assert set(values) == set(METRICS)
    assert warnings_of(values, CONFIG) == []


def test_constant_targets_are_low_in_std_and_the_same_for_all() -> None:
    targets = noise(DIM).expand(BATCH, TOKENS, DIM) + 1e-4 * noise(BATCH, TOKENS, DIM)
    assert {"low_std", "same_for_all"} <= set(warnings_of(measured(targets, wanted(targets)), CONFIG))


def test_one_dimensional_targets_are_low_in_rank() -> None:
    targets = noise(BATCH, TOKENS, 1) * noise(DIM)
    values = measured(targets, wanted(targets))
    assert values["target_rank"] == pytest.approx(1 / DIM, rel=1e-3)
    assert "low_rank" in warnings_of(values, CollapseConfig(min_rank=0.2))


def test_targets_that_only_know_their_position_are_positional_collapse() -> None:
    targets = noise(TOKENS, DIM).expand(BATCH, TOKENS, DIM) + 1e-3 * noise(BATCH, TOKENS, DIM)
    values = measured(targets, wanted(targets))
    assert "positional" in warnings_of(values, CONFIG)
    assert "low_std" not in warnings_of(values, CONFIG)  # which is why rank and std do not see it


def test_a_predictor_that_answers_with_the_mean_is_no_better_than_the_mean() -> None:
    targets = noise(BATCH, TOKENS, DIM)
    values = measured(targets, targets.flatten(0, 1).mean(0).expand(BATCH, 2, 3, DIM))
    assert values["relative_loss"] == pytest.approx(1.0)
    assert "no_better_than_mean" in warnings_of(measured(targets, noise(BATCH, 2, 3, DIM)), CONFIG)


def test_unreadable_rows_are_left_out() -> None:
    targets, weight = noise(BATCH, TOKENS, DIM), torch.ones(BATCH)
    spoilt = targets.clone()
    spoilt[3], weight[3] = 1e6, 0.0
    values = measured(spoilt, wanted(spoilt), weight)
    assert values["relative_loss"] == pytest.approx(0.0)
    assert warnings_of(values, CONFIG) == []


def test_one_sample_alone_cannot_be_compared() -> None:
    targets, weight = noise(BATCH, TOKENS, DIM), torch.zeros(BATCH)
    weight[0] = 1.0
    values = measured(targets, wanted(targets), weight)
    assert values == {**dict.fromkeys(METRICS), "ema_distance": 0.5}
    assert warnings_of(values, CONFIG) == []


def test_effective_rank_is_a_share_of_what_is_possible() -> None:
    assert effective_rank(torch.eye(DIM).repeat(4, 1)) == pytest.approx((DIM - 1) / DIM, rel=1e-6)  # centring takes one
    assert effective_rank(noise(4, 100)) > 0.9  # fewer samples than channels: at most samples - 1 (MONAI#8996)
    assert effective_rank(torch.ones(5, DIM)) == 0.0
    assert effective_rank(noise(1, DIM)) == 0.0


def test_effective_rank_follows_the_entropy_of_singular_values() -> None:
    basis = torch.linalg.qr(noise(64, 2) - noise(64, 2).mean(0))[0]
    features = basis @ torch.diag(torch.tensor([3.0, 1.0])) @ torch.eye(2, DIM)
    shares = (0.75, 0.25)
    entropy = -sum(share * math.log(share) for share in shares)
    assert effective_rank(features) == pytest.approx(math.exp(entropy) / DIM, rel=0.02)


def test_std_of_normalised_tokens_is_about_one_when_they_vary() -> None:
    assert channel_std(noise(64, 64, DIM)) == pytest.approx(1.0, abs=0.05)


def test_sample_cosine_is_the_mean_over_pairs() -> None:
    pooled = noise(5, DIM)
    unit = pooled / pooled.norm(dim=1, keepdim=True)
    pairs = [float(unit[i] @ unit[j]) for i in range(5) for j in range(5) if i != j]
    assert sample_cosine(pooled) == pytest.approx(sum(pairs) / len(pairs), abs=1e-5)


def rows(*warnings: list[str]) -> list[dict[str, Any]]:
    return [{"step": 10 * number, "collapse/warnings": names} for number, names in enumerate(warnings, 1)]


def test_verdict_follows_the_last_measurements() -> None:
    assert verdict(rows([], [], []), CONFIG, 30).state == "healthy"
    assert verdict(rows(["low_std"], [], []), CONFIG, 30).state == "healthy"
    assert verdict(rows([], ["positional"], ["positional"]), CONFIG, 30).reasons == ("positional",)
    assert verdict(rows([], ["positional"], ["positional"]), CONFIG, 30).state == "suspicious"
    assert verdict(rows([], [], ["low_rank"]), CONFIG, 30).state == "collapsed"


def test_nothing_is_judged_in_the_grace_period_or_without_measurements() -> None:
    assert verdict(rows(["low_std"]), CollapseConfig(grace=0.5), 100).state == "unknown"
    assert verdict([{"step": 5, "loss": 0.1}], CONFIG, 30).state == "unknown"
