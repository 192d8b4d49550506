"""The command `jepa`: one module per group of commands, one place that turns errors into messages and exit codes.

Importing this, and `jepa --help`, imports no torch: a command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from jepa_core import __version__
from jepa_core.cli import ablate, config, doctor, embed, evaluate, interop, masks, plan, plugins, report, stats, train
from jepa_core.cli.common import configure_logging
from jepa_core.errors import JepaError
from jepa_core.supply import damaged

GROUPS = (train, evaluate, embed, report, ablate, masks, plan, stats, interop, config, plugins, doctor)
"""Modules with a `register(app)` that adds their commands, in the order of the help."""

INTERRUPTED = 130


class Commands(TyperGroup):
    """The root: `--debug` may stand anywhere, and errors that a user can cause end without a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move `--debug` to the front, where it is declared."""
        own = args[: args.index("--")] if "--" in args else args
        if "--debug" in own:
            args = ["--debug", *(each for each in own if each != "--debug"), *args[len(own) :]]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Exit codes: 0 done, 1 failed run, 2 bad usage or configuration, 130 interrupted."""
        try:
            return super().invoke(ctx)
        except JepaError as error:
            if ctx.params["debug"]:
                traceback.print_exc()
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as interrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from interrupt


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"jepa-core {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, and log more.")] = False,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Pretrain a JEPA encoder on any modality with one trainer; a modality is a plugin chosen by name."""
    configure_logging(debug)


for _group in GROUPS:
    _group.register(app)


def _live_with_damaged_packages() -> None:
    """Name those whose metadata cannot be read, and keep pydantic and torch from it: importing either would raise.

    They look there for extensions of theirs, which are then not found; who needs one sets the variable himself.
    """
    found = damaged()
    for each in found:
        typer.echo(f"warning: {each}", err=True)
    if found:
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
        os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point `jepa`; ends by SystemExit with the exit code."""
    _live_with_damaged_packages()
    app(None if arguments is None else list(arguments), prog_name="jepa")
    raise SystemExit(0)
