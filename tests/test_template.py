"""The plugin template's own tests, with the package where an installer would put it; the kit runs in test_wheels.py."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path

import pytest
from packages import TEMPLATE, install, run_with

TEXT = (tokenize.STRING, tokenize.COMMENT)


def test_the_templates_own_tests_and_examples_pass(tmp_path: Path) -> None:
    install(TEMPLATE, tmp_path / "site")
    tests = [TEMPLATE / "tests" / f"test_{name}.py" for name in ("series", "noise", "angle")]
    modules = [path for path in (tmp_path / "site" / "jepa_series").glob("*.py") if path.name != "__init__.py"]
    options = ["-q", "-c", TEMPLATE.parent.parent / "pyproject.toml", "-p", "no:cacheprovider"]
    done = run_with(tmp_path / "site", "pytest", *options, *tests, *modules, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.parametrize("module", sorted((TEMPLATE / "src" / "jepa_series").glob("*.py")), ids=lambda path: path.stem)
def test_prose_says_a_plugins_name_in_backticks_only(module: Path) -> None:
    """Because `jepa plugins new` renames it there too: prose of smoothed noise would be of smoothed stripes."""
    with module.open("rb") as file:
        tokens = [token.string for token in tokenize.tokenize(file.readline) if token.type in TEXT]
    prose = re.sub(r"`[^`]*`", "", " ".join(text for text in tokens if " " in text))
    assert not re.findall(r"(?i)\b(?:series|noises?|angles?)\b", prose)
