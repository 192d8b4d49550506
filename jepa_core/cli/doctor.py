"""`jepa doctor`: what works on this machine, and how to mend what does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from jepa_core.cli.common import AsJson, print_json
from jepa_core.errors import FAILED_RUN

MARKS = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def doctor(
        run_dir: Annotated[Path, typer.Option(help="Where runs will be written; it need not exist.")] = Path("runs"),
        as_json: AsJson = False,
    ) -> None:
        """Say what works on this machine, and how to mend what does not; exit code 1 where something needed fails."""
        from jepa_core import doctor

        findings = doctor.examine(run_dir)
        healthy = all(finding.state != "fail" for finding in findings)
        if as_json:
            told = {"ok": healthy, "findings": [dataclasses.asdict(finding) for finding in findings]}
            print_json(told)
        else:
            from rich.console import Console
            from rich.markup import escape
            from rich.table import Table

            table = Table(box=None, pad_edge=False, show_header=False)
            for finding in findings:
                remedy = f"\n[bold]-> {escape(finding.remedy)}[/]" if finding.remedy else ""
                table.add_row(MARKS[finding.state], escape(finding.what), escape(finding.detail) + remedy)
            Console().print(table)
        if not healthy:
            raise typer.Exit(FAILED_RUN)
