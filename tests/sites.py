"""Made-up distributions in a folder of the import path: as importlib.metadata sees them, they are installed."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

from jepa_core.plugin import ObjectivePlugin
from jepa_core.registry import FactoryRegistry

_numbers = itertools.count()


class Site:
    """The folder; whoever makes it puts it on the path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, distribution: str, source: str, *names: str, version: str = "1.0") -> str:
        """Write a distribution whose one module registers some of its attributes as objectives, each by its name."""
        module = f"{distribution.replace('-', '_')}_{next(_numbers)}"
        (self.path / f"{module}.py").write_text(textwrap.dedent(source))
        self.register(distribution, {"jepa.objectives": {name: f"{module}:{name}" for name in names}}, version)
        return module

    def register(self, distribution: str, points: Mapping[str, Mapping[str, str]], version: str = "1.0") -> None:
        """Write the metadata of a distribution alone: what each name of an entry-point group refers to."""
        folder = self.path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        sections = ("\n".join([f"[{group}]", *map(" = ".join, named.items())]) for group, named in points.items())
        (folder / "entry_points.txt").write_text("\n".join(sections) + "\n")

    def scan(self, group: str) -> Iterable[EntryPoint]:
        """The entry points of this folder's distributions alone."""
        return [
            point
            for each in distributions(path=[str(self.path)])
            for point in each.entry_points
            if point.group == group
        ]

    def registry(self) -> FactoryRegistry[ObjectivePlugin]:
        """Of objectives, from this folder alone."""
        return FactoryRegistry[ObjectivePlugin]("objective", "jepa.objectives", ObjectivePlugin, self.scan)
