"""`jepa masks`: what a configuration's masks look like, and whether they treat every cell alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jepa_core.cli.common import AsJson, ConfigPath, Overrides, print_json, table
from jepa_core.errors import UsageError

if TYPE_CHECKING:
    from jepa_core.masking.inspect import MaskStatistics, ViewStatistics
    from jepa_core.types import TokenGrid


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def masks(
        path: ConfigPath,
        overrides: Overrides = None,
        out: Annotated[
            Path | None,
            typer.Option(metavar="FILE", help="Draw examples and maps into a .png, .svg or .pdf.", show_default=False),
        ] = None,
        as_json: AsJson = False,
        samples: Annotated[int, typer.Option(min=1, help="Samples to draw; 20,000 make rates exact to 1 %.")] = 2000,
        progress: Annotated[
            float, typer.Option(min=0, max=1, help="Share of training that is done, for masks that follow it.")
        ] = 0.0,
    ) -> None:
        """Draw masks; print token counts, overlap, redraws and how often each row and column is seen."""
        from jepa_core.data import MASKS
        from jepa_core.masking import SampleRandom
        from jepa_core.masking.inspect import measure
        from jepa_core.model import Parts
        from jepa_core.recipes import read_config
        from jepa_core.types import SampleKey

        config = read_config(path, overrides or ())
        strategy = Parts.of(config).masking
        if out and not out.parent.is_dir():
            raise UsageError(f"{out}: there is no folder {out.parent}. Create it first, or give another --out")
        per_pass = config.train.batch_size // config.train.accumulate
        statistics = measure(strategy, samples, config.seed, MASKS, max(1, per_pass), progress)
        if out:
            from jepa_core.masking.picture import draw

            keys = [SampleKey(0, index, progress) for index in range(6)]
            draw(statistics, strategy(SampleRandom.of(config.seed, keys, MASKS)), out)
        if as_json:
            told = {"masking": config.masking.name, "seed": config.seed, **statistics.as_dict()}
            print_json(told, indent=None)  # hundreds of rates
            return
        typer.echo("\n\n".join(_lines(config.masking.name, statistics)))
        if out:
            typer.echo(f"\n{out}")


def _lines(name: str, statistics: MaskStatistics) -> list[str]:
    views = statistics.views
    when = f", {statistics.progress:.0%} of training done" if statistics.progress else ""
    drawn = f"{statistics.samples:,} samples in batches of {statistics.batch_size}{when}"
    blocks = [f"{name} on {statistics.grid}: {drawn}"]
    for number, view in enumerate(views, 1):
        title = f"view {number} of {len(views)}\n" if len(views) > 1 else ""
        blocks += [
            title + table(_facts(view, statistics.grid)),
            table(_rates(view, statistics.grid)),
        ]
    return blocks


def _facts(view: ViewStatistics, grid: TokenGrid) -> list[tuple[str, str]]:
    """What is said of a view before its rates."""
    budget = view.budget
    facts = [
        (
            "context tokens",
            f"{_range(view.context_tokens)} of {grid.num_tokens} ({budget.context / grid.num_tokens:.0%})",
        ),
        ("target tokens", f"{budget.num_targets} x {_range(view.target_tokens)}"),
        ("predicted twice or more", f"{view.target_overlap:.1%} of the predicted tokens"),
        ("neither context nor target", f"{view.unused:.1%} of the grid"),
        ("context and target at once", f"{view.leaking:.1%} of the samples" if view.leaking else "never"),
        (
            "least seen cell",
            f"context in {view.context_rate.min():.1%}, target in {view.target_rate.min():.1%} of the samples",
        ),
    ]
    if view.unlimited_rate is not None and view.unevenness_along is not None:
        facts.append(("context before the length rule", f"{view.unlimited_rate.sum():.1f} on average"))
        biases = [f"{bias:.1%} over {axis}" for axis, bias in zip(grid.axes, view.unevenness_along, strict=True)]
        facts.append(("length rule's bias", f"{', '.join(biases)} at most, sampling noise included"))
    if view.redrawn is not None:
        facts.append(("redrawn", f"{view.redrawn:.1%} of the samples; {view.stored:.2%} took a stored layout"))
    return facts


def _range(ends: tuple[int, int]) -> str:
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}, depending on the batch,"


def _rates(view: ViewStatistics, grid: TokenGrid) -> list[list[str]]:
    """Per cell along each axis: in what share of the samples its tokens are context / predicted, in percent."""
    from jepa_core.masking.inspect import along_axes

    columns = [
        [f"{100 * seen:.1f} / {100 * predicted:.1f}" for seen, predicted in zip(context, target, strict=True)]
        for context, target in zip(along_axes(view.context_rate), along_axes(view.target_rate), strict=True)
    ]
    header = ["cell", *(f"{axis}: context / target %" for axis in grid.axes)]
    rows = [
        [str(cell), *(column[cell] if cell < len(column) else "" for column in columns)]
        for cell in range(max(grid.shape))
    ]
    return [header, *rows]
