from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from toy import toy_config

from jepa_core.model import Parts
from jepa_core.objectives import Objective

BATCH, BLOCKS, TOKENS, DIM = 3, 2, 5, 8


def objective(*overrides: str) -> Objective:
    return Parts.of(toy_config(*overrides)).objective


def tensors(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator), torch.randn(*shape, generator=generator)


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("objective.name=l2", lambda error: error.square()),
        ("objective.name=l1", lambda error: error.abs()),
        ("objective={name: smooth_l1}", lambda e: torch.where(e.abs() < 1, e.square() / 2, e.abs() - 0.5)),
        ("objective={name: smooth_l1, beta: 0.5}", lambda e: torch.where(e.abs() < 0.5, e.square(), e.abs() - 0.25)),
    ],
)
def test_each_objective_is_the_mean_of_its_formula_per_sample(name: str, formula: object) -> None:
    predicted, targets = tensors(BATCH, BLOCKS, TOKENS, DIM)
    expected = formula(predicted - targets).flatten(1).mean(1)  # pyright: ignore[reportCallIssue]
    torch.testing.assert_close(objective(name)(predicted, targets), expected)


@pytest.mark.usefixtures("toy")
def test_targets_are_layer_normed_without_affine_or_left_as_they_are() -> None:
    tokens, _ = tensors(BATCH, TOKENS, DIM)
    torch.testing.assert_close(objective().normalise(tokens), F.layer_norm(tokens, (DIM,)))
    assert torch.equal(objective("objective.targets=raw").normalise(tokens), tokens)


@pytest.mark.usefixtures("toy")
def test_the_loss_is_computed_in_fp32_under_bf16() -> None:
    predicted, targets = tensors(BATCH, TOKENS, DIM)
    loss = objective()(predicted.bfloat16(), objective().normalise(targets.bfloat16()))
    assert loss.dtype == torch.float32
    assert objective().normalise(targets.bfloat16()).dtype == torch.float32
