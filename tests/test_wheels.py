"""The four distributions, and a stranger's, as users get them: built, installed outside the repository, run there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "jepa_core": ROOT,
    "jepa_image": ROOT / "plugins/image/src",
    "jepa_video": ROOT / "plugins/video/src",
    "jepa_audio": ROOT / "plugins/audio/src",
}
TEMPLATE = ROOT / "examples/plugin_template"
STRANGER = {"jepa_series": TEMPLATE / "src"}
EVERYTHING = {**PACKAGES, **STRANGER}

pytestmark = pytest.mark.wheels


def output_of(command: Sequence[str | Path], folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "JEPA_"))}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    for package, source in EVERYTHING.items():
        project = source.parent if source.name == "src" else source
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / package, project]
        output_of(build, folder)
    return {package: next((folder / package).glob("*.whl")) for package in EVERYTHING}


def environment(folder: Path, wheels: Sequence[Path]) -> Path:
    """A new environment with `wheels`, and what this one has besides our own packages; its folder of programs.

    Torch alone is gigabytes, so what others wrote is linked, not installed again.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    variables = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", variables))
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("jepa_", "_editable_impl_jepa_", "__pycache__")):
            (site / entry.name).symlink_to(entry)
    programs = Path(sysconfig.get_path("scripts", "venv", variables))
    install = ["pip", "--python", programs / "python", "install", "--quiet", "--no-deps", "--no-index", *wheels]
    output_of([sys.executable, "-m", *install], folder)
    return programs


@pytest.fixture(scope="module")
def everything(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("everything"), [wheels[package] for package in PACKAGES])


@pytest.fixture(scope="module")
def with_stranger(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("with_stranger"), list(wheels.values()))


@pytest.fixture(scope="module")
def core_alone(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("core_alone"), [wheels["jepa_core"]])


def committed(folder: Path, *paths: str) -> set[str]:
    """What is committed below a folder, relative to it."""
    return {name for name in output_of(["git", "ls-files", "-z", *paths], folder).split("\0") if name}


@pytest.mark.parametrize("package", EVERYTHING)
def test_a_wheel_holds_what_is_committed_under_its_one_import_name(package: str, wheels: dict[str, Path]) -> None:
    files = {name for name in zipfile.ZipFile(wheels[package]).namelist() if ".dist-info/" not in name}
    template = {name for name in files if name.startswith("jepa_core/plugin_template/")}
    assert files - template == committed(EVERYTHING[package], package)
    assert f"{package}/py.typed" in files
    assert not any("test" in Path(name).parts or "tests" in Path(name).parts for name in files - template)


def test_the_core_carries_the_plugin_template_as_it_is_committed(wheels: dict[str, Path]) -> None:
    prefix = "jepa_core/plugin_template/"
    names = zipfile.ZipFile(wheels["jepa_core"]).namelist()
    assert {name.removeprefix(prefix) for name in names if name.startswith(prefix)} == committed(TEMPLATE)


def test_the_wheels_carry_templates_and_built_in_data(wheels: dict[str, Path]) -> None:
    core = zipfile.ZipFile(wheels["jepa_core"]).namelist()
    assert any(name.startswith("jepa_core/report/") and not name.endswith(".py") for name in core)
    for package in ("jepa_image", "jepa_video", "jepa_audio"):
        assert any(name.startswith(f"{package}/data/") for name in zipfile.ZipFile(wheels[package]).namelist())


def test_installed_wheels_register_everything_outside_the_repository(everything: Path, tmp_path: Path) -> None:
    where = output_of([everything / "python", "-c", "import jepa_core; print(jepa_core.__file__)"], tmp_path)
    assert str(ROOT) not in where
    entries = json.loads(output_of([everything / "jepa", "plugins", "list", "--json"], tmp_path))
    names = {(entry["kind"], entry["name"]) for entry in entries}
    assert {
        ("modality", "image"),
        ("modality", "video"),
        ("modality", "audio"),
        ("masking", "multiblock"),
        ("encoder", "vit"),
    } <= names
    assert {entry["state"] for entry in entries} <= {"available", "loaded"}


@pytest.mark.parametrize(
    "modality",
    [
        "{name: image, builtin: fashion-mnist, channels: 1, size: 28, patch: 7}",
        "{name: video, train: MOVING, frames: 4, stride: 1, size: 16, patch: 8}",
        "{name: audio, builtin: mandarin-syllables, seconds: 0.32, mean: -8, std: 3}",
    ],
)
def test_a_run_works_from_installed_wheels(modality: str, everything: Path, tmp_path: Path) -> None:
    config, folder = tmp_path / "tiny.yaml", tmp_path / "videos"
    folder.mkdir()
    write = "import sys, numpy, jepa_video.builtin as b; b.encode(sys.argv[1], numpy.zeros((8, 32, 32), 'uint8'))"
    output_of([everything / "python", "-c", write, folder / "a.mp4"], tmp_path)
    config.write_text(
        f"""
        modality: {modality.replace("MOVING", str(folder))}
        masking: {{name: random}}
        encoder: {{name: vit, size: null, width: 16, depth: 1, heads: 2}}
        predictor: {{width: 16, depth: 1}}
        train: {{steps: 2, batch_size: 8, workers: 0, precision: fp32}}
        """
    )
    output_of([everything / "jepa", "train", config, "--run-dir", tmp_path / "run"], tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 2


def test_a_strangers_wheel_conforms_trains_and_is_evaluated_beside_the_four(
    with_stranger: Path, tmp_path: Path
) -> None:
    jepa = with_stranger / "jepa"
    for kind, name in (("modality", "series"), ("masking", "noise"), ("objective", "angle")):
        found = json.loads(output_of([jepa, "plugins", "check", name, "--kind", kind, "--json"], tmp_path))
        assert found["ok"], found
    config = tmp_path / "tiny.yaml"
    config.write_text(
        """
        modality: {name: series, builtin: shoulder-exercises}
        masking: {name: noise}
        objective: {name: angle}
        encoder: {name: vit, size: null, width: 16, depth: 1, heads: 2}
        predictor: {width: 16, depth: 1}
        train: {steps: 2, batch_size: 8, workers: 0, precision: fp32}
        probes: [{name: linear, steps: 20}]
        """
    )
    output_of([jepa, "train", config, "--run-dir", tmp_path / "run"], tmp_path)
    output_of([jepa, "eval", tmp_path / "run"], tmp_path)
    results = json.loads((tmp_path / "run" / "eval.json").read_text())["results"]
    assert {result["heading"] for result in results} == {"exercise", "side"}


def test_the_strangers_masking_strategy_serves_a_first_party_modality(with_stranger: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(
        """
        modality: {name: image, builtin: fashion-mnist, channels: 1, size: 28, patch: 4}
        masking: {name: noise, smoothness: 0.2}
        """
    )
    drawn = json.loads(output_of([with_stranger / "jepa", "masks", config, "--json", "--samples", "256"], tmp_path))
    assert drawn["views"][0]["context_tokens"] == [20, 20]  # of 49


def test_a_new_plugin_is_written_built_and_used_outside_the_repository(with_stranger: Path, tmp_path: Path) -> None:
    output_of([with_stranger / "jepa", "plugins", "new", "stripes", "--kind", "masking"], tmp_path)
    install = [sys.executable, "-m", "pip", "--python", with_stranger / "python", "install", "--quiet", "--no-deps"]
    output_of([*install, "--no-index", "--no-build-isolation", "./jepa-stripes"], tmp_path)
    entries = json.loads(output_of([with_stranger / "jepa", "plugins", "list", "--json"], tmp_path))
    assert ("stripes", "available") in {(entry["name"], entry["state"]) for entry in entries}
    output_of([with_stranger / "jepa", "plugins", "check", "stripes"], tmp_path)


def test_the_core_alone_lists_its_own_plugins_and_says_where_images_come_from(core_alone: Path, tmp_path: Path) -> None:
    entries = json.loads(output_of([core_alone / "jepa", "plugins", "list", "--json"], tmp_path))
    assert "modality" not in {entry["kind"] for entry in entries}
    config = tmp_path / "config.yaml"
    config.write_text("modality: {name: image}\n")
    command = [core_alone / "jepa", "config", "validate", config]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    told = " ".join((done.stdout + done.stderr).split())
    assert "modality 'image' comes with jepa-image" in told
    assert "pip install" in told
    assert "Traceback" not in told
