"""`jepa plan`: what a run will cost, before anything runs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from jepa_core.cli.common import AsJson, ConfigPath, Overrides, plain_table, print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from jepa_core.planning import Memory, Plan


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def plan(
        config: ConfigPath,
        overrides: Overrides = None,
        devices: Annotated[int, typer.Option(min=1, help="Processes, each with one device.")] = 1,
        memory: Annotated[float, typer.Option(min=0.1, help="Memory of a device, GiB.")] = 80.0,
        flops: Annotated[float, typer.Option(min=0.001, help="Peak TFLOPS of a device (A100, bf16: 312).")] = 312.0,
        utilisation: Annotated[float, typer.Option(min=0.01, max=1, help="Share of the peak that is reached.")] = 0.4,
        as_json: AsJson = False,
    ) -> None:
        """Say what a run will cost: parameters, tokens, FLOPs, memory, hours; nothing is allocated."""
        from jepa_core import planning
        from jepa_core.recipes import read_config

        machine = planning.Machine(devices, memory, flops, utilisation)
        planned = planning.plan(read_config(config, overrides or ()), machine)
        if as_json:
            told = dataclasses.asdict(planned)
            told["memory"] |= {"fixed": planned.memory.fixed, "total": planned.memory.total}
            print_json(told)
        else:
            from rich.console import Console

            show(planned, Console())


def show(plan: Plan, console: Console) -> None:
    """Print a plan as tables."""
    machine, published = plan.machine, plan.parameters.encoder_as_published
    console.print(_networks(plan))
    if published is not None:
        console.print(
            f"Papers count {_millions(published)} for this encoder: with a class token, learned positions and a head "
            "of 1000 classes.",
            highlight=False,
        )
    console.print(_work(plan))
    hours = f"{plan.hours:,.2g}" if plan.hours < 10 else f"{plan.hours:,.0f}"
    hardware = f"{machine.devices} x {machine.tflops:g} TFLOPS at {machine.utilisation:.0%} of the peak"
    console.print(f"[bold]{hours} hours[/] on {hardware}", highlight=False)
    console.print(_room(plan.memory, machine.memory_gib))
    for line in plan.advice:
        console.print(f"[yellow]->[/] {line}", highlight=False)
    console.print(_schedule(plan))
    console.print(
        f"At first the target encoder forgets half of its past in {plan.half_life_samples:,.0f} samples.",
        highlight=False,
    )


def _networks(plan: Plan) -> Table:
    """Parameters and tokens."""
    size = plan.parameters
    table = plain_table("Networks", "", "parameters", "tokens per sample")
    asked = " + ".join(f"{view.num_targets} x {view.target:,}" for view in plan.views)
    shown = f"{plan.tokens:,}" if plan.target_input == "all" else f"{asked} of {plan.tokens:,}"
    table.add_row("target encoder", _millions(size.encoder), f"{shown} ({plan.grid})")
    table.add_row("context encoder", _millions(size.encoder), " + ".join(f"{view.context:,}" for view in plan.views))
    table.add_row("predictor", _millions(size.predictor), f"{asked} predicted")
    return table


def _work(plan: Plan) -> Table:
    """FLOPs."""
    flops, batch = plan.flops, plan.batch_size
    table = plain_table("Work", "", "TFLOP", "")
    table.add_row("target encoder, forward", _tera(flops.target), "per sample")
    table.add_row("context encoder, forward", _tera(flops.context), "per sample")
    table.add_row("predictor, forward", _tera(flops.predictor), "per sample")
    table.add_row("step, with backward", _tera(flops.step), f"{batch:,} samples")
    table.add_row("run", f"{flops.run / 1e12:,.3g}", f"{plan.steps:,} steps, {plan.steps * batch:,} samples")
    return table


def _room(memory: Memory, available: float) -> Table:
    """Memory of one device."""
    table = plain_table("Memory of one device (estimate)", "", "GiB", "")
    table.add_row("weights", _gib(memory.weights), "fp32")
    table.add_row("target encoder", _gib(memory.target), "fp32")
    table.add_row("gradients", _gib(memory.gradients), "fp32")
    table.add_row("AdamW", _gib(memory.optimizer), "fp32")
    table.add_row("activations", _gib(memory.activations), f"{memory.samples:,} samples per pass")
    if memory.activations_recomputed is not None and memory.activations_recomputed != memory.activations:
        recomputed = "with encoder.activation_checkpointing"
        table.add_row("[dim]or[/]", f"[dim]{_gib(memory.activations_recomputed)}[/]", f"[dim]{recomputed}[/]")
    fits = memory.total <= available * 2**30
    verdict = f"[green]fits into {available:g}[/]" if fits else f"[red]does not fit into {available:g}[/]"
    table.add_row("[bold]together[/]", f"[bold]{_gib(memory.total)}[/]", verdict)
    return table


def _schedule(plan: Plan) -> Table:
    """Learning rate, weight decay and momentum on the way."""
    table = plain_table("Schedule", "", "step", "learning rate", "weight decay", "EMA momentum")
    for moment in plan.schedule:
        values = (f"{moment.lr:.3g}", f"{moment.weight_decay:.3g}", f"{moment.momentum:.6g}")
        table.add_row(moment.when, f"{moment.step:,}", *values)
    return table


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} M"


def _tera(flops: int) -> str:
    return f"{flops / 1e12:,.4g}"


def _gib(size: int) -> str:
    return f"{size / 2**30:,.2f}"
