from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from jepa_image.tokenizer import PatchTokenizer, patchify

SHAPES = [((16, 16), (4, 4), 3), ((8, 24), (2, 6), 1), ((30, 10), (5, 2), 12)]


@pytest.mark.parametrize(("size", "patch", "channels"), SHAPES)
def test_equals_a_convolution_whose_weight_is_reshaped(size: tuple[int, int], patch: tuple[int, int], channels: int):
    torch.manual_seed(0)
    signal, tokenizer = torch.randn(2, channels, *size), PatchTokenizer(channels, patch, width=7)
    weight = tokenizer.projection.weight.view(7, channels, *patch)
    expected = F.conv2d(signal, weight, tokenizer.projection.bias, stride=patch).flatten(2).transpose(1, 2)
    assert torch.allclose(tokenizer(signal), expected, atol=1e-5)


@pytest.mark.parametrize(("size", "patch", "channels"), SHAPES)
def test_kept_tokens_are_those_of_the_whole(size: tuple[int, int], patch: tuple[int, int], channels: int):
    torch.manual_seed(0)
    signal, tokenizer = torch.randn(3, channels, *size), PatchTokenizer(channels, patch, width=6)
    whole = tokenizer(signal)
    keep = torch.stack([torch.randperm(whole.shape[1])[:5] for _ in range(3)])
    assert torch.allclose(tokenizer(signal, keep), whole[torch.arange(3)[:, None], keep], atol=1e-6)


def test_patches_are_in_row_major_order_with_values_by_channel_row_column():
    signal = torch.arange(2 * 4 * 6).view(1, 2, 4, 6).float()
    patches = patchify(signal, (2, 3))
    assert patches.shape == (1, 4, 12)
    assert patches[0, 1].tolist() == [3, 4, 5, 9, 10, 11, 27, 28, 29, 33, 34, 35]
    assert patches[0, 2, 0] == 12


def test_only_kept_patches_are_projected(monkeypatch: pytest.MonkeyPatch):
    tokenizer, seen = PatchTokenizer(1, (4, 4), width=5), []
    tokenizer.projection.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    tokenizer(torch.randn(2, 1, 16, 16), torch.tensor([[0, 3, 7], [1, 2, 15]]))
    assert seen == [(2, 3, 16)]


def test_pixels_outside_the_kept_patches_change_nothing():
    tokenizer, keep = PatchTokenizer(1, (4, 4), width=5), torch.tensor([[0, 5]])
    signal = torch.randn(1, 1, 16, 16)
    changed = signal.clone()
    changed[:, :, 8:] += 100
    assert torch.equal(tokenizer(changed, keep), tokenizer(signal, keep))


def test_channels_last_signals_give_the_same_tokens():
    tokenizer, signal = PatchTokenizer(3, (4, 4), width=5), torch.randn(2, 3, 8, 8)
    assert torch.equal(tokenizer(signal.to(memory_format=torch.channels_last)), tokenizer(signal))


def test_tokens_of_normalised_signals_start_near_unit_scale_for_small_and_large_patches():
    for patch, width in (((2, 2), 64), ((4, 4), 128), ((16, 16), 768)):
        torch.manual_seed(0)
        signal = torch.randn(4, 3, patch[0] * 4, patch[1] * 4)
        assert 0.3 < PatchTokenizer(3, patch, width)(signal).std() < 1.5
