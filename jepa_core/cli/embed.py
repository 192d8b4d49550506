"""`jepa embed`: features of files for other programs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from jepa_core.cli.common import Overrides, Phases
from jepa_core.cli.encoders import Checkpoint, Device, Encoder, Precision, RunPath

SHOWN = 10
"""Unreadable files that are named on the terminal; the file's metadata names all."""

logger = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(embed)


def embed(
    run: RunPath,
    inputs: Annotated[str, typer.Argument(metavar="INPUT", help="A folder, file or manifest.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="The file: .parquet, .npz or .safetensors.", show_default=False)],
    encoder: Encoder = "target",
    checkpoint: Checkpoint = "latest",
    overrides: Overrides = None,
    device: Device = None,
    precision: Precision = "fp32",
    tokens: Annotated[bool, typer.Option("--tokens", help="All tokens of a sample, not their mean.")] = False,
    classifier: Annotated[
        Path | None,
        typer.Option(
            help="An attentive classifier's .safetensors file, as `jepa import` makes it: its logits, no features.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write one feature vector per sample (the mean over its tokens) with its path, and labels where there are any."""
    from jepa_core import embedding, frozen
    from jepa_core.probes.stored import load_classifier

    embedding.check_out(out, force)  # before a large model is loaded
    classify = None if classifier is None else load_classifier(classifier)
    loaded = frozen.load(run, encoder, checkpoint, device, overrides or ())
    source = loaded.parts.modality.open(loaded.config.modality, inputs)
    with Phases({"embed": "samples"}) as phases:
        done = embedding.embed(
            loaded,
            source,
            out,
            run=run.resolve().name,
            tokens=tokens,
            classifier=classify,
            force=force,
            precision=precision,
            watch=phases.update,
        )
    for bad in done.unreadable[:SHOWN]:
        logger.warning("unreadable: %s (%s)", bad.where, bad.reason)
    if done.unreadable:
        logger.warning(
            "%d samples cannot be read and are not in the file; its metadata names them", len(done.unreadable)
        )
    shape = " tokens x ".join(map(str, done.features))
    logger.info("written: %s, %d samples x %s features", out, done.rows, shape)
