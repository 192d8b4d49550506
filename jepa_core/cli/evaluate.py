"""`jepa eval`: probes on frozen features, with the comparisons that give them a meaning."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from jepa_core.cli.common import AsJson, Overrides, Phases, print_json
from jepa_core.cli.encoders import Checkpoint, Device, Encoder, Precision, RunPath

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from jepa_core.evaluation import Evaluation, Result

HOW_TO_READ = (
    "How to read it: pretraining is worth what an encoder adds to the same network never trained (last column; paired "
    "on the same samples, so an interval without 0 is no accident). Raw input is no floor: on small, centred samples "
    "it is hard to beat."
)

logger = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="eval")(evaluate)


def evaluate(
    run: RunPath,
    probes: Annotated[
        list[str] | None,
        typer.Option("--probe", metavar="NAME", help="Which probe; may be given again. [default: the configured ones]"),
    ] = None,
    encoder: Encoder = "target",
    checkpoint: Checkpoint = "latest",
    overrides: Overrides = None,
    device: Device = None,
    precision: Precision = "fp32",
    as_json: AsJson = False,
) -> None:
    """Fit probes on frozen features: both encoders, the same network never trained, and the raw input.

    Probes choose their hyper-parameters on a part of the training split and see the test split once. Writes eval.json.
    """
    from jepa_core import evaluation
    from jepa_core.checkpoint import RunFolder

    folder = RunFolder.existing(run)
    with Phases({"probe_train": "samples", "probe_test": "samples", "probes": "fits"}) as phases:
        found = evaluation.evaluate(
            folder,
            probes=probes or (),
            encoder=encoder,
            checkpoint=checkpoint,
            overrides=overrides or (),
            device=device,
            precision=precision,
            watch=phases.update,
        )
    if as_json:
        print_json(found.as_json())
    else:
        from rich.console import Console

        show(found, Console())
    found.write(folder.path / "eval.json")
    logger.info("written: %s", folder.path / "eval.json")


def show(evaluation: Evaluation, console: Console) -> None:
    """Print an evaluation as one table per heading."""
    for heading in evaluation.headings:
        console.print(_table(evaluation, heading))
    for split, unreadable in evaluation.unreadable.items():
        if unreadable:
            console.print(f"[yellow]left out as unreadable:[/] {len(unreadable)} of {split}; eval.json names them")
    console.print(HOW_TO_READ, highlight=False)


def _table(evaluation: Evaluation, heading: str) -> Table:
    from rich.table import Table

    results = [result for result in evaluation.results if result.heading == heading]
    first, classes = results[0], len(evaluation.headings[heading].names)
    table = Table(
        title=f"\n{heading}: {classes} classes, {first.num_train:,} training and {first.num_test:,} test samples, "
        f"chance {first.chance:.1%}; {evaluation.checkpoint}, {evaluation.precision}",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        show_edge=False,
    )
    for number, column in enumerate(("probe", "features", "accuracy %", "95 % interval", "minus never trained")):
        table.add_column(column, justify="left" if number < 2 else "right")
    for number, result in enumerate(results):
        new = not number or results[number - 1].probe != result.probe
        if new and number:
            table.add_section()
        style = "bold" if result.representation == evaluation.encoder else ""
        table.add_row(result.probe if new else "", *_cells(result), style=style)
    return table


def _cells(result: Result) -> tuple[str, ...]:
    from jepa_core.report.words import called

    gain = result.minus_random
    difference = f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})" if gain else ""
    interval = f"{100 * result.low:.1f} to {100 * result.high:.1f}"
    return called(result.representation), f"{100 * result.accuracy:.1f}", interval, difference
