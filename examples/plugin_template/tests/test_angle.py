from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from jepa_core.registry import objectives
from jepa_series.objective import AngleConfig


def loss(predicted: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return objectives.get("angle").build(AngleConfig())(predicted, targets)


def test_it_is_one_minus_the_cosine_of_every_token_averaged():
    predicted, targets = torch.randn(2, 3, 5, 16, generator=torch.Generator().manual_seed(0)).unbind()
    expected = 1 - F.cosine_similarity(predicted, targets, dim=-1)
    assert torch.allclose(loss(predicted, targets), expected.mean(1))


def test_lengths_do_not_matter():
    predicted, targets = torch.randn(2, 3, 5, 16, generator=torch.Generator().manual_seed(0)).unbind()
    assert torch.allclose(loss(predicted * 7, targets), loss(predicted, targets))


@pytest.mark.parametrize(("factor", "expected"), [(2.0, 0.0), (-1.0, 2.0)])
def test_it_runs_from_zero_for_one_direction_to_two_for_the_opposite(factor: float, expected: float):
    tokens = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0))
    assert loss(factor * tokens, tokens).tolist() == pytest.approx([expected] * 3, abs=1e-5)


def test_a_token_of_length_zero_has_a_finite_gradient():
    predicted = torch.zeros(1, 2, 8, requires_grad=True)
    loss(predicted, torch.ones(1, 2, 8)).sum().backward()
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()
