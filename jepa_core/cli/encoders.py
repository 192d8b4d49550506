"""Options of the commands that use a trained encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
Encoder = Annotated[
    Literal["target", "context"], typer.Option("--encoder", help="The EMA target encoder or the context encoder.")
]
Checkpoint = Annotated[str, typer.Option("--checkpoint", metavar="latest|step_N", help="Which checkpoint.")]
Device = Annotated[
    str | None,
    typer.Option(
        "--device", help="Where it computes, such as cpu or cuda:1. [default: an accelerator if there is one]"
    ),
]
Precision = Annotated[
    Literal["fp32", "bf16"], typer.Option("--precision", help="What the encoder computes in; the rest is fp32.")
]
