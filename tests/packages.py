"""Packages on a path as an installer would leave them there, without building a wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from sites import Site

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "examples" / "plugin_template"


def install(project: Path, site: Path) -> None:
    """Copy the package of a project with a `src` folder, and write the metadata that its wheel would have."""
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shutil.copytree(project / "src", site, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    Site(site).register(metadata["name"], metadata["entry-points"], metadata["version"])


def run_with(site: Path, module: str, *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """`python -m module` in `folder`, with the packages of `site` beside those of this environment."""
    command: Sequence[str | Path] = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
