"""Packages on a path as an installer would leave them there, without building a wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "examples" / "plugin_template"


def install(project: Path, site: Path) -> None:
    """Copy the package of a project with a `src` folder, and write the metadata that its wheel would have."""
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shutil.copytree(project / "src", site, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    info = site / f"{metadata['name'].replace('-', '_')}-{metadata['version']}.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {metadata['name']}\nVersion: {metadata['version']}\n", encoding="utf-8"
    )
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
        for group, points in metadata["entry-points"].items()
    ]
    info.joinpath("entry_points.txt").write_text("\n".join(groups), encoding="utf-8")


def run_with(site: Path, module: str, *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """`python -m module` in `folder`, with the packages of `site` beside those of this environment."""
    command: Sequence[str | Path] = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
