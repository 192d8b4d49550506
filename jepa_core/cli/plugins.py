"""`jepa plugins`: what is registered, and in which state."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from jepa_core.cli import plugins_check, plugins_new
from jepa_core.cli.common import AsJson, print_json, table


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What is registered, and its state.")
    app.add_typer(group, name="plugins")

    @group.callback()
    def plugins() -> None:
        """What is registered, and its state."""

    @group.command("list")
    def list_(
        as_json: AsJson = False,
        load: Annotated[bool, typer.Option("--load", help="Import every plugin, to see which are broken.")] = False,
    ) -> None:
        """Print every registered name; no plugin is imported, so a broken one cannot get in the way."""
        from jepa_core.registry import REGISTRIES
        from jepa_core.supply import damaged

        if load:
            _load_all()
        entries = [entry for registry in REGISTRIES.values() for entry in registry.entries()]
        if as_json:
            print_json([asdict(entry) for entry in entries])
            return
        rows = [("kind", "name", "state", "package", "refers to")]
        for entry in entries:
            for source in entry.provenance:
                package = f"{source.distribution} {source.version}".rstrip()
                rows.append((entry.kind, entry.name, entry.state, package, source.target))
        typer.echo(table(rows))
        for note in (*(entry.error for entry in entries if entry.error), *damaged()):
            typer.echo(f"\n{note}")

    plugins_check.register(group)
    plugins_new.register(group)


def _load_all() -> None:
    from jepa_core.errors import PluginError
    from jepa_core.registry import REGISTRIES

    for registry in REGISTRIES.values():
        for name in registry.names():
            try:
                registry.get(name)
            except PluginError:
                continue  # the registry keeps the error, and the entry shows it
