"""Strategies by name on a spectrogram, whoever supplies them: configurations, commands, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jepa_core.cli import app
from jepa_core.config import RunConfig, Section
from jepa_core.config.loading import read
from jepa_core.errors import ConfigError
from jepa_core.model import Parts
from jepa_core.plugin import Masking
from jepa_core.recipes import read_config, versions
from jepa_core.registry import FactoryRegistry, modalities, section_class

CLIPS = "modality: {name: audio, pretrain: nowhere, mels: 80, seconds: 6, patch: 16}"
JEPA_IMAGE = ("multiblock", "block", "quadrant")


def config_with(masking: str) -> RunConfig:
    return read_config(text=f"{CLIPS}\nmasking: {masking}")


@pytest.mark.parametrize("name", JEPA_IMAGE)
def test_jepa_image_s_strategies_run_on_a_spectrogram_by_name(name: str) -> None:
    parts = Parts.of(config_with(f"{{name: {name}}}"))
    assert parts.grid.axes == ("frequency", "time")
    assert type(parts.masking).__module__ == "jepa_image.masking"
    assert "jepa-image" in versions(parts.config)


@pytest.mark.parametrize("name", ["random", "time", "frequency", "time_frequency", "inverse_block", "curriculum"])
def test_every_strategy_of_an_audio_run_builds_from_its_defaults(name: str) -> None:
    assert Parts.of(config_with(f"{{name: {name}}}")).masking.budgets


def test_a_curriculum_records_whose_strategies_it_mixes() -> None:
    assert {"jepa-audio", "jepa-image"} <= set(versions(config_with("{name: curriculum}")))


@pytest.fixture
def read_without() -> Callable[[str], RunConfig]:
    """Reads a configuration as where jepa-image is not installed."""

    def scan(group: str) -> tuple[EntryPoint, ...]:
        return tuple(point for point in entry_points(group=group) if point.dist and point.dist.name != "jepa-image")

    registry = FactoryRegistry[Masking]("masking", "jepa.maskings", Masking, scan)

    def section_of(kind: str, name: str) -> type[Section]:
        return registry.get(name).Config if kind == "masking" else section_class(kind, name)

    def read_it(masking: str) -> RunConfig:
        text = f"{CLIPS}\nmasking: {masking}"
        return read(None, (), text, section_class=section_of, modality=modalities.get)

    return read_it


@pytest.mark.parametrize(
    ("masking", "path"), [("{name: multiblock}", "masking.name"), ("{name: curriculum}", "masking.easy.name")]
)
def test_without_jepa_image_the_error_names_that_package_and_its_place(
    read_without: Callable[[str], RunConfig], masking: str, path: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        read_without(masking)
    (problem,) = refused.value.problems
    assert problem.startswith(f"{path}: masking 'multiblock' comes with jepa-image: pip install -e plugins/image")


def test_without_jepa_image_all_others_work(read_without: Callable[[str], RunConfig]) -> None:
    assert read_without("{name: curriculum, easy: {name: random}}").masking.name == "curriculum"


def test_the_allow_list_hides_jepa_image_and_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JEPA_PLUGINS", "audio")
    for masking, path in (("{name: multiblock}", "masking.name"), ("{name: curriculum}", "masking.easy.name")):
        with pytest.raises(ConfigError) as refused:
            config_with(masking)
        (problem,) = refused.value.problems
        assert problem.startswith(f"{path}: masking 'multiblock' comes with jepa-image, hidden by JEPA_PLUGINS=audio.")
    assert Parts.of(config_with("{name: time_frequency}"))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


@pytest.fixture
def curriculum(tmp_path: Path) -> str:
    path = tmp_path / "clips.yaml"
    path.write_text(f"{CLIPS}\nmasking: {{name: curriculum}}\n")
    return str(path)


def test_the_masks_of_a_curriculum_are_shown_at_any_progress(curriculum: str) -> None:
    shown = [json.loads(run("masks", curriculum, "--json", "--progress", share)[1]) for share in ("0", "1")]
    early, late = (each["views"][0] for each in shown)
    assert early["budget"] == late["budget"]
    assert early["target_rate_along"] != late["target_rate_along"]


def test_the_nested_sections_are_shown_and_can_be_set(curriculum: str) -> None:
    code, output = run("config", "show", curriculum, "--set", "masking.hard.num_blocks=2")
    assert code == 0
    assert "  # multiblock: Several target blocks" in output
    assert "    num_blocks: 2\n" in output
    assert read_config(text=output) == read_config(curriculum, ["masking.hard.num_blocks=2"])


def test_a_wrong_key_of_a_nested_section_ends_with_its_place_and_code_2(curriculum: str) -> None:
    code, output = run("masks", curriculum, "--set", "masking.hard.num_blcks=2")
    assert code == 2
    assert "masking.hard.num_blcks: unknown key. Did you mean 'num_blocks'?" in output
