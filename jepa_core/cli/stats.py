"""`jepa stats`: the numbers that signals are normalised with."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from jepa_core.cli.common import AsJson, ConfigPath, Overrides, Progress, print_json


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def stats(
        config: ConfigPath,
        overrides: Overrides = None,
        samples: Annotated[int, typer.Option(min=1, help="Measure on at most this many, evenly spread.")] = 10_000,
        as_json: AsJson = False,
    ) -> None:
        """Measure mean and deviation of the pretraining data, and print the lines to put into the configuration."""
        from jepa_core.registry import modalities
        from jepa_core.statistics import as_yaml, measure, read_unnormalised

        unnormalised, per_channel = read_unnormalised(config, overrides or ())
        section = unnormalised.modality
        source = modalities.get(section.name).source(section, "pretrain")
        with Progress("measuring", total=min(samples, len(source)), unit="samples") as progress:
            measured = measure(unnormalised, source, per_channel, samples, progress.update)
        if as_json:
            print_json(dataclasses.asdict(measured))
            return
        typer.echo(f"# measured on {measured.samples:,} of {measured.of:,} samples\n{as_yaml(measured, per_channel)}")
