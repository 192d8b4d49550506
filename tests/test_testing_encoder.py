from __future__ import annotations

import pytest
from encoder_twins import TWINS, Right, twin

from jepa_core.plugin import EncoderPlugin
from jepa_core.registry import encoders
from jepa_core.testing import BoundCheck, Outcome, checks_for, encoder, parametrize_with_checks, run
from jepa_core.testing.checks import checks_in
from jepa_core.testing.encoder_case import EncoderCase

OWN = checks_in(encoder, "encoder")
SMALL = ["encoder.size=null", "encoder.width=48", "encoder.depth=2", "encoder.heads=2"]


def outcomes(plugin: EncoderPlugin) -> dict[str, Outcome]:
    case = EncoderCase(kind="encoder", name=plugin.name, plugin=plugin)
    return {check.name: run(check, case) for check in OWN}


@parametrize_with_checks("encoder", "vit", overrides=SMALL)
def test_the_encoder_of_the_core_keeps_every_promise(check: BoundCheck) -> None:
    check()


@pytest.mark.parametrize("positions", ["sincos_half_first", "learned", "rope", "rope_vjepa2"])
def test_it_does_with_every_kind_of_positions_and_with_stochastic_depth(positions: str) -> None:
    values = {"size": None, "width": 48, "depth": 2, "heads": 2, "positions": positions, "drop_path": 0.2}
    case = EncoderCase(kind="encoder", name="vit", plugin=encoders.get("vit"), overrides={"encoder": values})
    found = [run(check, case) for check in OWN]
    assert {each.check.name: each.message for each in found if each.state != "pass"} == {}


def test_no_encoder_of_the_core_is_left_out() -> None:
    own = [name for name in encoders.names() if encoders.suppliers(name)[0].distribution == "jepa-core"]
    assert own == ["vit"]


def test_every_check_has_a_wrong_twin() -> None:
    assert list(TWINS) == [check.name for check in OWN]
    assert set(TWINS) < {check.name for check in checks_for("encoder")}


@pytest.mark.parametrize("name", TWINS)
def test_a_wrong_twin_fails_its_check_and_no_other(name: str) -> None:
    found = outcomes(twin(TWINS[name][0]))
    failed = {each: outcome.message for each, outcome in found.items() if outcome.state == "fail"}
    assert list(failed) == [name], failed
    assert TWINS[name][1] in failed[name]


def test_a_right_encoder_passes_everything() -> None:
    assert {outcome.state for outcome in outcomes(twin(Right)).values()} == {"pass"}


class WithoutDepth(Right):
    @property
    def depth(self) -> int:
        raise AttributeError("depth")

    @depth.setter
    def depth(self, value: int) -> None:
        pass


def test_an_encoder_without_depth_need_not_average_layers() -> None:
    found = outcomes(twin(WithoutDepth))
    assert (found["layers_are_averaged"].state, found["layers_are_averaged"].message) == (
        "n/a",
        "its depth is None: it gives its output alone",
    )
    assert {outcome.state for outcome in found.values()} == {"pass", "n/a"}
