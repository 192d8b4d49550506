from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

import jepa_core
from jepa_core import cli
from jepa_core.checkpoint import RunFolder, module_tensors, read_tensors, write_checkpoint
from jepa_core.config.text import to_yaml
from jepa_core.errors import CheckpointError, UsageError
from jepa_core.interop import Foreign, Imported, export_weights, import_weights, read_foreign, recognise
from jepa_core.model import Parts
from jepa_core.nn.positions import sincos_table
from jepa_core.recipes import read_config
from jepa_core.types import TokenGrid
from jepa_video.hugging_face import HuggingFaceVJepa2
from jepa_video.interop import AXES, OfficialVJepa, OfficialVJepa2

PARITY = Path(__file__).parent / "parity"
V1, V2 = PARITY / "meta-vjepa" / "checkpoint.pth.tar", PARITY / "meta-vjepa2" / "checkpoint.pth.tar"
HUGGING_FACE = PARITY / "hf-vjepa2"
HEADS = ["encoder.heads=2"]
SMALL = [*HEADS, "modality.size=64", "modality.frames=8"]
Content = dict[str, Any]


def content_of(path: Path) -> Content:
    return torch.load(path, weights_only=True)


def read(path: Path, content: Content) -> Imported:
    return (OfficialVJepa if path == V1 else OfficialVJepa2)().read(Foreign(path, content))


def without_weights(width: int, depth: int, hidden: int, predictor: int = 384) -> Content:
    """A V-JEPA 2 checkpoint's shapes."""
    with torch.device("meta"):
        encoder = {
            "patch_embed.proj.weight": torch.empty(width, 3, 2, 16, 16),
            "blocks.0.mlp.fc1.weight": torch.empty(hidden, width),
            f"blocks.{depth - 1}.norm1.weight": torch.empty(width),
        }
        blocks = {"predictor_blocks.0.mlp.fc1.weight": torch.empty(4 * predictor, predictor)}
        tokens = {f"mask_tokens.{number}": torch.empty(1, 1, predictor) for number in range(10)}
    return {"encoder": encoder, "predictor": blocks | tokens}


Trained = Callable[..., Path]


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    """Makes a run folder of any configuration, with random weights."""

    def make(*overrides: str) -> Path:
        text = """
        modality: {name: video, frames: 4, size: 16, patch: 8}
        encoder: {size: null, width: 24, depth: 1, heads: 2}
        predictor: {width: 12, depth: 1, mask_token_per_view: true}
        masking: {name: random}
        """
        config = read_config(text=text, overrides=overrides)
        model, run = Parts.of(config).model(), RunFolder(tmp_path / "trained")
        encoder, target = module_tensors(model.encoder), module_tensors(Parts.of(config).encoder())
        weights = {"encoder": encoder, "predictor": module_tensors(model.predictor), "target_encoder": target}
        write_checkpoint(run.checkpoint(5), weights, {"step": 5}, to_yaml(config))
        run.config_path.write_text(to_yaml(config))
        return run.path

    return make


def stored(run: Path, part: str) -> dict[str, Tensor]:
    return read_tensors(RunFolder(run).find() / f"{part}.safetensors")


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


@pytest.mark.parametrize(("path", "name"), [(V1, "vjepa"), (V2, "vjepa2"), (HUGGING_FACE, "hf-vjepa2")])
def test_every_layout_is_recognised(path: Path, name: str):
    assert recognise(read_foreign(path)).name == name


def test_flat_patches_are_not_ours():
    content = content_of(V1)
    content["encoder"]["module.backbone.patch_embed.proj.weight"] = torch.zeros(48, 3, 16, 16)
    assert not OfficialVJepa().recognises(Foreign(V1, content))
    assert not OfficialVJepa2().recognises(Foreign(V1, content))


def test_positions_beside_more_mask_tokens_than_views_could_be_either():
    content = content_of(V1)
    content["predictor"]["module.backbone.mask_tokens.2"] = torch.zeros(1, 1, 24)
    with pytest.raises(CheckpointError, match=r"could be vjepa and vjepa2\. Choose with --format"):
        recognise(Foreign(V1, content))


def test_a_v_jepa_file_tells_clips_masks_and_loss(tmp_path: Path):
    import_weights(V1, tmp_path / "run", HEADS)
    config = RunFolder(tmp_path / "run").config
    video = config.modality.model_dump()
    assert {key: video[key] for key in ("channels", "frames", "tubelet")} == {"channels": 3, "frames": 8, "tubelet": 2}
    assert (video["size"], video["patch"]) == ((64, 64), (16, 16))
    assert (config.encoder.dimensions, config.encoder.positions) == ((48, 2, 2, 4.0), "sincos")  # pyright: ignore[reportAttributeAccessIssue]
    assert (config.masking.name, config.objective.name) == ("multiblock3d", "l1")
    predictor = config.predictor
    assert (predictor.width, predictor.depth, predictor.mask_token_per_view, predictor.mask_tokens) == (24, 2, True, 2)


@pytest.mark.parametrize(("half_first", "kind"), [(False, "sincos"), (True, "sincos_half_first")])
def test_stored_positions_tell_any_grid_and_their_kind(half_first: bool, kind: str):
    content, grid = content_of(V1), TokenGrid((8, 2, 4), AXES)
    content["encoder"]["module.backbone.pos_embed"] = sincos_table(grid, 48, half_first)[None].half()
    config = read(V1, content).config
    assert config["encoder"]["positions"] == kind
    assert (config["modality"]["frames"], config["modality"]["size"]) == (16, [32, 64])


def test_learned_positions_do_not_tell_the_grid():
    content = content_of(V1)
    for part in ("encoder", "target_encoder"):
        content[part]["module.backbone.pos_embed"] = torch.randn(1, 64, 48)
    imported = read(V1, content)
    assert set(imported.unknown) == {"encoder.heads", "modality.frames", "modality.size"}
    assert imported.weights["encoder"]["backbone.positions.table"].shape == (64, 48)


def test_v_jepa_2_takes_from_its_recipe_what_rotary_positions_do_not_tell(tmp_path: Path):
    out = tmp_path / "run"
    done = CliRunner().invoke(cli.app, ["import", str(V2), "--out", str(out), "--set", HEADS[0], "--set", SMALL[1]])
    assert done.exit_code == 0, done.output
    assert "taken to be 16 frames" in done.output
    assert "modality.frames=..." in done.output
    assert "modality.size" not in done.output
    config = RunFolder(out).config
    assert (config.modality.model_dump()["frames"], config.modality.model_dump()["size"]) == (16, (64, 64))
    assert config.encoder.positions == "rope_vjepa2"  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("size", "width", "depth", "hidden", "heads"),
    [("large", 1024, 24, 4096, None), ("huge", 1280, 32, 5120, None), ("giant", 1408, 40, 6144, 22)],
)
def test_released_sizes_of_v_jepa_2_are_complete(size: str, width: int, depth: int, hidden: int, heads: int | None):
    imported = read(V2, without_weights(width, depth, hidden))
    encoder, predictor = imported.config["encoder"], imported.config["predictor"]
    assert not imported.unknown
    assert (encoder["size"], encoder.get("heads")) == (size, heads)
    assert (predictor["heads"], predictor["mask_tokens"]) == (12, 10)
    assert set(imported.assumed) == {"modality.frames", "modality.size", "predictor.heads"}


def test_another_width_of_the_predictor_has_the_encoders_heads():
    imported = read(V2, without_weights(1024, 24, 4096, predictor=192))
    assert "heads" not in imported.config["predictor"]
    assert "predictor.heads" not in imported.assumed


def test_all_mask_tokens_of_v_jepa_2_are_kept_and_go_back(tmp_path: Path):
    content = content_of(V2)
    for number in range(2, 10):
        content["predictor"][f"module.backbone.mask_tokens.{number}"] = torch.randn(1, 1, 24)
    torch.save(content, tmp_path / "file.pt")
    import_weights(tmp_path / "file.pt", tmp_path / "run", SMALL)
    config = RunFolder(tmp_path / "run").config
    assert (config.predictor.mask_tokens, config.predictor.mask_token_per_view) == (10, False)
    export_weights(tmp_path / "run", "vjepa2", tmp_path / "back.pt")
    assert same(content_of(tmp_path / "back.pt")["predictor"], content["predictor"])


def test_positions_that_v_jepa_2_stores_and_never_uses_are_left_out(tmp_path: Path):
    content = content_of(V2)
    for part, width in (("encoder", 48), ("target_encoder", 48)):
        content[part]["module.backbone.pos_embed"] = torch.randn(1, 64, width)
    content["predictor"]["module.backbone.predictor_pos_embed"] = torch.randn(1, 64, 24)
    torch.save(content, tmp_path / "file.pt")
    import_weights(tmp_path / "file.pt", tmp_path / "run", SMALL, "vjepa2")
    import_weights(V2, tmp_path / "plain", SMALL)
    for part in ("encoder", "predictor", "target_encoder"):
        assert same(stored(tmp_path / "run", part), stored(tmp_path / "plain", part))


@pytest.mark.parametrize("path", [V1, V2])
@pytest.mark.parametrize("part", ["encoder", "predictor"])
def test_a_damaged_checkpoint_names_what_it_lacks(path: Path, part: str):
    content, prefix = content_of(path), "" if part == "encoder" else "predictor_"
    del content[part][f"module.backbone.{prefix}blocks.0.mlp.fc1.weight"]
    with pytest.raises(CheckpointError, match=rf"the {part} lacks '{prefix}blocks\.0\.mlp\.fc1\.weight'"):
        read(path, content)


def test_an_encoder_alone_is_enough(tmp_path: Path):
    content = {"encoder": content_of(V1)["encoder"]}
    torch.save(content, tmp_path / "file.pt")
    imported = import_weights(tmp_path / "file.pt", tmp_path / "run", HEADS)
    assert imported.missing == ["predictor", "target_encoder"]


@pytest.mark.parametrize(("path", "name", "given"), [(V1, "vjepa", HEADS), (V2, "vjepa2", SMALL)])
def test_the_public_code_gets_back_what_it_gave(tmp_path: Path, path: Path, name: str, given: list[str]):
    import_weights(path, tmp_path / "run", given)
    export_weights(tmp_path / "run", name, tmp_path / "file.pth.tar")
    ours, theirs = content_of(tmp_path / "file.pth.tar"), content_of(path)
    assert ours.keys() == theirs.keys()
    for part in ("encoder", "predictor", "target_encoder"):
        assert same(ours[part], theirs[part])


def test_hugging_face_gets_back_what_it_gave(tmp_path: Path):
    import_weights(HUGGING_FACE, tmp_path / "run")
    export_weights(tmp_path / "run", "hf-vjepa2", tmp_path / "folder", "context")
    assert same(load_file(tmp_path / "folder/model.safetensors"), load_file(HUGGING_FACE / "model.safetensors"))
    ours, theirs = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "folder", HUGGING_FACE))
    assert ours == {key: theirs[key] for key in ours}


@pytest.mark.parametrize(
    ("name", "positions"),
    [("vjepa", "sincos"), ("vjepa", "sincos_half_first"), ("vjepa", "learned"), ("vjepa2", "rope_vjepa2")],
)
def test_any_run_survives_the_public_layouts(trained: Trained, tmp_path: Path, name: str, positions: str):
    clips = ["modality.frames=4", "modality.size=16"] if positions in {"learned", "rope_vjepa2"} else []
    source = trained(f"encoder.positions={positions}")
    export_weights(source, name, tmp_path / "file.pth.tar")
    import_weights(tmp_path / "file.pth.tar", tmp_path / "again", [*HEADS, "masking.name=random", *clips])
    for part in ("encoder", "predictor", "target_encoder"):
        assert same(stored(source, part), stored(tmp_path / "again", part))
    assert RunFolder(source).config.modality == RunFolder(tmp_path / "again").config.modality


def test_a_hugging_face_folder_of_any_run_comes_back_with_its_preprocessing(trained: Trained, tmp_path: Path):
    source = trained("encoder.positions=rope_vjepa2", "modality.resize=20", "predictor.heads=1")
    export_weights(source, "hf-vjepa2", tmp_path / "folder")
    import_weights(tmp_path / "folder", tmp_path / "again", ["masking.name=random"])
    assert same(stored(source, "target_encoder"), stored(tmp_path / "again", "encoder"))
    assert same(stored(source, "predictor"), stored(tmp_path / "again", "predictor"))
    assert RunFolder(tmp_path / "again").config.predictor.heads == 1
    told = json.loads((tmp_path / "folder/video_preprocessor_config.json").read_text())
    assert (told["size"], told["crop_size"]) == ({"shortest_edge": 20}, {"height": 16, "width": 16})
    config = RunFolder(source).config.modality
    assert (tuple(told["image_mean"]), tuple(told["image_std"])) == (config.mean, config.std)  # pyright: ignore[reportAttributeAccessIssue]


def test_hugging_face_weights_inside_another_model_or_without_a_config_are_read():
    foreign = read_foreign(HUGGING_FACE)
    inside = Foreign(HUGGING_FACE, {f"vjepa2.{name}": value for name, value in foreign.content.items()})
    assert HuggingFaceVJepa2().recognises(inside)
    plain, alone = HuggingFaceVJepa2().read(foreign), HuggingFaceVJepa2().read(inside)
    assert not plain.unknown
    assert not plain.assumed
    assert set(alone.unknown) == {"encoder.heads"}
    assert set(alone.assumed) == {"modality.frames", "modality.size"}
    for part in ("encoder", "predictor"):
        assert same(plain.weights[part], alone.weights[part])


def test_a_classifier_of_hugging_face_gives_its_networks_and_says_what_is_left_out(caplog: pytest.LogCaptureFixture):
    foreign = read_foreign(HUGGING_FACE)
    head = {"pooler.query_tokens": torch.zeros(1, 1, 48), "classifier.bias": torch.zeros(5)}
    whole = Foreign(HUGGING_FACE, {f"vjepa2.{name}": value for name, value in foreign.content.items()} | head)
    assert same(
        HuggingFaceVJepa2().read(whole).weights["encoder"], HuggingFaceVJepa2().read(foreign).weights["encoder"]
    )
    assert [record.message for record in caplog.records if "classifier is left out" in record.message]


@pytest.mark.parametrize(
    ("name", "override", "reason"),
    [
        ("vjepa", "encoder.positions=rope", "encoder.positions rope; it holds sincos and sincos_half_first"),
        ("vjepa2", "encoder.positions=rope", "encoder.positions rope; it holds rope_vjepa2"),
        ("hf-vjepa2", "encoder.positions=sincos", "encoder.positions sincos; it holds rope_vjepa2"),
        ("vjepa", "modality.patch=[8, 4]", "patches of 8 x 4 pixels"),
        ("vjepa", "predictor.heads=3", "predictor.heads 3; its predictor has as many as the encoder"),
    ],
)
def test_what_a_layout_cannot_hold_is_refused(trained: Trained, tmp_path: Path, name: str, override: str, reason: str):
    with pytest.raises(UsageError, match=f"--to {name}: cannot hold {reason}"):
        export_weights(trained(override), name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_hugging_face_holds_square_clips_only(trained: Trained, tmp_path: Path):
    oblong = trained("encoder.positions=rope_vjepa2", "modality.size=[16, 24]")
    with pytest.raises(UsageError, match="cannot hold clips of 16 x 24 pixels"):
        export_weights(oblong, "hf-vjepa2", tmp_path / "out")


def test_an_imported_run_gives_tokens_from_the_command_line_on(tmp_path: Path):
    out = tmp_path / "run"
    done = CliRunner().invoke(cli.app, ["import", str(V1), "--out", str(out), "--set", HEADS[0]])
    assert done.exit_code == 0, done.output
    answers = load_file(V1.parent / "io.safetensors")
    tokens = jepa_core.load(out).tokens(answers["clip"])
    torch.testing.assert_close(tokens, answers["target_encoder_tokens"], rtol=0, atol=1e-5)
