from __future__ import annotations

from pathlib import Path

import pytest

from jepa_core import planning
from jepa_core.recipes import read_config

RECIPES = Path(__file__).parents[3] / "configs" / "image"
VIT_H14 = """
modality: {name: image, size: 224, patch: 14}
encoder: {name: vit, size: huge}
predictor: {depth: 12}
"""


def test_vit_h14_has_the_published_number_of_parameters():
    parameters = planning.plan(read_config(text=VIT_H14, overrides=["train.batch_size=16"])).parameters
    assert parameters.encoder == 630_434_560  # without class token, learned positions and head
    assert parameters.encoder_as_published == 632_045_800


def test_every_recipe_can_be_planned(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planning, "_activations", lambda parts, samples: 0)  # the slow part, tested on a small model
    for recipe in sorted(RECIPES.glob("*.yaml")):
        planned = planning.plan(read_config(recipe))
        assert planned.flops.run > 0, recipe
        assert planned.hours > 0, recipe
