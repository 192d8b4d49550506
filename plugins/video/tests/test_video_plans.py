from __future__ import annotations

from pathlib import Path

import pytest

from jepa_core import planning
from jepa_core.recipes import read_config

RECIPES = Path(__file__).parents[3] / "configs" / "video"
V_JEPA = """
modality: {name: video, frames: 16, size: 224, patch: 16, tubelet: 2}
encoder: {name: vit, size: large}
predictor: {width: 384, depth: 12, mask_token_per_view: true}
masking: {name: multiblock3d}
objective: {name: l1}
train: {batch_size: 2}
"""
# Of V-JEPA 2: an encoder of 22 heads, and the predictor that all its encoders share.
GIANT = ["encoder.size=giant", "encoder.heads=22", "encoder.positions=rope_vjepa2", "predictor.heads=12"]


@pytest.fixture(autouse=True)
def without_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_activations", lambda parts, samples: 0)  # the slow part, tested on a small model


@pytest.fixture
def without_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_counted", lambda call: 1)  # the next slowest


@pytest.mark.parametrize(("overrides", "millions"), [([], 303.9), (["encoder.size=huge"], 631.6), (GIANT, 1012.2)])
def test_encoders_and_their_predictor_have_the_published_sizes(overrides: list[str], millions: float):
    parameters = planning.plan(read_config(text=V_JEPA, overrides=overrides)).parameters
    assert parameters.encoder / 1e6 == pytest.approx(millions, abs=0.05)  # 300 M, 600 M and 1 B in V-JEPA 2's table
    assert parameters.predictor / 1e6 == pytest.approx(22, abs=0.5)
    assert parameters.encoder_as_published is None  # that count, with 1000 classes, is of two axes


def test_a_clip_of_v_jepa_costs_what_its_tokens_say():
    planned = planning.plan(read_config(text=V_JEPA))
    width, depth, tokens = 1024, 24, 1568
    blocks = depth * (24 * tokens * width**2 + 4 * tokens**2 * width)
    assert planned.tokens == tokens
    assert planned.flops.target == blocks + 2 * tokens * (3 * 2 * 16 * 16) * width
    assert 0.15 < planned.context_tokens / (2 * tokens) < 0.35  # of two views


@pytest.mark.usefixtures("without_operations")
def test_every_recipe_can_be_planned():
    for recipe in sorted(RECIPES.glob("*.yaml")):
        planned = planning.plan(read_config(recipe))
        assert planned.parameters.encoder > 300e6, recipe
        assert all(view.context and view.target for view in planned.views), recipe
