from __future__ import annotations

import json
import re
from collections.abc import Generator
from html import escape
from pathlib import Path
from shutil import copytree
from typing import Any, ClassVar, Literal

import pytest
import toy_parts
from report_page import Reader, page_of, section, visible
from toy import Toy, ToyConfig, toy_config, toy_registered
from toy_train import train_toy

from jepa_core.checkpoint import RunFolder
from jepa_core.cli import main
from jepa_core.config import Section
from jepa_core.config.text import to_yaml
from jepa_core.evaluation import evaluate
from jepa_core.recipes import read_config
from jepa_core.registry import modalities
from jepa_core.report.gallery import feature_gallery
from jepa_core.report.render import SECTIONS
from jepa_core.types import TokenGrid

SMALL = ("preset=rows", "modality.unreadable=[5]", "data.max_unreadable=0.5", "collapse.grace=0")
EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert train_toy(folder, SMALL) == "done"
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path, toy: Toy) -> Path:
    write_evaluation(copytree(trained, tmp_path / "first"))
    return tmp_path / "first"


@pytest.fixture(scope="module")
def page(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    run = write_evaluation(copytree(trained, tmp_path_factory.mktemp("full") / "full"))
    with toy_registered():
        return page_of(run)


def write_evaluation(run: Path, **accuracies: float) -> Path:
    scores = {"target": 0.781, "context": 0.77, "random": 0.612, "raw": 0.834} | accuracies
    results = [
        {
            "heading": heading,
            "probe": probe,
            "representation": name,
            "accuracy": accuracy,
            "low": accuracy - 0.02,
            "high": accuracy + 0.02,
            "chance": 0.25,
            "num_train": 4321,
            "num_test": 1234,
            "minus_random": difference(accuracy - scores["random"]) if name != "random" else None,
            "chosen": {},
        }
        for heading in ("direction", "side")
        for probe in ("linear", "knn")
        for name, accuracy in scores.items()
    ]
    (run / "eval.json").write_text(json.dumps({"encoder": "target", "results": results}))
    return run


def difference(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def bare(folder: Path, *overrides: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(toy_config(*overrides)))
    return folder


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    reader = Reader(page)
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in reader.links)
    assert {"script", "link", "iframe", "object"}.isdisjoint(reader.tags)
    assert not re.search(r"url\((?!#)|@import|https?:", page)


def test_every_section_stands_once_and_the_navigation_leads_to_it(page: str) -> None:
    reader = Reader(page)
    assert len(set(reader.ids)) == len(reader.ids)
    assert {anchor for anchor, _ in SECTIONS} <= set(reader.ids)
    assert {f"#{anchor}" for anchor, _ in SECTIONS} <= set(reader.links)


def test_a_full_run_has_charts_pictures_and_no_message_about_missing_parts(page: str) -> None:
    assert section(page, "training").count("<svg") == 8
    assert section(page, "collapse").count("<svg") == 8
    assert section(page, "masks").count("<img") == 6
    assert section(page, "features").count("<img") == 6 * 3
    assert section(page, "neighbours").count("<img") == 8 * 7
    assert "missing" not in page.split("</style>")[1]


def test_the_summary_says_what_was_trained_on_what(page: str) -> None:
    text = visible(page)
    assert (
        "learned from toy data without labels: 8 steps of 16 samples on a grid of 6 × 6 tokens (rows, columns)" in text
    )
    assert "it saw 18 of 36 tokens and predicted 3 blocks of 6 (toy_rows masks)" in text


def test_probe_numbers_come_from_the_file(run: Path) -> None:
    before = visible(page_of(run))
    assert "+16.9 points by pretraining" in before
    assert "78.1 % (76.1–80.1) with the target encoder's features" in before
    assert "83.4 % (81.4–85.4) with the raw input" in before
    assert "1,234 test samples" in before
    after = visible(page_of(write_evaluation(run, target=0.444)))
    assert "−16.8 points by pretraining" in after
    assert "44.4 %" in after
    assert "78.1 %" not in after


def test_logged_numbers_come_from_the_file(run: Path) -> None:
    row = {"step": 8, "loss": 0.12345, "collapse/target_std": 0.321, "collapse/warnings": []}
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    page = page_of(run)
    assert "0.123" in visible(section(page, "training"))
    assert "0.321" in visible(section(page, "collapse"))
    assert "No value in the log yet." in visible(section(page, "training"))


def test_a_row_that_a_kill_cut_short_is_left_out(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "lo')
    assert "99" not in visible(page_of(run)).split("Probes")[0]


def test_warnings_of_the_monitor_are_named_and_explained(run: Path) -> None:
    row = {"step": 8, "loss": 0.1, "collapse/target_rank": 0.01, "collapse/warnings": ["low_rank"]}
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    page = section(page_of(run), "collapse")
    assert "Collapsed. At step 8: low_rank: targets use few of their dimensions." in visible(page)
    assert page.count('class="panel crossed"') == 1
    assert "low_rank" in visible(page).split("Warnings that were raised")[1]


def test_unreadable_samples_are_counted_and_named(run: Path) -> None:
    rows = [{"step": 1, "index": n, "where": f"data/{n}.x", "reason": "cut"} for n in range(12)]
    (run / "unreadable.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = visible(section(page_of(run), "data"))
    assert "12 samples could not be read" in text
    assert "data/9.x" in text
    assert "data/10.x" not in text
    assert "and 2 more" in text


def test_the_configuration_and_the_commands_stand_in_the_page(run: Path) -> None:
    page = page_of(run)
    assert escape(to_yaml(RunFolder(run).config), quote=False) in page.replace("&#39;", "'").replace("&#34;", '"')
    text = visible(section(page, "reproduce"))
    assert f"jepa train {run}/config.yaml --run-dir {run}-again" in text
    assert "torch 2" in text
    assert "step 8" in text


def test_a_run_without_anything_says_what_makes_each_part(tmp_path: Path, toy: Toy) -> None:
    run = bare(tmp_path / "bare run")
    page = page_of(run)
    text = visible(page)
    assert "Not evaluated yet" in text
    assert f"There is no eval.json yet.Make it: jepa eval '{run}'" in text
    resume = f"jepa train '{run}/config.yaml' --run-dir '{run}' --resume"
    assert f"metrics.jsonl has no rows yet.Make it: {resume}" in text
    assert f"the first measurement is at step 4 (collapse.every).Make it: {resume}" in text
    assert text.count(f"There is no checkpoint yet.Make it: {resume}") == 2
    assert section(page, "masks").count("<img") == 6  # masks need no training


def test_data_that_cannot_be_read_is_said_in_words(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_config(run / "config.yaml", overrides=["modality.test_samples=0"])
    for path in (run / "config.yaml", *run.glob("checkpoints/*/config.yaml")):
        path.write_text(to_yaml(config))
    page = page_of(run)
    for name in ("masks", "features", "neighbours"):
        assert "None of the samples that would be shown can be read" in visible(section(page, name))


def test_damaged_weights_are_an_error_of_the_pictures_and_not_of_the_page(run: Path) -> None:
    for path in run.glob("checkpoints/*/target_encoder.safetensors"):
        path.write_bytes(b"")
    page = page_of(run)
    assert "target_encoder.safetensors: cannot be read" in visible(section(page, "features"))
    assert section(page, "masks").count("<img") == 6


def test_neighbours_say_whether_the_label_is_the_same(page: str) -> None:
    rows = section(page, "neighbours")
    same, other = rows.count('class="same"'), rows.count('class="other"')
    assert same + other == 8 * 6
    assert f"{same} of 48 are the same" in visible(rows)
    assert visible(rows).count("✓ ") == same


def test_data_without_labels_has_neighbours_without_judgement(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_parts.Waves, "labels", {})
    page = section(page_of(run), "neighbours")
    assert "The data has no labels." in visible(page)
    assert 'class="same"' not in page
    assert 'class="other"' not in page
    assert "toy:test/" in visible(page)


def test_pictures_and_maps_show_the_first_of_several_views(tmp_path: Path, toy: Toy) -> None:
    train_toy(tmp_path / "run", ["train.steps=1", "modality.views=2"])
    both = feature_gallery(tmp_path / "run")
    train_toy(tmp_path / "other", ["train.steps=1"])
    one = feature_gallery(tmp_path / "other")
    for name in ("samples", "trained"):
        assert str(getattr(both.maps, name)) == str(getattr(one.maps, name))


def test_names_from_outside_are_text_and_not_markup(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_parts, "DIRECTIONS", (EVIL, '"><img src=x onerror=alert(1)>', "south", "'"))
    row = {"step": 1, "index": 0, "where": f"data/{EVIL}", "reason": EVIL}
    (run / "unreadable.jsonl").write_text(json.dumps(row) + "\n")
    evil = run.rename(tmp_path / "<b onclick=alert(1)>")
    page = page_of(evil)
    assert "script" not in Reader(page).tags
    assert {"b"} & set(Reader(page).tags) == {"b"}  # the whiskers of the bars, and nothing with a handler
    assert not re.search(r"<[^>]*\son\w+=", page)
    assert escape(EVIL, quote=False) in page.replace("&#34;", '"')


def test_two_runs_share_charts_and_keep_their_colours(run: Path, tmp_path: Path) -> None:
    second = write_evaluation(copytree(run, tmp_path / "second"), target=0.5)
    config = read_config(second / "config.yaml", overrides=["optim.lr.value=0.5", "seed=7"])
    (second / "config.yaml").write_text(to_yaml(config))
    page = page_of(run, second)
    assert "2 runs side by side" in visible(page)
    chart = section(page, "training").split("<svg")[1].split("</svg>")[0]
    assert "var(--series-0)" in chart
    assert "var(--series-1)" in chart
    bars = section(page, "probes")
    assert "78.1 %" in visible(bars)
    assert "50.0 %" in visible(bars)
    differences = visible(section(page, "reproduce")).split("first train it again")[0]
    assert re.search(r"optim\.lr\.value ?0\.001 ?0\.5 ", differences)
    assert re.search(r"seed ?0 ?7", differences)
    assert "optim.eps" not in differences.split("train it again")[0]
    assert section(page, "masks").count("<img") == 12


def test_a_run_that_lacks_a_probe_leaves_a_dash_beside_one_that_has_it(run: Path, tmp_path: Path) -> None:
    second = bare(tmp_path / "second")
    page = section(page_of(run, second), "probes")
    assert "–" in visible(page)
    assert "second: There is no eval.json yet." in visible(page)


class DeepConfig(ToyConfig):
    name: Literal["deep"] = "deep"  # pyright: ignore[reportIncompatibleVariableOverride]


class Deep(Toy):
    """The toy's cells, called a lattice of three axes."""

    name: ClassVar[str] = "deep"
    Config: ClassVar[type[Section]] = DeepConfig

    def grid(self, config: Any) -> TokenGrid:
        return TokenGrid((4, 3, 3), ("depth", "rows", "columns"))


@pytest.fixture
def deep() -> Generator[None]:
    with toy_registered(), modalities.temporarily(Deep()):
        yield


def test_a_grid_of_three_axes_is_shown_slice_by_slice(tmp_path: Path, deep: None) -> None:
    run = tmp_path / "deep"
    run.mkdir()
    (run / "config.yaml").write_text(to_yaml(read_config(text="modality: {name: deep}\nmasking: {num_targets: 2}")))
    page = section(page_of(run), "masks")
    assert page.count("<img") == 6 * 4
    assert page.count('style="--n: 4"') == 6
    assert "Depth runs from one part of a strip to the next, columns to the right, rows downwards." in visible(page)


def test_a_folder_that_is_no_run_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path)])
    assert ended.value.code == 2
    assert "is no run folder" in capsys.readouterr().err


def test_an_unwritable_file_is_bad_usage(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", str(run), "--out", str(run / "absent" / "page.html")])
    assert ended.value.code == 2
    assert "Choose another file with --out" in capsys.readouterr().err


def test_the_command_prints_where_the_report_is_and_opens_it(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    with pytest.raises(SystemExit) as ended:
        main(["report", str(run), "--open"])
    assert opened == [(run / "report.html").as_uri()]
    assert not ended.value.code
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert (run / "report.html").stat().st_size < 1_000_000


def test_what_evaluation_writes_is_what_the_report_reads(run: Path) -> None:
    evaluation = evaluate(RunFolder(run), probes=["knn"])
    evaluation.write(run / "eval.json")
    text = visible(section(page_of(run), "probes"))
    target = evaluation.results[0]
    assert f"{100 * target.accuracy:.1f} %{100 * target.low:.1f}–{100 * target.high:.1f}" in text
    assert text.count("knn probe") == 2
    assert "linear probe" not in text
    assert text.count("target encoder minus never trained") == 2
