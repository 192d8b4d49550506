"""The public V-JEPA and V-JEPA 2 code and transformers' VJEPA2Model against ours, through `jepa import`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from jepa_core.checkpoint import RunFolder, load_encoder, load_strictly, read_tensors
from jepa_core.interop import import_classifier, import_weights
from jepa_core.masking import MaskView
from jepa_core.model import JEPA, Encoder, Parts
from jepa_core.nn.tokens import take_tokens
from jepa_core.probes.stored import load_classifier

PARITY = Path(__file__).parent / "parity"
GIVEN = {
    "meta-vjepa": ["encoder.heads=2"],
    "meta-vjepa2": ["encoder.heads=2", "modality.size=64", "modality.frames=8", "predictor.mask_token_per_view=true"],
    "hf-vjepa2": ["predictor.mask_token_per_view=true"],
}
"""What the files do not tell; and that both mask tokens can be asked for, which V-JEPA 2 itself never does in a run."""


@dataclass(frozen=True)
class Imported:
    """A public checkpoint as a run, with what the public program answered."""

    run: RunFolder
    io: dict[str, Tensor]
    told: dict[str, Any]

    @property
    def model(self) -> JEPA:
        model = Parts.of(self.run.config).model().eval()
        for part, module in (("encoder", model.encoder), ("predictor", model.predictor)):
            load_strictly(module, read_tensors(self.run.find() / f"{part}.safetensors"), part)
        return model

    @property
    def target(self) -> Encoder:
        return load_encoder(self.run, "target")[1]

    @property
    def view(self) -> MaskView:
        return MaskView(self.io["context_index"], self.io["target_index"][:, None])


def imported(program: str, folder: Path) -> Imported:
    source = PARITY / program
    checkpoint = source / "checkpoint.pth.tar"
    import_weights(checkpoint if checkpoint.exists() else source, folder / "run", GIVEN[program])
    told = json.loads((source / "meta.json").read_text())
    return Imported(RunFolder(folder / "run"), load_file(source / "io.safetensors"), told)


@pytest.fixture(scope="module", params=["meta-vjepa", "meta-vjepa2"])
def public(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    return imported(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    return imported("hf-vjepa2", tmp_path_factory.mktemp("hf-vjepa2"))


def require_close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@torch.no_grad()
def test_encoder_tokens_of_the_whole_clip(public: Imported):
    require_close(public.model.encoder(public.io["clip"]), public.io["encoder_tokens_full"])


@torch.no_grad()
def test_encoder_tokens_of_the_context(public: Imported):
    require_close(public.model.encoder(public.io["clip"], public.view.context), public.io["context_tokens"])


@torch.no_grad()
def test_target_encoder_tokens(public: Imported):
    require_close(public.target(public.io["clip"]), public.io["target_encoder_tokens"])


@torch.no_grad()
@pytest.mark.parametrize("number", [0, 1])
def test_predicted_tokens_with_each_mask_token(public: Imported, number: int):
    predicted = public.model.predictor(public.io["context_tokens"], public.view, number)
    require_close(predicted[:, 0], public.io[f"predicted_tokens_mask{number}"])


@torch.no_grad()
def test_targets_are_layer_normed_and_taken_at_the_targets(public: Imported):
    tokens = public.model.objective.normalise(public.target(public.io["clip"]))
    require_close(take_tokens(tokens, public.view.targets)[:, 0], public.io["targets"])


@torch.no_grad()
def test_the_loss_is_the_mean_over_both_views(public: Imported):
    model, clip = public.model, public.io["clip"]
    targets = take_tokens(model.objective.normalise(public.target(clip)), public.view.targets)
    losses = [public.told[f"l1_loss_mask{number}"] for number in (0, 1)]
    first, _ = model(clip, (public.view,), [targets])
    both, _ = model(clip, (public.view, public.view), [targets, targets])
    assert first.mean().item() == pytest.approx(losses[0], abs=1e-5)
    assert both.mean().item() == pytest.approx(sum(losses) / 2, abs=1e-5)


@torch.no_grad()
def test_logits_of_the_attentive_classifier(public: Imported, tmp_path: Path):
    source = PARITY / ("meta-vjepa" if public.told["source"] == "vjepa" else "meta-vjepa2") / "classifier.pt"
    import_classifier(source, tmp_path / "probe.safetensors", ["heads=2"])
    logits = load_classifier(tmp_path / "probe.safetensors")(public.target(public.io["clip"]))
    require_close(logits, public.io["attentive_logits"])


@torch.no_grad()
def test_hugging_face_tokens(hugging_face: Imported):
    clip = hugging_face.io["pixel_values"].transpose(1, 2)
    require_close(hugging_face.model.encoder(clip), hugging_face.io["last_hidden_state"])


@torch.no_grad()
def test_hugging_face_predicts_from_tokens_of_the_whole_clip_with_its_second_mask_token(hugging_face: Imported):
    context = take_tokens(hugging_face.io["last_hidden_state"], hugging_face.view.context)
    predicted = hugging_face.model.predictor(context, hugging_face.view, 1)
    require_close(predicted[:, 0], hugging_face.io["predicted_tokens"])
