from __future__ import annotations

import pytest
from probe_twins import TWINS, Right, twin

from jepa_core.plugin import ProbePlugin
from jepa_core.probes import Features, Score
from jepa_core.registry import probes
from jepa_core.testing import BoundCheck, Outcome, checks_for, parametrize_with_checks, probe, run
from jepa_core.testing.checks import checks_in
from jepa_core.testing.probe_case import ProbeCase

OWN = checks_in(probe, "probe")
SHORT = ["probe.epochs=1", "probe.min_steps=30"]


def outcomes(plugin: ProbePlugin) -> dict[str, Outcome]:
    case = ProbeCase(kind="probe", name=plugin.name, plugin=plugin)
    return {check.name: run(check, case) for check in OWN}


@parametrize_with_checks("probe", "knn", "linear")
def test_probes_of_pooled_features_keep_every_promise(check: BoundCheck) -> None:
    check()


@parametrize_with_checks("probe", "attentive", overrides=SHORT)
def test_the_probe_of_tokens_keeps_every_promise(check: BoundCheck) -> None:
    check()


def test_no_probe_of_the_core_is_left_out() -> None:
    own = [name for name in probes.names() if probes.suppliers(name)[0].distribution == "jepa-core"]
    assert sorted(own) == ["attentive", "knn", "linear"]


def test_every_check_has_a_wrong_twin() -> None:
    assert list(TWINS) == [check.name for check in OWN]
    assert set(TWINS) < {check.name for check in checks_for("probe")}


@pytest.mark.parametrize("name", TWINS)
def test_a_wrong_twin_fails_its_check_and_no_other(name: str) -> None:
    found = outcomes(twin(TWINS[name][0]))
    failed = {each: outcome.message for each, outcome in found.items() if outcome.state == "fail"}
    assert list(failed) == [name], failed
    assert TWINS[name][1] in failed[name]


def test_a_right_probe_passes_everything() -> None:
    assert {outcome.state for outcome in outcomes(twin(Right)).values()} == {"pass"}


class TellsHowManyAreMissing(Right):
    def __call__(self, train: Features, test: Features, num_classes: int, seed: int) -> Score:
        from jepa_core.errors import DataError

        if len(train.labels) < 2 * num_classes:
            raise DataError("two training samples of every class are needed")
        return super().__call__(train, test, num_classes, seed)


def test_too_few_samples_may_be_refused_in_words() -> None:
    assert {outcome.state for outcome in outcomes(twin(TellsHowManyAreMissing)).values()} == {"pass"}
