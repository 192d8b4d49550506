from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from jepa_core.nn.patches import PatchTokenizer, patchify

Extent = tuple[int, ...]
SHAPES = [
    ((24,), (4,), 2),
    ((16, 16), (4, 4), 3),
    ((8, 24), (2, 6), 1),
    ((30, 10), (5, 2), 12),
    ((4, 12, 8), (2, 3, 4), 3),
    ((6, 8, 8), (1, 8, 2), 1),
]
CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@pytest.mark.parametrize(("extent", "patch", "channels"), SHAPES)
def test_equals_a_convolution_whose_weight_is_reshaped(extent: Extent, patch: Extent, channels: int):
    torch.manual_seed(0)
    signal, tokenizer = torch.randn(2, channels, *extent), PatchTokenizer(channels, patch, width=7)
    weight = tokenizer.projection.weight.view(7, channels, *patch)
    convolved = CONVOLUTIONS[len(patch)](signal, weight, tokenizer.projection.bias, stride=patch)
    torch.testing.assert_close(tokenizer(signal), convolved.flatten(2).transpose(1, 2))


@pytest.mark.parametrize(("extent", "patch", "channels"), SHAPES)
def test_kept_patches_are_those_of_the_whole(extent: Extent, patch: Extent, channels: int):
    signal = torch.randn(3, channels, *extent)
    whole = patchify(signal, patch)
    keep = torch.stack([torch.randperm(whole.shape[1])[:5] for _ in range(3)])
    assert torch.equal(patchify(signal, patch, keep), whole[torch.arange(3)[:, None], keep])


def test_patches_are_in_row_major_order_with_values_by_channel_then_axes():
    plane = patchify(torch.arange(2 * 4 * 6).view(1, 2, 4, 6).float(), (2, 3))
    assert plane.shape == (1, 4, 12)
    assert plane[0, 1].tolist() == [3, 4, 5, 9, 10, 11, 27, 28, 29, 33, 34, 35]
    assert plane[0, 2, 0] == 12
    space = patchify(torch.arange(4 * 2 * 4).view(1, 1, 4, 2, 4).float(), (2, 1, 2))
    assert space[0, :, 0].tolist() == [0, 2, 4, 6, 16, 18, 20, 22]
    assert space[0, 3].tolist() == [6, 7, 14, 15]


def test_only_kept_patches_are_projected():
    tokenizer, seen = PatchTokenizer(1, (4, 4), width=5), list[torch.Size]()
    tokenizer.projection.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    tokenizer(torch.randn(2, 1, 16, 16), torch.tensor([[0, 3, 7], [1, 2, 15]]))
    assert seen == [(2, 3, 16)]


def test_values_outside_the_kept_patches_change_nothing():
    tokenizer, keep = PatchTokenizer(1, (2, 4, 4), width=5), torch.tensor([[0, 5]])
    signal = torch.randn(1, 1, 4, 16, 16)
    changed = signal.clone()
    changed[:, :, 2:] += 100
    changed[:, :, :, 8:] += 100
    assert torch.equal(tokenizer(changed, keep), tokenizer(signal, keep))


def bytes_allocated(signal: Tensor, keep: Tensor) -> int:
    with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        patchify(signal, (2, 8, 8), keep)
    return sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages())


def test_what_is_not_kept_is_not_copied():
    signal, keep = torch.randn(1, 3, 16, 64, 64), torch.tensor([[1, 7, 300]])
    assert bytes_allocated(signal, keep) < 4 * signal.nbytes * 3 / 512 < signal.nbytes / 10


@pytest.mark.parametrize(
    ("extent", "patch", "layout"),
    [((8, 8), (4, 4), torch.channels_last), ((4, 8, 8), (2, 4, 4), torch.channels_last_3d)],
)
def test_channels_last_signals_give_the_same_tokens(extent: Extent, patch: Extent, layout: torch.memory_format):
    tokenizer, signal = PatchTokenizer(3, patch, width=5), torch.randn(2, 3, *extent)
    assert torch.equal(tokenizer(signal.contiguous(memory_format=layout)), tokenizer(signal))


def test_the_gradient_of_kept_tokens_reaches_the_projection():
    tokenizer, keep = PatchTokenizer(1, (2, 2), width=3), torch.tensor([[3, 0]])
    tokenizer(torch.ones(1, 1, 4, 4), keep).sum().backward()
    assert tokenizer.projection.weight.grad is not None
    assert (tokenizer.projection.weight.grad == 2).all()


def test_tokens_of_normalised_signals_start_near_unit_scale_for_small_and_large_patches():
    for patch, width in (((2, 2), 64), ((4, 4), 128), ((16, 16), 768), ((2, 16, 16), 1024)):
        torch.manual_seed(0)
        signal = torch.randn(4, 3, *(4 * side for side in patch))
        deviation = PatchTokenizer(3, patch, width)(signal).std().item()
        assert 0.3 < deviation < 1.5, f"{math.prod(patch)} values"
