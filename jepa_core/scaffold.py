"""`jepa plugins new`: a package of your own, written from the template that continuous integration builds and tests.

The template is examples/plugin_template, a package that works. Of its files those of one kind of plugin are copied, and
its names become yours. Nothing else is changed, so what is written passes the conformance kit as the template does.
"""

from __future__ import annotations

import builtins
import importlib.util
import io
import keyword
import re
import tempfile
import tokenize
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from jepa_core.errors import UsageError
from jepa_core.registry import REGISTRIES, name_problem
from jepa_core.supply import Kind, Supply, first_party, installed

_DISTRIBUTION, _PACKAGE = "jepa-series", "jepa_series"
_RESULTS = re.compile(r"(?m)^# (?:Price|Expected): .*\n(?:#   .*\n)*")
"""Lines at the head of a configuration that say what was measured with it: of the template, not of the new package."""


@dataclass(frozen=True)
class Pattern:
    """What the template has of one kind of plugin."""

    title: str
    """What it is, in a sentence."""
    word: str
    """Its registered name there."""
    files: tuple[str, ...]
    """Its modules and data, in the package."""
    edit: str
    """The module that is changed first, with {name} for the registered name."""


PATTERNS: Mapping[Kind, Pattern] = {
    "modality": Pattern(
        "modality",
        "series",
        (
            "modality.py",
            "signals.py",
            "builtin.py",
            "demo.yaml",
            "data/LICENSE",
            "data/shoulder-exercises.npz",
        ),
        edit="modality.py",
    ),
    "masking": Pattern("masking strategy", "noise", ("masking.py", "noise.py"), edit="{name}.py"),
    "objective": Pattern("objective", "angle", ("objective.py", "angle.py"), edit="{name}.py"),
}
"""By kind; an encoder or a probe is written after the core's own."""

_README = """\
# {distribution}

The {title} `{name}` for jepa-core, begun with `jepa plugins new {name} --kind {kind}`. As written it does
what the template does; `src/{package}/{edit}` is the place to change that.

```console
pip install -e .
jepa plugins check {name} --kind {kind}
pytest
```

The registered name is in `pyproject.toml`, in the module that it refers to, and in the `name` of the configuration's
section. Modules that `pyproject.toml` refers to import neither torch nor NumPy; `jepa plugins check` tells if they do.

Before you give it to others, say in `pyproject.toml` on which terms (`license`). What it begins with is code of the
template, which is Apache-2.0{data}.
"""
_BY_HAND = "add the plugin to that package by hand: its modules, and an entry point in its pyproject.toml"


def template() -> Path:
    """The template's folder: inside an installed wheel, or in the checkout that the core is run from."""
    shipped = Path(__file__).parent / "plugin_template"
    return shipped if shipped.is_dir() else Path(__file__).parent.parent / "examples" / "plugin_template"


def write_package(name: str, kind: Kind, out: Path) -> list[Path]:
    """Write a package with one plugin.

    Args:
        name: to be registered: lower-case letters, digits and underscores.
        kind: modality, masking or objective.
        out: the folder to write into; created, and empty where it exists.

    Returns:
        The files, in order.

    Raises:
        UsageError: the name cannot be used, there is no template of this kind, or `out` holds something or cannot be
            written. Nothing is left there then.
    """
    if kind not in PATTERNS:
        raise UsageError(f"--kind {kind}: expected one of {', '.join(PATTERNS)}; others follow jepa_core/builtin.py")
    texts, data = _template_files(PATTERNS[kind])
    rename = _renaming(PATTERNS[kind].word, name)
    _require_usable(name, kind, rename, (text for path, text in texts.items() if path.endswith(".py")))
    texts["pyproject.toml"] = _project(texts["pyproject.toml"], kind, needs_numpy=_imports_numpy(texts))
    written = {rename(path): rename(text).encode() for path, text in texts.items()}
    written |= {rename(path): content for path, content in data.items()}
    written["README.md"] = _readme(name, kind).encode()
    try:
        if out.is_dir() and any(out.iterdir()):
            advice = f"Choose another name, or another folder (--out DIR); or {_BY_HAND}"
            raise UsageError(f"{out}: holds files already. {advice}")
        _write(written, out)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error}). Choose another folder: --out DIR") from error
    return [out / path for path in sorted(written)]


def folder_name(name: str) -> str:
    """The distribution of a plugin, which is also the folder that it is written into.

    >>> folder_name("heart_rate")
    'jepa-heart-rate'
    """
    return f"jepa-{name.replace('_', '-')}"


def _write(files: Mapping[str, bytes], out: Path) -> None:
    """All files or none: they are written beside their places, and moved when all are there.

    An empty folder that exists stays the same one, for it may be the one that a shell is in.
    """
    exists = out.is_dir()
    beside = out if exists else out.parent
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".jepa-plugins-new-", dir=beside) as name:
        package = Path(name, "package")
        for path, content in files.items():
            (package / path).parent.mkdir(parents=True, exist_ok=True)
            (package / path).write_bytes(content)
        if not exists:
            package.rename(out)
            return
        for each in package.iterdir():
            each.rename(out / each.name)


def _template_files(pattern: Pattern) -> tuple[dict[str, str], dict[str, bytes]]:
    """By path: texts, and data that no name occurs in."""
    package = [f"src/{_PACKAGE}/{path}" for path in ("__init__.py", "py.typed", *pattern.files)]
    paths = ["pyproject.toml", *package, f"tests/test_{pattern.word}_conformance.py"]
    content = {path: (template() / path).read_bytes() for path in paths}
    is_data = {path: "/data/" in path for path in paths}
    texts = {path: _RESULTS.sub("", each.decode()) for path, each in content.items() if not is_data[path]}
    return texts, {path: each for path, each in content.items() if is_data[path]}


def _renaming(word: str, name: str) -> Callable[[str], str]:
    """The template's names as those of the new package."""
    names = {
        _DISTRIBUTION: folder_name(name),
        _PACKAGE: f"jepa_{name}",
        word: name,
        word.capitalize(): "".join(part.capitalize() for part in name.split("_")),
    }
    pattern = re.compile("|".join(names))  # the longer ones stand first
    return lambda text: pattern.sub(lambda match: names[match[0]], text)


def _require_usable(name: str, kind: Kind, rename: Callable[[str], str], modules: Iterable[str]) -> None:
    """Raise UsageError where `name` is no name, is taken, or would mean two things in the package's code."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise UsageError(f"{name}: expected lower-case letters, digits and single underscores, beginning with a letter")
    if problem := name_problem(name):
        raise UsageError(f"{name}: {problem}. Choose another name")
    registry = REGISTRIES[kind]
    suppliers = [each.distribution for each in registry.suppliers(name)]
    if holder := Supply(kind, registry.group, installed).owner(name) or next(iter(suppliers), None):
        raise UsageError(f"{name}: there is a {kind} of this name in {holder}. Choose another name")
    _require_free(name)
    words = {word for text in modules for word in _identifiers(text)}
    new = {rename(word) for word in words if rename(word) != word}
    if clash := sorted(new & {*words, *keyword.kwlist, *dir(builtins)}):
        raise UsageError(f"{name}: '{clash[0]}' means something else in the package's code. Choose another name")


def _require_free(name: str) -> None:
    """Raise UsageError where the package would replace another one when it is installed."""
    distribution, package = folder_name(name), f"jepa_{name}"
    if distribution in first_party():
        raise UsageError(f"{name}: {distribution} is a package of jepa-core's own project. Choose another name")
    if any(metadata.distributions(name=distribution)) or importlib.util.find_spec(package):
        taken = f"a package {distribution}, which this one would replace, is installed"
        raise UsageError(f"{name}: {taken}. Choose another name, or {_BY_HAND}")


def _identifiers(text: str) -> set[str]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


def _imports_numpy(texts: Mapping[str, str]) -> bool:
    return any("import numpy" in text for path, text in texts.items() if path.startswith("src/"))


def _project(text: str, kind: Kind, needs_numpy: bool) -> str:
    """pyproject.toml with the entry points of one kind, and without a licence, which is the author's choice.

    The data that a modality brings keeps its own.
    """
    tables = re.split(r"(?m)^(?=\[)", text)
    others = [pattern.word for each, pattern in PATTERNS.items() if each != kind]
    kept = "".join(table for table in tables if not any(f"\n{word} = " in table for word in others))
    description = f'description = "The {PATTERNS[kind].title} {PATTERNS[kind].word} for jepa-core."'
    kept = re.sub(r"(?m)^description = .*$", description, kept)
    kept = re.sub(r"(?m)^license = .*\n", "", kept)
    if kind != "modality":
        kept = re.sub(r"(?m)^license-files = .*\n", "", kept)
    return kept if needs_numpy else re.sub(r', "numpy[^"]*"', "", kept)


def _readme(name: str, kind: Kind) -> str:
    pattern = PATTERNS[kind]
    return _README.format(
        name=name,
        kind=kind,
        title=pattern.title,
        distribution=folder_name(name),
        package=f"jepa_{name}",
        edit=pattern.edit.format(name=name),
        data="; its data is BSD-3-Clause (`license-files`)" if kind == "modality" else "",
    )
