"""`jepa plugins new`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from jepa_core.supply import Kind


def register(group: typer.Typer) -> None:
    """Add the command to the group `plugins`."""
    group.command()(new)


def new(
    name: Annotated[str, typer.Argument(help="The name to register.", show_default=False)],
    kind: Annotated[str, typer.Option(help="modality, masking or objective.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write it; jepa-NAME by default.", show_default=False)
    ] = None,
) -> None:
    """Write a package with a plugin that works, to be changed into your own."""
    from jepa_core.scaffold import PATTERNS, folder_name, write_package

    folder = out or Path(folder_name(name))
    chosen = cast("Kind", kind)  # write_package says what is allowed
    for path in write_package(name, chosen, folder):
        typer.echo(path)
    module = PATTERNS[chosen].edit.format(name=name)
    typer.echo(f"\nnext: change {folder}/src/jepa_{name}/{module}, then")
    typer.echo(f"  pip install -e {shlex.quote(str(folder))}\n  jepa plugins check {name} --kind {kind}")
