from __future__ import annotations

import pytest
import torch
from objective_twins import TWINS, Right, twin

from jepa_core.plugin import ObjectivePlugin
from jepa_core.registry import objectives
from jepa_core.testing import BoundCheck, Outcome, checks_for, objective, parametrize_with_checks, run
from jepa_core.testing.checks import checks_in
from jepa_core.testing.objective import ObjectiveCase

OWN = checks_in(objective, "objective")


def outcomes(plugin: ObjectivePlugin) -> dict[str, Outcome]:
    case = ObjectiveCase(kind="objective", name=plugin.name, plugin=plugin)
    return {check.name: run(check, case) for check in OWN}


@parametrize_with_checks("objective", "l1", "l2", "smooth_l1")
def test_the_objectives_of_the_core_keep_every_promise(check: BoundCheck) -> None:
    check()


@parametrize_with_checks("objective", "l2", overrides=["objective.targets=raw"])
def test_they_do_with_raw_targets_too(check: BoundCheck) -> None:
    check()


def test_no_objective_of_the_core_is_left_out() -> None:
    own = [name for name in objectives.names() if objectives.suppliers(name)[0].distribution == "jepa-core"]
    assert sorted(own) == ["l1", "l2", "smooth_l1"]


def test_every_check_has_a_wrong_twin() -> None:
    assert list(TWINS) == [check.name for check in OWN]
    assert set(TWINS) < {check.name for check in checks_for("objective")}


@pytest.mark.parametrize("name", TWINS)
def test_a_wrong_twin_fails_its_check_and_no_other(name: str) -> None:
    found = outcomes(twin(TWINS[name][0]))
    failed = {each: outcome.message for each, outcome in found.items() if outcome.state == "fail"}
    assert list(failed) == [name], failed
    assert TWINS[name][1] in failed[name]


def test_a_right_objective_passes_everything() -> None:
    assert {outcome.state for outcome in outcomes(twin(Right)).values()} == {"pass"}


class Cosine(Right):
    def distance(self, predicted: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return 1 - torch.cosine_similarity(predicted, targets, dim=-1)


def test_a_distance_of_whole_tokens_need_not_be_one_of_channels() -> None:
    assert {outcome.state for outcome in outcomes(twin(Cosine)).values()} == {"pass"}


class Draws(Right):
    def __call__(self, predicted: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().__call__(predicted, targets) + 0 * torch.rand(())


def test_a_draw_that_changes_nothing_is_still_one() -> None:
    failed = {name: outcome.message for name, outcome in outcomes(twin(Draws)).items() if outcome.state == "fail"}
    assert failed == {"loss_repeats": "expected no draw, found the generator of torch moved"}
