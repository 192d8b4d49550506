from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import Toy, toy_config
from toy_train import train_toy

import jepa_core
from jepa_core.checkpoint import RunFolder, load_encoder
from jepa_core.errors import CheckpointError, UsageError
from jepa_core.frozen import FrozenEncoder, checkpoint_config, find_device, load, untrained_encoder
from jepa_core.model import Parts

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "trained"
    train_toy(folder, ["modality.mean=0.25", "modality.std=2.0", "optim.lr.value=0.01", "optim.lr.warmup=0"])
    return folder


def signals(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 1, 12, 12, generator=torch.Generator().manual_seed(0))


def test_tokens_are_the_encoders_and_an_embedding_is_their_mean(run: Path) -> None:
    encoder = jepa_core.load(run)
    tokens, embedding = encoder.tokens(signals()), encoder.embed(signals())
    _, module = load_encoder(RunFolder(run), "target")
    assert tokens.shape == (3, encoder.grid.num_tokens, 32)
    assert torch.equal(tokens, module(signals()))
    torch.testing.assert_close(embedding, tokens.mean(1))
    assert not tokens.requires_grad


def test_the_target_encoder_is_the_default_and_the_context_encoder_another_one(run: Path) -> None:
    target, context = load(run), load(run, "context")
    assert (target.which, context.which) == ("target", "context")
    assert not torch.equal(target.embed(signals()), context.embed(signals()))


def test_a_checkpoint_can_be_named(run: Path) -> None:
    early, late = load(run, checkpoint="step_4"), load(run)
    assert (early.step, late.step) == (4, 8)
    assert not torch.equal(early.embed(signals()), late.embed(signals()))
    with pytest.raises(CheckpointError, match="There are: step_4, step_8"):
        load(run, checkpoint="step_5")


def test_preprocessing_is_that_of_training_with_the_statistics_of_the_checkpoint(run: Path) -> None:
    raw = np.random.default_rng(0).standard_normal((12, 12)).astype(np.float32)
    encoder = load(run)
    assert encoder.config.modality.model_dump()["mean"] == 0.25
    torch.testing.assert_close(encoder.preprocess(raw), (torch.from_numpy(raw)[None] - 0.25) / 2)
    assert all(torch.equal(encoder.preprocess(raw), encoder.preprocess(raw)) for _ in range(8))  # no flips


def test_a_signal_of_another_shape_is_an_error_that_says_which_one_is_expected(run: Path) -> None:
    with pytest.raises(UsageError, match=r"expected shape \(batch, 1, 12, 12\), got \(1, 12, 12\).*signal\[None\]"):
        load(run).embed(signals()[0])


def test_data_and_probes_may_be_set_anew(run: Path) -> None:
    config = checkpoint_config(RunFolder(run).find(), ["modality.test_samples=7", "probes.1.k=3", "train.workers=1"])
    assert config.modality.model_dump()["test_samples"] == 7
    assert config.probes[1].model_dump()["k"] == 3


@pytest.mark.parametrize("override", ["modality.mean=0.0", "modality.std=1.0", "encoder.depth=3", "seed=1"])
def test_what_the_encoder_was_trained_with_may_not(run: Path, override: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "unnormalised", {"mean": 0.0, "std": 1.0})
    key = override.split("=", maxsplit=1)[0]
    with pytest.raises(UsageError, match=rf"(?s){key}: .* in the checkpoint, .* given.*What can be set: modality"):
        checkpoint_config(RunFolder(run).find(), [override])


def test_an_override_that_repeats_the_checkpoint_is_harmless(run: Path) -> None:
    folder = RunFolder(run).find()
    assert checkpoint_config(folder, ["modality.mean=0.25"]) == checkpoint_config(folder)


def test_the_untrained_encoder_is_where_the_run_began_and_differs_by_seed(tmp_path: Path) -> None:
    train_toy(tmp_path, ["seed=5", "train.steps=1", "optim.lr.value=0", "optim.lr.warmup_from=0", "optim.lr.end=0"])
    parts, began = load_encoder(RunFolder(tmp_path), "context")
    state = torch.random.get_rng_state()
    again, other = untrained_encoder(parts), untrained_encoder(Parts.of(toy_config("seed=6")))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(again(signals()), began(signals()))
    assert not torch.allclose(again(signals()), other(signals()), atol=1e-2)


def test_the_untrained_encoder_is_not_the_trained_one(run: Path) -> None:
    parts, trained = load_encoder(RunFolder(run), "target")
    assert not torch.allclose(untrained_encoder(parts)(signals()), trained(signals()), atol=1e-3)


def test_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"device warp: .*jepa doctor"):
        find_device("warp")
    assert find_device("cpu") == torch.device("cpu")
    assert find_device() in {torch.device("cpu"), torch.accelerator.current_accelerator()}


def test_a_folder_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no run folder"):
        load(tmp_path)


def test_the_package_offers_load_without_importing_torch() -> None:
    program = "import jepa_core, sys; assert 'torch' not in sys.modules; jepa_core.load; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert jepa_core.FrozenEncoder is FrozenEncoder
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = jepa_core.laod  # pyright: ignore[reportAttributeAccessIssue] - that is the point
