"""Runs of one seed begin with the same weights wherever they have the same network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy import toy_config

from jepa_core.checkpoint import RunFolder
from jepa_core.frozen import untrained_encoder
from jepa_core.model import Parts
from jepa_core.trainer import Trainer

pytestmark = pytest.mark.usefixtures("toy")

ROWS = "masking={name: toy_rows, rows: 3}"


@pytest.fixture
def begun(tmp_path: Path) -> dict[str, Tensor]:
    """Weights of encoder and predictor that a run begins with."""
    return weights_of(tmp_path)


def weights_of(folder: Path, *overrides: str) -> dict[str, Tensor]:
    run = RunFolder(folder / ("plain" if not overrides else "changed"))
    return dict(Trainer(toy_config(*overrides), run).state.model.state_dict())


def differing(weights: dict[str, Tensor], others: dict[str, Tensor]) -> set[str]:
    """Names that both have, of weights that are not the same bit for bit."""
    return {name for name in weights.keys() & others.keys() if not torch.equal(weights[name], others[name])}


@pytest.mark.parametrize(
    "change",
    [
        ROWS,
        "masking={name: limited, context_tokens: 5}",
        "objective={name: l1, targets: raw}",
        "target={input: targets, layers: 2, stop_gradient: false}",
        "predictor={mode: joint, mask_token_per_view: true}",
        "ema.momentum={value: 0, end: 0}",
        "optim.lr.value=0.5",
        "train={steps: 99, batch_size: 8}",
        "encoder.drop_path=0.5",
        "encoder.activation_checkpointing=true",
        "modality.train_samples=20",
    ],
)
def test_what_changes_no_network_changes_no_weight(begun: dict[str, Tensor], tmp_path: Path, change: str) -> None:
    changed = weights_of(tmp_path, change)
    assert changed.keys() == begun.keys()
    assert not differing(begun, changed)


@pytest.mark.parametrize("change", ["depth=4", "width=24", "mlp_ratio=2", "heads=1", "zero_init_mask_tokens=true"])
def test_the_encoder_does_not_depend_on_the_predictor(begun: dict[str, Tensor], tmp_path: Path, change: str) -> None:
    changed = weights_of(tmp_path, f"predictor.{change}")
    encoder = {name for name in begun if name.startswith("encoder.")}
    assert encoder <= changed.keys()
    assert not differing(begun, changed) & encoder


def test_deeper_networks_begin_with_the_blocks_of_shallower_ones(begun: dict[str, Tensor], tmp_path: Path) -> None:
    changed = weights_of(tmp_path, "predictor.depth=3")
    assert "predictor.transformer.blocks.2.mlp.fc1.weight" in changed
    assert not {name for name in differing(begun, changed) if ".blocks." in name}


@pytest.mark.parametrize("positions", ["learned", "rope", "sincos_half_first"])
def test_positions_change_no_other_weight(begun: dict[str, Tensor], tmp_path: Path, positions: str) -> None:
    changed = weights_of(tmp_path, f"encoder.positions={positions}")
    assert {name.split(".")[-1] for name in changed.keys() ^ begun.keys()} <= {"table"}
    assert not differing(begun, changed)


def test_learned_positions_are_random_numbers_of_their_own(tmp_path: Path) -> None:
    weights = weights_of(tmp_path, "encoder.positions=learned")
    table, other = weights["encoder.backbone.positions.table"], weights["predictor.transformer.positions.table"]
    assert table.std().item() == pytest.approx(0.02, rel=0.2)
    assert not set(table.flatten().tolist()) & set(other.flatten().tolist())
    first = weights["encoder.backbone.blocks.0.attn.qkv.weight"]
    assert not set(table.flatten().tolist()) & set(first.flatten().tolist())
    another = weights_of(tmp_path / "other", "encoder.positions=learned", "seed=1")
    assert not torch.equal(table, another["encoder.backbone.positions.table"])


def test_another_seed_gives_other_weights(begun: dict[str, Tensor], tmp_path: Path) -> None:
    changed = differing(begun, weights_of(tmp_path, "seed=1"))
    assert {"encoder.tokenizer.project.weight", "predictor.embed.weight", "predictor.mask_tokens"} <= changed


def test_the_untrained_encoder_of_an_evaluation_is_what_the_run_began_with(begun: dict[str, Tensor]) -> None:
    for overrides in ([], [ROWS, "predictor.depth=4"]):
        encoder = untrained_encoder(Parts.of(toy_config(*overrides))).state_dict()
        assert all(torch.equal(value, begun[f"encoder.{name}"]) for name, value in encoder.items())
