"""`jepa masks` on time x height x width with two mask views: from a configuration to words, JSON and a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from jepa_core.cli import app

CONFIG = """
modality: {name: video, pretrain: nowhere, frames: 20, size: 128}
masking: {name: multiblock3d}
train: {batch_size: 24}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "clips.yaml"
    path.write_text(CONFIG)
    return str(path)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["masks", *arguments])
    return result.exit_code, result.output


def test_words_tell_of_both_views_and_rates_along_three_axes(config: str) -> None:
    code, output = run(config, "--samples", "400")
    assert code == 0
    lines = output.splitlines()
    assert lines[0] == "multiblock3d on 10 x 8 x 8 (time, height, width): 400 samples in batches of 24"
    assert [line for line in lines if line.startswith("view")] == ["view 1 of 2", "view 2 of 2"]
    headers = [line.split("  ") for line in lines if line.startswith("cell")]
    assert all(sum("context / target %" in cell for cell in header) == 3 for header in headers)
    assert len([line for line in lines if line[:1].isdigit()]) == 2 * 10
    biases = [line for line in lines if line.startswith("length rule's bias")]
    assert all("over time" in line and "over height" in line and "over width" in line for line in biases)
    assert sum("took a stored layout" in line for line in lines) == 2


def test_json_holds_the_rates_of_every_view_and_axis(config: str) -> None:
    code, output = run(config, "--json", "--samples", "200", "--set", "masking.views.1.max_temporal_keep=0.5")
    assert code == 0
    short, long = json.loads(output)["views"]
    assert np.shape(short["context_rate"]) == (10, 8, 8)
    assert {axis: len(rates) for axis, rates in long["context_rate_along"].items()} == {
        "time": 10,
        "height": 8,
        "width": 8,
    }
    assert set(short["unevenness_along"]) == {"time", "height", "width"}
    assert min(short["context_rate_along"]["time"]) > 0.1
    assert max(long["context_rate_along"]["time"][5:]) == 0  # one value of one view was set
    assert 0 < short["redrawn"] < 0.2


def test_the_picture_shows_both_views(config: str, tmp_path: Path) -> None:
    both, one = tmp_path / "both.png", tmp_path / "one.png"
    assert run(config, "--samples", "20", "--out", str(both))[0] == 0
    only = "masking.views=[{num_blocks: 8, spatial_scale: [0.15, 0.15]}]"
    assert run(config, "--samples", "20", "--out", str(one), "--set", only)[0] == 0
    assert len(imread(both)) > 1.8 * len(imread(one))


def test_an_infeasible_view_ends_with_its_range_and_code_2(config: str) -> None:
    code, output = run(config, "--set", "masking.views.0.context_tokens=600")
    assert code == 2
    assert "masking.views.0.context_tokens" in output
    assert "Allowed: 1 to" in output
