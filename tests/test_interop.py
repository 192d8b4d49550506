from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import save_file
from toy import TOY, Toy, toy_config
from typer.testing import CliRunner

from jepa_core import cli
from jepa_core.checkpoint import RunFolder, load_encoder, module_tensors, read_tensors, write_checkpoint
from jepa_core.config.text import to_yaml
from jepa_core.errors import CheckpointError, UsageError
from jepa_core.interop import (
    Exportable,
    Foreign,
    Imported,
    export_weights,
    import_weights,
    read_foreign,
    recognise,
    unwrapped,
)
from jepa_core.model import Parts
from jepa_core.plugin import WeightFormat
from jepa_core.registry import modalities

CONFIG: dict[str, Any] = {"modality": {"name": "toy", "cells": 6}}


class Foreigner:
    """A made-up layout: our names in capitals; it does not tell the number of heads."""

    def recognises(self, foreign: Foreign) -> bool:
        return "TOY" in foreign.content

    def read(self, foreign: Foreign) -> Imported:
        weights = {name.lower(): value for name, value in foreign.tensors("TOY").items()}
        return Imported(CONFIG, {"encoder": weights}, {"encoder.heads": "heads leave no trace"})

    def write(self, export: Exportable, out: Path) -> None:
        torch.save({"TOY": {name.upper(): value for name, value in export.encoder().items()}}, out)


class Travelled(Toy):
    """The toy modality with a foreign layout."""

    formats: ClassVar[tuple[WeightFormat, ...]] = (WeightFormat("foreign", "capitals", Foreigner),)


@pytest.fixture(autouse=True)
def travelled(toy: Toy) -> Generator[None]:
    assert TOY.formats == ()
    TOY.__class__ = Travelled
    yield
    TOY.__class__ = Toy


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with one checkpoint; its two encoders differ."""
    config, folder = toy_config(), RunFolder(tmp_path / "run")
    parts = Parts.of(config)
    model, target = parts.model(), parts.encoder()
    weights = {
        "encoder": module_tensors(model.encoder),
        "predictor": module_tensors(model.predictor),
        "target_encoder": module_tensors(target),
    }
    write_checkpoint(folder.checkpoint(3), weights, {"step": 3}, to_yaml(config))
    folder.config_path.write_text(to_yaml(config))
    return folder.path


def stored(run: Path, part: str) -> dict[str, torch.Tensor]:
    return read_tensors(RunFolder(run).find() / f"{part}.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_prefixes_of_wrappers_are_taken_off():
    assert unwrapped("module.backbone.blocks.0.norm1.weight") == "blocks.0.norm1.weight"
    assert unwrapped("_orig_mod.module.norm.bias") == "norm.bias"
    assert unwrapped("norm.module.bias") == "norm.module.bias"


@pytest.mark.parametrize("which", ["target", "context"])
def test_an_encoder_file_goes_out_and_comes_back(run: Path, tmp_path: Path, which: Any):
    export_weights(run, "safetensors", tmp_path / "encoder.safetensors", which)
    imported = import_weights(tmp_path / "encoder.safetensors", tmp_path / "again")
    assert imported.missing == ["predictor", "target_encoder"]
    assert same(
        stored(tmp_path / "again", "encoder"), stored(run, "target_encoder" if which == "target" else "encoder")
    )
    assert RunFolder(tmp_path / "again").config == RunFolder(run).config


def test_an_imported_run_serves_its_encoder(run: Path, tmp_path: Path):
    export_weights(run, "foreign", tmp_path / "file.pt", "context")
    import_weights(tmp_path / "file.pt", tmp_path / "again", ["encoder.heads=2"])
    signal = torch.randn(2, 1, 12, 12)
    ours, theirs = (load_encoder(RunFolder(path), "context")[1](signal) for path in (run, tmp_path / "again"))
    assert torch.equal(ours, theirs)
    with pytest.raises(CheckpointError, match=r"holds no target encoder .* --encoder context"):
        load_encoder(RunFolder(tmp_path / "again"), "target")
    state = json.loads((RunFolder(tmp_path / "again").find() / "state.json").read_text())
    assert state["step"] == 0
    assert state["imported"] == {"format": "foreign", "file": "file.pt", "missing": ["predictor", "target_encoder"]}


def test_what_a_file_does_not_tell_must_be_given(run: Path, tmp_path: Path):
    export_weights(run, "foreign", tmp_path / "file.pt")
    with pytest.raises(UsageError, match=r"heads leave no trace; give it: --set encoder\.heads="):
        import_weights(tmp_path / "file.pt", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_misfit_is_one_error_that_lists_every_difference(run: Path, tmp_path: Path):
    weights = {name.upper(): value for name, value in stored(run, "encoder").items()}
    weights["EXTRA"] = torch.zeros(3)
    weights["TOKENIZER.PROJECT.BIAS"] = torch.zeros(5)
    del weights["BACKBONE.NORM.WEIGHT"]
    torch.save({"TOY": weights}, tmp_path / "file.pt")
    with pytest.raises(CheckpointError) as caught:
        import_weights(tmp_path / "file.pt", tmp_path / "again", ["encoder.heads=2"])
    for words in ("missing: backbone.norm.weight", "unexpected: extra (3,)", "tokenizer.project.bias is (5,)"):
        assert words in str(caught.value)
    assert not (tmp_path / "again").exists()


def test_half_precision_weights_become_fp32(run: Path, tmp_path: Path):
    halves = {name.upper(): value.half() for name, value in stored(run, "encoder").items()}
    torch.save({"TOY": halves}, tmp_path / "file.pt")
    import_weights(tmp_path / "file.pt", tmp_path / "again", ["encoder.heads=2"])
    assert {value.dtype for value in stored(tmp_path / "again", "encoder").values()} == {torch.float32}


def test_learned_positions_follow_the_user_to_another_grid(tmp_path: Path):
    encoder = Parts.of(toy_config("encoder.positions=learned")).encoder()
    torch.save({"TOY": {name.upper(): value for name, value in module_tensors(encoder).items()}}, tmp_path / "file.pt")
    learned = ["encoder.heads=2", "encoder.positions=learned"]
    import_weights(tmp_path / "file.pt", tmp_path / "same", learned)
    import_weights(tmp_path / "file.pt", tmp_path / "wide", [*learned, "modality.cells=9"])
    name = "backbone.positions.table"
    assert torch.equal(stored(tmp_path / "same", "encoder")[name], module_tensors(encoder)[name])
    assert stored(tmp_path / "wide", "encoder")[name].shape == (81, 32)


def test_no_layout_and_several_layouts_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(CheckpointError, match=r"no known layout; it begins with a, b\. Known: safetensors, .*foreign"):
        recognise(Foreign(tmp_path, {"a": 1, "b": 2}))
    twice = (WeightFormat("one", "", Foreigner), WeightFormat("two", "", Foreigner))
    monkeypatch.setattr(Travelled, "formats", twice)
    with pytest.raises(CheckpointError, match="could be one and two"):
        recognise(Foreign(tmp_path, {"TOY": {}}))


def test_a_broken_modality_does_not_stop_others(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    export_weights(run, "safetensors", tmp_path / "encoder.safetensors")
    get = modalities.get

    def broken(name: str) -> Any:
        if name != "toy":
            from jepa_core.errors import PluginLoadError

            raise PluginLoadError(name)
        return get(name)

    monkeypatch.setattr(modalities, "get", broken)
    assert recognise(read_foreign(tmp_path / "encoder.safetensors")).name == "safetensors"


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.pt", b"no weights"), ("a.safetensors", b"no weights either"), ("a.pth.tar", b"")],
)
def test_a_damaged_file_is_an_error_of_one_line(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_foreign(tmp_path / name)


@pytest.mark.parametrize("modern", [True, False])
def test_torch_files_of_both_formats_are_read(tmp_path: Path, modern: bool):
    torch.save({"TOY": {"A": torch.ones(2)}}, tmp_path / "file.pt", _use_new_zipfile_serialization=modern)
    assert torch.equal(read_foreign(tmp_path / "file.pt").tensors("TOY")["A"], torch.ones(2))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("code of a pickle was run",))


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path):
    torch.save({"TOY": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="Only tensors and plain types"):
        read_foreign(tmp_path / "evil.pt")


def test_a_folder_is_read_with_all_shards_and_its_config(tmp_path: Path):
    save_file({"a": torch.ones(1)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": torch.ones(2)}, tmp_path / "model-00002-of-00002.safetensors")
    save_file({"optimizer": torch.ones(2)}, tmp_path / "other.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "x"}')
    foreign = read_foreign(tmp_path)
    assert set(foreign.content) == {"a", "b"}
    assert foreign.config == {"model_type": "x"}


def test_an_empty_folder_and_a_missing_path_are_errors(tmp_path: Path):
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_foreign(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        read_foreign(tmp_path / "nothing.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        read_foreign(tmp_path / "list.pt")


def test_nothing_is_overwritten(run: Path, tmp_path: Path):
    export_weights(run, "safetensors", tmp_path / "encoder.safetensors")
    with pytest.raises(UsageError, match="exists already"):
        export_weights(run, "safetensors", tmp_path / "encoder.safetensors")
    with pytest.raises(UsageError, match="holds a run"):
        import_weights(tmp_path / "encoder.safetensors", run)


def test_an_unwritable_place_is_an_error(run: Path, tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CheckpointError, match="could not be written"):
        export_weights(run, "safetensors", tmp_path / "file" / "encoder.safetensors")


def test_an_encoder_that_the_run_does_not_have_cannot_be_exported(run: Path, tmp_path: Path):
    export_weights(run, "safetensors", tmp_path / "encoder.safetensors")
    import_weights(tmp_path / "encoder.safetensors", tmp_path / "again")
    with pytest.raises(CheckpointError, match="holds no target_encoder, only encoder"):
        export_weights(tmp_path / "again", "safetensors", tmp_path / "out.safetensors")


def test_the_commands_say_what_they_did(run: Path, tmp_path: Path):
    out, again = tmp_path / "encoder.safetensors", tmp_path / "again"
    done = CliRunner().invoke(cli.app, ["export", str(run), "--to", "safetensors", "--out", str(out)])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(cli.app, ["import", str(out), "--out", str(again), "--set", "train.steps=77"])
    assert done.exit_code == 0, done.output
    assert "not in the file: predictor, target_encoder" in done.output
    assert RunFolder(again).config.train.steps == 77
    wrong = CliRunner().invoke(cli.app, ["export", str(run), "--to", "nonsense", "--out", str(tmp_path / "x")])
    assert wrong.exit_code == 2
    assert "foreign: capitals" in wrong.stderr
    wrong = CliRunner().invoke(cli.app, ["export", str(run), "--to", "foreign", "--out", "x", "--encoder", "both"])
    assert wrong.exit_code == 2
