"""Pooled features: the mean over all tokens, or the cells of some axes side by side."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest
import torch
from toy import toy_config
from toy_parts import Waves
from typer.testing import CliRunner

from jepa_core.checkpoint import RunFolder
from jepa_core.cli import app
from jepa_core.config.tree import FeaturesConfig
from jepa_core.embedding import embed
from jepa_core.errors import ConfigError
from jepa_core.evaluation import Evaluation, evaluate
from jepa_core.frozen import load
from jepa_core.model import Parts
from jepa_core.nn.pooling import Pooling
from jepa_core.types import TokenGrid

pytestmark = pytest.mark.usefixtures("toy")

GRID = TokenGrid((3, 4), ("frequency", "time"))
CLIP = TokenGrid((2, 3, 4), ("time", "height", "width"))


def pooling(*axes: str, grid: TokenGrid = GRID) -> Pooling:
    return Pooling(FeaturesConfig(concatenate=axes), grid)


def tokens(grid: TokenGrid = GRID, views: int = 1) -> torch.Tensor:
    return torch.randn(2, views * grid.num_tokens, 5, generator=torch.Generator().manual_seed(0))


def test_the_default_is_the_mean_over_all_tokens() -> None:
    torch.testing.assert_close(pooling()(tokens()), tokens().mean(1))
    torch.testing.assert_close(pooling(grid=CLIP)(tokens(CLIP, views=3)), tokens(CLIP, views=3).mean(1))


def test_bands_side_by_side_are_what_concatenating_them_in_every_time_step_and_then_averaging_gives() -> None:
    steps = tokens().unflatten(1, (3, 4)).permute(0, 2, 1, 3).flatten(2)  # M2D: (batch, time, frequency * dim)
    torch.testing.assert_close(pooling("frequency")(tokens()), steps.mean(1))


def test_any_axes_can_be_kept_in_the_order_of_the_grid() -> None:
    on_grid = tokens(CLIP).unflatten(1, CLIP.shape)
    torch.testing.assert_close(pooling("time", grid=CLIP)(tokens(CLIP)), on_grid.mean((2, 3)).flatten(1))
    both = on_grid.mean(1).flatten(1)
    torch.testing.assert_close(pooling("height", "width", grid=CLIP)(tokens(CLIP)), both)
    torch.testing.assert_close(pooling("width", "height", grid=CLIP)(tokens(CLIP)), both)
    torch.testing.assert_close(pooling(*CLIP.axes, grid=CLIP)(tokens(CLIP)), tokens(CLIP).flatten(1))


def test_views_are_averaged_whatever_is_kept() -> None:
    several = tokens(views=3)
    each = torch.stack([pooling("frequency")(view) for view in several.chunk(3, dim=1)])
    torch.testing.assert_close(pooling("frequency")(several), each.mean(0))


def test_it_computes_in_fp32() -> None:
    many = torch.full((1, 12, 5), 0.1, dtype=torch.bfloat16)
    assert pooling()(many).dtype == torch.float32


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        (("pitch",), r"features.concatenate: 'pitch' is no axis .* Allowed: any of frequency, time, once each\."),
        (("time", "time"), "features.concatenate: an axis is named twice"),
    ],
)
def test_axes_that_the_grid_lacks_are_refused(axes: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        pooling(*axes)


def test_a_wrong_axis_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(ConfigError, match="Allowed: any of rows, columns"):
        Parts.of(toy_config("features.concatenate=[time]"))


def test_a_loaded_encoder_pools_as_it_is_told(toy_run: Path) -> None:
    signal = torch.randn(2, 1, 12, 12)
    plain, rows = load(toy_run, device="cpu"), load(toy_run, device="cpu", overrides=["features.concatenate=[rows]"])
    assert plain.embed(signal).shape == (2, 32)
    assert rows.embed(signal).shape == (2, 6 * 32)
    torch.testing.assert_close(rows.embed(signal).unflatten(1, (6, 32)).mean(1), plain.embed(signal))


def test_a_probe_gets_wider_features_of_encoders_and_eval_json_says_how(toy_run: Path) -> None:
    overrides = ["modality.train_samples=200", "modality.test_samples=80", "features.concatenate=[rows, columns]"]
    found = evaluate(RunFolder(toy_run), probes=["knn"], overrides=overrides, device="cpu")
    mean = evaluate(RunFolder(toy_run), probes=["knn"], overrides=overrides[:2], device="cpu")
    assert found.as_json()["pooling"] == {"concatenate": ["rows", "columns"]}
    assert mean.as_json()["pooling"] == {"concatenate": []}

    def accuracies(evaluation: Evaluation, *representations: str) -> list[float]:
        return [each.accuracy for each in evaluation.results if each.representation in representations]

    assert accuracies(found, "target", "random") != accuracies(mean, "target", "random")
    assert accuracies(found, "raw") == accuracies(mean, "raw")


def test_files_of_features_hold_and_name_them(toy_run: Path, tmp_path: Path) -> None:
    encoder = load(toy_run, device="cpu", overrides=["features.concatenate=[columns]"])
    assert embed(encoder, Waves("test", 5, 12, 0.1), tmp_path / "out.parquet", run="trained").features == (192,)


def test_the_option_is_one_of_the_command_line(toy_run: Path, tmp_path: Path) -> None:
    run = copytree(toy_run, tmp_path / "run")
    arguments = ["eval", str(run), "--probe", "knn", "--device", "cpu", "--set"]
    assert CliRunner().invoke(app, [*arguments, "features.concatenate=[rows]"]).exit_code == 0
    wrong = CliRunner().invoke(app, [*arguments, "features.concatenate=[depth]"])
    assert wrong.exit_code == 2
    assert "Allowed: any of rows, columns" in wrong.output
