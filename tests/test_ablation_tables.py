from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from answered import renamed, results_of, study_of

from jepa_core.ablation.analysis import Analysis, analyse
from jepa_core.ablation.latex import latex_table
from jepa_core.ablation.tables import markdown, write_tables
from jepa_core.collapse import Verdict
from jepa_core.errors import UsageError

pytestmark = pytest.mark.usefixtures("toy")

LEVELS = {"plain": 0.6, "good": 0.9, "same": 0.6, "random": 0.5}
METRICS = ("side/linear", "direction/knn")


@pytest.fixture
def analysis() -> Analysis:
    return analyse(results_of(study_of(("plain", "good", "same"), bases=("waves", "tides")), LEVELS, metrics=METRICS))


def lines(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_results_have_a_line_per_cell_and_metric_that_reads_back_exactly(analysis: Analysis, tmp_path: Path) -> None:
    write_tables(analysis, tmp_path)
    found = lines(tmp_path / "results.csv")
    assert len(found) == 2 * 3 * 3 * 2
    measured = {
        (each.base, each.arm, str(each.seed), each.heading, each.probe): each
        for each in analysis.results.measurements
        if each.representation == "target"
    }
    random = {
        (each.base, str(each.seed), each.heading, each.probe): each.accuracy
        for each in analysis.results.measurements
        if each.representation == "random"
    }
    for line in found:
        own = measured[line["base"], line["arm"], line["seed"], line["heading"], line["probe"]]
        assert float(line["accuracy"]) == own.accuracy
        assert (int(line["correct"]), int(line["items"])) == (int(own.correct.sum()), len(own.correct))
        assert float(line["random"]) == random[line["base"], line["seed"], line["heading"], line["probe"]]
        assert line["config_hash"] == f"hash of {line['base']}/{line['arm']}/seed_{line['seed']}"
        assert line["primary"] == str(line["heading"] == "side")


def test_parquet_holds_what_csv_holds(analysis: Analysis, tmp_path: Path) -> None:
    write_tables(analysis, tmp_path)
    table = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert [{name: str(value) for name, value in line.items()} for line in table] == lines(tmp_path / "results.csv")


def test_comparisons_are_the_analysis_unrounded(analysis: Analysis, tmp_path: Path) -> None:
    write_tables(analysis, tmp_path)
    found = {
        (each["base"], each["metric"], each["arm"], each["minus"]): each for each in lines(tmp_path / "comparisons.csv")
    }
    assert len(found) == 2 * 2 * (2 + 3)
    for row in analysis.rows:
        for other, difference in (("plain", row.difference), ("never trained", row.minus_random)):
            if difference is not None:
                line = found[row.base, row.metric, row.arm, other]
                assert float(line["adjusted_low"]) == difference.adjusted_low
                assert float(line["adjusted_p"]) == difference.adjusted_p
                assert line["stands"] == str(difference.stands)


def test_cells_are_listed_with_their_cost_and_those_without_a_result_with_the_reason(
    analysis: Analysis, tmp_path: Path
) -> None:
    results = analysis.results
    gone = results.study.cells[0]
    results = replace(
        results,
        facts=results.facts[1:],
        measurements=tuple(each for each in results.measurements if each.arm != "plain" or each.seed != gone.seed),
        unfinished={gone.name: "NonFiniteLoss at step 3"},
    )
    write_tables(analyse(results), tmp_path)
    first, second, *_ = lines(tmp_path / "cells.csv")
    assert (first["unfinished"], first["seconds"], first["verdict"]) == ("NonFiniteLoss at step 3", "", "")
    assert (second["unfinished"], second["seconds"], second["verdict"]) == ("", "10.0", "healthy")
    assert [second[name] for name in ("target_rank", "target_std", "sample_cosine")] == ["0.5", "0.9", "0.2"]
    assert f"- {gone.name}: NonFiniteLoss at step 3" in (tmp_path / "table.md").read_text()


def test_only_cells_depend_on_the_clock(analysis: Analysis, tmp_path: Path) -> None:
    slower = replace(
        analysis.results, facts=tuple(replace(fact, seconds=fact.seconds + 7.3) for fact in analysis.results.facts)
    )
    folders = [tmp_path / "fast", tmp_path / "slow"]
    for folder, results in zip(folders, (analysis.results, slower), strict=True):
        folder.mkdir()
        written = write_tables(analyse(results), folder)
        assert sorted(written) == sorted(folder.iterdir())
    differ = [path.name for path in folders[0].iterdir() if path.read_bytes() != (folders[1] / path.name).read_bytes()]
    assert differ == ["cells.csv"]


def test_swapped_names_swap_lines_of_the_tables(analysis: Analysis) -> None:
    swap = {"good": "same", "same": "good"}
    text = markdown(analyse(renamed(analysis.results, swap)))
    back = text.replace("good", "\0").replace("same", "good").replace("\0", "same")
    assert back == markdown(analysis)


def test_the_page_begins_with_the_findings_and_shows_the_primary_metric_first(analysis: Analysis) -> None:
    text = markdown(analysis)
    assert text.split("\n\n")[1].splitlines() == [f"- {sentence}" for sentence in analysis.findings]
    assert re.findall("^## (.*)$", text, re.MULTILINE) == [
        f"{base}, {metric}" for base in ("waves", "tides") for metric in METRICS
    ]
    good = next(row for row in analysis.rows if row.arm == "good")
    assert good.std is not None
    assert f"| good | 3 | {100 * good.mean:.1f} ± {100 * good.std:.1f} | +" in text
    assert "| better |" in text


def test_a_bar_in_a_name_does_not_end_a_cell() -> None:
    text = markdown(analyse(results_of(study_of(("plain", "a|b")), LEVELS | {"a|b": 0.6}, metrics=("si|de/linear",))))
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_a_paper_gets_arms_by_bases_with_every_row_complete(analysis: Analysis) -> None:
    text = latex_table(analysis)
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert [line.split(" & ")[0] for line in rows] == ["arm", "plain", "good", "same", "never trained", "raw input"]
    assert {line.count("&") for line in rows} == {4}
    assert text.count("{") == text.count("}")
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}", "{lrlrl}"):
        assert rule in text
    assert "all 4 comparisons" in text


def test_bold_is_what_stands(analysis: Analysis) -> None:
    rows = {line.split(" & ")[0]: line for line in latex_table(analysis).splitlines() if line.endswith(r"\\")}
    assert rows["good"].count(r"\mathbf{+") == 2
    assert r"\mathbf" not in rows["same"]
    assert rows["plain"].count("reference") == 2


def test_names_and_titles_are_escaped_in_latex() -> None:
    study = study_of(("plain", "ratio_50%&more"))
    study = replace(study, config=study.config.model_copy(update={"title": "Is {a} ~ b^2 #1 $?"}))
    text = latex_table(analyse(results_of(study, LEVELS | {"ratio_50%&more": 0.6})))
    assert r"ratio\_50\%\&more & " in text
    assert r"Is \{a\} \textasciitilde{} b\textasciicircum{}2 \#1 \$?" in text


def test_one_seed_has_no_interval_in_any_table() -> None:
    found = analyse(results_of(study_of(("plain", "good"), seeds=(0,)), LEVELS))
    row = next(line for line in markdown(found).splitlines() if line.startswith("| good"))
    assert " to " not in row
    assert "[" not in latex_table(found).split(r"\midrule")[1]


def test_an_arm_that_a_base_has_not_is_left_open_in_latex_and_explained_on_the_page(analysis: Analysis) -> None:
    results = analysis.results
    study = replace(
        results.study,
        cells=tuple(cell for cell in results.study.cells if (cell.base, cell.arm) != ("tides", "good")),
        absent={("tides", "good"): "its grid has one axis"},
    )
    measurements = tuple(each for each in results.measurements if (each.base, each.arm) != ("tides", "good"))
    facts = tuple(each for each in results.facts if (each.base, each.arm) != ("tides", "good"))
    found = analyse(replace(results, study=study, measurements=measurements, facts=facts))
    row = next(line for line in latex_table(found).splitlines() if line.startswith("good &"))
    assert row.endswith(r"& --\textsuperscript{1} &  \\")
    assert r"\textsuperscript{1}~good on tides: its grid has one axis." in latex_table(found)
    assert "- tides/good: its grid has one axis" in markdown(found)


def test_numbers_without_a_value_are_empty_and_null(tmp_path: Path) -> None:
    levels = {name: level for name, level in LEVELS.items() if name != "random"}
    write_tables(analyse(results_of(study_of(("plain", "good")), levels)), tmp_path)
    assert {line["random"] for line in lines(tmp_path / "results.csv")} == {""}
    assert pq.read_table(tmp_path / "results.parquet")["random"].null_count == 6


def test_a_study_without_results_writes_tables_too(analysis: Analysis, tmp_path: Path) -> None:
    empty = replace(analysis.results, measurements=(), facts=(), unfinished={"waves/plain/seed_0": "waiting"})
    write_tables(analyse(empty), tmp_path)
    assert pq.read_table(tmp_path / "results.parquet").num_rows == 0
    assert "no result yet" in (tmp_path / "table.md").read_text()


def test_a_folder_that_cannot_be_written_is_an_error_that_names_the_file(analysis: Analysis, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone.results\.csv: could not be written"):
        write_tables(analysis, tmp_path / "gone")


def test_written_twice_the_files_are_the_same_bytes(analysis: Analysis, tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in write_tables(analysis, tmp_path)}
    again = {path.name: path.read_bytes() for path in write_tables(analyse(analysis.results), tmp_path)}
    assert first == again


def collapsed(analysis: Analysis, arm: str) -> Analysis:
    """The same study, but that an arm collapsed with one seed."""
    facts = tuple(
        replace(fact, verdict=Verdict("collapsed", ("low_std",))) if (fact.arm, fact.seed) == (arm, 1) else fact
        for fact in analysis.results.facts
    )
    return analyse(replace(analysis.results, facts=facts))


def line_of(text: str, arm: str) -> str:
    return next(line for line in text.splitlines() if line.startswith((f"{arm} &", f"| {arm} |")))


def test_a_collapsed_arm_is_neither_bold_nor_called_better(analysis: Analysis) -> None:
    found = collapsed(analysis, "good")
    assert "| better by this probe, but collapsed |" in line_of(markdown(found), "good")
    assert "mathbf" not in line_of(latex_table(found), "good")
    assert r"\textsuperscript{1} & $+" in line_of(latex_table(found), "good")
    assert r"\textsuperscript{1}~Collapsed with at least one seed; not bold where better." in latex_table(found)
    gone = "waves/good/seed_0"
    measurements = tuple(each for each in found.results.measurements if (each.arm, each.seed) != ("good", 0))
    both = latex_table(analyse(replace(found.results, measurements=measurements, unfinished={gone: "failed"})))
    assert r"\textsuperscript{1,2} & $+" in line_of(both, "good")


def test_tables_hold_what_was_measured_without_pretraining(analysis: Analysis) -> None:
    row = analysis.rows[0]
    assert row.random is not None
    assert f"never trained & {100 * row.random:.1f} &  & " in latex_table(analysis)
    assert re.search(r"raw input & [\d.]+ &  & [\d.]+ &  ", latex_table(analysis))
    assert row.raw is not None
    assert f"| {100 * row.random:.1f} | {100 * row.raw:.1f} |" in line_of(markdown(analysis), "plain")


def test_without_baselines_a_paper_gets_no_lines_for_them() -> None:
    levels = {name: level for name, level in LEVELS.items() if name != "random"}
    text = latex_table(analyse(results_of(study_of(("plain", "good")), levels)))
    assert "never trained" not in text
    assert text.count(r"\midrule") == 1


def test_seeds_that_are_missing_are_noted_beside_the_mean_and_the_difference(analysis: Analysis) -> None:
    gone = {"waves/plain/seed_1", "waves/plain/seed_2", "waves/same/seed_0"}

    def kept(base: str, arm: str, seed: int) -> bool:
        return f"{base}/{arm}/seed_{seed}" not in gone

    results = replace(
        analysis.results,
        measurements=tuple(each for each in analysis.results.measurements if kept(each.base, each.arm, each.seed)),
        facts=tuple(each for each in analysis.results.facts if kept(each.base, each.arm, each.seed)),
        unfinished=dict.fromkeys(gone, "failed"),
    )
    found = analyse(results)
    text = latex_table(found)
    assert re.match(r"plain & [\d.]+\\textsuperscript\{1\} & reference", line_of(text, "plain"))
    assert re.match(r"good & [\d.]+ \$\\pm\$ [\d.]+ & \$[+\d.]+\$\\textsuperscript\{2\}", line_of(text, "good"))
    assert r"\textsuperscript{1}~Mean over seed 0.\quad \textsuperscript{2}~Difference over seed 0." in text
    assert "Mean over seeds 1 and 2." in text
    assert "| 1 of 3: 0 |" in line_of(markdown(found), "plain")
    assert "(no bounds), seed 0 |" in line_of(markdown(found), "good")


@pytest.mark.parametrize(
    ("title", "begins"),
    [("What helps?", "What helps? Accuracy"), ("What helps", "What helps. Accuracy"), ("", "made-up. Accuracy")],
)
def test_a_title_ends_before_the_caption_goes_on(title: str, begins: str) -> None:
    study = study_of(("plain", "good"))
    study = replace(study, config=study.config.model_copy(update={"title": title}))
    assert rf"\caption{{{begins} of frozen probes" in latex_table(analyse(results_of(study, LEVELS)))


def test_the_caption_of_one_seed_claims_neither_deviation_nor_interval() -> None:
    text = latex_table(analyse(results_of(study_of(("plain", "good"), seeds=(0,)), LEVELS)))
    caption = next(line for line in text.splitlines() if line.startswith(r"\caption"))
    assert "of frozen probes, one seed; difference from plain in points, without intervals" in caption
    assert "deviation" not in caption
    assert "Bold" not in caption
