from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from jepa_core.report.charts import NUM_COLOURS, Curve, Threshold, condense, line_chart

STEPS = [10.0, 20.0, 30.0, 40.0]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("text")]


def test_a_chart_is_one_element_that_refers_to_nothing_outside() -> None:
    svg = line_chart("loss by step", [Curve(STEPS, [4.0, 3.0, 2.0, 1.0])])
    root = ET.fromstring(svg)
    assert root.tag == "svg"
    assert root.attrib["aria-label"] == "loss by step"
    assert "http" not in svg
    assert not re.search(r"<(style|metadata|script)", svg)


def test_colours_are_variables_of_the_page() -> None:
    curves = [Curve(STEPS, [1.0, 2.0, 3.0, value], value) for value in range(NUM_COLOURS + 1)]
    svg = line_chart("many", curves, [Threshold(2.0, "above")])
    assert not re.search(r"#[0-9a-f]{6}\b", svg)
    assert all(f"var(--series-{number})" in svg for number in range(NUM_COLOURS))
    assert "var(--bad)" in svg


def test_curves_that_share_a_colour_differ_in_stroke() -> None:
    colours = (1, 1 + NUM_COLOURS, 1 + 2 * NUM_COLOURS)
    charts = [line_chart("one", [Curve(STEPS, [1.0, 2.0, 3.0, 4.0], colour)]) for colour in colours]
    drawn = [
        element for svg in charts for element in ET.fromstring(svg).iter("path") if "--series" in str(element.attrib)
    ]
    dashes = [re.findall(r"stroke-dasharray: ([^;]+)", element.attrib["style"]) for element in drawn]
    assert dashes[0] == []
    assert dashes[1]
    assert dashes[2]
    assert dashes[1] != dashes[2]


def test_ids_of_two_charts_do_not_clash_and_every_reference_is_met() -> None:
    first, second = (line_chart(title, [Curve(STEPS, [1.0, 2.0, 1.0, 3.0])]) for title in ("one", "two"))
    ids = [set(re.findall(r'id="([^"]+)"', svg)) for svg in (first, second)]
    assert not ids[0] & ids[1]
    for svg, own in zip((first, second), ids, strict=True):
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg)) == own


def test_the_same_chart_is_drawn_by_the_same_bytes() -> None:
    assert line_chart("same", [Curve(STEPS, STEPS)]) == line_chart("same", [Curve(STEPS, STEPS)])


def test_a_threshold_is_in_sight_from_where_it_counts_with_a_tint() -> None:
    curve = Curve(STEPS, [0.5, 0.5, 0.52, 0.5])
    without, below = line_chart("x", [curve]), line_chart("x", [curve], [Threshold(0.05, "below", since=20)])
    assert "var(--bad)" not in without
    bad = [element for element in ET.fromstring(below).iter() if "--bad" in element.attrib.get("style", "")]
    line = next(element for element in bad if "stroke-dasharray" in element.attrib["style"])
    places = [tuple(map(float, point)) for point in re.findall(r"[ML] ([\d.]+) ([\d.]+)", line.attrib["d"])]
    assert len({height for _, height in places}) == 1
    assert 100 < places[0][1] < 152  # near the bottom of a chart that is 152 high
    assert 0.4 < places[0][0] / places[1][0] < 0.6  # from step 20 to step 40
    assert any("fill: var(--bad)" in element.attrib["style"] for element in bad)


def test_values_to_include_are_in_sight() -> None:
    labels = texts(line_chart("x", [Curve(STEPS, [0.5, 0.5, 0.52, 0.5])], include=(0.0, 1.0)))
    assert "0" in labels


@pytest.mark.parametrize(
    ("values", "label"),
    [([1e-5, 2e-5, 3e-5, 4e-5], "4e-5"), ([1e3, 2e3, 3e3, 4e3], "4k"), ([1e6, 2e6, 3e6, 4e6], "4M")],
)
def test_labels_are_short(values: list[float], label: str) -> None:
    assert label in texts(line_chart("x", [Curve(STEPS, values)]))


def test_one_point_is_visible() -> None:
    assert "<use" in line_chart("x", [Curve([5.0], [1.0])])


def test_a_constant_is_drawn() -> None:
    assert "var(--series-0)" in line_chart("x", [Curve([0.0], [0.0])])


def test_many_points_become_means_with_their_extremes() -> None:
    steps, values = np.arange(1000.0), np.tile([0.0, 1.0], 500)
    mean_step, mean, low, high = condense(steps, values, most=100)
    assert len(mean) == 100
    assert np.allclose(mean, 0.5)
    assert (low == 0).all()
    assert (high == 1).all()
    assert mean_step[0] == 4.5


def test_few_points_stay_as_they_are() -> None:
    steps, mean, low, high = condense(np.array(STEPS), np.array([3.0, 1.0, 2.0, 5.0]))
    assert steps.tolist() == STEPS
    assert mean.tolist() == low.tolist() == high.tolist() == [3.0, 1.0, 2.0, 5.0]


def test_a_long_run_makes_a_small_chart() -> None:
    steps = np.arange(50_000.0)
    svg = line_chart("long", [Curve(steps.tolist(), np.sin(steps / 900).tolist())])
    assert len(svg) < 25_000


@pytest.mark.parametrize(
    ("bad", "value", "step", "crossed"),
    [("above", 0.9, 50, True), ("above", 0.9, 5, False), ("above", 0.1, 50, False), ("below", 0.1, 50, True)],
)
def test_a_threshold_counts_on_its_wrong_side_after_the_grace_period(
    bad: str, value: float, step: int, crossed: bool
) -> None:
    assert Threshold(0.5, bad, since=10).is_crossed(step, value) == crossed  # pyright: ignore[reportArgumentType]
