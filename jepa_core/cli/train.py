"""`jepa train` and `jepa demo`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jepa_core.cli.common import ConfigPath, Overrides, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from jepa_core.checkpoint import RunFolder
    from jepa_core.config import RunConfig

INTERRUPTED = 130

logger = logging.getLogger(__name__)

RunDir = Annotated[
    Path | None, typer.Option("--run-dir", help="Where the run is kept; runs/ and the configuration's name by default.")
]


def register(app: typer.Typer) -> None:
    """Add `train` and `demo`."""
    app.command()(train)
    app.command()(demo)


def train(
    config: ConfigPath,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the newest checkpoint; start where there is none yet.")
    ] = False,
    init: Annotated[
        Path | None, typer.Option("--init", metavar="RUN", help="Start from the newest weights of another run.")
    ] = None,
) -> None:
    """Pretrain; under `accelerate launch` or `torchrun` it is multi-process.

    Ctrl-C or SIGTERM ends it after the present step with a checkpoint, and exit code 130; `--resume` continues.
    """
    from jepa_core.checkpoint import RunFolder
    from jepa_core.recipes import read_config

    resolved = read_config(config, overrides or ())
    run = RunFolder(run_dir or Path("runs") / config.stem)
    pretrain(resolved, run, resume, RunFolder.existing(init) if init else None)
    logger.info("next: jepa eval %s; jepa report %s", run.path, run.path)


def demo(
    modality: Annotated[
        str | None, typer.Argument(help="Whose demonstration to run; may be left out where only one is installed.")
    ] = None,
    overrides: Overrides = None,
    run_dir: RunDir = None,
) -> None:
    """The main job on built-in real data: pretrain, evaluate, write the report. Run again, it continues."""
    from jepa_core.checkpoint import RunFolder
    from jepa_core.cli.evaluate import evaluate
    from jepa_core.errors import UsageError
    from jepa_core.recipes import read_config
    from jepa_core.registry import modalities
    from jepa_core.report import write_report

    if modality is None:
        names = modalities.names()
        if len(names) != 1:
            raise UsageError(f"jepa demo: which modality? Installed: {', '.join(names) or 'none'}. Say: jepa demo NAME")
        (modality,) = names
    text = modalities.get(modality).demo()
    if text is None:
        raise UsageError(f"jepa demo {modality}: this modality has no built-in data. Train on yours: jepa train CONFIG")
    run = RunFolder(run_dir or Path("runs") / f"demo-{modality}")
    pretrain(read_config(text=text, overrides=overrides or ()), run, resume=True)
    evaluate(run.path)
    typer.echo(f"report: {write_report([run.path])}")


def pretrain(config: RunConfig, run: RunFolder, resume: bool, init: RunFolder | None = None) -> None:
    """Train with a progress bar; ends the program where the run was interrupted."""
    from jepa_core.trainer import Trainer

    steps = config.train.steps
    trainer = Trainer(config, run, resume=resume, init=init)
    for line in trainer.describe():
        logger.info("%s", line)
    with Progress("pretraining", total=steps, unit="steps", done=trainer.state.step) as progress:

        def show(row: Mapping[str, Any]) -> None:
            warned = row.get("collapse/warnings", [])
            progress.update(row["step"], " ".join([f"loss {row['loss']:.4f}", *(f"! {name}" for name in warned)]))

        trainer.on_row = show
        outcome = trainer.train()
    if outcome == "interrupted":
        logger.warning(
            "stopped after step %d of %d; continue with --resume --run-dir %s", trainer.state.step, steps, run.path
        )
        raise typer.Exit(INTERRUPTED)
