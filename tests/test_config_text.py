"""Files and texts: what is read, what is refused, and what is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from toy import toy_config

from jepa_core.config.text import dump, inline, parse
from jepa_core.errors import ConfigError
from jepa_core.recipes import read_config

pytestmark = pytest.mark.usefixtures("toy")


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda folder: folder / "absent.yaml", "there is no such file"),
        (lambda folder: folder, "is a folder; give a .yaml file"),
        (lambda folder: write(folder / "a.yaml", b""), "is empty; see: jepa config show MODALITY"),
        (lambda folder: write(folder / "a.yaml", b"# only a comment\n"), "is empty"),
        (lambda folder: write(folder / "a.yaml", b"- 1\n"), "holds a list, and must be a mapping"),
        (lambda folder: write(folder / "a.yaml", b"toy\n"), "holds a single value, and must be a mapping"),
        (lambda folder: write(folder / "a.pt", b"PK\x03\x04\x80\xff"), "is not text in UTF-8 (byte 4)"),
        (lambda folder: write(folder / "a.pt", b"\x00" * 64), "is not valid YAML"),
        (lambda folder: write(folder / "a.pt", b"a" * (2 << 20)), "is larger than 1 MiB"),
        (
            lambda folder: write(folder / "a.yaml", b"seed: 1\nseed: 2\n"),
            "line 2, column 1: the key 'seed' is given twice",
        ),
        (lambda folder: write(folder / "a.yaml", b"train:\n\tsteps: 1\n"), "is not valid YAML: line 2, column 1"),
        (
            lambda folder: write(folder / "a.yaml", b"a: !!python/name:os.system x\n"),
            "line 1, column 4: tags are not read",
        ),
        (lambda folder: write(folder / "a.yaml", b"1: 2\n"), "line 1, column 1: a key must be text"),
        (
            lambda folder: write(folder / "a.yaml", b"a: &a [*a]\n"),
            "line 1, column 4: found unconstructable recursive node",
        ),
        (lambda folder: write(folder / "a.yaml", b"[" * 600), "nested too deeply"),
        (lambda folder: write(folder / "a.yaml", b"a: 1\n---\nb: 2\n"), "line 2, column 1"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_with_the_reason(
    make: Callable[[Path], Path], problem: str, tmp_path: Path
) -> None:
    path = make(tmp_path)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)


def test_a_missing_file_is_answered_with_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path / "tiny.yaml", b"")
    with pytest.raises(ConfigError, match=r"there is no such file; there is .*tiny\.yaml"):
        read_config(tmp_path / "tinny.yaml")


def test_a_run_folder_is_answered_with_the_configuration_inside(tmp_path: Path) -> None:
    inside = write(tmp_path / "config.yaml", b"")
    with pytest.raises(ConfigError, match=re.escape(f"is a folder; its configuration is {inside}")):
        read_config(tmp_path)


def test_an_unreadable_file_is_refused_without_a_traceback() -> None:
    with pytest.raises(ConfigError, match="cannot be read: embedded null"):
        read_config("a\0b.yaml")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", b"\xef\xbb\xbfmodality: {name: toy}\n")
    assert read_config(path) == toy_config()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E6", 1e6),
        ("-.5", -0.5),
        ("3.", 3.0),
        ("10_000", 10_000),
        ("off", "off"),
        ("yes", "yes"),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("0x10", "0x10"),
        ("'1'", "1"),
        ("true", True),
        ("~", None),
        ("null", None),
        ("Null", "Null"),
        ("[1, [2]]", (1, (2,))),
        ("{a: {b: [1]}}", {"a": {"b": (1,)}}),
        ("[&x {a: 1}, {<<: *x, b: 2}]", ({"a": 1}, {"a": 1, "b": 2})),
    ],
)
def test_scalars_are_those_of_yaml_1_2_and_sequences_are_tuples(text: str, value: object) -> None:
    found = parse(text)
    assert found == value
    assert type(found) is type(value)


AWKWARD = [
    "1e-3",
    "off",
    "010",
    "null",
    "~",
    "",
    "1:30",
    "=",
    "<<",
    "a: b",
    "#x",
    "1_0",
    ".5",
    "é",
    "a\nb",
    " a",
    "...",
    "-",
]


@pytest.mark.parametrize("text", AWKWARD)
def test_text_that_looks_like_something_else_is_quoted_when_it_is_written(text: str) -> None:
    assert parse(dump({"a": [text]})) == {"a": (text,)}
    assert parse(f"a: {inline(text)}") == {"a": text}
