from __future__ import annotations

import pytest
from encoder_twins import Right, twin
from kit import failures, outcomes, states

from jepa_core.registry import encoders
from jepa_core.testing import BoundCheck, parametrize_with_checks

SMALL = ["encoder.size=null", "encoder.width=48", "encoder.depth=2", "encoder.heads=2"]


@parametrize_with_checks("encoder", "vit", overrides=SMALL)
def test_the_encoder_of_the_core_keeps_every_promise(check: BoundCheck) -> None:
    check()


@pytest.mark.parametrize("positions", ["sincos_half_first", "learned", "rope", "rope_vjepa2"])
def test_it_does_with_every_kind_of_positions_and_with_stochastic_depth(positions: str) -> None:
    values = {"size": None, "width": 48, "depth": 2, "heads": 2, "positions": positions, "drop_path": 0.2}
    found = outcomes(encoders.get("vit"), **values)
    assert failures(found) == {}
    assert states(found) == {"pass"}


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
    assert states(found) == {"pass", "n/a"}
