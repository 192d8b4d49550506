from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from jepa_core.checkpoint import RunFolder, load_encoder, module_tensors, read_tensors, write_checkpoint
from jepa_core.config.text import to_yaml
from jepa_core.errors import CheckpointError, UsageError
from jepa_core.interop import Foreign, export_weights, import_weights, read_foreign, recognise
from jepa_core.model import Parts
from jepa_core.nn.positions import sincos_table
from jepa_core.recipes import read_config
from jepa_core.types import TokenGrid
from jepa_image.hugging_face import HuggingFaceIJepa
from jepa_image.interop import OfficialIJepa

PARITY = Path(__file__).parent / "parity"
OFFICIAL, HUGGING_FACE = PARITY / "meta-ijepa" / "checkpoint.pth.tar", PARITY / "hf-ijepa"


def official() -> dict[str, Any]:
    return torch.load(OFFICIAL, weights_only=True)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    import_weights(OFFICIAL, tmp_path / "run", ["encoder.heads=3"])
    return tmp_path / "run"


Trained = Callable[..., Path]


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    """Makes a run folder of any configuration, with random weights."""

    def make(*overrides: str) -> Path:
        text = "modality: {name: image, size: 32, patch: 8}\nencoder: {size: null, width: 24, depth: 1, heads: 2}"
        config = read_config(
            text=f"{text}\npredictor: {{width: 12, depth: 1}}\nmasking: {{name: random}}", overrides=overrides
        )
        model, run = Parts.of(config).model(), RunFolder(tmp_path / "trained")
        encoder, predictor = module_tensors(model.encoder), module_tensors(model.predictor)
        weights = {"encoder": encoder, "predictor": predictor, "target_encoder": encoder}
        write_checkpoint(run.checkpoint(5), weights, {"step": 5}, to_yaml(config))
        run.config_path.write_text(to_yaml(config))
        return run.path

    return make


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


def test_both_layouts_are_recognised():
    assert recognise(read_foreign(OFFICIAL)).name == "ijepa"
    assert recognise(read_foreign(HUGGING_FACE)).name == "hf-ijepa"


def test_another_kind_of_patch_is_not_ours():
    content = official()
    content["encoder"]["module.patch_embed.proj.weight"] = torch.zeros(48, 3, 2, 8, 8)
    assert not OfficialIJepa().recognises(Foreign(OFFICIAL, content))


def test_the_configuration_follows_from_the_tensors(run: Path):
    config = RunFolder(run).config
    assert (
        config.modality.model_dump() | {"channels": 3, "size": (64, 64), "patch": (8, 8)}
        == config.modality.model_dump()
    )
    assert config.encoder.dimensions == (48, 2, 3, 4.0)  # pyright: ignore[reportAttributeAccessIssue]
    assert (config.predictor.width, config.predictor.depth, config.predictor.mlp_ratio) == (24, 2, 4.0)
    assert config.objective.name == "smooth_l1"


def test_heads_of_an_unusual_width_must_be_given(tmp_path: Path):
    with pytest.raises(UsageError, match=r"48 is no standard width; give it: --set encoder\.heads="):
        import_weights(OFFICIAL, tmp_path / "run")


@pytest.mark.parametrize(
    ("size", "width", "depth", "hidden", "heads"),
    [("huge", 1280, 32, 5120, 16), ("giant", 1408, 40, 6144, 16), (None, 768, 3, 1024, 12)],
)
def test_standard_widths_tell_the_heads(size: str | None, width: int, depth: int, hidden: int, heads: int):
    with torch.device("meta"):
        blocks = {f"module.blocks.{depth - 1}.norm1.weight": torch.empty(width)}
        shapes = {"patch_embed.proj.weight": (width, 3, 14, 14), "blocks.0.mlp.fc1.weight": (hidden, width)}
        encoder = blocks | {f"module.{name}": torch.empty(shape) for name, shape in shapes.items()}
    encoder["module.pos_embed"] = sincos_table(TokenGrid((16, 16), ("height", "width")), width)[None]
    imported = OfficialIJepa().read(Foreign(OFFICIAL, {"encoder": encoder}))
    section = imported.config["encoder"]
    assert not imported.unknown
    assert section["size"] == size
    assert imported.config["modality"]["size"] == [224, 224]
    if size is None:
        assert (section["width"], section["depth"], section["heads"]) == (768, 3, heads)
        assert round(section["mlp_ratio"] * width) == hidden


def test_fixed_positions_tell_the_grid_of_images_that_are_not_square():
    content = official()
    grid = TokenGrid((4, 16), ("height", "width"))
    content["encoder"]["module.pos_embed"] = sincos_table(grid, 48)[None].half()
    imported = OfficialIJepa().read(Foreign(OFFICIAL, content))
    assert imported.config["modality"]["size"] == [32, 128]
    assert imported.config["encoder"]["positions"] == "sincos"


def test_learned_positions_of_no_square_need_the_size():
    content = official()
    content["encoder"]["module.pos_embed"] = torch.randn(1, 60, 48)
    imported = OfficialIJepa().read(Foreign(OFFICIAL, content))
    assert imported.config["encoder"]["positions"] == "learned"
    assert "of no square" in imported.unknown["modality.size"]


def test_statistics_of_other_channels_must_be_given(tmp_path: Path):
    content = official()
    for part in ("encoder", "target_encoder"):
        content[part]["module.patch_embed.proj.weight"] = torch.randn(48, 12, 8, 8)
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(UsageError, match=r"12 channels were normalised; give it: --set modality\.mean="):
        import_weights(tmp_path / "file.pt", tmp_path / "run", ["encoder.heads=3"])
    given = ["encoder.heads=3", "modality.mean=[0.5]", "modality.std=[0.2]"]
    import_weights(tmp_path / "file.pt", tmp_path / "run", given)
    assert RunFolder(tmp_path / "run").config.modality.channels == 12  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("part", ["encoder", "predictor"])
def test_a_damaged_checkpoint_names_what_it_lacks(part: str):
    content = official()
    prefix = "" if part == "encoder" else "predictor_"
    del content[part][f"module.{prefix}blocks.0.mlp.fc1.weight"]
    with pytest.raises(CheckpointError, match=rf"the {part} lacks '{prefix}blocks\.0\.mlp\.fc1\.weight'"):
        OfficialIJepa().read(Foreign(OFFICIAL, content))


def test_a_deeper_checkpoint_than_configured_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"unexpected: transformer\.blocks\.1\."):
        import_weights(OFFICIAL, tmp_path / "run", ["encoder.heads=3", "predictor.depth=1"])


def test_fixed_positions_are_computed_anew_for_another_size(tmp_path: Path):
    import_weights(OFFICIAL, tmp_path / "run", ["encoder.heads=3", "modality.size=128"])
    _, encoder = load_encoder(RunFolder(tmp_path / "run"), "target")
    assert encoder(torch.randn(1, 3, 128, 128)).shape == (1, 256, 48)


def test_learned_positions_are_resized_for_another_size(tmp_path: Path):
    import_weights(HUGGING_FACE, tmp_path / "run", ["modality.size=[64, 96]"])
    _, encoder = load_encoder(RunFolder(tmp_path / "run"), "context")
    assert encoder(torch.randn(1, 3, 64, 96)).shape == (1, 96, 48)


def test_the_public_code_gets_back_what_it_gave(run: Path, tmp_path: Path):
    export_weights(run, "ijepa", tmp_path / "file.pth.tar")
    ours, theirs = torch.load(tmp_path / "file.pth.tar", weights_only=True), official()
    assert ours.keys() == theirs.keys()
    for part in ("encoder", "predictor", "target_encoder"):
        assert same(ours[part], theirs[part])


@pytest.mark.parametrize("positions", ["sincos", "learned"])
def test_any_run_survives_the_public_layout(trained: Trained, tmp_path: Path, positions: str):
    source = trained(f"encoder.positions={positions}", "modality.size=[16, 32]" if positions == "sincos" else "seed=1")
    export_weights(source, "ijepa", tmp_path / "file.pth.tar")
    import_weights(tmp_path / "file.pth.tar", tmp_path / "again", ["encoder.heads=2", "masking.name=random"])
    for part in ("encoder", "predictor", "target_encoder"):
        first, second = (
            read_tensors(RunFolder(path).find() / f"{part}.safetensors") for path in (source, tmp_path / "again")
        )
        assert same(first, second)
    assert RunFolder(source).config.modality == RunFolder(tmp_path / "again").config.modality


def test_hugging_face_gets_back_what_it_gave(tmp_path: Path):
    import_weights(HUGGING_FACE, tmp_path / "run")
    export_weights(tmp_path / "run", "hf-ijepa", tmp_path / "folder", "context")
    assert same(load_file(tmp_path / "folder/model.safetensors"), load_file(HUGGING_FACE / "model.safetensors"))
    ours, theirs = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "folder", HUGGING_FACE))
    assert ours == {key: theirs[key] for key in ours}


def test_a_hugging_face_folder_carries_the_preprocessing(run: Path, tmp_path: Path):
    export_weights(run, "hf-ijepa", tmp_path / "folder")
    told = json.loads((tmp_path / "folder/preprocessor_config.json").read_text())
    config = RunFolder(run).config.modality
    assert told["size"] == {"height": 64, "width": 64}
    assert (tuple(told["image_mean"]), tuple(told["image_std"])) == (config.mean, config.std)  # pyright: ignore[reportAttributeAccessIssue]
    weights = load_file(tmp_path / "folder/model.safetensors")
    chosen = official()["target_encoder"]["module.blocks.1.attn.qkv.weight"]
    assert torch.equal(weights["encoder.layer.1.attention.attention.key.weight"], chosen[48:96])


def test_hugging_face_weights_with_a_head_or_without_a_config_are_read():
    foreign = read_foreign(HUGGING_FACE)
    inside = {f"ijepa.{name}": value for name, value in foreign.content.items()}
    assert HuggingFaceIJepa().recognises(Foreign(HUGGING_FACE, inside))
    imported = HuggingFaceIJepa().read(Foreign(HUGGING_FACE, inside))
    assert set(imported.unknown) == {"encoder.heads"}
    assert same(imported.weights["encoder"], HuggingFaceIJepa().read(foreign).weights["encoder"])


def test_a_hugging_face_file_without_a_key_matrix_is_refused(tmp_path: Path):
    content = dict(read_foreign(HUGGING_FACE).content)
    del content["encoder.layer.1.attention.attention.key.weight"]
    save_file(content, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks 'encoder\.layer\.1\.attention\.attention\.key\.weight'"):
        import_weights(tmp_path / "model.safetensors", tmp_path / "run")


@pytest.mark.parametrize("layout", ["ijepa", "hf-ijepa"])
@pytest.mark.parametrize(
    ("override", "reason"),
    [("encoder.positions=rope", "encoder.positions rope"), ("modality.patch=[8, 4]", "patches of 8 x 4 pixels")],
)
def test_what_a_layout_cannot_hold_is_refused(
    trained: Trained, tmp_path: Path, layout: str, override: str, reason: str
):
    with pytest.raises(UsageError, match=f"--to {layout}: cannot hold {reason}"):
        export_weights(trained(override), layout, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_mask_token_per_view_does_not_fit_the_public_layout(trained: Trained, tmp_path: Path):
    with pytest.raises(UsageError, match="holds one mask token"):
        export_weights(trained("predictor.mask_token_per_view=true"), "ijepa", tmp_path / "out.pth.tar")
