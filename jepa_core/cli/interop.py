"""`jepa import` and `jepa export`: weights of other programs, in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jepa_core.cli.common import Overrides
from jepa_core.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the two commands."""

    @app.command("import")
    def import_(
        path: Annotated[
            Path, typer.Argument(help="A .safetensors, .pth.tar or .pt file, or a model's folder.", show_default=False)
        ],
        out: Annotated[
            Path,
            typer.Option(
                metavar="RUN",
                help="The run folder to make; for an attentive classifier, the .safetensors file.",
                show_default=False,
            ),
        ],
        overrides: Overrides = None,
        layout: Annotated[
            str | None, typer.Option("--format", help="The file's layout; recognised if left out.")
        ] = None,
    ) -> None:
        """Make a run folder from weights of another program; what the file does not tell is given with --set.

        An attentive classifier goes into a file, RUN/probes/NAME.safetensors, which `jepa embed --classifier` and
        jepa_core.probes.stored.load_classifier read.
        """
        from jepa_core import interop

        if out.suffix == interop.SUFFIX:
            classifier = interop.import_classifier(path, out, overrides or ())
            typer.echo(f"{out}: a classifier of {classifier.linear.out_features} classes, imported from {path.name}")
            typer.echo(f"apply it with the run of its encoder: jepa embed RUN INPUT --classifier {out} --out FILE")
            return
        imported = interop.import_weights(path, out, overrides or (), layout)
        given = {interop.key_of(override) for override in overrides or ()}
        typer.echo(f"{out}: {', '.join(imported.weights)} imported from {path.name}")
        for key, reason in imported.assumed.items():
            if key not in given:
                typer.echo(f"not in the file, so taken to be {reason}; change it with --set {key}=...")
        if imported.missing:
            typer.echo(f"not in the file: {', '.join(imported.missing)}")
        if "target_encoder" in imported.missing:
            typer.echo(f"use it with --encoder context: jepa eval {out} --encoder context")

    @app.command()
    def export(
        run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)],
        layout: Annotated[str, typer.Option("--to", metavar="FORMAT", help="The layout to write.", show_default=False)],
        out: Annotated[Path, typer.Option(help="The file or folder to write.", show_default=False)],
        encoder: Annotated[
            str, typer.Option(metavar="target|context", help="The encoder, for a layout that holds one.")
        ] = "target",
        checkpoint: Annotated[str, typer.Option(help="latest, or step_N.")] = "latest",
    ) -> None:
        """Write a run's weights for another program; an unknown FORMAT lists those that there are."""
        from jepa_core import interop

        if encoder not in {"target", "context"}:
            raise UsageError(f"--encoder: {encoder!r} is neither target nor context.")
        which = "target" if encoder == "target" else "context"
        interop.export_weights(run, layout, out, which, checkpoint)
        typer.echo(f"{out}: written")
