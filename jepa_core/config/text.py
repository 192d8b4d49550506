"""Between text and plain values: a strict subset of YAML 1.2 in, `config.yaml` and its hash out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.scanner import ScannerError

from jepa_core.config.base import Frozen
from jepa_core.errors import ConfigError

_MOST_BYTES = 1 << 20  # a checkpoint that was given by mistake is refused before it is read


class _Loader(yaml.SafeLoader):
    """Plain values only, a key once, and the scalars of YAML 1.2.

    PyYAML follows YAML 1.1, in which 1e-3 is a string, off is a boolean, 1:30 is 90 and 010 is 8.
    """

    def fetch_tag(self) -> None:
        """Refuse `!!python/object` and all its kin."""
        raise ScannerError(problem="tags are not read", problem_mark=self.get_mark())

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A dict; merge keys are resolved, and a key that is no string or is given twice is an error."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise ConstructorError(problem="a key must be text", problem_mark=key.start_mark)
            if key.value in seen:
                raise ConstructorError(problem=f"the key '{key.value}' is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=True)  # at once, so that a value inside itself is an error


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would not read as the text that it is."""


def _construct_map(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    return loader.construct_mapping(node)


def _construct_sequence(loader: _Loader, node: yaml.SequenceNode) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node, deep=True))


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|", "~n\0"),
    ("bool", r"true|false", "tf"),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9_]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    for _class in (_Loader, _Dumper):
        _characters = ["" if each == "\0" else each for each in _first]
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^({_pattern})$"), _characters)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_map)
_Loader.add_constructor("tag:yaml.org,2002:seq", _construct_sequence)


def parse(text: str) -> Any:
    """Plain values from YAML, sequences as tuples; raises ValueError with the place where it is not such."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_text(path: str | Path) -> str:
    """The text of a configuration file; raises ConfigError where there is none."""
    path = Path(path)
    if path.is_dir():
        inside = path / "config.yaml"
        hint = f"its configuration is {inside}" if inside.is_file() else "give a .yaml file"
        raise ConfigError(f"is a folder; {hint}", str(path))
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        near = f"; there is {', '.join(others)}" if (others := _neighbours(path)) else ""
        raise ConfigError(f"there is no such file{near}", str(path)) from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ConfigError(f"cannot be read: {error}", str(path)) from error
    if len(raw) > _MOST_BYTES:
        raise ConfigError("is larger than 1 MiB, so it is no configuration; give a .yaml file", str(path))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not text in UTF-8 (byte {error.start}); give a .yaml file", str(path)) from error


def _neighbours(path: Path) -> list[str]:
    return sorted(str(each) for each in path.parent.glob("*.yaml"))[:8]


def parse_mapping(text: str, where: str, see: str = "jepa config show MODALITY") -> dict[str, Any]:
    """The mapping that a configuration is; raises ConfigError, which says that `see` shows what may be in it."""
    try:
        value = parse(text)
    except ValueError as error:
        raise ConfigError(f"is not valid YAML: {error}", where) from error
    if value is None:
        raise ConfigError(f"is empty; see: {see}", where)
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, tuple) else "a single value"
        raise ConfigError(f"holds {kind}, and must be a mapping such as `modality: {{name: ...}}`", where)
    return value


def dump(value: Any) -> str:
    """Plain values as YAML."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def inline(value: Any) -> str:
    """Plain values as YAML in one line: "[1, 2]"."""
    whole = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, width=_MOST_BYTES, default_flow_style=True)
    return whole.removesuffix("...\n").strip("\n")


def to_yaml(config: Frozen) -> str:
    """The whole configuration as YAML, every default spelled out; reading it gives an equal one."""
    return dump(config.model_dump(mode="json"))


def config_hash(config: Frozen) -> str:
    """SHA-256 of the canonical JSON, as 64 hexadecimal digits: equal for equal configurations, and on any machine."""
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
