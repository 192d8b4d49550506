"""Installed distributions whose metadata is damaged: they are named, and nobody else is disturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sites import Site
from typer.testing import CliRunner

from jepa_core import doctor, supply
from jepa_core.cli import app
from jepa_core.plugin import ObjectivePlugin
from jepa_core.registry import REGISTRIES, FactoryRegistry

POINTS = "[jepa.objectives]\nzap = zap:zap\n"
NAMED = "Metadata-Version: 2.1\nName: zapper\nVersion: 1.0\n"
DAMAGED = {
    "without METADATA": ({"entry_points.txt": POINTS}, "its METADATA has no Name"),
    "without a name": ({"METADATA": "Version: 1.0\n", "entry_points.txt": POINTS}, "its METADATA has no Name"),
    "with half a line": (
        {"METADATA": NAMED, "entry_points.txt": "[jepa.objectives]\nzap\n"},
        "its metadata cannot be read (TypeError",
    ),
    "with other bytes": (
        {"METADATA": NAMED, "entry_points.txt": "[jepa.objectives]\nzap = \udcff:zap\n"},
        "its metadata cannot be read (UnicodeDecodeError",
    ),
}
COMMAND = """
from jepa_core.cli import main
try:
    main(["plugins", "list", "--json", "--load"])
finally:
    import torch  # as jepa train does
"""


def damage(folder: Path, files: dict[str, str], version: str = "1.0") -> Path:
    info = folder / f"zapper-{version}.dist-info"
    info.mkdir()
    for name, text in files.items():
        (info / name).write_bytes(text.encode(errors="surrogateescape"))
    return info


@pytest.fixture(params=DAMAGED)
def damaged(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """The folder of the metadata, and what is wrong with it; a healthy package is beside it."""
    for registry in REGISTRIES.values():
        registry.names()  # scanned before the folder is on the path, for the registries outlive this test
    monkeypatch.syspath_prepend(tmp_path)
    Site(tmp_path).register("healthy", {"jepa.objectives": {"mild": "nowhere:mild"}})
    files, reason = DAMAGED[request.param]
    return damage(tmp_path, files), reason


def objectives() -> FactoryRegistry[ObjectivePlugin]:
    return FactoryRegistry[ObjectivePlugin]("objective", "jepa.objectives", ObjectivePlugin)


def test_the_others_are_found_and_the_damaged_one_is_named_with_its_folder_and_a_remedy(
    damaged: tuple[Path, str],
) -> None:
    place, reason = damaged
    names = objectives().names()
    assert {"l2", "mild"} <= set(names)
    assert "zap" not in names
    (found,) = supply.damaged()
    assert str(found).startswith(f"{place}: left out, for {reason}")
    assert str(found).endswith("Reinstall the package that it belongs to, or remove this folder")
    listing = CliRunner().invoke(app, ["plugins", "list"])
    assert f"\n\n{found}\n" in listing.stdout
    (finding,) = (each for each in doctor.requirements() if str(place) in each.detail)
    assert (finding.state, finding.remedy) == ("fail", found.remedy)


def test_a_command_of_its_own_process_warns_and_works(damaged: tuple[Path, str]) -> None:
    place, reason = damaged
    done = subprocess.run(
        [sys.executable, "-c", COMMAND],
        env={**os.environ, "PYTHONPATH": str(place.parent), "JEPA_PLUGINS": "jepa-core"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"warning: {place}: left out, for {reason}" in done.stderr
    states = {(each["kind"], each["name"]): each["state"] for each in json.loads(done.stdout)}
    assert states["objective", "l2"] == "loaded"


def test_a_healthy_version_of_the_same_package_counts_where_an_installation_was_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (second, first):
        folder.mkdir()
        monkeypatch.syspath_prepend(folder)
    damage(first, {"entry_points.txt": POINTS}, version="0.9")
    damage(second, {"METADATA": NAMED, "entry_points.txt": POINTS})
    assert [each.version for each in objectives().suppliers("zap")] == ["1.0"]


def test_the_first_of_two_versions_on_the_path_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, version in (("second", "1.0"), ("first", "2.0")):
        (tmp_path / name).mkdir()
        monkeypatch.syspath_prepend(tmp_path / name)
        Site(tmp_path / name).register("Za_pper", {"jepa.objectives": {"zap": "zap:zap"}}, version=version)
    assert [each.version for each in objectives().suppliers("zap")] == ["2.0"]


def test_a_package_without_a_version_is_listed_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    damage(tmp_path, {"METADATA": "Metadata-Version: 2.1\nName: zapper\n", "entry_points.txt": POINTS})
    (source,) = objectives().suppliers("zap")
    assert (source.distribution, source.version) == ("zapper", "")


def test_what_supplies_no_plugin_may_be_as_it_likes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    damage(tmp_path, {"RECORD": ""})
    assert supply.damaged() == ()
