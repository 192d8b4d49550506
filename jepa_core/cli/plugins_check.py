"""`jepa plugins check`: whether a plugin keeps the promises of its kind."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jepa_core.cli.common import AsJson, Overrides, Progress, print_json, table
from jepa_core.errors import FAILED_RUN, UsageError

if TYPE_CHECKING:
    from jepa_core.supply import Kind
    from jepa_core.testing import Outcome

MARKS = {"pass": "[green]pass[/]", "fail": "[red]fail[/]", "n/a": "[dim]n/a[/]"}


def register(group: typer.Typer) -> None:
    """Add the command."""

    @group.command("check")
    def check(
        name: Annotated[str | None, typer.Argument(help="A registered name.", show_default=False)] = None,
        kind: Annotated[
            str | None, typer.Option(metavar="KIND", help="What it is, where a name is used for several kinds.")
        ] = None,
        overrides: Overrides = None,
        config: Annotated[
            Path | None, typer.Option(metavar="FILE", help="Check it in this run, not in its own smallest one.")
        ] = None,
        as_json: AsJson = False,
        only_list: Annotated[bool, typer.Option("--list", help="Print what is checked, and check nothing.")] = False,
    ) -> None:
        """Try a plugin on the promises that the core relies on; exit code 1 where it breaks one."""
        from jepa_core.testing import kinds_of

        if only_list:
            _print_promises(kinds_of(name, kind), as_json)
            return
        if name is None:
            raise UsageError("jepa plugins check: give a registered NAME (jepa plugins list), or --list")
        found = _outcomes(name, kinds_of(name, kind), config, overrides or ())
        if as_json:
            print_json({"ok": _healthy(found), "checks": _as_rows(name, found)})
        else:
            for each, outcomes in found.items():
                _print_outcomes(f"{each} {name}", outcomes)
        if not _healthy(found):
            raise typer.Exit(FAILED_RUN)


def _outcomes(
    name: str, kinds: Sequence[Kind], config: Path | None, overrides: Sequence[str]
) -> Mapping[Kind, Sequence[Outcome]]:
    """By kind; what plugins print meanwhile goes to standard error."""
    from jepa_core.config.text import read_text
    from jepa_core.testing import check_plugin, checks_for

    text = read_text(config) if config else None
    found: dict[Kind, list[Outcome]] = {kind: [] for kind in kinds}
    for kind, outcomes in found.items():
        progress = Progress(f"checking {kind} {name}", len(checks_for(kind)), "checks")
        with contextlib.redirect_stdout(sys.stderr), progress:
            for outcome in check_plugin(kind, name, text=text, overrides=overrides):
                outcomes.append(outcome)
                progress.update(len(outcomes), outcome.check.name)
    return found


def _healthy(found: Mapping[Kind, Sequence[Outcome]]) -> bool:
    return all(outcome.state != "fail" for outcomes in found.values() for outcome in outcomes)


def _as_rows(name: str, found: Mapping[Kind, Sequence[Outcome]]) -> list[dict[str, str]]:
    return [
        {
            "kind": kind,
            "name": name,
            "check": each.check.name,
            "state": each.state,
            "message": each.message,
            "promise": each.check.promise,
            "remedy": each.remedy,
        }
        for kind, outcomes in found.items()
        for each in outcomes
    ]


def _print_outcomes(title: str, outcomes: Sequence[Outcome]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    columns = Column("check", no_wrap=True), "", Column("found", overflow="fold")
    shown = Table(*columns, box=None, pad_edge=False, title=title, title_justify="left")
    for each in outcomes:
        remedy = f"\n[bold]To mend: {escape(each.remedy)}[/]" if each.remedy else ""
        shown.add_row(each.check.name, MARKS[each.state], escape(each.message) + remedy)
    count = Counter(each.state for each in outcomes)
    console = Console()
    console.print(shown)
    console.print(f"{count['pass']} passed, {count['fail']} failed, {count['n/a']} do not apply\n")


def _print_promises(kinds: Sequence[Kind], as_json: bool) -> None:
    from jepa_core.testing import checks_for

    promises = [(kind, check.name, check.promise) for kind in kinds for check in checks_for(kind)]
    if as_json:
        keys = ("kind", "check", "promise")
        print_json([dict(zip(keys, row, strict=True)) for row in promises])
        return
    typer.echo(table([("kind", "check", "promise"), *promises]))
