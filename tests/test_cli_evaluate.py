"""`jepa eval` and `jepa embed`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from typer.testing import CliRunner

from jepa_core.cli import app
from jepa_core.cli.common import Phases
from jepa_core.cli.evaluate import evaluate
from jepa_core.nn.attentive import AttentiveClassifier
from jepa_core.probes.stored import save_classifier

pytestmark = pytest.mark.usefixtures("toy", "logging_as_before")


def jepa(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "120"}).invoke(app, list(arguments), prog_name="jepa")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def run(toy_run: Path, tmp_path: Path) -> Path:
    return copytree(toy_run, tmp_path / "trained")


def rows(table: str, probe: str) -> list[str]:
    """The first words of the lines from `probe` to the next probe."""
    lines = table.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(probe))
    return [line.removeprefix(probe).strip() for line in lines[start : start + 4]]


def test_the_table_shows_four_representations_and_says_how_to_read_it(run: Path) -> None:
    code, out, err = jepa("eval", str(run), "--device", "cpu")
    assert code == 0
    assert "direction: 4 classes, 64 training and 32 test samples, chance 25.0%" in out
    for probe in ("linear", "knn"):
        names = [" ".join(line.split()[:2]) for line in rows(out, probe)]
        assert names == ["target encoder", "context encoder", "never trained", "raw input"]
    assert "minus never trained" in out
    assert out.count("How to read it") == 1
    assert f"written: {run / 'eval.json'}" in err.replace("\n", "")
    assert json.loads((run / "eval.json").read_text())["encoder"] == "target"


def test_the_attentive_probe_is_a_row_like_the_others(run: Path) -> None:
    quick = "probes=[{name: attentive, learning_rates: [0.003], weight_decays: [0.01], epochs: 1, min_steps: 5}]"
    code, out, _ = jepa("eval", str(run), "--probe", "attentive", "--set", quick, "--device", "cpu")
    assert code == 0
    names = [" ".join(line.split()[:2]) for line in rows(out, "attentive")]
    assert names == ["target encoder", "context encoder", "never trained", "raw input"]
    saved = json.loads((run / "eval.json").read_text())["results"][0]
    assert (saved["probe"], saved["chosen"]["learning_rate"]) == ("attentive", 0.003)


def test_the_encoder_decides_what_heads_the_table(run: Path) -> None:
    _, out, _ = jepa("eval", str(run), "--probe", "knn", "--encoder", "context", "--device", "cpu")
    assert rows(out, "knn")[0].startswith("context encoder")
    assert json.loads((run / "eval.json").read_text())["encoder"] == "context"


def test_json_is_the_file_and_nothing_else(run: Path) -> None:
    _, out, _ = jepa("eval", str(run), "--probe", "knn", "--json", "--device", "cpu")
    assert json.loads(out) == json.loads((run / "eval.json").read_text())


def test_unreadable_samples_are_counted_under_the_table(run: Path) -> None:
    settings = ("--set", "modality.unreadable=[3]", "--set", "data.max_unreadable=0.1")
    _, out, _ = jepa("eval", str(run), "--probe", "knn", *settings, "--device", "cpu")
    assert "left out as unreadable: 1 of probe_train; eval.json names them" in out


def test_it_is_a_function_too(run: Path) -> None:
    evaluate(run, probes=["knn"])
    assert (run / "eval.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--encoder", "student"), 2, "'student' is not one of 'target', 'context'"),
        (("--probe", "liner"), 2, "Did you mean 'linear'"),
        (("--checkpoint", "step_3"), 1, "no checkpoint 'step_3'. There are: step_4, step_8"),
        (("--set", "encoder.width=64"), 2, "encoder.width: 32 in the checkpoint, 64 given"),
        (("--device", "warp"), 2, "device warp:"),
    ],
)
def test_a_mistake_is_one_message_and_an_exit_code(run: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    given, _, err = jepa("eval", str(run), *arguments)
    assert given == code
    assert said in err
    assert "Traceback" not in err
    assert not (run / "eval.json").exists()


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        np.save(folder / f"{number}.npy", np.zeros((12, 12), dtype=np.float32))
    return folder


def test_embed_writes_the_file_and_says_what_is_in_it(run: Path, inputs: Path, tmp_path: Path) -> None:
    (inputs / "1.npy").write_bytes(b"")
    out = tmp_path / "features.npz"
    code, _, err = jepa("embed", str(run), str(inputs), "--out", str(out), "--device", "cpu")
    assert code == 0
    assert f"unreadable: {inputs / '1.npy'}" in err
    assert "1 samples cannot be read and are not in the file" in err
    assert f"written: {out}, 2 samples x 32 features" in err
    with np.load(out) as arrays:
        assert json.loads(str(arrays["jepa"]))["run"] == "trained"


def test_embed_writes_all_tokens_when_asked(run: Path, inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.npz"
    _, _, err = jepa("embed", str(run), str(inputs), "--out", str(out), "--tokens", "--device", "cpu")
    assert "3 samples x 36 tokens x 32 features" in " ".join(err.split())
    with np.load(out) as arrays:
        assert arrays["embedding"].shape == (3, 36, 32)


def test_embed_answers_with_a_stored_classifier(run: Path, inputs: Path, tmp_path: Path) -> None:
    out, stored = tmp_path / "answers.npz", tmp_path / "probes" / "shapes.safetensors"
    save_classifier(AttentiveClassifier(32, 2, 5), stored)
    code, _, err = jepa("embed", str(run), str(inputs), "--out", str(out), "--classifier", str(stored))
    assert code == 0, err
    with np.load(out) as arrays:
        assert arrays["embedding"].shape == (3, 5)


def test_embed_fails_where_nothing_can_be_read(run: Path, inputs: Path, tmp_path: Path) -> None:
    for path in inputs.iterdir():
        path.write_bytes(b"")
    code, _, err = jepa("embed", str(run), str(inputs), "--out", str(tmp_path / "features.npz"))
    assert code == 1
    assert "none of 3 samples can be read" in err


def test_embed_checks_the_output_before_it_loads_anything(tmp_path: Path) -> None:
    code, _, err = jepa("embed", str(tmp_path), "nowhere", "--out", str(tmp_path / "features.csv"))
    assert code == 2
    assert "Allowed: .parquet, .npz, .safetensors" in err


def test_each_part_of_the_work_has_its_own_progress(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="jepa_core")
    with Phases({"reading": "files", "fitting": "heads"}) as phases:
        for name, total in (("reading", 2), ("fitting", 3)):
            for done in range(total + 1):
                phases.update(name, done, total)
    said = [record.getMessage() for record in caplog.records]
    assert [each.split(",")[0] for each in said] == ["reading: 2/2 files", "fitting: 3/3 heads"]
