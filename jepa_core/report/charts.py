"""Line charts as inline SVG whose colours are the page's CSS variables, so that they follow light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_POINTS_PER_INCH = 72
_SIZE = (248.0, 152.0)  # user units; a panel is shown 240 to 340 wide, so that text stays near its nominal size
_MARGINS = {"left": 0.155, "right": 0.955, "bottom": 0.14, "top": 0.95}  # fixed, so that panels align
_MAX_POINTS = 160  # per curve: more are averaged, and the band shows what the average hides
_SHORTER = (
    (r">\s+<", "><"),
    (r"font-family: [^;\"]*;? ?", ""),  # the page's own
    (r" transform=\"rotate\(-?0 [^\"]*\"", ""),
)
_COORDINATES = {"d", "x", "y", "width", "height"}  # two decimals of a user unit are enough

NUM_COLOURS = 6
"""Length of the page's palette; the run at position i has the colour `--series-<i % NUM_COLOURS>`."""

STROKES = ("solid", "dashed", "dotted")
"""How lines are drawn, as CSS calls it: all colours solid, then all dashed, then all dotted."""

# Matplotlib knows colours and not CSS variables: these stand in while it draws and are replaced in its output.
_INK, _GRID, _BAD = "#010203", "#010204", "#010205"
_SERIES = tuple(f"#0102{number:02x}" for number in range(0x10, 0x10 + NUM_COLOURS))
_VARIABLES = {_INK: "var(--ink-soft)", _GRID: "var(--line)", _BAD: "var(--bad)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES)
}


@dataclass(frozen=True)
class Curve:
    """One line of a chart."""

    steps: Sequence[float]
    """Where on the horizontal axis, ascending."""
    values: Sequence[float]
    """As many values."""
    colour: int = 0
    """Position in the palette; any integer at least 0. From NUM_COLOURS on, colours return with another stroke."""


@dataclass(frozen=True)
class Threshold:
    """A level that should not be crossed."""

    value: float
    """The level."""
    bad: Literal["above", "below"]
    """On which side of it something is wrong."""
    since: float = 0.0
    """Step from which on it counts."""

    def is_crossed(self, step: float, value: float) -> bool:
        """Whether a value at a step lies on the wrong side."""
        return step >= self.since and (value > self.value if self.bad == "above" else value < self.value)


def line_chart(
    title: str, curves: Sequence[Curve], thresholds: Sequence[Threshold] = (), include: Sequence[float] = ()
) -> str:
    """An `<svg>` element of about 5 kB without ids that clash, references to elsewhere, or fixed colours.

    Args:
        title: what a screen reader says.
        curves: at least one, none empty.
        thresholds: drawn dashed, with the bad side tinted.
        include: values that the vertical axis must show, for example 0.
    """
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 10.0}):
        figure = Figure(figsize=(_SIZE[0] / _POINTS_PER_INCH, _SIZE[1] / _POINTS_PER_INCH))
        figure.subplots_adjust(**_MARGINS)
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        for curve in curves:
            _draw(axes, curve)
        _scale(axes, curves, thresholds, include)
        for threshold in thresholds:
            _draw_threshold(axes, threshold)
        _style(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(buffer.getvalue(), title)


def condense(
    steps: Float[np.ndarray, "points"], values: Float[np.ndarray, "points"], most: int = _MAX_POINTS
) -> Float[np.ndarray, "4 bins"]:
    """Mean step, and mean, least and greatest value of at most `most` consecutive groups of points."""
    size = -(-len(steps) // most)
    groups = [slice(start, start + size) for start in range(0, len(steps), size)]
    return np.array([(steps[g].mean(), values[g].mean(), values[g].min(), values[g].max()) for g in groups]).T


def _draw(axes: Axes, curve: Curve) -> None:
    colour = _SERIES[curve.colour % NUM_COLOURS]
    steps, mean, low, high = condense(np.asarray(curve.steps, float), np.asarray(curve.values, float))
    if len(curve.steps) > _MAX_POINTS:
        axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    marker = "o" if len(steps) == 1 else None  # a line through one point is invisible
    stroke = STROKES[curve.colour // NUM_COLOURS % len(STROKES)]
    line = axes.plot(steps, mean, color=colour, linewidth=1.6, linestyle=stroke, marker=marker, markersize=4)[0]
    line.set_solid_capstyle("round")


def _scale(axes: Axes, curves: Sequence[Curve], thresholds: Sequence[Threshold], include: Sequence[float]) -> None:
    axes.set_xlim(0, max(max(curve.steps) for curve in curves) or 1)
    low, high = axes.get_ylim()
    wanted = [*include, *(threshold.value for threshold in thresholds)]
    span = max([high, *wanted]) - min([low, *wanted])
    margin = 0.04 * span
    axes.set_ylim(min([low, *(v - margin for v in wanted)]), max([high, *(v + margin for v in wanted)]))


def _draw_threshold(axes: Axes, threshold: Threshold) -> None:
    low, high = axes.get_ylim()
    _, last = axes.get_xlim()
    edge = high if threshold.bad == "above" else low
    axes.fill_between([threshold.since, last], threshold.value, edge, color=_BAD, alpha=0.12, linewidth=0)
    axes.plot([threshold.since, last], [threshold.value] * 2, color=_BAD, linewidth=1.1, linestyle=(0, (4, 3)))
    axes.set_ylim(low, high)


def _style(axes: Axes) -> None:
    axes.patch.set_visible(False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)
    axes.grid(axis="y", color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, length=0, pad=4)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.yaxis.set_major_formatter(FuncFormatter(_short))


def _short(value: float, _position: int | None = None) -> str:
    """A tick label of few characters: 1200 -> 1.2k, 1e-05 -> 1e-5."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if abs(value) >= 1000:
        return f"{value / 1000:g}k"
    text = f"{value:.4g}"
    return re.sub(r"e([+-])0*", lambda match: "e" + match[1].replace("+", ""), text)


def _inline(svg: str, title: str) -> str:
    """What of Matplotlib's file belongs into a page: no prologue, no style sheet, no unused ids, CSS colours."""
    root = ET.fromstring(svg)
    used = set(re.findall(r"#([\w-]+)", " ".join(_references(root))))
    for element in root.iter():
        if element.attrib.get("id") not in used:
            element.attrib.pop("id", None)
        for child in [child for child in element if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata")]:
            element.remove(child)
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        for key in _COORDINATES & element.attrib.keys():
            element.attrib[key] = re.sub(r"(\.\d\d)\d+", r"\1", element.attrib[key])
        if f"{{{_XLINK}}}href" in element.attrib:
            element.attrib["href"] = element.attrib.pop(f"{{{_XLINK}}}href")
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": title, "class": "chart"}
    text = ET.tostring(root, encoding="unicode")
    for pattern, by in _SHORTER:
        text = re.sub(pattern, by, text)
    return re.sub(r"#0102[0-9a-f]{2}", lambda match: _VARIABLES[match[0]], text)


def _references(root: ET.Element) -> list[str]:
    """The attributes through which one element of an SVG file names another."""
    return [
        value for element in root.iter() for key, value in element.attrib.items() if "href" in key or "clip-path" in key
    ]
