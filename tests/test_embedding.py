from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from toy import Toy
from toy_parts import Arrays, Waves

from jepa_core import embedding
from jepa_core.embedding import embed
from jepa_core.errors import DataError, UsageError
from jepa_core.frozen import FrozenEncoder, load
from jepa_core.nn.attentive import AttentiveClassifier

pytestmark = pytest.mark.usefixtures("toy")

SUFFIXES = (".parquet", ".npz", ".safetensors")


@pytest.fixture
def encoder(toy_run: Path) -> FrozenEncoder:
    return load(toy_run, device="cpu")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(70):  # more than one batch
        values = np.random.default_rng(number).standard_normal((12, 12))
        np.save(folder / f"{number:02d}.npy", values.astype(np.float32))
    (folder / "07.npy").write_bytes(b"")
    return folder


def read(path: Path) -> tuple[dict[str, list[str]], torch.Tensor, dict[str, Any]]:
    """Text columns, features and metadata of any of the three formats."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        text = {name: table[name].to_pylist() for name in table.column_names if name != "embedding"}
        values = torch.tensor(np.array(table["embedding"].to_pylist(), dtype=np.float32))
        return text, values, json.loads(pq.read_metadata(path).metadata[b"jepa"])
    if path.suffix == ".npz":
        with np.load(path) as arrays:  # without pickle
            text = {name: arrays[name].tolist() for name in arrays.files if name not in {"embedding", "jepa"}}
            return text, torch.from_numpy(arrays["embedding"]), json.loads(str(arrays["jepa"]))
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["jepa"])
    tensors = load_file(path)
    values = tensors.pop("embedding")
    return {name: json.loads(bytes(each.tolist())) for name, each in tensors.items()}, values, metadata


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_holds_paths_features_and_where_they_come_from(
    encoder: FrozenEncoder, files: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"features{suffix}"
    done = embed(encoder, Arrays.under(str(files)), out, run="trained")
    text, values, metadata = read(out)
    good = [path for path in sorted(files.iterdir()) if path.name != "07.npy"]
    assert (done.rows, done.features) == (69, (32,))
    assert text == {"path": [str(path) for path in good]}
    signal = torch.stack([encoder.preprocess(np.load(path)) for path in good])
    torch.testing.assert_close(values, encoder.embed(signal), rtol=1e-4, atol=1e-5)
    assert values.dtype == torch.float32
    assert {key: metadata[key] for key in ("run", "encoder", "step", "precision", "features")} == {
        "run": "trained", "encoder": "target", "step": 8, "precision": "fp32", "features": "pooled",
    }  # fmt: skip
    assert len(metadata["config_hash"]) == 64
    assert [each["path"] for each in metadata["unreadable"]] == [str(files / "07.npy")]
    assert [each.where for each in done.unreadable] == [str(files / "07.npy")]


def test_a_classifier_answers_with_logits(encoder: FrozenEncoder, tmp_path: Path) -> None:
    source, out = Waves("test", 8, 12, 0.1), tmp_path / "answers.npz"
    classifier = AttentiveClassifier(width=32, heads=2, num_classes=5)
    done = embed(encoder, source, out, run="trained", classifier=classifier)
    _, values, metadata = read(out)
    assert (done.features, metadata["features"]) == ((5,), "logits")
    signal = torch.stack([encoder.preprocess(source.read(index)) for index in range(8)])
    with torch.no_grad():
        torch.testing.assert_close(values, classifier(encoder.tokens(signal)), rtol=1e-4, atol=1e-5)


def test_a_classifier_of_another_width_or_beside_tokens_is_refused(encoder: FrozenEncoder, tmp_path: Path) -> None:
    source, out = Waves("test", 8, 12, 0.1), tmp_path / "answers.npz"
    with pytest.raises(UsageError, match="of encoders of width 24, and this one has 32"):
        embed(encoder, source, out, run="trained", classifier=AttentiveClassifier(24, 2, 5))
    with pytest.raises(UsageError, match="holds tokens or logits"):
        embed(encoder, source, out, run="trained", tokens=True, classifier=AttentiveClassifier(32, 2, 5))
    assert not out.exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_labels_become_columns_of_class_names(encoder: FrozenEncoder, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"features{suffix}"
    embed(encoder, Waves("test", 8, 12, 0.1), out, run="trained")
    text, _, _ = read(out)
    assert text["direction"] == ["east", "south-east", "south", "south-west"] * 2
    assert text["side"] == ["left"] * 4 + ["right"] * 4


def test_a_heading_that_is_called_like_a_column_keeps_out_of_its_way(
    encoder: FrozenEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Waves("test", 2, 12, 0.1)
    monkeypatch.setattr(Waves, "labels", {"path": source.labels["side"]})
    embed(encoder, source, tmp_path / "features.npz", run="trained")
    text, _, _ = read(tmp_path / "features.npz")
    assert text == {"path": ["toy:test/0", "toy:test/1"], "label_path": ["left", "left"]}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("heading", ["file", "allow_pickle", "embedding", "jepa"])
def test_every_format_takes_every_heading(
    encoder: FrozenEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, heading: str
) -> None:
    source, out = Waves("test", 2, 12, 0.1), tmp_path / f"features{suffix}"
    monkeypatch.setattr(Waves, "labels", {heading: source.labels["side"]})
    embed(encoder, source, out, run="trained")
    text, _, _ = read(out)
    assert text[f"label_{heading}"] == ["left", "left"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_that_are_no_unicode_are_written_readably(encoder: FrozenEncoder, tmp_path: Path, suffix: str) -> None:
    folder, out = tmp_path / "in", tmp_path / f"features{suffix}"
    folder.mkdir()
    for name in (b"caf\xe9.npy", b"empty\xff.npy"):
        np.save(tmp_path / "values.npy", np.ones((12, 12), np.float32))
        Path(os.fsdecode(bytes(folder) + b"/" + name)).write_bytes((tmp_path / "values.npy").read_bytes())
    Path(os.fsdecode(bytes(folder) + b"/empty\xff.npy")).write_bytes(b"")
    embed(encoder, Arrays.under(str(folder)), out, run="trained")
    text, _, metadata = read(out)
    assert text["path"] == [f"{folder}/caf\\xe9.npy"]
    assert [each["path"] for each in metadata["unreadable"]] == [f"{folder}/empty\\xff.npy"]


def test_context_and_target_encoder_give_different_features(toy_run: Path, tmp_path: Path) -> None:
    for which in ("target", "context"):
        embed(load(toy_run, which, device="cpu"), Waves("test", 2, 12, 0.1), tmp_path / f"{which}.npz", run="trained")
    (_, target, first), (_, context, second) = (read(tmp_path / f"{which}.npz") for which in ("target", "context"))
    assert not torch.equal(target, context)
    assert (first["encoder"], second["encoder"]) == ("target", "context")


def test_an_unknown_suffix_names_the_three(encoder: FrozenEncoder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"features\.csv: .*Allowed: \.parquet, \.npz, \.safetensors"):
        embed(encoder, Waves("test", 2, 12, 0.1), tmp_path / "features.csv", run="trained")


def test_an_existing_file_is_kept_unless_it_is_forced(encoder: FrozenEncoder, tmp_path: Path) -> None:
    out, source = tmp_path / "features.npz", Waves("test", 2, 12, 0.1)
    out.write_text("precious")
    with pytest.raises(UsageError, match=r"exists already.*--force"):
        embed(encoder, source, out, run="trained")
    assert out.read_text() == "precious"
    embed(encoder, source, out, run="trained", force=True)
    assert len(read(out)[1]) == 2


def test_a_folder_that_is_not_there_is_named(encoder: FrozenEncoder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*absent"):
        embed(encoder, Waves("test", 2, 12, 0.1), tmp_path / "absent" / "features.npz", run="trained")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_readable_is_an_error_and_leaves_no_file(encoder: FrozenEncoder, tmp_path: Path, suffix: str) -> None:
    source = Waves("test", 3, 12, 0.1, unreadable=(0, 1, 2))
    with pytest.raises(DataError, match=r"none of 3 samples can be read.*toy:test/0"):
        embed(encoder, source, tmp_path / f"features{suffix}", run="trained")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failure_half_way_leaves_the_earlier_file(
    encoder: FrozenEncoder, files: Path, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / f"features{suffix}"
    out.write_text("precious")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embedding, "_metadata", full)
    with pytest.raises(DataError, match=r"could not be written.*No space left on device"):
        embed(encoder, Arrays.under(str(files)), out, run="trained", force=True)
    assert out.read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"in", out.name}


def test_parquet_rows_reach_the_disk_batch_by_batch(encoder: FrozenEncoder, files: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.parquet"
    embed(encoder, Arrays.under(str(files)), out, run="trained")
    assert pq.read_metadata(out).num_row_groups == 2


def test_features_of_a_modality_come_with_its_training_statistics(
    toy_run: Path, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Toy, "unnormalised", {"mean": 0.0, "std": 1.0})
    with pytest.raises(UsageError, match=r"modality\.mean: 0\.2 in the checkpoint"):
        load(toy_run, device="cpu", overrides=["modality.mean=0.0"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_all_tokens_can_be_written_in_place_of_their_mean(encoder: FrozenEncoder, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"features{suffix}"
    source = Waves("test", 70, 12, 0.1)
    done = embed(encoder, source, out, run="trained", tokens=True)
    assert (done.rows, done.features) == (70, (36, 32))
    _, values, metadata = read(out)
    signal = torch.stack([encoder.preprocess(source.read(index)) for index in range(70)])
    torch.testing.assert_close(values.view(70, 36, 32), encoder.tokens(signal), rtol=1e-4, atol=1e-5)
    assert metadata["features"] == "tokens"
    if suffix == ".parquet":
        assert str(pq.read_schema(out).field("embedding").type).count("fixed_size_list") == 2
