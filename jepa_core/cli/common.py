"""What the commands share: option types, logging, progress and plain tables. Nothing heavy is imported here."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self, TextIO

import typer

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.table import Table

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="A configuration file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one value of the configuration, such as optim.lr.value=3e-4."
    ),
]
_ANSWERS: ContextVar[TextIO] = ContextVar("answers")


@contextmanager
def _answers_alone() -> Generator[None]:
    """Keep standard output for `print_json`: a plugin may print whenever its code runs."""
    token = _ANSWERS.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _ANSWERS.reset(token)


def _until_the_command_ends(context: typer.Context, as_json: bool) -> bool:
    if as_json:
        context.with_resource(_answers_alone())
    return as_json


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.", callback=_until_the_command_ends)]


def print_json(value: Any, indent: int | None = 2) -> None:
    """Print what a command found out, of plain types; with `--json` nothing else reaches standard output."""
    typer.echo(json.dumps(value, indent=indent), file=_ANSWERS.get(sys.stdout))


logger = logging.getLogger(__name__)


def is_main_process() -> bool:
    """Whether this is the process that speaks: the only one, or the first of those that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


class _Lines(logging.Handler):
    """One line per record on whatever standard error is at that moment (a progress bar replaces it)."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say the level only where it is a warning or worse."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        print(f"{level}{self.format(record)}", file=sys.stderr)  # noqa: T201 - the handler that the rule points to


def configure_logging(debug: bool) -> None:
    """Send what the library logs, and warnings as one line each, to standard error; only the main process informs."""
    ours = logging.DEBUG if debug else logging.INFO
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_Lines()], force=True)
    logging.getLogger("jepa_core").setLevel(ours if is_main_process() else logging.ERROR)
    warnings.formatwarning = lambda message, *_args, **_kwargs: str(message)
    logging.captureWarnings(capture=True)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, two spaces apart; the first row is the header.

    >>> print(table([("name", "state"), ("vit", "loaded")]))
    name  state
    vit   loaded
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def plain_table(title: str, *columns: str) -> Table:
    """A table for a rich console, without lines: the first column to the left, all others to the right."""
    from rich.table import Table

    table = Table(
        title=f"\n{title}", title_justify="left", title_style="bold", box=None, pad_edge=False, show_edge=False
    )
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    return table


class Progress:
    """How far long work is: a bar with rate and time left on a terminal, log lines every half minute elsewhere.

    >>> with Progress("pretraining", total=100, unit="steps") as progress:
    ...     progress.update(1, "loss 0.42")
    """

    def __init__(self, title: str, total: int, unit: str, done: int = 0, every_seconds: float = 30.0) -> None:
        """`total` and `done` count `unit`s; work that is resumed starts at `done`."""
        self._title, self._total, self._unit, self._first = title, total, unit, done
        self._every = every_seconds
        self._bar: RichProgress | None = None

    def __enter__(self) -> Self:
        """Start the clock and, on a terminal, draw the bar."""
        self._start = self._said = time.monotonic()
        if is_main_process() and sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task(self._title, total=self._total, completed=self._first, rate="", note="")
            self._bar.start()
        return self

    def update(self, done: int, note: str = "") -> None:
        """`done` units are finished altogether; `note` is shown beside them."""
        now = time.monotonic()
        rate = (done - self._first) / max(now - self._start, 1e-9)
        speed = f"{rate:.3g} {self._unit}/s"
        if self._bar:
            self._bar.update(self._task, completed=done, rate=speed, note=note)
        elif now - self._said >= self._every or done == self._total:
            self._said = now
            left = time.strftime("%H:%M:%S", time.gmtime((self._total - done) / max(rate, 1e-9)))
            tail = f", {note}" if note else ""
            logger.info("%s: %d/%d %s, %s, %s left%s", self._title, done, self._total, self._unit, speed, left, tail)

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Leave the bar as it is, also when the work failed."""
        if self._bar:
            self._bar.stop()


class Phases:
    """`Progress` of work in several parts, each of which begins with its first update.

    >>> with Phases({"reading": "files"}) as phases:
    ...     phases.update("reading", 1, 100)
    """

    def __init__(self, units: Mapping[str, str]) -> None:
        """What is counted, by part."""
        self._units = units
        self._name, self._progress = "", ExitStack()

    def __enter__(self) -> Self:
        """Nothing begins yet."""
        return self

    def update(self, name: str, done: int, total: int) -> None:
        """`done` of `total` units of a part are finished."""
        if name != self._name:
            self._progress.close()
            self._name = name
            self._now = self._progress.enter_context(Progress(name, total, self._units[name]))
        self._now.update(done)

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Leave the last part as it is."""
        self._progress.close()


def _bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        refresh_per_second=4,
    )
