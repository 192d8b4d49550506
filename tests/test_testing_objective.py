from __future__ import annotations

import torch
from kit import failures, outcomes, states
from objective_twins import Right, twin

from jepa_core.testing import BoundCheck, parametrize_with_checks


@parametrize_with_checks("objective", "l1", "l2", "smooth_l1")
def test_the_objectives_of_the_core_keep_every_promise(check: BoundCheck) -> None:
    check()


@parametrize_with_checks("objective", "l2", overrides=["objective.targets=raw"])
def test_they_do_with_raw_targets_too(check: BoundCheck) -> None:
    check()


class Cosine(Right):
    def distance(self, predicted: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return 1 - torch.cosine_similarity(predicted, targets, dim=-1)


def test_a_distance_of_whole_tokens_need_not_be_one_of_channels() -> None:
    assert states(outcomes(twin(Cosine))) == {"pass"}


class Draws(Right):
    def __call__(self, predicted: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().__call__(predicted, targets) + 0 * torch.rand(())


def test_a_draw_that_changes_nothing_is_still_one() -> None:
    assert failures(outcomes(twin(Draws))) == {"loss_repeats": "expected no draw, found the generator of torch moved"}
