"""Learning rate, weight decay and momentum as closed-form functions of the step: nothing to replay on resume."""

from __future__ import annotations

import math

from jepa_core.config import RunConfig, Schedule
from jepa_core.config.tree import EmaConfig


def value_at(schedule: Schedule, step: int, steps: int) -> float:
    """The schedule's value for the update that follows `step` completed ones, in a run of `steps`.

    >>> value_at(Schedule(value=1.0, end=0.0), step=5, steps=10)
    0.5
    """
    warmup, horizon = schedule.warmup * steps, schedule.horizon * steps
    if step < warmup:
        return schedule.warmup_from + (schedule.value - schedule.warmup_from) * step / warmup
    if schedule.end is None:
        return schedule.value
    begin = max(warmup, horizon * (1 - schedule.decay))
    progress = min(1.0, max(0.0, (step - begin) / (horizon - begin)))
    if schedule.shape == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return schedule.value + (schedule.end - schedule.value) * progress


def momentum_at(ema: EmaConfig, step: int, steps: int, batch_size: int) -> float:
    """The target encoder's momentum; a half-life in samples is turned into steps of this batch size."""
    schedule = ema.momentum
    if ema.half_life_samples is not None:
        schedule = schedule.model_copy(update={"value": 0.5 ** (batch_size / ema.half_life_samples)})
    return value_at(schedule, step, steps)


def target_momentum(config: RunConfig, step: int) -> float:
    """`momentum_at` in a run; 0, at which the target encoder is the encoder, where its gradient is not stopped."""
    train = config.train
    return momentum_at(config.ema, step, train.steps, train.batch_size) if config.target.stop_gradient else 0.0


def half_life_samples(momentum: float, batch_size: int) -> float:
    """After how many samples the target has forgotten half of its past; infinite at momentum 1."""
    if momentum >= 1:
        return math.inf
    return batch_size * math.log(0.5) / math.log(momentum) if momentum > 0 else 0.0
