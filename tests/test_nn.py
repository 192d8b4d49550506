from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy_parts import ToyTokenizer

from jepa_core.builtin import VIT_SIZES, ViTConfig
from jepa_core.config.tree import PredictorConfig
from jepa_core.errors import ConfigError
from jepa_core.masking import MaskView
from jepa_core.model import Encoder
from jepa_core.nn.block import Block, DropPath, attend
from jepa_core.nn.predictor import Predictor
from jepa_core.nn.vit import Transformer
from jepa_core.types import TokenGrid

PLANE = TokenGrid((4, 6), ("height", "width"))
GRIDS = [
    TokenGrid((9,), ("time",)),
    PLANE,
    TokenGrid((2, 3, 4), ("time", "height", "width")),
    TokenGrid((2, 2, 2, 3), ("a", "b", "c", "d")),
]


def blocks_of(network: Transformer) -> list[Block]:
    return [block for block in network.blocks if isinstance(block, Block)]


def vit(**values: Any) -> ViTConfig:
    return ViTConfig.model_validate({"size": None, "width": 32, "depth": 2, "heads": 2} | values)


def awake(network: nn.Module) -> nn.Module:
    """Weights so large that attention and positions matter, which they hardly do at the start."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


def view_of(context: list[list[int]], targets: list[list[list[int]]]) -> MaskView:
    return MaskView(torch.tensor(context), torch.tensor(targets))


VIEW = view_of(
    [[0, 1, 2, 6, 7], [5, 10, 11, 12, 20]],
    [[[3, 4], [9, 10], [22, 23]], [[0, 1], [6, 7], [18, 19]]],
)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("positions", ["sincos", "learned", "rope"])
def test_any_grid_and_any_positions_give_tokens_and_gradients(grid: TokenGrid, positions: str):
    network = Transformer(vit(positions=positions), grid)
    tokens = network(torch.randn(2, grid.num_tokens, 32))
    assert tokens.shape == (2, grid.num_tokens, 32)
    tokens.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("positions", ["sincos", "learned", "rope"])
def test_keeping_every_cell_equals_keeping_none_out(positions: str):
    network, tokens = Transformer(vit(positions=positions), PLANE), torch.randn(2, 24, 32)
    torch.testing.assert_close(network(tokens, torch.arange(24).expand(2, -1)), network(tokens))


@pytest.mark.parametrize("positions", ["sincos", "learned", "rope"])
def test_the_order_of_tokens_does_not_matter_only_their_cells(positions: str):
    network, tokens = awake(Transformer(vit(positions=positions), PLANE)), torch.randn(1, 24, 32)
    order = torch.randperm(24)
    torch.testing.assert_close(network(tokens[:, order], order[None]), network(tokens)[:, order], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(network(tokens[:, order]), network(tokens)[:, order], atol=1e-3)


@pytest.mark.parametrize("positions", ["sincos", "learned", "rope"])
def test_hidden_cells_are_never_computed(positions: str):
    cells, keep = TokenGrid((6, 6), ("rows", "columns")), torch.tensor([[0, 7, 8, 35], [1, 2, 3, 20]])
    encoder = Encoder(ToyTokenizer(cells=6, cell=2, width=32), Transformer(vit(positions=positions), cells))
    signal = torch.randn(2, 1, 12, 12)
    seen = torch.zeros(2, 36).scatter_(1, keep, 1).view(2, 1, 6, 6).repeat_interleave(2, 2).repeat_interleave(2, 3)
    other = torch.where(seen.bool(), signal, torch.full_like(signal, float("nan")))
    assert torch.equal(encoder(signal, keep), encoder(other, keep))
    assert encoder(signal, keep).shape == (2, 4, 32)


@pytest.mark.parametrize("mode", ["separate", "joint"])
@pytest.mark.parametrize("positions", ["sincos", "learned", "rope"])
def test_the_predictor_answers_for_every_target_cell(mode: Any, positions: str):
    backbone = Transformer(vit(positions=positions), PLANE)
    predictor = Predictor(PredictorConfig(width=16, depth=2, mode=mode), PLANE, backbone, num_views=1)
    answers = predictor(torch.randn(2, 5, 32), VIEW, 0)
    assert answers.shape == (2, 3, 2, 32)
    answers.sum().backward()
    assert all(parameter.grad is not None for parameter in predictor.parameters())


def answers_with_another_last_block(mode: Any) -> tuple[torch.Tensor, torch.Tensor]:
    backbone = Transformer(vit(), PLANE)
    predictor = awake(Predictor(PredictorConfig(width=16, depth=2, mode=mode), PLANE, backbone, num_views=1))
    moved = VIEW.targets.clone()
    moved[:, 2] += torch.tensor([-4, -3])
    context = torch.randn(2, 5, 32)
    return predictor(context, VIEW), predictor(context, MaskView(VIEW.context, moved))


def test_separate_blocks_do_not_see_each_other():
    before, after = answers_with_another_last_block("separate")
    torch.testing.assert_close(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2], after[:, 2])


def test_joint_blocks_see_each_other():
    before, after = answers_with_another_last_block("joint")
    assert not torch.allclose(before[:, :2], after[:, :2], atol=1e-4)


def test_with_one_block_separate_and_joint_are_the_same():
    backbone, context = Transformer(vit(), PLANE), torch.randn(2, 5, 32)
    separate = Predictor(PredictorConfig(width=16, depth=2), PLANE, backbone, 1)
    joint = Predictor(PredictorConfig(width=16, depth=2, mode="joint"), PLANE, backbone, 1)
    joint.load_state_dict(separate.state_dict())
    view = MaskView(VIEW.context, VIEW.targets[:, :1])
    torch.testing.assert_close(separate(context, view), joint(context, view))


def test_each_view_may_have_its_own_mask_token():
    backbone, context = Transformer(vit(), PLANE), torch.randn(2, 5, 32)
    shared = Predictor(PredictorConfig(width=16, depth=1), PLANE, backbone, num_views=2)
    own = Predictor(PredictorConfig(width=16, depth=1, mask_token_per_view=True), PLANE, backbone, num_views=2)
    assert torch.equal(shared(context, VIEW, 0), shared(context, VIEW, 1))
    assert not torch.equal(own(context, VIEW, 0), own(context, VIEW, 1))
    zero = Predictor(PredictorConfig(width=16, depth=1, zero_init_mask_tokens=True), PLANE, backbone, num_views=1)
    assert not zero.mask_tokens.any()
    assert own.mask_tokens.std().item() > 0


def test_there_may_be_more_mask_tokens_than_views_but_not_fewer():
    backbone, per_view = Transformer(vit(), PLANE), PredictorConfig(width=16, depth=1, mask_token_per_view=True)
    spare = Predictor(per_view.model_copy(update={"mask_tokens": 5}), PLANE, backbone, num_views=2)
    assert spare.mask_tokens.shape == (5, 16)
    first = Predictor(PredictorConfig(width=16, depth=1, mask_tokens=5), PLANE, backbone, num_views=2)
    context = torch.randn(2, 5, 32)
    assert torch.equal(first(context, VIEW, 0), first(context, VIEW, 1))
    with pytest.raises(ConfigError, match=r"predictor\.mask_tokens: 1, but the masking has 2 views"):
        Predictor(per_view.model_copy(update={"mask_tokens": 1}), PLANE, backbone, num_views=2)


def test_what_the_predictor_does_not_say_is_as_in_the_encoder():
    backbone = Transformer(vit(positions="rope", norm_eps=1e-3, heads=4, activation_checkpointing=True), PLANE)
    config = Predictor(PredictorConfig(width=16, depth=1), PLANE, backbone, 1).transformer.config
    assert (config.positions, config.norm_eps, config.heads, config.activation_checkpointing) == ("rope", 1e-3, 4, True)
    assert Predictor(PredictorConfig(width=16, depth=1, heads=1), PLANE, backbone, 1).transformer.heads == 1


def test_heads_that_do_not_divide_the_predictor_are_an_error_that_names_them():
    with pytest.raises(ConfigError, match=r"predictor\.heads: 2, .* predictor\.width 15"):
        Predictor(PredictorConfig(width=15), PLANE, Transformer(vit(), PLANE), 1)


def gradients(network: nn.Module, tokens: torch.Tensor) -> list[torch.Tensor]:
    torch.manual_seed(0)  # drop path
    network(tokens).square().sum().backward()
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


def test_attention_written_out_equals_the_fused_kernel():
    query, key, value = (torch.randn(2, 3, 7, 16, generator=torch.manual_seed(0)) for _ in range(3))
    fused = attend(query, key, value)
    written_out = attend(query.bfloat16(), key.bfloat16(), value.bfloat16())
    assert written_out.dtype == torch.bfloat16
    torch.testing.assert_close(written_out.float(), fused, atol=0.02, rtol=0.02)


def test_activation_checkpointing_changes_no_gradient():
    plain = Transformer(vit(positions="rope", drop_path=0.5), PLANE)
    thrifty = Transformer(vit(positions="rope", drop_path=0.5, activation_checkpointing=True), PLANE)
    thrifty.load_state_dict(plain.state_dict())
    tokens, saved = torch.randn(4, 24, 32), {True: 0, False: 0}

    def measured(network: nn.Module) -> list[torch.Tensor]:
        def pack(tensor: torch.Tensor) -> torch.Tensor:
            saved[network is thrifty] += 1
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            return gradients(network, tokens)

    assert all(torch.equal(a, b) for a, b in zip(measured(plain), measured(thrifty), strict=True))
    assert saved[True] < saved[False] / 3


def test_drop_path_drops_whole_sequences_and_keeps_the_mean():
    drop, branch = DropPath(0.25), torch.ones(4000, 2, 3)
    dropped = drop(branch)
    per_sequence = dropped.flatten(1)
    assert torch.equal(per_sequence.min(1).values, per_sequence.max(1).values)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert dropped.mean() == pytest.approx(1, abs=0.05)
    assert torch.equal(drop.eval()(branch), branch)


def test_drop_path_grows_linearly_with_depth():
    network = Transformer(vit(depth=3, drop_path=0.2), PLANE)
    assert [block.drop_path.probability for block in blocks_of(network)] == [0.0, 0.1, 0.2]


def test_the_same_seed_gives_the_same_weights():
    def weights() -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        return Transformer(vit(positions="learned"), PLANE).state_dict()

    first, second = weights(), weights()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_weights_that_join_the_residual_stream_start_smaller_with_depth():
    network = Transformer(vit(width=256, depth=4), PLANE)
    for layer, block in enumerate(blocks_of(network), start=1):
        assert block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.03)
        for linear in (block.attn.proj, block.mlp.fc2):
            assert linear.weight.std().item() == pytest.approx(0.02 / math.sqrt(2 * layer), rel=0.03)
            assert not linear.bias.any()


@pytest.mark.parametrize("positions", ["sincos", "rope"])
def test_under_autocast_norms_and_the_residual_stream_stay_in_fp32(positions: str):
    network, seen = Transformer(vit(positions=positions), PLANE), set[torch.dtype]()
    for block in blocks_of(network):
        block.norm1.register_forward_hook(lambda _, inputs, output: seen.update((inputs[0].dtype, output.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        projected = nn.Linear(8, 32)(torch.randn(2, 24, 8))
        tokens = network(projected)
    assert projected.dtype == torch.bfloat16
    assert seen == {torch.float32}
    assert tokens.dtype == torch.float32


def test_the_network_also_runs_in_bf16_alone():
    network = Transformer(vit(positions="rope"), PLANE).bfloat16()
    assert network(torch.randn(2, 24, 32).bfloat16()).dtype == torch.bfloat16


COMPILE = """
import torch
from test_nn import PLANE, VIEW, Predictor, PredictorConfig, Transformer, vit
backbone = Transformer(vit(positions="rope"), PLANE)
predictor = Predictor(PredictorConfig(width=16, depth=1), PLANE, backbone, 1)
context = torch.randn(2, 5, 32)
compiled = torch.compile(predictor, backend="eager", fullgraph=True)
torch.testing.assert_close(compiled(context, VIEW, 0), predictor(context, VIEW, 0))
compiled = torch.compile(backbone, backend="eager", fullgraph=True)
torch.testing.assert_close(compiled(context, VIEW.context), backbone(context, VIEW.context))
"""


def test_the_networks_compile_without_graph_breaks():
    # In a process of its own: there the shape checks of the test suite, which are no part of the graph, are off.
    subprocess.run([sys.executable, "-c", COMPILE], cwd=Path(__file__).parent, check=True)


@pytest.mark.parametrize(
    ("size", "cell", "cells", "published"),
    [
        ("tiny", 16, 196, 5.717416),
        ("small", 16, 196, 22.050664),
        ("base", 16, 196, 86.567656),
        ("large", 16, 196, 304.326632),
        ("huge", 14, 256, 632.0458),
        ("giant", 14, 256, 1012.611432),
        ("gigantic", 14, 256, 1844.44068),
    ],
)
def test_named_sizes_are_the_published_ones(size: Any, cell: int, cells: int, published: float):
    """Published counts include a class token, learned positions and a head of 1000 classes, which we do not have."""
    with torch.device("meta"):
        width = VIT_SIZES[size][0]
        encoder = Encoder(nn.Linear(3 * cell * cell, width), Transformer(ViTConfig(size=size), PLANE))
    ours = sum(parameter.numel() for parameter in encoder.parameters())
    others = width + (cells + 1) * width + 1000 * (width + 1)
    assert (ours + others) / 1e6 == pytest.approx(published, abs=1e-6)
