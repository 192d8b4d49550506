from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from study_toy import made_up_study
from toy import toy_registered

import jepa_core
from jepa_core.ablation.analysis import Analysis, ArmFacts, Difference, Row
from jepa_core.ablation.figures import Axis, direction, forest, heat_map, legend
from jepa_core.ablation.findings import held_equal, seeds_apart
from jepa_core.ablation.headline import headline
from jepa_core.ablation.results import StudyResults
from jepa_core.ablation.sentences import (
    base_finding,
    bounds,
    by_seed,
    controls,
    interval,
    judge,
    p_value,
    shown_range,
    tags,
)
from jepa_core.report.charts import NUM_COLOURS


def difference(value: float, half: float = 0.02, *, same: bool = False) -> Difference:
    return Difference(
        value, value - half / 2, value + half / 2, value - half, value + half, 0.2, 0.4, same_answers=same
    )


def row(arm: str, accuracies: tuple[float, ...], against: Difference | None = None) -> Row:
    return Row(
        base="waves",
        arm=arm,
        metric="direction/linear",
        accuracies=dict(enumerate(accuracies)),
        mean=sum(accuracies) / len(accuracies),
        std=0.01,
        difference=against,
        minus_random=difference(0.2),
        normalised_gain=0.5,
        random=0.5,
        raw=0.6,
    )


REFERENCE = row("half", (0.70, 0.72))
BETTER = row("rows", (0.80, 0.84), difference(0.11))
OPEN = row("most", (0.71, 0.72), difference(0.005))
FACTS = ArmFacts("waves", "rows", 2, "healthy", (), {0: "healthy", 1: "healthy"}, 0.5, 0.9, 60, 1e12, 10, 18, 18, 900)
COLLAPSED = replace(FACTS, verdict="collapsed", verdicts={0: "collapsed", 1: "collapsed"})


@pytest.mark.parametrize(
    ("value", "half", "said"),
    [(0.03, 0.02, "better"), (-0.03, 0.02, "worse"), (0.01, 0.02, "open"), (0.02, 0.02, "open"), (0.0, 0.0, "open")],
)
def test_the_adjusted_interval_alone_decides(value: float, half: float, said: str) -> None:
    assert direction(difference(value, half)) == said
    narrow = replace(difference(value, half), low=value, high=value, p=0.0, adjusted_p=0.0)
    assert direction(narrow) == said


def test_a_forest_plot_holds_every_interval_every_seed_and_zero() -> None:
    plot = forest([REFERENCE, BETTER, OPEN], "half")
    assert plot is not None
    assert [line.arm for line in plot.lines] == ["rows", "most"]
    assert plot.lines[0].seeds == pytest.approx((0.10, 0.12))
    places = [plot.axis.at(value) for line in plot.lines for value in (line.difference.adjusted_low, *line.seeds)]
    assert all(0 < place < 1 for place in [*places, plot.axis.at(0.0)])
    assert plot.axis.at(-0.015) == pytest.approx(0.05 / 1.1)  # five hundredths of air to each side
    assert 0.0 in plot.axis.ticks


def test_seeds_that_the_reference_lacks_are_not_compared() -> None:
    plot = forest([replace(REFERENCE, accuracies={1: 0.72, 7: 0.7}), BETTER], "half")
    assert plot is not None
    assert plot.lines[0].seeds == pytest.approx((0.12,))


def test_an_interval_without_bounds_does_not_stretch_the_axis() -> None:
    unbounded = Difference(0.01, -1.0, 1.0, -1.0, 1.0, 1.0, 1.0)
    plot = forest([REFERENCE, row("once", (0.71,), unbounded), OPEN], "half")
    assert plot is not None
    assert [line.bounded for line in plot.lines] == [False, True]
    assert plot.axis.high < 0.1
    assert interval(unbounded) == "+1.0 (no bounds)"


def test_arms_that_are_all_equal_have_an_axis_too() -> None:
    twin = row("twin", (0.70, 0.72), difference(0.0, 0.0, same=True))
    plot = forest([REFERENCE, twin], "half")
    assert plot is not None
    assert plot.axis.low < 0 < plot.axis.high
    assert judge(twin, "half", None).word == "same answers"


def test_nothing_compared_is_no_forest_plot() -> None:
    assert forest([REFERENCE], "half") is None
    assert forest([], "half") is None


@pytest.mark.parametrize(
    ("reach", "ticks"), [(0.01, [-1, -0.5, 0, 0.5, 1]), (0.1, [-10, -5, 0, 5, 10]), (0.5, [-40, -20, 0, 20, 40])]
)
def test_ticks_are_round_points(reach: float, ticks: list[float]) -> None:
    plot = forest([REFERENCE, row("rows", (0.7,), difference(0.0, reach))], "half")
    assert plot is not None
    assert [100 * tick for tick in plot.axis.ticks] == pytest.approx(ticks)


def test_places_on_an_axis_are_shares_of_its_length() -> None:
    axis = Axis(-1.0, 3.0, ())
    assert [axis.at(value) for value in (-1.0, 0.0, 3.0)] == [0.0, 0.25, 1.0]


@pytest.mark.parametrize(("gain", "share"), [(0.5, 0.5), (1.0, 1.0), (-0.25, 0.25), (-3.0, 1.0), (None, 0.0)])
def test_the_colour_of_a_gain_is_as_strong_as_it_is_large(gain: float | None, share: float) -> None:
    cell = heat_map([replace(BETTER, normalised_gain=gain)])["waves", "rows"]
    assert (cell.gain, cell.share, cell.direction) == (gain, share, "better")


def test_arms_beyond_the_palette_keep_apart_by_their_stroke() -> None:
    lines = legend([f"arm {number}" for number in range(3 * NUM_COLOURS)])
    assert len({(line.colour, line.stroke) for line in lines}) == 3 * NUM_COLOURS
    assert lines[NUM_COLOURS].colour == lines[0].colour


def luminance(colour: tuple[float, ...]) -> float:
    """Relative luminance of sRGB values in [0, 255] (WCAG 2.2)."""
    linear = [v / 12.92 if (v := part / 255) <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["gain", "loss"])
def test_numbers_in_the_heat_map_can_be_read_at_any_strength(theme: int, kind: str) -> None:
    core = Path(jepa_core.__file__).parent
    palette = re.findall(r":root \{(.*?)\}", (core / "report/style.css").read_text(), re.DOTALL)[theme]
    found = dict(re.findall(r"--([\w-]+): #([0-9a-f]{6})", palette))
    colours = {name: tuple(int(digits[i : i + 2], 16) for i in (0, 2, 4)) for name, digits in found.items()}
    rule = re.search(
        rf"td\.{kind} {{ background: color-mix\(in srgb, var\(--(\w+)\) calc\(var\(--share\) \* (\d+)%\), "
        r"var\(--(\w+)\)\)",
        (core / "ablation/study.css").read_text(),
    )
    assert rule
    for share in (0.0, 0.5, 1.0):
        part = share * int(rule[2]) / 100
        mixed = tuple(part * a + (1 - part) * b for a, b in zip(colours[rule[1]], colours[rule[3]], strict=True))
        bright, dim = sorted((luminance(mixed), luminance(colours["ink"])), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5


def test_a_base_says_how_small_a_difference_it_could_not_have_shown() -> None:
    finding = base_finding([REFERENCE, BETTER, OPEN], "half", 1234)
    text = finding.text.replace("\u00a0", " ")
    assert finding.headline == "1 better"
    assert "Of 2 other arms against half. Mean accuracies lie between 71.0 and 82.0 %" in text
    assert "never trained 50.0 %, raw input 60.0 % (1,234 test samples)" in text
    assert "A typical interval reaches 2.0 points to each side" in text


def test_a_base_on_which_no_network_helps_says_so() -> None:
    ahead = "The raw input is ahead of every arm."
    low = [replace(each, raw=0.9) for each in (REFERENCE, BETTER)]
    assert ahead in base_finding(low, "half", 10).text
    assert ahead not in base_finding([low[0], BETTER], "half", 10).text
    assert ahead not in base_finding([replace(each, raw=None) for each in low], "half", 10).text


def test_a_base_without_comparisons_claims_nothing() -> None:
    assert base_finding([], "half", 0).headline == "No result"
    assert base_finding([REFERENCE], "half", 10).headline == "Nothing compared"
    assert base_finding([REFERENCE, OPEN], "half", 10).headline == "None told apart"


def test_an_arm_above_the_untrained_encoder_with_all_its_seeds_needs_no_remark() -> None:
    assert tags(BETTER, FACTS, 2, ()) == []


def test_remarks_name_collapse_untrained_level_and_missing_seeds() -> None:
    poor = replace(BETTER, minus_random=difference(0.01))
    collapsed = replace(COLLAPSED, reasons=("low_std",))
    remarks = tags(poor, collapsed, 3, ())
    assert [remark.text for remark in remarks] == ["collapsed", "not told from never trained", "2 of 3 seeds"]
    assert "low_std: targets hardly differ from one another" in remarks[0].meaning
    assert remarks[0].tone == "bad"


def test_an_arm_below_the_untrained_encoder_is_called_so_and_one_seed_says_nothing() -> None:
    assert [remark.text for remark in tags(replace(BETTER, minus_random=difference(-0.1)), FACTS, 2, ())] == [
        "below never trained"
    ]
    unknown = Difference(-0.1, -1.0, 1.0, -1.0, 1.0, 1.0, 1.0)
    assert tags(replace(BETTER, minus_random=unknown), FACTS, 2, ()) == []


def test_arms_that_lack_seeds_do_not_blur_what_was_shared() -> None:
    short = replace(BETTER, accuracies={0: 0.8}, random=0.52, raw=0.63)
    assert controls([REFERENCE, short]) == {"never trained": "50.0\u00a0%", "raw input": "60.0\u00a0%"}
    assert controls([]) == {"never trained": "", "raw input": ""}


def test_an_arm_that_shares_no_seed_with_the_reference_is_not_judged() -> None:
    assert judge(row("lone", (0.7,)), "half", None).word == "not compared"
    assert judge(REFERENCE, "half", FACTS).word == "reference"


def test_ranges_and_intervals_are_written_in_points() -> None:
    assert shown_range([0.5, 0.5, None]) == "50.0\u00a0%"
    assert shown_range([0.5, 0.523]) == "50.0–52.3\u00a0%"
    assert shown_range([None]) == ""
    assert bounds(difference(0.01)) == "−1.0 to +3.0"
    assert bounds(difference(0.01), adjusted=False) == "+0.0 to +2.0"


@pytest.mark.parametrize(("p", "text"), [(0.00001, "<0.001"), (0.0123, "0.012"), (0.456, "0.46"), (1.0, "1.00")])
def test_p_values_have_two_digits(p: float, text: str) -> None:
    assert p_value(p) == text


def test_one_seed_is_not_said_to_agree_with_others() -> None:
    assert by_seed({0: "healthy"}) == "one seed"


def study_of(*rows: Row, bases: tuple[str, ...] = ("waves",), facts: tuple[ArmFacts, ...] = ()) -> Analysis:
    with toy_registered():
        study = made_up_study(("half", "rows", "most"), bases=bases, absent={}, overrides={})
    nothing = StudyResults(study, (), (), {})
    return Analysis(nothing, rows, facts, dict.fromkeys(bases, "direction/linear"), {}, ())


def test_the_headline_names_what_stands_out_and_where() -> None:
    worse = replace(row("most", (0.5, 0.5), difference(-0.2)), base="tides")
    analysis = study_of(REFERENCE, BETTER, OPEN, worse, bases=("waves", "tides"))
    assert headline(analysis) == (
        "Better than half: rows on waves. Worse than half: most on tides. Not told apart: the other one."
    )
    both = study_of(REFERENCE, BETTER, replace(BETTER, arm="most"))
    assert headline(both) == "Better than half: rows and most on waves."


def test_the_headline_claims_nothing_that_the_metrics_that_decide_do_not_show() -> None:
    elsewhere = replace(BETTER, metric="direction/knn")
    assert headline(study_of(REFERENCE, OPEN, elsewhere)) == "No arm can be told apart from half."
    assert headline(study_of(REFERENCE)) == "There is nothing yet to compare with half."
    assert headline(study_of(OPEN, bases=("waves", "tides"))) == "No arm can be told apart from half on any base."


def test_a_collapsed_arm_is_never_simply_better() -> None:
    found = judge(BETTER, "half", COLLAPSED)
    assert (found.word, found.mark, found.tone) == ("better by this probe, but collapsed", "△", "warn")
    assert judge(BETTER, "half", FACTS).word == "better"
    assert judge(replace(BETTER, difference=difference(-0.1)), "half", COLLAPSED).word == "worse"


def test_the_headline_says_which_arms_collapsed() -> None:
    one = study_of(REFERENCE, BETTER, OPEN, facts=(COLLAPSED, replace(COLLAPSED, arm="most")))
    assert headline(one) == (
        "Better by this probe, but collapsed: rows on waves. Not told apart: the other one. Collapsed: most on waves."
    )
    assert headline(study_of(REFERENCE, BETTER, facts=(replace(COLLAPSED, arm="half"),))) == (
        "Better than half: rows on waves. Collapsed: half on waves."
    )
    assert headline(study_of(REFERENCE, OPEN, facts=(replace(COLLAPSED, arm="most"),))) == (
        "No arm can be told apart from half. Collapsed: most on waves."
    )


def test_the_card_of_a_base_counts_collapsed_arms_apart() -> None:
    finding = base_finding([REFERENCE, BETTER, OPEN], "half", 10, [COLLAPSED])
    assert finding.headline == "1 better by this probe, but collapsed"
    assert "Collapsed: rows." in finding.text


def test_a_collapse_of_some_seeds_is_counted() -> None:
    once = replace(COLLAPSED, verdicts={0: "healthy", 1: "collapsed"})
    assert tags(BETTER, once, 2, ())[0].text == "collapsed: 1 of 2 seeds"


def test_a_difference_over_fewer_seeds_than_the_mean_says_so() -> None:
    assert [each.text for each in tags(BETTER, FACTS, 2, (1,))] == ["difference: seed 1"]
    longer = replace(REFERENCE, accuracies={0: 0.7, 1: 0.72, 2: 0.71})
    assert seeds_apart(BETTER, [longer, BETTER], "half") == [0, 1]
    assert seeds_apart(BETTER, [REFERENCE, BETTER], "half") == []
    assert seeds_apart(replace(BETTER, accuracies={1: 0.8, 2: 0.8}), [REFERENCE], "half") == [1]
    assert seeds_apart(REFERENCE, [REFERENCE, BETTER], "half") == []


def test_what_was_held_equal_is_read_from_what_the_cells_counted() -> None:
    first, second = (replace(FACTS, arm=arm) for arm in ("half", "rows"))
    assert held_equal([first, second]) == (
        "In all arms of a base: updates, samples seen, context tokens per sample, predicted tokens per sample, "
        "compute of a run and parameters of encoder and predictor."
    )
    assert "Not in all arms: updates and samples seen." in held_equal([first, replace(second, steps=20, samples=40)])
    elsewhere = replace(second, base="tides", steps=20)
    assert held_equal([first, second, elsewhere]) == held_equal([first, second])
    longer = replace(elsewhere, arm="half", steps=30)
    assert "Not on every base in all arms: updates." in held_equal([first, second, elsewhere, longer])
    assert held_equal([]) == "No cell has finished yet."


def test_counts_that_follow_the_batch_are_not_held_equal() -> None:
    equal = held_equal([replace(FACTS, arm="half"), replace(FACTS, varies=True)])
    assert "Not in all arms: context tokens per sample, predicted tokens per sample and compute of a run." in equal
