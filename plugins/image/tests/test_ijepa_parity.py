"""The public I-JEPA code and transformers' IJepaModel against ours, through `jepa import` (parity/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from jepa_core.checkpoint import RunFolder, load_encoder, load_strictly, read_tensors
from jepa_core.config.tree import TargetConfig
from jepa_core.ema import TargetEncoder
from jepa_core.interop import import_weights
from jepa_core.masking import MaskView
from jepa_core.model import JEPA, Encoder, Parts
from jepa_core.nn.tokens import take_tokens
from jepa_core.targets import TargetSide

PARITY = Path(__file__).parent / "parity"
OFFICIAL, HUGGING_FACE = PARITY / "meta-ijepa", PARITY / "hf-ijepa"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("official") / "run"
    import_weights(OFFICIAL / "checkpoint.pth.tar", out, ["encoder.heads=3"])
    return RunFolder(out)


@pytest.fixture(scope="module")
def io() -> dict[str, Tensor]:
    return load_file(OFFICIAL / "io.safetensors")


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return json.loads((OFFICIAL / "meta.json").read_text())


@pytest.fixture
def model(run: RunFolder) -> JEPA:
    model = Parts.of(run.config).model()
    for part, module in (("encoder", model.encoder), ("predictor", model.predictor)):
        load_strictly(module, read_tensors(run.find() / f"{part}.safetensors"), part)
    return model


@pytest.fixture
def target(run: RunFolder) -> Encoder:
    return load_encoder(run, "target")[1]


@pytest.fixture
def view(io: dict[str, Tensor]) -> MaskView:
    return MaskView(io["context_index"], torch.stack([io[f"target_index_{block}"] for block in range(4)], dim=1))


def require_close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def block_major(tokens: Tensor) -> Tensor:
    """(batch, blocks, ...) as the public code stacks it: every sample's first block, then every sample's second."""
    return tokens.transpose(0, 1).flatten(0, 1)


@torch.no_grad()
def test_encoder_tokens_of_the_whole_image(model: JEPA, io: dict[str, Tensor]):
    require_close(model.encoder(io["images"]), io["encoder_tokens_full"])


@torch.no_grad()
def test_encoder_tokens_of_the_context(model: JEPA, io: dict[str, Tensor]):
    context = model.encoder(io["images"], io["context_index"])
    require_close(context, io["context_tokens"])


@torch.no_grad()
def test_target_encoder_tokens(target: Encoder, io: dict[str, Tensor]):
    require_close(target(io["images"]), io["target_encoder_tokens"])


@torch.no_grad()
def test_predicted_tokens(model: JEPA, view: MaskView, io: dict[str, Tensor]):
    predicted = model.predictor(io["context_tokens"], view)
    require_close(block_major(predicted), io["predicted_tokens"])


@torch.no_grad()
def test_targets_are_layer_normed_and_taken_at_the_targets(
    model: JEPA, target: Encoder, view: MaskView, io: dict[str, Tensor]
):
    targets = take_tokens(model.objective.normalise(target(io["images"])), view.targets)
    require_close(block_major(targets), io["targets"])


def test_four_steps_of_training(
    run: RunFolder, model: JEPA, target: Encoder, view: MaskView, io: dict[str, Tensor], told: dict[str, Any]
):
    follower, losses = TargetEncoder(target), list[float]()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999), weight_decay=0.04)
    for _ in range(4):
        targets = TargetSide(TargetConfig(), follower, model.objective)(io["images"], (view,))
        per_sample, _ = model(io["images"], (view,), targets.views)
        losses.append(per_sample.mean().item())
        optimizer.zero_grad()
        per_sample.mean().backward()
        optimizer.step()
        follower.follow(model.encoder, momentum=0.99)
    assert losses == pytest.approx(told["losses_4_steps"], abs=1e-5)


def test_the_gradient_of_the_encoder(
    model: JEPA, target: Encoder, view: MaskView, io: dict[str, Tensor], told: dict[str, Any]
):
    with torch.no_grad():
        targets = take_tokens(model.objective.normalise(target(io["images"])), view.targets)
    model(io["images"], (view,), [targets])[0].mean().backward()
    gradients = [parameter.grad for parameter in model.encoder.parameters() if parameter.grad is not None]
    assert float(torch.nn.utils.get_total_norm(gradients)) == pytest.approx(told["grad_norm_encoder"], rel=1e-4)


@torch.no_grad()
def test_hugging_face_tokens(tmp_path: Path):
    import_weights(HUGGING_FACE, tmp_path / "run")
    _, encoder = load_encoder(RunFolder(tmp_path / "run"), "context")
    expected = load_file(HUGGING_FACE / "io.safetensors")
    require_close(encoder(expected["pixel_values"]), expected["last_hidden_state"])
