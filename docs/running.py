"""Runs what pages show, so that it stays true: sessions in a shell, and notebooks.

python docs/running.py PAGE...            writes the outputs of these pages anew
python docs/running.py --check PAGE...    fails where they differ from what is shown; speeds and times may

A session is what stands in the `console` blocks of a page: commands after "$ ", each with its output below it, run one
after the other in an empty folder. Two comments of the page take part: "session: SOURCE as NAME" puts a folder of the
repository there beforehand, and "session: PATH, QUALIFIED.NAME" replaces a function of a file by the block below it.
What pip installs goes into a folder of the session's own.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent
COPY = r"<!-- session: (?P<source>\S+) as (?P<copy>\S+) -->"
WRITE = r"<!-- session: (?P<path>[^\s,]+)(?:, (?P<function>\S+))? -->\n+```\w+\n(?P<block>.*?)^```"
CONSOLE = r"(?<=^```console\n)(?P<console>\$ .*?)(?=^```)"
PART = re.compile(f"{COPY}|{WRITE}|{CONSOLE}", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")
UNSTEADY = re.compile(r"\d[\d.e+]*(?= \w+/s)|\d+:\d\d:\d\d|(?<=in )[\d.]+ ?s\b|(?<=\"image/png\": \")[^\"]*")
"""Speeds, times, and the bytes of pictures."""
UNFINISHED = re.compile(r"^[\w ]+: (\d+)/(?!\1 ).*\n", re.MULTILINE)
"""A line of progress but the last one: how many there are depends on the machine."""
CLOSE = 0.05
"""Relative difference of two numbers that is no difference: torch's results vary between processors."""


def session(page: str) -> str:
    """The page with fresh outputs."""
    with tempfile.TemporaryDirectory() as name:
        folder, site = Path(name, "work"), Path(name, "site")
        folder.mkdir()
        return PART.sub(lambda match: _part(match, folder, site), page)


def _part(match: re.Match[str], folder: Path, site: Path) -> str:
    if match["copy"]:
        shutil.copytree(ROOT / match["source"], folder / match["copy"], ignore=shutil.ignore_patterns("__pycache__"))
    elif match["path"]:
        path, name, block = folder / match["path"], match["function"], match["block"]
        path.write_text(replaced(path.read_text(), name, block) if name else block)
    else:
        commands = re.findall(r"^\$ (.*)$", match["console"], re.MULTILINE)
        return "".join(f"$ {command}\n{_output(command, folder, site)}" for command in commands)
    return match[0]


def _output(command: str, folder: Path, site: Path) -> str:
    pip = {
        "TARGET": str(site),
        "NO_INDEX": "1",
        "NO_DEPS": "1",
        "NO_BUILD_ISOLATION": "0",
        "ROOT_USER_ACTION": "ignore",
    }
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("JEPA_", "PIP_"))},
        **{f"PIP_{key}": value for key, value in pip.items()},
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONPATH": str(site),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "COLUMNS": "100",
    }
    shell = ["bash", "-o", "pipefail", "-c", command]
    done = subprocess.run(
        shell, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"$ {command}\n{done.stdout}ended with exit code {done.returncode}")
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n" if done.stdout else ""


def replaced(source: str, name: str, code: str) -> str:
    """The source of a module with another body of a function, such as "Class.method"."""
    node: Any = ast.parse(source)
    for part in name.split("."):
        node = next(each for each in node.body if getattr(each, "name", "") == part)
    lines = source.splitlines(keepends=True)
    return "".join([*lines[: node.lineno - 1], textwrap.indent(code, " " * node.col_offset), *lines[node.end_lineno :]])


def notebook(text: str) -> str:
    """The notebook with fresh outputs: its cells run one after the other in this process."""
    content = json.loads(text)
    own = sys.modules["__main__"]
    sys.modules["__main__"] = main = ModuleType("__main__")  # without a file, as that of a notebook is
    try:
        cells = (cell for cell in content["cells"] if cell["cell_type"] == "code")
        for count, cell in enumerate(cells, start=1):
            cell["execution_count"] = count
            cell["outputs"] = _run_cell("".join(cell["source"]), count, vars(main))
    finally:
        sys.modules["__main__"] = own
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _run_cell(source: str, count: int, names: dict[str, Any]) -> list[Mapping[str, Any]]:
    """What it prints, and what its last expression is."""
    place = f"<cell {count}>"
    tree = ast.parse(source)
    last: Any = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, place, "exec"), names)
        value = eval(compile(ast.Expression(last.value), place, "eval"), names) if last else None
    outputs: list[Mapping[str, Any]] = []
    if printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": _lines(printed.getvalue())})
    if value is not None:
        data: dict[str, Any] = {"text/plain": _lines(repr(value))}
        if hasattr(value, "_repr_png_"):  # as Jupyter asks for a picture
            data = {"image/png": b64encode(value._repr_png_()).decode(), "text/plain": ["a picture"]}
        outputs.append({"data": data, "execution_count": count, "metadata": {}, "output_type": "execute_result"})
    return outputs


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def differences(shown: str, found: str) -> list[str]:
    """Lines that differ by more than speeds, times and the last digits of numbers."""
    before, after = (UNSTEADY.sub("*", UNFINISHED.sub("", text)).splitlines() for text in (shown, found))
    if len(before) == len(after):
        after = [old if _alike(old, new) else new for old, new in zip(before, after, strict=True)]
    return list(difflib.unified_diff(before, after, "shown", "found", lineterm="", n=1))


def _alike(one: str, other: str) -> bool:
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    pairs = zip(NUMBER.findall(one), NUMBER.findall(other), strict=True)
    return all(first == second or _close(first, second) for first, second in pairs)


def _close(one: str, other: str) -> bool:
    if "." not in one or "." not in other:
        return False
    first, second = (float(number.replace(",", "")) for number in (one, other))
    return math.isclose(first, second, rel_tol=CLOSE, abs_tol=CLOSE)


def run(path: Path) -> str:
    """A page or a notebook with fresh outputs."""
    text = path.read_text(encoding="utf-8")
    return notebook(text) if path.suffix == ".ipynb" else session(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(arguments)
    for page in given.pages:
        shown, found = page.read_text(encoding="utf-8"), run(page)
        if not given.check:
            page.write_text(found, encoding="utf-8")
        elif differing := differences(shown, found):
            raise SystemExit("\n".join([f"{page}: run `python docs/running.py {page.name}`, or mend it", *differing]))


if __name__ == "__main__":
    main()
