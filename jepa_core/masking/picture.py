"""Masks drawn: examples, how often each cell is context or target, and the same along every axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from jepa_core.errors import UsageError
from jepa_core.masking.inspect import MaskStatistics, ViewStatistics, along_axes
from jepa_core.masking.views import MaskView
from jepa_core.types import TokenGrid

COLOURS = {
    "neither": (228, 231, 237),
    "context": (49, 108, 190),
    "target": (246, 178, 92),
    "in 2 targets": (224, 122, 40),
    "in 3 or more": (150, 66, 24),
    "context and target": (200, 30, 120),
}
"""RGB of a cell by what it is, in the order of the legend."""

_INK, _CONTEXT, _TARGET = "#2d3340", "#316cbe", "#e07a28"
_WIDTH, _LINES, _HEAD = 11.0, 2.6, 0.9  # inches
_MAX_EXAMPLES, _MAX_VOLUMES, _MAX_SLICES = 6, 3, 8


def draw(statistics: MaskStatistics, examples: Sequence[MaskView], path: Path) -> None:
    """Write a picture: for every mask view some samples, two maps of rates, and the rates along every axis.

    The last axis runs to the right, the one before it downwards; slices along any axes before stand side by side,
    eight of them at most, evenly spread (the rates along every axis show all).

    Args:
        statistics: see `jepa_core.masking.inspect.measure`.
        examples: a few samples of every view of the strategy.
        path: PNG, SVG or PDF by its ending; is overwritten.

    Raises:
        UsageError: the file cannot be written.
    """
    heights = _Heights.on(statistics.grid)
    figure = Figure(figsize=(_WIDTH, heights.view * len(statistics.views)), layout="constrained")
    parts = figure.subfigures(len(statistics.views), 1, squeeze=False)[:, 0]
    for number, (part, view, masks) in enumerate(zip(parts, statistics.views, examples, strict=True)):
        part.suptitle(_title(view, statistics, number), color=_INK, fontsize=11, fontweight="bold")
        _draw_view(part, statistics.grid, view, masks, heights)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:  # no such folder or permission; an ending that names no format
        raise UsageError(f"{path}: {error}. Give a writable path that ends in .png, .svg or .pdf") from error


def colours(view: MaskView, sample: int, grid: TokenGrid) -> UInt8[np.ndarray, "*grid 3"]:
    """The colour of every cell in one sample of a view."""
    in_targets = np.bincount(view.targets[sample].flatten().numpy(), minlength=grid.num_tokens)
    is_context = np.zeros(grid.num_tokens, dtype=np.bool_)
    is_context[view.context[sample].numpy()] = True
    palette = np.array(list(COLOURS.values()), dtype=np.uint8)
    kind = np.where(in_targets, in_targets.clip(max=3) + 1, is_context)
    return palette[np.where(is_context & (in_targets > 0), 5, kind)].reshape(*grid.shape, 3)


class _Heights:
    """Inches of the parts of a view, from the proportions of the grid."""

    def __init__(self, examples: float, maps: float, stacked: bool) -> None:
        self.examples, self.maps, self.stacked = examples, maps, stacked
        self.view = _HEAD + examples + (maps + _LINES if stacked else max(maps, _LINES))

    @classmethod
    def on(cls, grid: TokenGrid) -> _Heights:
        """Flat grids have maps and curves in one row; those that are wide, or have slices, one below the other."""
        rows, columns = _flat(np.zeros(grid.shape), grid, 0.0).shape
        if columns > 3 * rows:
            height = min(max(_WIDTH * 0.85 * rows / columns, 0.4), 3.0) + 0.5
            return cls(_MAX_VOLUMES * height, 2 * height, stacked=True)
        return cls(_WIDTH / _MAX_EXAMPLES * rows / columns + 0.3, _WIDTH / 4.4 * rows / columns + 0.6, stacked=False)


def _title(view: ViewStatistics, statistics: MaskStatistics, number: int) -> str:
    of = f"View {number + 1} of {len(statistics.views)}: " if len(statistics.views) > 1 else ""
    budget = view.budget
    return (
        f"{of}{budget.context} context tokens, {budget.num_targets} x {budget.target} target tokens "
        f"of {statistics.grid}, {statistics.samples:,} samples"
    )


def _draw_view(part: SubFigure, grid: TokenGrid, view: ViewStatistics, masks: MaskView, heights: _Heights) -> None:
    rest = heights.view - heights.examples
    top, bottom = part.subfigures(2, 1, squeeze=False, height_ratios=[heights.examples, rest]).flat
    _draw_examples(top, grid, masks, heights.stacked)
    if heights.stacked:
        maps, lines = bottom.subfigures(2, 1, squeeze=False, height_ratios=[heights.maps, _LINES]).flat
    else:
        maps, lines = bottom.subfigures(1, 2, squeeze=False).flat
    _draw_maps(maps, grid, view, heights.stacked)
    _draw_lines(lines, grid, view)


def _draw_examples(part: SubFigure, grid: TokenGrid, masks: MaskView, stacked: bool) -> None:
    shown = min(len(masks.context), _MAX_VOLUMES if stacked else _MAX_EXAMPLES)
    pictures = [colours(masks, sample, grid) for sample in range(shown)]
    panels = part.subplots(*((shown, 1) if stacked else (1, shown)), squeeze=False).flat
    for picture, axes in zip(pictures, panels, strict=True):
        axes.imshow(_flat(picture, grid, 255.0), aspect=_aspect(grid))
        axes.set_axis_off()
    seen = {tuple(colour) for picture in pictures for colour in picture.reshape(-1, 3).tolist()}
    kinds = {name: "#{:02x}{:02x}{:02x}".format(*rgb) for name, rgb in COLOURS.items() if rgb in seen}
    handles = [Patch(color=colour, label=name) for name, colour in kinds.items()]
    part.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)


def _draw_maps(part: SubFigure, grid: TokenGrid, view: ViewStatistics, stacked: bool) -> None:
    rates = (("context", view.context_rate, "Blues"), ("target", view.target_rate, "Oranges"))
    panels = part.subplots(*((2, 1) if stacked else (1, 2))).flat
    for axes, (name, rate, palette) in zip(panels, rates, strict=True):
        drawn = axes.imshow(100 * _flat(rate, grid, np.nan), cmap=palette, vmin=0, aspect=_aspect(grid))
        axes.set_title(f"is {name}, % of samples", fontsize=9, color=_INK)
        _label(axes, ("", *grid.axes)[-2], grid.axes[-1])
        if grid.num_axes > 2:
            _label_slices(axes, grid)
        if grid.num_axes == 1:
            axes.set_yticks([])
        bar = part.colorbar(drawn, ax=axes, location="right" if stacked else "bottom", shrink=0.9, pad=0.02)
        bar.ax.tick_params(labelsize=8, colors=_INK)


def _draw_lines(part: SubFigure, grid: TokenGrid, view: ViewStatistics) -> None:
    curves: list[tuple[str, Float[np.ndarray, "*grid"], dict[str, Any]]] = [
        ("context", view.context_rate, {"color": _CONTEXT, "marker": "o"}),
        ("target", view.target_rate, {"color": _TARGET, "marker": "o"}),
    ]
    if view.unlimited_rate is not None:
        curves.append(("context before the length rule", view.unlimited_rate, {"color": _CONTEXT, "linestyle": ":"}))
    panels = part.subplots(1, grid.num_axes, sharey=True, squeeze=False)[0]
    for axis, (axes, name) in enumerate(zip(panels, grid.axes, strict=True)):
        for label, rate, style in curves:
            axes.plot(100 * along_axes(rate)[axis], label=label, markersize=3, linewidth=1.4, **style)
        _label(axes, "% of samples" if axis == 0 else "", name)
        axes.grid(color="#e4e7ed", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(bottom=0)  # only now: it ends the automatic scaling, and the panels share the axis
    part.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=8)


def _label(axes: Any, vertical: str, horizontal: str) -> None:
    axes.set_ylabel(vertical, fontsize=9, color=_INK)
    axes.set_xlabel(horizontal, fontsize=9, color=_INK)
    axes.tick_params(labelsize=8, colors=_INK)
    axes.locator_params(integer=True)


def _label_slices(axes: Any, grid: TokenGrid) -> None:
    columns, shown = grid.shape[-1], _slices(grid)
    places = [(columns - 1) / 2 + number * (columns + 1) for number in range(len(shown))]
    axes.set_xticks(places, [str(each) for each in shown])
    axes.set_xlabel(f"{' x '.join(grid.axes[:-2])}; inside a slice {grid.axes[-1]}", fontsize=9, color=_INK)


def _slices(grid: TokenGrid) -> list[int]:
    """Which slices along the leading axes are shown, in row-major order: the first, the last and some between."""
    count = math.prod(grid.shape[:-2])
    return np.rint(np.linspace(0, count - 1, min(count, _MAX_SLICES))).astype(int).tolist()


def _aspect(grid: TokenGrid) -> Literal["auto", "equal"]:
    """Cells are squares, but for those of a grid of one axis, which would be too small to see."""
    return "auto" if grid.num_axes == 1 else "equal"


def _flat(values: np.ndarray, grid: TokenGrid, fill: float) -> np.ndarray:
    """(*grid, ...) as a plane: slices along the leading axes side by side, one cell of `fill` between them."""
    planes = values.reshape(-1, *(1, *grid.shape)[-2:], *values.shape[grid.num_axes :])[_slices(grid)]
    gaps = np.full_like(planes[:, :, :1], fill)
    return np.concatenate([*np.concatenate([planes, gaps], 2)], 1)[:, :-1]
