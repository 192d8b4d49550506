"""What the pages say is run: Python as programs, YAML as configurations, commands against the command line."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from jepa_core.cli import app
from jepa_core.recipes import read_config

ROOT = Path(__file__).parent.parent
PAGES = [
    path
    for place in ("docs/*.md", "*.md", "plugins/*/README.md", "examples/*/README.md")
    for path in sorted(ROOT.glob(place))
]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
FILE = re.compile(r"(?:tests|plugins|examples|jepa_core|benchmarks|docs|configs)/[\w./]*\w\.(?:py|md|yaml)")


def blocks(language: str) -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        found = [text for kind, text in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]
        if found:
            yield page.relative_to(ROOT).as_posix(), found


def each(language: str) -> list[object]:
    return [
        pytest.param(text, id=f"{page}-{number}")
        for page, texts in blocks(language)
        for number, text in enumerate(texts)
    ]


@pytest.mark.parametrize(("page", "texts"), [pytest.param(page, texts, id=page) for page, texts in blocks("python")])
def test_the_python_of_a_page_runs_as_one_program(page: str, texts: list[str], tmp_path: Path) -> None:
    program = tmp_path / "page.py"
    program.write_text("\n".join(texts), encoding="utf-8")
    done = subprocess.run([sys.executable, program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", each("yaml"))
def test_every_configuration_shown_is_valid(text: str) -> None:
    assert read_config(text=text).modality.name


def lines() -> list[str]:
    shown = {line for _, texts in blocks("console") for text in texts for line in text.splitlines()}
    shown |= {line for page in PAGES for line in INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8")))}
    return sorted(line for line in shown if line.startswith(("jepa ", "make ")))


@pytest.mark.parametrize("line", lines())
def test_every_command_shown_exists(line: str) -> None:
    program, *words = shlex.split(line)
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return
    command = get_command(app)
    while isinstance(command, TyperGroup) and words != ["--help"]:
        assert words, f"{line}: names no command"
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= {"--help", *options}


@pytest.mark.parametrize("page", [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in PAGES])
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = {page.parent / target for target in LINK.findall(text)}
    named |= {ROOT / name for inline in INLINE.findall(text) for name in FILE.findall(inline)}
    assert not [str(path) for path in named if not path.exists()]
