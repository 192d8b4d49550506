from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy import Toy, toy_config

from jepa_core.collapse import EXPLANATIONS, Verdict
from jepa_core.config.text import to_yaml
from jepa_core.probes.estimates import Estimate
from jepa_core.report.gather import ProbeResult, ProbeTable, RunFacts, config_differences, gather
from jepa_core.report.panels import COLLAPSE, TRAINING, draw
from jepa_core.report.words import (
    axes_line,
    collapse_finding,
    count,
    duration,
    facts_table,
    flops,
    gain_line,
    lead,
    probe_finding,
    training_finding,
    warning_rows,
)
from jepa_core.types import TokenBudget, TokenGrid


@pytest.fixture
def facts(tmp_path: Path, toy: Toy) -> RunFacts:
    return bare(tmp_path / "run", "train.steps=100", "collapse.grace=0.1")


def bare(folder: Path, *overrides: str) -> RunFacts:
    folder.mkdir()
    (folder / "config.yaml").write_text(to_yaml(toy_config(*overrides)))
    return gather(folder)


def table(probe: str, gain: tuple[float, float, float] | None, raw: float = 0.3, encoder: str = "target") -> ProbeTable:
    ours = ProbeResult(encoder, 0.5, 0.45, 0.55, Estimate(*gain) if gain else None)
    others = (ProbeResult("random", 0.4, 0.35, 0.45, None), ProbeResult("raw", raw, raw - 0.05, raw + 0.05, None))
    return ProbeTable("label", probe, 0.1, 200, encoder, (ours, *others))


def measured(step: int, *warnings: str, **values: float) -> dict[str, Any]:
    return {"step": step, "loss": 0.5, "collapse/warnings": list(warnings)} | {
        f"collapse/{k}": v for k, v in values.items()
    }


@pytest.mark.parametrize(
    ("gain", "tone", "says"),
    [
        ((0.1, 0.06, 0.14), "good", "lies between +6.0 and +14.0 points."),
        ((0.01, -0.02, 0.04), "warn", "which holds zero: none is shown."),
        ((-0.1, -0.14, -0.06), "bad", "pretraining made the features worse."),
    ],
)
def test_the_headline_is_judged_by_the_paired_interval(
    facts: RunFacts, gain: tuple[float, float, float], tone: str, says: str
) -> None:
    finding = probe_finding(replace(facts, probes=[table("linear", gain)]))
    assert finding.tone == tone
    assert finding.text.endswith(says)
    assert "in 40.0\u00a0% (35.0–45.0) with those of the same network never trained" in finding.text


def test_the_paired_difference_stands_under_the_table() -> None:
    line = gain_line(table("knn", (-0.004, -0.02, 0.012)))
    assert line == "target encoder minus never trained: −0.4 points (−2.0 to +1.2)"
    assert gain_line(table("knn", None)) == ""


def test_raw_input_that_is_better_is_said_so(facts: RunFacts) -> None:
    better = probe_finding(replace(facts, probes=[table("linear", (0.1, 0.06, 0.14), raw=0.7)]))
    assert "The raw input is 20.0 points ahead." in better.text
    worse = probe_finding(replace(facts, probes=[table("linear", (0.1, 0.06, 0.14), raw=0.3)]))
    assert "ahead" not in worse.text


def test_the_linear_probe_speaks_first_and_the_chosen_encoder_is_named(facts: RunFacts) -> None:
    tables = [table("knn", (0.2, 0.1, 0.3)), table("linear", (0.1, 0.06, 0.14), encoder="context")]
    finding = probe_finding(replace(facts, probes=tables))
    assert finding.headline == "+10.0 points by pretraining"
    assert "with the context encoder's features" in finding.text


@pytest.mark.parametrize(
    ("rows", "headline", "tone", "says"),
    [
        ([], "Not judged yet", "plain", "first 10%"),
        ([measured(5, "low_rank")], "Not judged yet", "plain", "first 10%"),
        ([measured(50), measured(60)], "Healthy", "good", "2 measurements"),
        ([measured(50), measured(60, "positional")], "Suspicious", "warn", EXPLANATIONS["positional"]),
        ([measured(50), measured(60, "low_std")], "Collapsed", "bad", "At step 60: low_std"),
    ],
)
def test_the_verdict_comes_with_its_reason(
    facts: RunFacts, rows: list[dict[str, Any]], headline: str, tone: str, says: str
) -> None:
    (facts.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    finding = collapse_finding(gather(facts.path))
    assert (finding.headline, finding.tone) == (headline, tone)
    assert says in finding.text


def test_a_warning_of_another_version_needs_no_explanation(facts: RunFacts) -> None:
    assert "new_one" in collapse_finding(replace(facts, verdict=Verdict("suspicious", ("new_one",)))).text


def test_warnings_are_counted_after_the_grace_period(facts: RunFacts) -> None:
    rows = [measured(5, "low_rank"), measured(20, "low_rank"), measured(40, "low_rank", "positional")]
    found = warning_rows(replace(facts, rows=rows))
    assert [(name, *numbers) for name, _, *numbers in found] == [("low_rank", 2, 20, 40), ("positional", 1, 40, 40)]


def test_an_unfinished_run_says_how_far_it_is(facts: RunFacts) -> None:
    finding = training_finding(replace(facts, rows=[measured(60)]))
    assert finding.headline == "60 of 100 steps"
    assert finding.tone == "warn"
    assert "60 of 100 steps" in lead(replace(facts, rows=[measured(60)]))


@pytest.mark.parametrize(
    ("axes", "upward", "line"),
    [
        (("height", "width"), (), ""),
        (("time",), ("time",), "Time runs to the right."),
        (("pitch", "time"), ("pitch", "time"), "Time runs to the right, pitch upwards."),
        (("pitch", "time"), (), "Time runs to the right, pitch downwards."),
        (("time", "height", "width"), ("time",), "Time runs from one part of a strip to the next."),
        (("a", "b", "c", "d"), (), "A and b run from one part of a strip to the next, d to the right, c downwards."),
    ],
)
def test_pictures_say_where_their_axes_run(axes: tuple[str, ...], upward: tuple[str, ...], line: str) -> None:
    assert axes_line(TokenGrid((2,) * len(axes), axes), upward) == line


def test_every_mask_view_is_in_the_lead(facts: RunFacts) -> None:
    views = (TokenBudget(12, 1, 20), TokenBudget(18, 2, 6))
    said = lead(replace(facts, budgets=views))
    assert "it saw 12 of 36 tokens and predicted 20, and in another view it saw 18 of 36" in said


def test_tokens_that_are_all_predicted_are_called_the_others(tmp_path: Path, toy: Toy) -> None:
    whole = bare(tmp_path / "whole", "masking.ratio=0.5", "masking.num_targets=1")
    assert "it saw 18 of 36 tokens and predicted the other 18 (random masks)" in lead(whole)


def test_imported_weights_name_their_file(facts: RunFacts) -> None:
    imported = {"format": "meta-ijepa", "file": "weights.pth", "missing": []}
    state = {"step": 0, "seconds": 0.0, "config_hash": "0" * 64, "versions": {"torch": "2"}, "imported": imported}
    rows = dict(facts_table(replace(facts, state=state)))
    assert rows["imported"] == "weights.pth (meta-ijepa)"
    assert "device" not in rows


@pytest.mark.parametrize(
    ("number", "text"), [(25_792, "25,792"), (2_714_112, "2.71 million"), (1_011_000_000, "1.01 billion")]
)
def test_large_numbers_are_rounded(number: int, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(("seconds", "text"), [(12.4, "12 s"), (600, "10 min"), (10_000, "2.8 h")])
def test_durations_have_a_fitting_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(2e18, "2 EFLOP"), (2.345e15, "2.35 PFLOP"), (8.1e11, "810 GFLOP"), (12.0, "12 FLOP")]
)
def test_operations_have_a_fitting_unit(number: float, text: str) -> None:
    assert flops(number).replace("\u00a0", " ") == text


def test_only_differing_values_of_configurations_are_listed(facts: RunFacts, tmp_path: Path) -> None:
    other = bare(tmp_path / "other", "train.steps=100", "collapse.grace=0.1", "preset=rows", "seed=3")
    differences = dict(config_differences([facts.config, other.config]))
    assert differences["seed"] == [0, 3]
    assert differences["masking.rows"] == ["", 3]
    assert "train.steps" not in differences


def test_thresholds_are_drawn_where_the_configuration_has_them(facts: RunFacts) -> None:
    run = replace(facts, rows=[measured(50, target_std=0.05, sample_cosine=0.2), measured(60, target_std=0.04)])
    panels = {each.panel.key: each for each in draw(COLLAPSE, [run])}
    assert panels["collapse/target_std"].crossed
    assert "var(--bad)" in panels["collapse/target_std"].svg
    assert not panels["collapse/sample_cosine"].crossed
    assert panels["collapse/own_gain"].svg == ""


def test_a_missing_measurement_leaves_a_gap_and_not_an_error(facts: RunFacts) -> None:
    rows = [measured(50, target_std=0.5), measured(60) | {"collapse/target_std": None}]
    assert replace(facts, rows=rows).series("collapse/target_std") == ([50.0], [0.5])


def test_every_collapse_metric_and_every_logged_value_has_a_panel() -> None:
    from jepa_core.collapse import METRICS

    assert [panel.key for panel in COLLAPSE] == [f"collapse/{name}" for name in METRICS]
    assert {panel.limit.warning for panel in COLLAPSE if panel.limit} == set(EXPLANATIONS)
    assert len({panel.key for panel in (*TRAINING, *COLLAPSE)}) == 16
