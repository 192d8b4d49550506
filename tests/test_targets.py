"""What is predicted: of the whole signal or of the target blocks alone, of one layer or of several."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from toy import toy_config

from jepa_core.checkpoint import RunFolder
from jepa_core.config import Section
from jepa_core.config.tree import TargetConfig
from jepa_core.ema import TargetEncoder
from jepa_core.errors import ConfigError
from jepa_core.masking import MaskView
from jepa_core.model import Parts
from jepa_core.nn.tokens import take_tokens
from jepa_core.nn.vit import Transformer
from jepa_core.plugin import EncoderPlugin
from jepa_core.registry import encoders
from jepa_core.targets import Targets, TargetSide
from jepa_core.trainer import Trainer

pytestmark = pytest.mark.usefixtures("toy")

# On 6 x 6 cells: two blocks that share cells 8 and 9, and a second view of one block.
BLOCKS = torch.tensor([[2, 3, 8, 9], [8, 9, 14, 15]])
VIEWS = (
    MaskView(torch.arange(18, 24).expand(3, 6), BLOCKS.expand(3, 2, 4)),
    MaskView(torch.arange(5).expand(3, 5), torch.arange(30, 36).expand(3, 1, 6)),
)


def signals() -> Tensor:
    return torch.randn(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))


def side_of(*overrides: str) -> TargetSide:
    config = toy_config("encoder.depth=4", *overrides)
    parts = Parts.of(config)
    torch.manual_seed(0)
    encoder = parts.encoder()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)  # so large that attention matters
    return TargetSide(config.target, TargetEncoder(encoder, config.target.layers), parts.objective)


def changed(cells: list[int]) -> Tensor:
    """The signals with other values in some cells (of 2 x 2 values)."""
    signal = signals()
    for cell in cells:
        row, column = divmod(cell, 6)
        signal[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += 1.0
    return signal


def test_of_the_whole_signal_targets_are_its_tokens_at_the_target_cells() -> None:
    side = side_of()
    targets = side(signals(), VIEWS)
    assert targets.seen.shape == (3, 36, 32)
    for view, wanted in zip(VIEWS, targets.views, strict=True):
        assert torch.equal(wanted, take_tokens(targets.seen, view.targets))
    moved = side(changed([18]), VIEWS)  # a context cell, which every target has seen
    assert all(not torch.allclose(a, b) for a, b in zip(targets.views, moved.views, strict=True))


def test_of_target_blocks_alone_targets_know_nothing_of_the_context() -> None:
    side = side_of("target.input=targets")
    targets = side(signals(), VIEWS)
    outside = sorted(set(range(36)) - set(BLOCKS.flatten().tolist()))
    assert torch.equal(targets.views[0], side(changed(outside), VIEWS).views[0])
    assert not torch.allclose(targets.views[0], side(changed([8]), VIEWS).views[0])
    assert [tuple(wanted.shape) for wanted in targets.views] == [(3, 2, 4, 32), (3, 1, 6, 32)]
    assert torch.equal(targets.seen, targets.views[0].flatten(1, 2))


def test_of_target_blocks_alone_a_block_knows_nothing_of_another() -> None:
    side = side_of("target.input=targets")
    before, after = side(signals(), VIEWS).views[0], side(changed([2]), VIEWS).views[0]  # a cell of the first block
    assert not torch.allclose(before[:, 0], after[:, 0])
    assert torch.equal(before[:, 1], after[:, 1])


@pytest.mark.parametrize("layers", [1, 3])
def test_a_block_of_several_is_encoded_as_if_it_were_alone(layers: int) -> None:
    side = side_of("target.input=targets", f"target.layers={layers}")
    both = side(signals(), VIEWS[:1]).views[0]
    for number in range(2):
        alone = MaskView(VIEWS[0].context, VIEWS[0].targets[:, number : number + 1])
        torch.testing.assert_close(both[:, number], side(signals(), (alone,)).views[0][:, 0])


def test_a_block_of_the_whole_grid_is_the_whole_signal() -> None:
    everything = (MaskView(torch.zeros(3, 1, dtype=torch.int64), torch.arange(36).expand(3, 1, 36)),)
    alone, whole = side_of("target.input=targets")(signals(), everything), side_of()(signals(), everything)
    torch.testing.assert_close(alone.views[0], whole.views[0])


@pytest.mark.parametrize("shown", ["all", "targets"])
def test_targets_of_others_are_those_of_the_next_readable_sample_at_the_same_cells(shown: str) -> None:
    side, weight = side_of(f"target.input={shown}"), torch.tensor([1.0, 0.0, 1.0])
    varied = MaskView(VIEWS[0].context, torch.stack([BLOCKS, BLOCKS + 1, BLOCKS + 2]))
    targets = side(signals(), (varied,))
    others = side.of_others(signals(), (varied,), targets, weight)
    swapped = side(signals().flip(0), (varied,)).views[0]
    torch.testing.assert_close(others[[0, 2]], swapped[[0, 2]])


def blocks_outputs(network: Transformer, tokens: Tensor) -> list[Tensor]:
    """What every block returned in a forward pass."""
    outputs: list[Tensor] = []

    def note(_block: nn.Module, _given: Any, made: Tensor) -> None:
        outputs.append(made)

    hooks = [block.register_forward_hook(note) for block in network.blocks]
    network(tokens)
    for hook in hooks:
        hook.remove()
    return outputs


@pytest.mark.parametrize("recompute", ["false", "true"])
def test_several_layers_are_averaged_after_a_layer_norm_without_affine(recompute: str) -> None:
    config = toy_config("encoder.depth=4", f"encoder.activation_checkpointing={recompute}")
    network, tokens = Parts.of(config).encoder().backbone, torch.randn(2, 36, 32)
    assert isinstance(network, Transformer)
    outputs = blocks_outputs(network, tokens)
    for layers in (2, 4):
        expected = torch.stack([F.layer_norm(each, (32,)) for each in outputs[-layers:]]).mean(0)
        torch.testing.assert_close(network(tokens, layers=layers), expected)
    assert torch.equal(network(tokens, layers=1), network.norm(outputs[-1]))


def test_the_objective_normalises_the_mean_of_layers_once_more_or_leaves_it() -> None:
    raw, normed = (
        side_of("target.layers=3", f"objective.targets={how}")(signals(), VIEWS) for how in ("raw", "layer_norm")
    )
    assert raw.seen.std(-1, correction=0).max() < 0.99  # a mean of tokens of deviation 1
    torch.testing.assert_close(normed.seen, F.layer_norm(raw.seen, (32,)))


def test_more_layers_than_there_are_is_an_error_with_the_range() -> None:
    with pytest.raises(ConfigError, match=r"target\.layers: 3, but the encoder 'vit' has 2 layers\. Allowed: 1 to 2"):
        Parts.of(toy_config("target.layers=3")).model()


class FlatConfig(Section):
    """An encoder of one layer."""

    name: Literal["flat"] = "flat"
    """The registered name."""


class Flat(nn.Module):
    """What the plugin interface asks for, and no more."""

    def __init__(self, config: FlatConfig, grid: Any) -> None:
        super().__init__()
        self.width, self.heads, self.map = 32, 2, nn.Linear(32, 32)

    def forward(self, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
        return self.map(tokens)


@pytest.fixture
def flat() -> Generator[None]:
    with encoders.temporarily(EncoderPlugin("flat", FlatConfig, Flat)):
        yield


@pytest.mark.usefixtures("flat")
def test_an_encoder_without_layers_works_and_refuses_several(tmp_path: Path) -> None:
    encoder = "encoder={name: flat}"
    with pytest.raises(ConfigError, match=r"the encoder 'flat' gives its output alone\. Allowed: 1\."):
        Trainer(toy_config(encoder, "target.layers=2"), RunFolder(tmp_path / "no"))
    run = Trainer(toy_config(encoder, "target.input=targets", "train.steps=2"), RunFolder(tmp_path / "yes"))
    assert run.train() == "done"


@pytest.mark.parametrize(
    "masking", ["masking={name: random, ratio: 0.5}", "masking={name: toy_rows, rows: 3}"], ids=["one", "three"]
)
def test_a_run_that_predicts_blocks_alone_of_several_layers_learns_and_is_watched(tmp_path: Path, masking: str) -> None:
    target = ["target.input=targets", "target.layers=2", "modality.unreadable=[3]", "data.max_unreadable=0.1"]
    pace = ["train.steps=40", "optim.lr.value=3e-3", "ema.momentum.value=0.9", "checkpoint.every=40"]
    seen = list[dict[str, Any]]()
    run = Trainer(toy_config(masking, *target, *pace), RunFolder(tmp_path), on_row=lambda row: seen.append(dict(row)))
    assert run.train() == "done"
    assert seen[-1]["loss"] < 0.8 * seen[0]["loss"]
    assert None not in [value for name, value in seen[-1].items() if name.startswith("collapse/")]


def test_the_target_encoder_follows_as_ever_whatever_is_predicted_of_it(tmp_path: Path) -> None:
    pace = ["optim.lr.value=0.01", "train.steps=2", "checkpoint.every=2", "ema.momentum={value: 0.0, end: 0.0}"]
    Trainer(toy_config("target={input: targets, layers: 2}", *pace), RunFolder(tmp_path)).train()
    target, context = (
        load_file(RunFolder(tmp_path).checkpoint(2) / f"{stem}.safetensors") for stem in ("target_encoder", "encoder")
    )
    assert all(torch.equal(target[name], value) for name, value in context.items())


def stepped(tmp_path: Path, *overrides: str) -> tuple[list[dict[str, Any]], RunFolder]:
    """The rows and the folder of a run of 6 steps whose weights move fast."""
    seen, run = list[dict[str, Any]](), RunFolder(tmp_path)
    pace = ["train.steps=6", "checkpoint.every=6", "collapse.every=3", "collapse.grace=0", "optim.lr.value=0.01"]
    Trainer(toy_config(*pace, *overrides), run, on_row=lambda row: seen.append(dict(row))).train()
    return seen, run


def encoders_of(run: RunFolder) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The target and the context encoder's weights."""
    files = (run.find() / f"{stem}.safetensors" for stem in ("target_encoder", "encoder"))
    target, context = (load_file(file) for file in files)
    return target, context


@pytest.mark.parametrize("shown", ["all", "targets"])
def test_without_a_stopped_gradient_targets_are_the_encoder_s_own_and_pull_it(shown: str) -> None:
    parts = Parts.of(toy_config("target.stop_gradient=false", f"target.input={shown}", "target.layers=2"))
    model = parts.model()
    own = TargetSide(parts.config.target, TargetEncoder(model.encoder, 2), parts.objective)(signals(), VIEWS).views

    def gradients(targets: Any) -> tuple[Tensor, list[Tensor]]:
        losses, _ = model(signals(), VIEWS, targets)
        return losses, list(torch.autograd.grad(losses.sum(), list(model.encoder.parameters()), allow_unused=True))

    (flowing, pulled), (stopped, unmoved) = gradients(None), gradients(own)
    torch.testing.assert_close(flowing, stopped)  # the same targets ...
    assert not torch.allclose(pulled[0], unmoved[0])  # ... which in one case can be moved as well


def test_the_gradient_of_targets_is_that_of_the_loss_by_what_they_are_made_of() -> None:
    torch.manual_seed(0)
    model = Parts.of(toy_config("target.stop_gradient=false", "objective.targets=raw")).model()
    weight = dict(model.encoder.named_parameters())["tokenizer.project.weight"]

    def loss() -> Tensor:
        return model(signals(), VIEWS, None)[0].sum()

    (found,) = torch.autograd.grad(loss(), [weight])
    way = found / found.norm()
    with torch.no_grad():
        weight += 0.01 * way
        after = loss()
        weight -= 0.02 * way
        before = loss()
    assert float(after - before) / 0.02 == pytest.approx(float(found.norm()), rel=0.02)


def test_without_a_stopped_gradient_both_encoders_are_one_whatever_ema_says(tmp_path: Path) -> None:
    seen, run = stepped(tmp_path / "run", "target.stop_gradient=false", "ema.momentum.value=0.99")
    target, context = encoders_of(run)
    assert all(torch.equal(target[name], value) for name, value in context.items())
    assert {row["momentum"] for row in seen} == {0.0}
    measured = [row for row in seen if "collapse/ema_distance" in row]
    assert [row["step"] for row in measured] == [3, 6]
    assert all(row["collapse/ema_distance"] == 0.0 for row in measured)
    assert None not in [value for name, value in measured[-1].items() if name.startswith("collapse/")]


def test_a_run_that_starts_from_weights_forgets_their_target_encoder_where_it_has_no_part(tmp_path: Path) -> None:
    _, first = stepped(tmp_path / "first")
    assert any(not torch.equal(*pair) for pair in zip(*(each.values() for each in encoders_of(first)), strict=True))
    own = toy_config("target.stop_gradient=false")
    state = Trainer(own, RunFolder(tmp_path / "second"), init=first).state
    assert state.target.distance(state.model.encoder) == 0.0


def test_an_average_of_momentum_zero_is_the_encoder_of_the_step_before_without_its_gradient(tmp_path: Path) -> None:
    without_ema = "ema.momentum={value: 0, end: 0}"
    seen, run = stepped(tmp_path / "run", without_ema)
    target, context = encoders_of(run)
    assert all(torch.equal(target[name], value) for name, value in context.items())
    flowing, _ = stepped(tmp_path / "flowing", without_ema, "target.stop_gradient=false")
    assert seen[0]["loss"] == pytest.approx(flowing[0]["loss"], rel=1e-5)  # the same targets at first
    assert seen[-1]["loss"] != pytest.approx(flowing[-1]["loss"], rel=1e-3)


def test_by_default_the_whole_signal_and_one_layer_are_predicted() -> None:
    assert TargetConfig() == TargetConfig(input="all", layers=1, stop_gradient=True) == toy_config().target
    assert isinstance(side_of()(signals(), VIEWS), Targets)
