from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from toy import Toy, ToyConfig, toy_config
from typer.testing import CliRunner

from jepa_core.checkpoint import RunFolder
from jepa_core.cli import app
from jepa_core.config import Section
from jepa_core.errors import ConfigError, DataError, UsageError
from jepa_core.features import signal_batches
from jepa_core.frozen import FrozenEncoder, untrained_encoder
from jepa_core.model import Parts
from jepa_core.plugin import Source
from jepa_core.recipes import read_config
from jepa_core.registry import modalities
from jepa_core.statistics import as_yaml, measure, read_unnormalised
from jepa_core.trainer import Trainer


def ignore(_done: int) -> None:
    pass


@pytest.fixture
def config_file(toy: Toy, tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text("modality: {name: toy, mean: 5.0, std: 3.0}\n")
    return path


class UnstatedConfig(ToyConfig):
    mean: float | None = None  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]
    std: float | None = None  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]


class Unstated(Toy):
    """Has no statistics unless the file states them."""

    Config: ClassVar[type[Section]] = UnstatedConfig


def pretraining(toy: Toy, *overrides: str) -> Source:
    section = toy_config(*overrides).modality
    assert isinstance(section, ToyConfig)
    return toy.source(section, "pretrain")


def test_equals_the_moments_of_all_values_whatever_the_file_says_of_them(toy: Toy, config_file: Path) -> None:
    config, per_channel = read_unnormalised(config_file)
    source = pretraining(toy)
    measured = measure(config, source, per_channel, 1000, ignore)
    values = torch.stack([torch.as_tensor(source.read(i)) for i in range(len(source))]).double()
    assert not per_channel
    assert measured.mean == pytest.approx([values.mean().item()])
    assert measured.std == pytest.approx([values.std(correction=0).item()])
    assert (measured.samples, measured.of) == (64, 64)


def test_normalising_by_the_result_gives_mean_zero_and_deviation_one(toy: Toy, config_file: Path) -> None:
    config, per_channel = read_unnormalised(config_file)
    first = measure(config, pretraining(toy), per_channel, 1000, ignore)
    again = toy_config(f"modality.mean={first.mean[0]}", f"modality.std={first.std[0]}")
    second = measure(again, pretraining(toy), per_channel, 1000, ignore)
    assert second.mean == pytest.approx([0], abs=1e-6)
    assert second.std == pytest.approx([1], abs=1e-6)


def test_several_views_of_a_sample_are_more_values_of_its_channels(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, config_file: Path
) -> None:
    monkeypatch.setattr(Toy, "unnormalised", {"mean": [0.0], "std": [1.0]})
    monkeypatch.setattr(Toy, "signal_shape", lambda *_: (2, 12, 12))

    def two_channels(*_: object, train: bool) -> Any:
        return lambda raw, generator: torch.stack(
            [torch.stack([torch.from_numpy(raw), 3 * torch.ones(12, 12) + v]) for v in (0, 1)]
        )

    monkeypatch.setattr(Toy, "transform", two_channels)
    config = toy_config("modality.views=2")
    measured = measure(config, pretraining(toy), per_channel=True, most=1000, progress=ignore)
    assert measured.mean[1] == pytest.approx(3.5)
    assert measured.std[1] == pytest.approx(0.5)


def test_samples_are_spread_over_the_whole_source(toy: Toy, config_file: Path) -> None:
    config, per_channel = read_unnormalised(config_file)
    source, read = pretraining(toy), list[int]()

    class Watched:
        @property
        def labels(self) -> Mapping[str, Any]:
            return {}

        def __len__(self) -> int:
            return len(source)

        def read(self, index: int) -> Any:
            read.append(index)
            return source.read(index)

        def where(self, index: int) -> str:
            return source.where(index)

    told = list[int]()
    measured = measure(config, Watched(), per_channel, 4, told.append)
    assert read == [0, 16, 32, 48]
    assert told == [1, 2, 3, 4]
    assert (measured.samples, measured.of) == (4, 64)


def test_channels_are_measured_apart_where_the_section_holds_one_number_each(toy: Toy, config_file: Path) -> None:
    class TwoChannels(Toy):
        def signal_shape(self, config: Any) -> tuple[int, ...]:
            return (2, 12, 12)

        def transform(self, config: Any, train: bool) -> Any:
            plain = super().transform(config, train)
            return lambda raw, generator: torch.cat([plain(raw, generator), 3 * plain(raw, generator) + 1])

    with modalities.temporarily(TwoChannels()):
        measured = measure(toy_config(), pretraining(toy), True, 1000, ignore)
    assert measured.mean[1] == pytest.approx(3 * measured.mean[0] + 1)
    assert measured.std[1] == pytest.approx(3 * measured.std[0])


def test_unreadable_samples_are_named_and_left_out(
    toy: Toy, config_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, per_channel = read_unnormalised(config_file)
    with caplog.at_level(logging.WARNING):
        measured = measure(config, pretraining(toy, "modality.unreadable=[3]"), per_channel, 1000, ignore)
    assert measured.samples == 63
    assert "toy:train/3" in caplog.text


def test_nothing_readable_is_an_error(toy: Toy, config_file: Path) -> None:
    config, per_channel = read_unnormalised(config_file)
    source = pretraining(toy, "modality.train_samples=2", "modality.unreadable=[0, 1]")
    with pytest.raises(DataError, match="none of 2 samples can be read"):
        measure(config, source, per_channel, 1000, ignore)


def test_constant_channel_is_an_error_that_names_it(toy: Toy, config_file: Path) -> None:
    class Constant(Toy):
        def transform(self, config: Any, train: bool) -> Any:
            return lambda _raw, _generator: torch.full((1, 12, 12), 1e4 / 3)

    config, per_channel = read_unnormalised(config_file)
    with modalities.temporarily(Constant()), pytest.raises(DataError, match="channel 0 has the same value everywhere"):
        measure(config, pretraining(toy), per_channel, 1000, ignore)


def test_modality_that_does_not_normalise_is_a_usage_error(config_file: Path) -> None:
    class Raw(Toy):
        unnormalised: ClassVar[Mapping[str, Any]] = {}

    with modalities.temporarily(Raw()), pytest.raises(UsageError, match="does not normalise by mean and std"):
        read_unnormalised(config_file)


def test_faults_of_the_file_are_reported_as_ever(config_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"modality\.sells"):
        read_unnormalised(config_file, ["modality.sells=3"])


def test_printed_lines_have_the_form_that_the_section_holds(toy: Toy, config_file: Path) -> None:
    config, per_channel = read_unnormalised(config_file)
    measured = measure(config, pretraining(toy), per_channel, 1000, ignore)
    assert as_yaml(measured, per_channel=False).splitlines()[1] == f"  mean: {measured.mean[0]:.4g}"
    assert as_yaml(measured, per_channel=True).splitlines()[1] == f"  mean: [{measured.mean[0]:.4g}]"


def test_command_prints_lines_that_a_configuration_can_hold(config_file: Path) -> None:
    done = CliRunner().invoke(app, ["stats", str(config_file), "--samples", "32"])
    assert done.exit_code == 0, done.output
    assert "# measured on 32 of 64 samples\nmodality:\n  mean: " in done.output


def test_null_statistics_are_refused_at_training_with_the_command_that_measures_them(tmp_path: Path) -> None:
    with modalities.temporarily(Unstated()):
        with pytest.raises(ConfigError, match=r"modality\.mean and modality\.std: null.*`jepa stats CONFIG`"):
            Trainer(toy_config(), RunFolder(tmp_path / "run"))
        with pytest.raises(ConfigError, match=r"^modality\.std: null"):
            Trainer(toy_config("modality.mean=0.1"), RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()  # the next try is not told that a run is there


def test_null_statistics_are_refused_wherever_signals_are_made_of_data() -> None:
    with modalities.temporarily(Unstated()):
        parts = Parts.of(toy_config())
        encoder, device = untrained_encoder(parts), torch.device("cpu")
        with pytest.raises(ConfigError, match="jepa stats CONFIG"):
            next(signal_batches(parts, parts.modality.source(parts.config.modality, "probe_test"), device))
        with pytest.raises(ConfigError, match="jepa stats CONFIG"):
            FrozenEncoder(parts, encoder, "target", 0, device)


def test_command_measures_what_training_then_accepts(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text("modality: {name: toy}\n")
    with modalities.temporarily(Unstated()):
        done = CliRunner().invoke(app, ["stats", str(path)])
        assert done.exit_code == 0, done.output
        path.write_text(done.stdout.replace("modality:", "modality:\n  name: toy"))
        assert Trainer(read_config(path, ["train.steps=1"]), RunFolder(tmp_path / "run")).train() == "done"
