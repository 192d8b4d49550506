from __future__ import annotations

import copy

import pytest
import torch
from toy import toy_config

from jepa_core.ema import TargetEncoder
from jepa_core.model import Parts


@pytest.fixture
def parts(toy: object) -> Parts:
    return Parts.of(toy_config("encoder.drop_path=0.5"))


def test_the_target_starts_equal_and_is_a_copy(parts: Parts) -> None:
    encoder = parts.encoder()
    target = TargetEncoder(encoder)
    pairs = list(zip(target.parameters(), encoder.parameters(), strict=True))
    assert all(torch.equal(mine, other) and mine is not other for mine, other in pairs)


def test_the_target_moves_by_one_minus_momentum(parts: Parts) -> None:
    encoder, other = parts.encoder(), parts.encoder()
    target = TargetEncoder(encoder)
    target.follow(other, momentum=0.75)
    for mine, start, end in zip(target.parameters(), encoder.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, 0.75 * start + 0.25 * end)


def test_momentum_one_never_moves_and_zero_copies(parts: Parts) -> None:
    encoder, other = parts.encoder(), parts.encoder()
    target = TargetEncoder(encoder)
    before = copy.deepcopy(target.state_dict())
    target.follow(other, momentum=1.0)
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())
    target.follow(other, momentum=0.0)
    assert all(torch.equal(mine, their) for mine, their in zip(target.parameters(), other.parameters(), strict=True))


def test_the_target_never_receives_a_gradient(parts: Parts) -> None:
    encoder = parts.encoder()
    target = TargetEncoder(encoder)
    tokens = target(torch.randn(2, 1, 12, 12))
    assert not tokens.requires_grad
    assert not any(parameter.requires_grad for parameter in target.parameters())


def test_the_target_knows_no_drop_path_even_in_training_mode(parts: Parts) -> None:
    target = TargetEncoder(parts.encoder()).train()
    signal = torch.randn(4, 1, 12, 12)
    assert not target.training
    assert torch.equal(target(signal), target(signal))


def test_distance_is_relative_to_the_encoder(parts: Parts) -> None:
    encoder = parts.encoder()
    target = TargetEncoder(encoder)
    assert target.distance(encoder) == 0.0
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(2)
    assert target.distance(encoder) == pytest.approx(0.5)
