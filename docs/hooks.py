"""What the site takes from the code itself, so that it cannot go stale.

`<!-- from code: NAME -->` in a page is one of the `PARTS`. `<!-- code: PATH -->` is a file, `<!-- code: PATH, NAME -->`
one class or function of it (a method as Class.method), `<!-- notebook: PATH -->` a notebook with its outputs.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any

ROOT = Path(__file__).parent.parent
MARK = re.compile(r"<!-- from code: (\w+) -->")
CODE = re.compile(r"<!-- code: ([^\s,]+)(?:, (\S+))? -->")
NOTEBOOK = re.compile(r"<!-- notebook: (\S+) -->")
LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml"}


def command_line() -> str:
    """Every command with its options."""
    from typer import Context
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from jepa_core.cli import app

    command = get_command(app)
    text = get_docs_for_click(obj=command, ctx=Context(command), name="jepa")
    return text.partition("\n")[2].replace("\n#", "\n##")


def preset_differences() -> str:
    """A row for every value of the configuration in which the image presets differ."""
    from jepa_core.recipes import read_config
    from jepa_core.registry import modalities

    presets = list(modalities.get("image").presets)
    columns = [flat(read_config(text=f"preset: {name}\nmodality: {{name: image}}\n").model_dump()) for name in presets]
    keys = dict.fromkeys(key for column in columns for key in column if key != "preset")
    rows = [[f"`{key}`", *(shown(column.get(key, "")) for column in columns)] for key in keys]
    head = [["", *(f"`{name}`" for name in presets)], ["---"] * (len(presets) + 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in head + [row for row in rows if len(set(row[1:])) > 1])


def flat(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Leaves by dotted path."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        inner = flat(value, f"{path}{key}.") if isinstance(value, Mapping) else {f"{path}{key}": value}
        leaves |= inner
    return leaves


def shown(value: object) -> str:
    """A value as it would stand in a file."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def layers() -> str:
    """The rows of the import contract, lowest first."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    rows = reversed(next(contract["layers"] for contract in contracts if contract["type"] == "layers"))
    named = [f"| {number} | {row.replace(' : ', ', ')} |" for number, row in enumerate(rows)]
    return "\n".join(["| row | modules |", "| --- | --- |", *named])


def measured() -> str:
    """The results table of benchmarks/README.md, below its title."""
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    return text.partition("\n")[2]


def code(path: str, name: str | None) -> str:
    """A file of the repository, or one class or function of it, as a block."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if name:
        node: Any = ast.parse(text)
        for part in name.split("."):
            node = next(each for each in node.body if getattr(each, "name", "") == part)
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        text = dedent("".join(text.splitlines(keepends=True)[first - 1 : node.end_lineno]))
    return f"```{LANGUAGES[Path(path).suffix]}\n{text.rstrip()}\n```"


def notebook(path: str) -> str:
    """The cells of a notebook, each with what it printed or showed."""
    cells = json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in cell_parts(cell))


def cell_parts(cell: Mapping[str, Any]) -> Iterator[str]:
    """A cell and its outputs as Markdown."""
    source = "".join(cell["source"])
    yield source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        if "image/png" in data:
            yield f"![What the cell shows](data:image/png;base64,{data['image/png']})"
        else:
            yield f"```text\n{''.join(output.get('text') or data['text/plain']).rstrip()}\n```"


COMMON = "jepa_core.testing.common"
"""Where the checks of every kind are."""


def checks(kind: str | None) -> str:
    """A row for every check of a kind of plugin; None: those that every kind has."""
    from jepa_core.supply import Kind
    from jepa_core.testing import KINDS, checks_for

    wanted: Kind = next(each for each in KINDS if kind in (None, each))
    found = [check for check in checks_for(wanted) if (check.function.__module__ == COMMON) == (kind is None)]
    rows = [f"| `{check.name}` | {check.promise} |" for check in found]
    return "\n".join(["| check | promise |", "| --- | --- |", *rows])


PARTS: Mapping[str, Callable[[], str]] = {
    "checks": partial(checks, None),
    **{f"checks_{kind}": partial(checks, kind) for kind in ("modality", "masking", "objective", "encoder", "probe")},
    "command_line": command_line,
    "layers": layers,
    "preset_differences": preset_differences,
    "measured": measured,
}


def on_page_markdown(markdown: str, **_: object) -> str:
    """mkdocs calls this for every page."""
    markdown = NOTEBOOK.sub(lambda match: notebook(match[1]), markdown)
    markdown = CODE.sub(lambda match: code(match[1], match[2]), markdown)
    return MARK.sub(lambda match: PARTS[match[1]](), markdown)
