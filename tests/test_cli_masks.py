"""`jepa masks` and what it measures, on grids of one to three axes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from toy import TOY_ROWS
from typer.testing import CliRunner

from jepa_core.builtin import RandomMaskingConfig
from jepa_core.builtin import random as random_masking
from jepa_core.cli import app
from jepa_core.cli.masks import _lines
from jepa_core.errors import UsageError
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.inspect import along_axes, measure
from jepa_core.masking.picture import COLOURS, _flat, colours, draw
from jepa_core.plugin import MaskingStrategy
from jepa_core.types import SampleKey, TokenBudget, TokenGrid

PLANE = TokenGrid((3, 4), ("height", "width"))


class Fixed:
    """Two views of known masks: the second one leaks."""

    grid = PLANE
    budgets = (TokenBudget(4, 2, 3), TokenBudget(4, 1, 4))

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        def many(*cells: int) -> torch.Tensor:
            return torch.tensor(cells).expand(len(random), -1)

        targets = torch.stack([many(4, 5, 6), many(5, 6, 7)], 1)
        return MaskView(many(0, 1, 2, 3), targets), MaskView(many(0, 1, 2, 3), many(3, 8, 9, 10)[:, None])

    def unlimited(self, random: SampleRandom) -> tuple[np.ndarray, ...]:
        visible = np.zeros((len(random), 12), dtype=bool)
        visible[:, [0, 1, 2, 3, 11]] = True
        return visible, visible

    def redraws(self, random: SampleRandom) -> tuple[np.ndarray, ...]:
        first = np.zeros(len(random), dtype=np.int64)
        first[::2] = 1
        return first, np.full(len(random), 17)


def test_statistics_are_those_of_the_masks() -> None:
    first, second = measure(Fixed(), 10, batch_size=4).views
    assert first.context_rate.tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert first.target_rate.tolist() == [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
    assert first.target_overlap == pytest.approx(1 / 3)
    assert first.unused == pytest.approx(1 / 3)
    assert (first.leaking, second.leaking) == (0, 1)
    assert (first.redrawn, first.stored) == (0.5, 0)
    assert (second.redrawn, second.stored) == (1, 1)
    assert (first.context_tokens, first.target_tokens) == ((4, 4), (3, 3))
    # Of row 0 all is kept, of row 2 nothing, of column 3 half; on average 4 of 5.
    assert first.unevenness_along == pytest.approx([1, 0.375])
    assert first.unevenness == pytest.approx(1)


def test_rates_along_an_axis_are_means_over_the_others() -> None:
    rate = np.arange(24).reshape(2, 3, 4) / 24
    along = along_axes(rate)
    assert [len(each) for each in along] == [2, 3, 4]
    assert along[1][2] == pytest.approx(rate[:, 2].mean())


def test_an_even_rule_has_no_unevenness() -> None:
    rate = np.full((3, 4), 0.5)
    (view, _) = measure(Fixed(), 1).views
    even = replace(view, context_rate=rate / 2, unlimited_rate=rate)
    assert even.unevenness == 0


def test_every_kind_of_cell_has_its_colour() -> None:
    first, second = Fixed()(SampleRandom.of(0, [SampleKey(0, 0)]))
    names = {rgb: name for name, rgb in COLOURS.items()}
    kinds = [[names[tuple(cell)] for cell in row] for row in colours(first, 0, PLANE).tolist()]
    assert kinds == [["context"] * 4, ["target", "in 2 targets", "in 2 targets", "target"], ["neither"] * 4]
    assert names[tuple(colours(second, 0, PLANE)[0, 3].tolist())] == "context and target"


@pytest.mark.parametrize("shape", [(40,), (8, 8), (5, 38), (4, 6, 6)])
def test_grids_of_any_number_of_axes_are_drawn(shape: tuple[int, ...], tmp_path: Path) -> None:
    grid = TokenGrid(shape, ("time", "height", "width")[: len(shape)])
    strategy = random_masking.build(RandomMaskingConfig(num_targets=2), grid)
    check_picture(strategy, tmp_path / "masks.png")


def test_of_many_slices_some_are_shown_with_the_first_and_the_last() -> None:
    grid = TokenGrid((4, 8, 2, 3), ("layer", "time", "height", "width"))
    values = np.arange(192).reshape(grid.shape)
    flat = _flat(values, grid, -1.0)
    assert flat.shape == (2, 8 * 3 + 7)
    assert flat[0, 0] == 0
    assert flat[1, -1] == 191
    assert (flat[:, 3::4] == -1).all()
    few = TokenGrid((2, 2, 3), ("time", "height", "width"))
    assert _flat(np.arange(12).reshape(few.shape), few, -1.0).tolist() == [
        [0, 1, 2, -1, 6, 7, 8],
        [3, 4, 5, -1, 9, 10, 11],
    ]


def test_every_view_is_drawn(tmp_path: Path) -> None:
    assert check_picture(Fixed(), tmp_path / "two.png") > 1.5 * check_picture(
        random_masking.build(RandomMaskingConfig(), PLANE), tmp_path / "one.png"
    )


def check_picture(strategy: MaskingStrategy, path: Path) -> int:
    """The height of what is drawn; it must show more than a background."""
    draw(measure(strategy, 20), strategy(SampleRandom.of(0, [SampleKey(0, index) for index in range(6)])), path)
    picture = imread(path)
    assert picture.shape[1] == 1430
    assert (picture[..., :3].min(-1) < 0.9).mean() > 0.02
    return len(picture)


def test_a_picture_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    strategy = Fixed()
    with pytest.raises(UsageError, match=r"\.png, \.svg or \.pdf"):
        draw(measure(strategy, 2), strategy(SampleRandom.of(0, [SampleKey(0, 0)])), tmp_path / "masks.xyz")


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "toy.yaml"
    path.write_text("modality: {name: toy, cells: 6}\n")
    return str(path)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["masks", *arguments])
    return result.exit_code, result.output


@pytest.mark.usefixtures("toy")
def test_the_command_prints_counts_and_rates(config: str) -> None:
    code, output = run(config, "--samples", "200")
    assert code == 0
    lines = {line.split("  ")[0]: line for line in output.splitlines()}
    assert "18 of 36 (50%)" in lines["context tokens"]
    assert "1 x 18" in lines["target tokens"]
    assert "never" in lines["context and target at once"]
    assert len([line for line in lines if line.isdigit()]) == 6


@pytest.mark.usefixtures("toy")
def test_the_command_prints_json_of_the_overridden_config(config: str) -> None:
    code, output = run(config, "--json", "--samples", "50", "--set", "masking={name: toy_rows, rows: 2}")
    assert code == 0
    answer = json.loads(output)
    assert answer["masking"] == TOY_ROWS.name
    assert answer["grid"]["shape"] == [6, 6]
    (view,) = answer["views"]
    assert view["budget"] == {"context": 24, "num_targets": 2, "target": 6}
    assert np.shape(view["context_rate"]) == (6, 6)
    assert {len(rates) for rates in view["context_rate_along"].values()} == {6}
    assert view["redrawn"] is view["unevenness"] is None


def test_the_words_name_every_view_and_the_bias_over_every_axis() -> None:
    words = "\n".join(_lines("fixed", measure(Fixed(), 10)))
    assert "view 1 of 2" in words
    assert "view 2 of 2" in words
    assert "100.0% over height, 37.5% over width at most" in words


@pytest.mark.usefixtures("toy")
def test_the_command_draws_where_it_is_told(config: str, tmp_path: Path) -> None:
    code, output = run(config, "--samples", "10", "--out", str(tmp_path / "masks.png"))
    assert code == 0
    assert output.rstrip().endswith("masks.png")
    assert (tmp_path / "masks.png").stat().st_size > 10_000
    code, output = run(config, "--out", str(tmp_path / "absent" / "masks.png"))
    assert code == 2
    assert "there is no folder" in output


@pytest.mark.usefixtures("toy")
def test_an_infeasible_config_ends_with_its_range_and_code_2(config: str) -> None:
    code, output = run(config, "--set", "masking.ratio=0.999")
    assert code == 2
    assert "Allowed: above 0, up to 0.972" in output
