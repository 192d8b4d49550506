from __future__ import annotations

import math

import pytest

from jepa_core.config import Schedule
from jepa_core.config.tree import EmaConfig
from jepa_core.schedules import half_life_samples, momentum_at, value_at

STEPS = 1000


def test_warmup_rises_linearly_and_meets_the_value_at_its_end() -> None:
    schedule = Schedule(value=1e-3, end=1e-6, shape="cosine", warmup=0.1, warmup_from=1e-4)
    assert value_at(schedule, 0, STEPS) == 1e-4
    assert value_at(schedule, 50, STEPS) == pytest.approx(5.5e-4)
    assert value_at(schedule, 100, STEPS) == 1e-3
    assert value_at(schedule, STEPS, STEPS) == pytest.approx(1e-6)


def test_cosine_is_half_way_in_the_middle_and_flat_at_both_ends() -> None:
    schedule = Schedule(value=1.0, end=0.0, shape="cosine")
    assert value_at(schedule, 500, STEPS) == pytest.approx(0.5)
    assert 1 - value_at(schedule, 10, STEPS) < 0.001
    assert value_at(schedule, 990, STEPS) < 0.001


def test_without_an_end_the_value_is_held() -> None:
    schedule = Schedule(value=0.3, warmup=0.1)
    assert [value_at(schedule, step, STEPS) for step in (0, 100, 999)] == [0.0, 0.3, 0.3]


def test_decay_holds_the_value_until_its_share_begins() -> None:
    schedule = Schedule(value=1.0, end=0.0, warmup=0.1, decay=0.2)
    assert value_at(schedule, 799, STEPS) == 1.0
    assert value_at(schedule, 900, STEPS) == pytest.approx(0.5)


def test_horizon_stops_the_run_before_the_schedule_ends() -> None:
    """recipes.md 1.1: V-JEPA's ipe_scale 1.25 leaves the momentum at .9996 and the weight decay (cosine) at .366."""
    momentum = Schedule(value=0.998, end=1.0, horizon=1.25)
    assert value_at(momentum, STEPS, STEPS) == pytest.approx(0.9996)
    weight_decay = Schedule(value=0.04, end=0.4, shape="cosine", horizon=1.25)
    assert value_at(weight_decay, STEPS, STEPS) == pytest.approx(0.366, abs=5e-4)


def test_half_life_means_the_same_at_every_batch_size() -> None:
    ema = EmaConfig(momentum=Schedule(value=0.5), half_life_samples=6400)
    for batch_size in (16, 64, 1024):
        momentum = momentum_at(ema, 0, STEPS, batch_size)
        assert half_life_samples(momentum, batch_size) == pytest.approx(6400)
    assert momentum_at(ema, 0, STEPS, 64) ** (6400 / 64) == pytest.approx(0.5)


def test_half_life_at_the_ends() -> None:
    assert half_life_samples(1.0, 8) == math.inf
    assert half_life_samples(0.0, 8) == 0.0
