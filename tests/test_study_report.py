from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
from report_page import Reader, section, visible
from study_toy import ARMS, LEVELS, OVERRIDES, made_up_results, made_up_study
from toy import toy_registered

from jepa_core.ablation.analysis import Analysis, analyse
from jepa_core.ablation.folder import StudyFolder
from jepa_core.ablation.report import SECTIONS, write_study_report
from jepa_core.ablation.results import read_results
from jepa_core.ablation.tables import write_tables
from jepa_core.collapse import Verdict
from jepa_core.config.compare import Change
from jepa_core.config.text import config_hash
from jepa_core.errors import UsageError

EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module", autouse=True)
def registered() -> Generator[None]:
    with toy_registered():
        yield


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyse(made_up_results(made_up_study()))


@pytest.fixture(scope="module")
def page(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_study_report(analysis, tmp_path_factory.mktemp("study") / "report.html").read_text()


def page_of(analysis: Analysis, folder: Path, command: str = "") -> str:
    return write_study_report(analysis, folder / "report.html", command).read_text()


def line_of(page: str, name: str, arm: str, number: int = 0) -> str:
    """The lines of an arm in the tables of a section; `number` chooses one of them."""
    rows: list[str] = re.findall(r"<tr.*?</tr>", section(page, name), re.DOTALL)
    return [row for row in rows if f'<th scope="row">{arm}</th>' in row][number]


def top(page: str) -> str:
    """What a reader sees first: all above the navigation."""
    return visible(page).split("Results", maxsplit=1)[0]


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    reader = Reader(page)
    assert all(link.startswith("#") for link in reader.links)
    assert {"script", "link", "iframe", "object", "img"}.isdisjoint(reader.tags)
    assert not re.search(r"url\((?!#)|@import|https?:", page)


def test_every_section_stands_once_and_every_link_leads_to_one(page: str) -> None:
    reader = Reader(page)
    assert len(set(reader.ids)) == len(reader.ids)
    assert [anchor for anchor, _ in SECTIONS] == [name for name in reader.ids if name in dict(SECTIONS)]
    assert {link.removeprefix("#") for link in reader.links} - {*reader.ids} == set()


def test_the_page_begins_with_the_question_and_the_finding(page: str, analysis: Analysis) -> None:
    text = visible(page)
    said = [
        "Which cells should be hidden?",
        "Better than half: rows on waves. Worse than half: fast on waves and tides",
    ]
    places = [
        text.index(part)
        for part in (*said, *(sentence.replace("\u00a0", " ") for sentence in analysis.findings), "4 arms ×")
    ]
    assert places == sorted(places)
    assert "4 arms × 2 bases × 3 seeds; all 21 cells finished. Reference: half." in text


def test_the_page_is_the_same_for_the_same_analysis(page: str, analysis: Analysis, tmp_path: Path) -> None:
    assert page_of(analysis, tmp_path) == page


def test_the_table_holds_mean_deviation_difference_and_verdict_of_every_arm(page: str, analysis: Analysis) -> None:
    row = next(row for row in analysis.rows if (row.base, row.arm, row.metric) == ("waves", "rows", "direction/linear"))
    assert row.difference is not None
    assert row.std is not None
    text = visible(line_of(page, "results", "rows"))
    assert f"{100 * row.mean:.1f} ± {100 * row.std:.1f}" in text
    assert f"+{100 * row.difference.value:.1f} (+{100 * row.difference.adjusted_low:.1f} to +" in text
    assert "▲ better" in text
    assert "▼ worse" in visible(line_of(page, "results", "fast"))
    assert visible(line_of(page, "results", "most")).count("not told apart") == 2
    assert visible(line_of(page, "results", "half")).count("reference") == 2


def test_an_arm_that_does_not_exist_on_a_base_says_why(page: str) -> None:
    assert "– a grid of one axis has no rows" in visible(line_of(page, "results", "rows"))
    assert re.search(r"tides ?rows ?a grid of one axis has no rows", visible(section(page, "missing")))


def test_no_arm_is_better_or_worse_where_its_interval_holds_zero(analysis: Analysis, tmp_path: Path) -> None:
    rows = [
        replace(row, difference=replace(row.difference, adjusted_low=-0.5, adjusted_high=0.5))
        if row.difference
        else row
        for row in analysis.rows
    ]
    page = page_of(replace(analysis, rows=tuple(rows)), tmp_path)
    results = section(page, "results")
    assert "better" not in visible(results)
    assert "worse" not in visible(results)
    assert "None told apart" in visible(page)
    assert not re.search(r'class="track (better|worse)" style="--zero: [\d.]+" aria', section(page, "differences"))


def test_a_collapsed_arm_is_named_at_the_top_and_judged_by_seed(page: str) -> None:
    assert "Collapsed with at least one seed: fast on waves." in top(page)
    assert "Reference: half. What collapsed" in top(page)
    assert "collapsed" in visible(line_of(page, "results", "fast"))
    row = visible(line_of(page, "collapse", "fast"))
    assert "0.012" in row
    assert "0.030" in row
    assert "low_rank: targets use few of their dimensions" in row


def test_a_better_arm_that_collapsed_is_marked_everywhere(analysis: Analysis, tmp_path: Path) -> None:
    collapsed = Verdict("collapsed", ("same_for_all",))
    values = {"target_rank": 0.8, "target_std": 0.011, "sample_cosine": 0.9996, "own_gain": -0.0001}
    facts = tuple(
        replace(each, verdict=collapsed, collapse=values) if each.arm == "rows" else each
        for each in analysis.results.facts
    )
    page = page_of(analyse(replace(analysis.results, facts=facts)), tmp_path)
    assert "Better by this probe, but collapsed: rows on waves. Worse than half:" in top(page)
    assert "1 worse, 1 better by this probe, but collapsed" in top(page)
    assert "△ better by this probe, but collapsed" in visible(line_of(page, "results", "rows"))
    assert "△" in visible(line_of(page, "gains", "rows"))
    assert "collapsed" in visible(line_of(page, "gains", "rows"))
    plot = section(page, "differences").split('<div class="forest">')[1]
    assert plot.count('class="track doubtful"') == 1
    assert 'class="track better"' not in plot
    assert 'rows <span class="tag bad">collapsed' in plot
    row = visible(line_of(page, "collapse", "rows"))
    assert re.search(r"0\.011 ?1\.000 ?0\.000 ?0\.800", row)
    assert "does not show that the encoder learned" in visible(section(page, "collapse"))


def test_a_study_without_collapse_says_nothing_of_it_at_the_top(tmp_path: Path) -> None:
    study = made_up_study(arms=("half", "most"))
    page = page_of(analyse(made_up_results(study)), tmp_path)
    assert "ollapsed" not in top(page)


def test_an_arm_that_is_not_above_the_untrained_encoder_is_marked(page: str) -> None:
    assert visible(line_of(page, "results", "fast")).count("below never trained") == 1
    assert "never trained" not in visible(line_of(page, "results", "rows"))


def test_the_baselines_stand_under_the_arms(page: str) -> None:
    assert re.search(r"raw input ?60.1 % ?60.1 %", visible(line_of(page, "results", "raw input")))
    assert visible(line_of(page, "results", "never trained")).count("%") == 2


def test_the_heat_map_shows_gains_with_the_colour_of_their_size(page: str, analysis: Analysis) -> None:
    cells = section(page, "gains")
    best = max(row.mean for row in analysis.rows if (row.base, row.metric) == ("waves", "direction/linear"))
    assert best == next(row.mean for row in analysis.rows if row.arm == "rows")
    assert cells.count('<td class="gain" style="--share: 1.000">1.00') == 2
    assert re.search(r'<td class="loss" style="--share: 0\.\d+">−0\.\d+ ▼', cells)
    assert cells.count('<td class="none"') == 1


def test_without_baselines_there_is_no_gain_and_the_page_says_so(analysis: Analysis, tmp_path: Path) -> None:
    rows = [replace(row, normalised_gain=None, minus_random=None, random=None, raw=None) for row in analysis.rows]
    page = page_of(replace(analysis, rows=tuple(rows)), tmp_path)
    assert "evaluation.baselines" in visible(section(page, "gains"))
    assert "<table" not in section(page, "gains")
    assert "raw input" not in visible(section(page, "results"))


def test_every_comparison_has_a_line_in_the_forest_plot(page: str) -> None:
    forests = section(page, "differences").split('<div class="forest">')[1:]
    assert [forest.count('<i class="wide"') for forest in forests] == [3, 2]
    assert forests[0].count('<i class="seed"') == 3 * 3
    assert re.search(r"−20.*>0<.*\+10", forests[0])


def test_learning_curves_are_drawn_once_per_base_with_a_colour_per_arm(page: str) -> None:
    curves = section(page, "curves")
    assert curves.count("<svg") == 2
    waves, tides = curves.split("<svg")[1:]
    assert {f"--series-{number}" for number in range(4)} == set(re.findall(r"--series-\d", waves.split("</svg>")[0]))
    assert "--series-1" not in tides.split("</svg>")[0]  # rows does not exist there, and colours stay


def test_costs_are_given_beside_those_of_the_reference(page: str) -> None:
    row = visible(line_of(page, "cost", "rows"))
    assert "2.4 TFLOP ×1.60" in row
    assert "27,904" in row


def test_counts_that_follow_the_batch_are_about(analysis: Analysis, tmp_path: Path) -> None:
    facts = tuple(replace(each, varies=each.arm == "rows") for each in analysis.results.facts)
    page = page_of(analyse(replace(analysis.results, facts=facts)), tmp_path)
    assert visible(line_of(page, "cost", "rows")).count("about 18, varies by batch") == 2
    assert "varies" not in visible(line_of(page, "cost", "half"))
    assert "Tokens per sample of rows vary by batch" in visible(section(page, "unequal"))


def test_what_was_held_equal_is_what_the_cells_counted(page: str, analysis: Analysis, tmp_path: Path) -> None:
    assert "Not on every base in all arms: compute of a run." in visible(section(page, "how"))
    facts = tuple(replace(each, steps=800) if each.arm == "most" else each for each in analysis.results.facts)
    other = page_of(analyse(replace(analysis.results, facts=facts)), tmp_path)
    assert "in all arms: updates and compute of a run." in visible(section(other, "how"))


def test_what_differed_anyway_is_listed_by_base(page: str) -> None:
    text = visible(section(page, "unequal"))
    assert "1.60 times as many" in text
    assert text.count("Nothing of what is counted") == 1


def test_cells_without_a_result_are_counted_at_the_top_and_listed_with_their_reason(tmp_path: Path) -> None:
    reasons = {"waves/rows/seed_2": "failed: NonFiniteLoss at step 3", "tides/fast/seed_0": "waiting"}
    page = page_of(analyse(made_up_results(made_up_study(), reasons)), tmp_path)
    assert "19 of 21 cells have a result. Reference: half. What is missing" in top(page)
    assert "failed: NonFiniteLoss at step 3" in visible(section(page, "missing"))
    assert "2 of 3 seeds" in visible(line_of(page, "results", "rows"))
    assert visible(section(page, "reproduce")).count("no result") == 2


def test_a_complete_study_says_that_nothing_is_missing(tmp_path: Path) -> None:
    page = page_of(analyse(made_up_results(made_up_study(arms=("half", "most"), absent={}))), tmp_path)
    assert "Nothing: every arm exists on every base, and all 12 cells have a result." in visible(
        section(page, "missing")
    )
    assert "What is missing" not in visible(page)


def test_a_study_of_which_nothing_has_finished_has_a_page(tmp_path: Path) -> None:
    study = made_up_study()
    nothing = made_up_results(study, {cell.name: "waiting" for cell in study.cells})
    page = page_of(analyse(nothing), tmp_path)
    text = visible(page)
    assert text.count("No result") == 2
    assert "0 of 21 cells have a result" in text
    assert text.count("Nothing was compared here") == 2
    assert "<svg" not in page


def test_a_study_whose_reference_has_no_result_compares_nothing(tmp_path: Path) -> None:
    study = made_up_study()
    gone = {cell.name: "failed" for cell in study.cells if cell.arm == "half"}
    text = visible(page_of(analyse(made_up_results(study, gone)), tmp_path))
    assert text.count("No arm shares a seed with half.") == 2
    assert "×" not in visible(section(page_of(analyse(made_up_results(study, gone)), tmp_path), "cost")).split("arm")[1]


def test_one_seed_has_neither_spread_nor_interval(tmp_path: Path) -> None:
    page = page_of(analyse(made_up_results(made_up_study(seeds=(5,)))), tmp_path)
    assert "±" not in visible(section(page, "results")).split("points.")[1]
    assert "(no bounds)" in visible(line_of(page, "results", "rows"))
    assert '<i class="wide"' not in section(page, "differences").split('<div class="forests">')[1]
    assert "With so few seeds the intervals have no bounds: nothing is said to be better or worse." in visible(page)


def test_every_metric_is_there_with_all_its_numbers(page: str, analysis: Analysis) -> None:
    numbers = section(page, "numbers")
    assert numbers.count("<details>") == 2 * 2
    assert visible(numbers).count("decides") == 2
    row = next(row for row in analysis.rows if (row.base, row.arm, row.metric) == ("waves", "rows", "direction/knn"))
    text = visible(numbers).split("waves · direction/knn")[1].split("tides", maxsplit=1)[0]
    for seed, accuracy in row.accuracies.items():
        assert f"{seed}: {100 * accuracy:.1f}" in text
    assert "<0.001" in text


def test_every_cell_has_its_commands_and_its_hash(page: str, analysis: Analysis) -> None:
    text = visible(section(page, "reproduce"))
    for facts in analysis.results.facts:
        assert f"jepa train {facts.folder}/config.yaml --run-dir {facts.folder}-again" in text
        assert f"jepa eval {facts.folder}-again --encoder target" in text
        assert facts.config_hash[:12] in text
    assert "OMP_NUM_THREADS" not in text
    assert re.search("threads per cell ?not recorded", text)


def test_a_cell_is_run_alone_as_the_study_ran_it(analysis: Analysis, tmp_path: Path) -> None:
    config = analysis.results.study.config
    measured = config.evaluation.model_copy(update={"probes": ("linear", "knn"), "encoder": "context"})
    study = replace(analysis.results.study, config=config.model_copy(update={"evaluation": measured, "threads": None}))
    results = replace(analysis.results, study=study, threads=3)
    text = visible(section(page_of(replace(analysis, results=results), tmp_path), "reproduce"))
    folder = results.facts[0].folder
    assert f"OMP_NUM_THREADS=3 jepa train {folder}/config.yaml" in text
    assert f"OMP_NUM_THREADS=3 jepa eval {folder}-again --probe linear --probe knn --encoder context" in text
    assert re.search("threads per cell ?3", text)


def test_the_threads_are_those_that_the_folder_of_the_study_records(tmp_path: Path) -> None:
    study = made_up_study()
    assert read_results(study, tmp_path / "nothing").threads is None
    StudyFolder(tmp_path).open(study, resume=False, threads=3)
    assert (study.config.threads, read_results(study, tmp_path).threads) == (None, 3)


def test_the_origin_of_the_numbers_is_named(page: str, analysis: Analysis, tmp_path: Path) -> None:
    text = visible(section(page, "reproduce"))
    assert "jepa ablate studies/hidden.yaml" in text
    assert "jepa-core 0.1.0, torch 2.11.0" in text
    assert config_hash(analysis.results.study.config)[:12] in text
    assert "title: Which cells should be hidden?" in text
    other = page_of(analysis, tmp_path, "jepa ablate 'my studies/hidden.yaml' --jobs 2")
    assert "jepa ablate 'my studies/hidden.yaml' --jobs 2" in visible(section(other, "reproduce"))


def test_cells_that_were_trained_with_other_versions_are_counted(analysis: Analysis, tmp_path: Path) -> None:
    first, *others = analysis.results.facts
    results = replace(analysis.results, facts=(replace(first, versions={"torch": "2.12.0"}), *others))
    text = visible(section(page_of(replace(analysis, results=results), tmp_path), "reproduce"))
    assert "torch 2.12.0 (1 cells); jepa-core 0.1.0, torch 2.11.0 (20 cells)" in text


def test_what_an_arm_changes_is_taken_from_the_resolved_configurations(page: str) -> None:
    assert "masking.ratio: 0.5 -> 0.8" in visible(line_of(page, "arms", "most"))
    assert "masking: random {ratio: 0.5} -> toy_rows {rows: 3}" in visible(line_of(page, "arms", "rows"))
    assert "lr" in visible(line_of(page, "arms", "fast", 1))
    assert "nothing" in visible(line_of(page, "arms", "half"))
    assert "seed" not in visible(section(page, "arms"))


def test_the_reference_is_held_against_its_base_and_matching_is_said(analysis: Analysis, tmp_path: Path) -> None:
    study = replace(
        analysis.results.study,
        changes={("waves", "half"): (Change("masking.ratio", 0.6, 0.5),)},
        matched={("waves", "most"): "cut to 18 context tokens"},
    )
    page = page_of(replace(analysis, results=replace(analysis.results, study=study)), tmp_path)
    assert "masking.ratio: 0.6 -> 0.5" in visible(line_of(page, "arms", "half"))
    assert "cut to 18 context tokens" in visible(line_of(page, "arms", "most"))
    assert "cut to" not in visible(line_of(page, "arms", "most", 1))


def test_arms_of_equal_configurations_change_nothing(tmp_path: Path) -> None:
    study = made_up_study(("half", "twin"), bases=("waves",), absent={}, overrides={})
    levels = {("waves", "half"): 0.7, ("waves", "twin"): 0.7}
    page = page_of(analyse(made_up_results(study, levels=levels)), tmp_path)
    assert visible(line_of(page, "arms", "twin")) == "twinnothing"
    assert "= same answers" in visible(line_of(page, "results", "twin"))


def test_swapping_the_names_of_two_arms_swaps_their_lines(analysis: Analysis, page: str, tmp_path: Path) -> None:
    swap = {"half": "half", "fast": "fast", "rows": "most", "most": "rows"}
    study = made_up_study(
        arms=[swap[arm] for arm in ARMS],
        absent={("tides", "most"): "a grid of one axis has no rows"},
        overrides={swap[arm]: values for arm, values in OVERRIDES.items()},
    )
    levels = {(base, swap[arm]): level for (base, arm), level in LEVELS.items()}
    swapped = page_of(analyse(made_up_results(study, levels=levels)), tmp_path)
    for arm, other in swap.items():
        assert line_of(swapped, "results", other) == line_of(page, "results", arm).replace(
            f">{arm}</th>", f">{other}</th>"
        )


def test_names_from_outside_are_text_and_not_markup(analysis: Analysis, tmp_path: Path) -> None:
    study = made_up_study(("half", EVIL), bases=("waves",), absent={("tides", EVIL): EVIL}, overrides={})
    levels = {("waves", "half"): 0.7, ("waves", EVIL): 0.4}
    results = made_up_results(study, {f"waves/{EVIL}/seed_1": EVIL}, levels=levels)
    evil = replace(analyse(results), findings=(EVIL,), differed={"waves": (EVIL,)})
    reader = Reader(page_of(evil, tmp_path, EVIL))
    assert "script" not in reader.tags
    assert reader.text.count(EVIL) > 10


def test_a_file_without_a_folder_is_bad_usage(analysis: Analysis, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        write_study_report(analysis, tmp_path / "absent" / "report.html")


def test_a_file_that_cannot_be_written_is_bad_usage(analysis: Analysis, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_study_report(analysis, tmp_path)


def test_where_the_reference_does_not_exist_the_arms_are_held_against_the_base(tmp_path: Path) -> None:
    study = made_up_study(absent={("tides", "half"): "the study leaves it out", ("tides", "rows"): "no rows"})
    change = Change("masking.ratio", 0.5, 0.8)
    results = made_up_results(replace(study, changes={("tides", "most"): (change,)}))
    analysis = analyse(results)
    assert all(row.difference is None for row in analysis.rows if row.base == "tides")
    assert all(row.difference is not None for row in analysis.rows if row.base == "waves" and row.arm != "half")
    arms = section(page_of(analysis, tmp_path), "arms")
    assert str(change) in visible(arms)
    write_tables(analysis, tmp_path)
    assert "the study leaves it out" in (tmp_path / "table.md").read_text()
