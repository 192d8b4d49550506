"""`jepa ablate`: a study from its file to the report."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jepa_core.cli.common import AsJson, plain_table, print_json
from jepa_core.errors import FAILED_RUN, UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from jepa_core.ablation.cells import Study
    from jepa_core.ablation.folder import CellState, StudyFolder
    from jepa_core.ablation.outline import ArmOutline, Outline

logger = logging.getLogger(__name__)

StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="A study file.", show_default=False)]
StudyOverrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the study file, such as seeds=[0]."),
]
StudyDir = Annotated[
    Path | None, typer.Option("--run-dir", help="Where the study is kept. [default: runs/ablate- and the file's name]")
]


_WORDS = {"changed": "another configuration"}
"""States that one word does not explain."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ablate)


def ablate(
    study: StudyPath,
    overrides: StudyOverrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run: arms, differences, tokens, FLOPs, time.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Say how far every cell is.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue: finished cells stay, interrupted and failed ones go on.")
    ] = False,
    only: Annotated[
        str | None, typer.Option("--only", metavar="GLOB", help="Run these cells alone, such as '*/random/*'.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Cells at a time, each with a share of the cores, or a GPU.")] = 1,
    launcher: Annotated[Literal["local", "slurm"], typer.Option(help="Who runs the jobs.")] = "local",
    slurm: Annotated[
        list[str] | None,
        typer.Option("--slurm", metavar="KEY=VALUE", help="A parameter of submitit, such as timeout_min=600."),
    ] = None,
    run_dir: StudyDir = None,
    as_json: AsJson = False,
) -> None:
    """Run a study: every arm on every base with every seed; then tables and a report of what it shows.

    Ctrl-C or SIGTERM leaves checkpoints; `--resume` continues, and also writes the tables anew when nothing is left to
    run. Exit code 1 where a cell of those that were to run has no result.
    """
    from jepa_core.ablation.cells import read_study
    from jepa_core.ablation.folder import StudyFolder

    if slurm and launcher != "slurm":
        raise UsageError("--slurm: is for a cluster; give --launcher slurm, or leave it out")
    found = read_study(study, overrides or ())
    folder = StudyFolder(run_dir or Path("runs") / f"ablate-{found.name}")
    if dry_run:
        _show_outline(found, folder, jobs, as_json)
    elif status:
        _show_status(found, folder, as_json)
    else:
        from jepa_core.ablation.launching import run_study
        from jepa_core.ablation.running import selected
        from jepa_core.config.loading import parse_overrides

        options = parse_overrides(slurm or [])
        whole = run_study(found, folder, jobs=jobs, resume=resume, launcher=launcher, only=only, options=options)
        if launcher == "local":
            unfinished = _write(found, folder, _command(study, overrides or (), run_dir), as_json)
            whole = whole and not any(cell.name in unfinished for cell in selected(found, only))
        if not whole:
            raise typer.Exit(FAILED_RUN)


def _command(study: Path, overrides: Sequence[str], run_dir: Path | None) -> str:
    """What runs the study again, or continues it."""
    from jepa_core.report.words import command

    changed = [word for override in overrides for word in ("--set", override)]
    where = ["--run-dir", str(run_dir)] if run_dir else []
    return command("jepa", "ablate", str(study), *changed, *where)


def _write(study: Study, folder: StudyFolder, command: str, as_json: bool) -> Mapping[str, str]:
    """Tables and report of the cells that are done; returns the others, and why they are not."""
    from jepa_core.ablation.analysis import analyse
    from jepa_core.ablation.report import write_study_report
    from jepa_core.ablation.results import read_results
    from jepa_core.ablation.tables import write_tables

    results = read_results(study, folder.path)
    findings, files = list[str](), list[Path]()
    if results.facts:
        analysis = analyse(results)
        findings += analysis.findings
        files += write_tables(analysis, folder.path)
        files.append(write_study_report(analysis, folder.path / "report.html", command))
    else:
        findings.append("No cell is done, so there is nothing to compare.")
    for cell, why in results.unfinished.items():
        logger.warning("no result of %s: %s", cell, why)
    if as_json:
        print_json({"findings": findings, "unfinished": dict(results.unfinished), "files": list(map(str, files))})
        return results.unfinished
    for finding in findings:
        typer.echo(finding)
    if files:
        typer.echo(f"report: {files[-1]}")
    return results.unfinished


def _show_status(study: Study, folder: StudyFolder, as_json: bool) -> None:
    """How far every cell is."""
    states = folder.status(study)
    if as_json:
        print_json({name: dataclasses.asdict(state) for name, state in states.items()})
        return
    from rich.console import Console

    console = Console()
    for base in study.config.bases:
        console.print(_states(study, base, states))
    counts = Counter(state.state for state in states.values())
    told = ", ".join(f"{count} {_WORDS.get(state, state)}" for state, count in counts.items())
    console.print(f"\n{len(states)} cells: {told}")
    for name, state in states.items():
        if state.note:
            console.print(f"{name}: {state.note}", highlight=False, markup=False)


def _states(study: Study, base: str, states: Mapping[str, CellState]) -> Table:
    """Arms of a base, by seed."""
    seeds = study.config.seeds
    table = plain_table(base, "arm", *(f"seed {seed}" for seed in seeds))
    for arm in study.arms:
        row = [states.get(f"{base}/{arm}/seed_{seed}") for seed in seeds]
        table.add_row(arm, *("absent" if state is None else _word(state) for state in row))
    return table


def _word(state: CellState) -> str:
    under_way = state.state in ("running", "interrupted")
    return f"{state.state} {state.step}/{state.steps}" if under_way else _WORDS.get(state.state, state.state)


def _show_outline(study: Study, folder: StudyFolder, jobs: int, as_json: bool) -> None:
    """What would run."""
    from jepa_core.ablation.outline import outline

    counted = outline(study, folder.run, jobs)
    if as_json:
        print_json(counted.as_json())
        return
    from rich.console import Console

    show(counted, Console())


def show(outline: Outline, console: Console) -> None:
    """Print an outline: a table of amounts per base, and under it what each arm changes."""
    from jepa_core.report.words import duration

    study = outline.study
    for base in study.config.bases:
        arms = [arm for arm in outline.arms if arm.base == base]
        console.print(_amounts(arms, base))
        for arm in arms:
            reference = " (reference)" if arm.arm == study.reference else ""
            console.print(f"{arm.arm}{reference}: {_difference(arm)}", highlight=False, markup=False, soft_wrap=True)
        console.print(f"times: {outline.timing[base]}", highlight=False, markup=False, soft_wrap=True)
    size = f"{_several(len(study.cells), 'cell')} with {_several(len(study.config.seeds), 'seed')}"
    time = f"about {duration(outline.seconds)} with {_several(outline.jobs, 'job')}"
    console.print(f"\n{size}; pretraining takes {time}, and evaluation comes on top.", highlight=False, soft_wrap=True)


def _several(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _amounts(arms: list[ArmOutline], base: str) -> Table:
    """What a cell of each arm takes."""
    from rich.markup import escape

    from jepa_core.report.words import count, duration, flops

    table = plain_table(base, "arm", "parameters", "context", "predicted", "updates", "work", "time")
    for arm in arms:
        if arm.cost is None:
            table.add_row(escape(arm.arm), *["-"] * 6)
            continue
        cost = arm.cost
        numbers = (cost.parameters, cost.context_tokens, cost.predicted_tokens, cost.steps)
        table.add_row(escape(arm.arm), *map(count, numbers), flops(cost.flops), duration(cost.seconds))
    return table


def _difference(arm: ArmOutline) -> str:
    """What makes the arm another run than its base, or why there is no such run."""
    if arm.absent:
        return f"absent: {arm.absent}"
    return "; ".join([*map(str, arm.changes), *([arm.matched] if arm.matched else [])]) or "as the base"
