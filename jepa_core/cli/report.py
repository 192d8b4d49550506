"""`jepa report`: one self-contained HTML file."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def report(
        runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders; several are put side by side.")],
        out: Annotated[
            Path | None,
            typer.Option(help="The file. [default: report.html in the run folder; of several runs, in this folder]"),
        ] = None,
        show: Annotated[bool, typer.Option("--open", help="Open it in the web browser.")] = False,
    ) -> None:
        """Write one HTML file: probes, curves, collapse monitor, masks, feature maps, neighbours, configuration."""
        from jepa_core.report import write_report

        path = write_report(runs, out)
        typer.echo(path)
        if show:
            webbrowser.open(path.resolve().as_uri())
