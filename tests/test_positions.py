from __future__ import annotations

import math

import pytest
import torch

from jepa_core.builtin import ViTConfig
from jepa_core.errors import ConfigError
from jepa_core.nn.positions import Positions, resize_table, sincos_table
from jepa_core.nn.rope import RotaryPositions, rotate
from jepa_core.nn.vit import Transformer
from jepa_core.types import TokenGrid

LINE = TokenGrid((7,), ("time",))
PLANE = TokenGrid((3, 5), ("height", "width"))
SPACE = TokenGrid((2, 3, 5), ("time", "height", "width"))


def waves(place: int, channels: int) -> list[float]:
    """One axis, written out: sines of falling frequency, then cosines."""
    half = channels // 2
    phases = [place / 10000 ** (i / half) for i in range(half)]
    return [math.sin(phase) for phase in phases] + [math.cos(phase) for phase in phases]


def test_sincos_on_a_line_is_the_transformer_formula():
    for cell in range(7):
        torch.testing.assert_close(sincos_table(LINE, 8)[cell], torch.tensor(waves(cell, 8)))


def test_sincos_on_a_plane_puts_the_second_axis_first_as_in_i_jepa():
    table = sincos_table(PLANE, 16)
    for row in range(3):
        for column in range(5):
            torch.testing.assert_close(table[row * 5 + column], torch.tensor(waves(column, 8) + waves(row, 8)))


def test_sincos_in_space_has_equal_shares_in_grid_order():
    table = sincos_table(SPACE, 16)  # 2 * ceil(16 / 6) = 6 per axis, the last one cut to 4
    expected = torch.tensor(waves(1, 6) + waves(2, 6) + waves(4, 6)[:4])
    torch.testing.assert_close(table[(1 * 3 + 2) * 5 + 4], expected)


def test_half_first_gives_half_of_the_channels_to_the_first_axis():
    table = sincos_table(SPACE, 16, half_first=True)
    torch.testing.assert_close(table[(1 * 3 + 2) * 5 + 4], torch.tensor(waves(1, 8) + waves(2, 4) + waves(4, 4)))


@pytest.mark.parametrize(("width", "share"), [(24, 8), (384, 128), (1024, 342), (1280, 428), (1408, 470)])
def test_equal_shares_in_space_follow_the_rule_of_v_jepa(width: int, share: int):
    cell = sincos_table(SPACE, width)[(1 * 3 + 2) * 5 + 4]  # ceil(width / 6) * 2 channels per axis, cut to the width
    expected = torch.tensor(waves(1, share) + waves(2, share) + waves(4, share))[:width]
    torch.testing.assert_close(cell, expected)


@pytest.mark.parametrize("width", [2, 3, 7, 10, 22])
@pytest.mark.parametrize("grid", [LINE, PLANE, SPACE])
@pytest.mark.parametrize("half_first", [False, True])
def test_sincos_fits_any_width(grid: TokenGrid, width: int, half_first: bool):
    assert sincos_table(grid, width, half_first).shape == (grid.num_tokens, width)


def test_every_cell_has_its_own_sincos_position():
    assert len(sincos_table(SPACE, 12).unique(dim=0)) == SPACE.num_tokens


@pytest.mark.parametrize("kind", ["sincos", "sincos_half_first", "learned"])
def test_positions_are_gathered_by_cell(kind: str):
    positions = Positions(kind, PLANE, 16)  # pyright: ignore[reportArgumentType]
    keep = torch.tensor([[3, 0, 14], [7, 7, 1]])
    everything = positions(None)
    assert everything.shape == (1, 15, 16)
    assert torch.equal(positions(keep), everything[0][keep])


def test_only_learned_positions_are_trained_and_stored():
    assert set(Positions("learned", PLANE, 16).state_dict()) == {"table"}
    assert not Positions("sincos", PLANE, 16).state_dict()
    assert not list(Positions("sincos", PLANE, 16).parameters())


def test_learned_positions_are_resized_to_a_target_shape():
    ramp = torch.arange(3.0)[:, None].expand(3, 5).reshape(15, 1)
    wide = resize_table(ramp, PLANE, TokenGrid((3, 11), PLANE.axes)).view(3, 11)
    torch.testing.assert_close(wide, torch.arange(3.0)[:, None].expand(3, 11))
    assert resize_table(ramp, PLANE, PLANE) is ramp
    assert resize_table(torch.randn(7, 4), LINE, TokenGrid((9,), LINE.axes)).shape == (9, 4)
    assert resize_table(torch.randn(30, 4), SPACE, TokenGrid((4, 3, 2), SPACE.axes)).shape == (24, 4)


def test_learned_positions_keep_their_axes():
    with pytest.raises(ConfigError, match="cannot be resized"):
        resize_table(torch.randn(15, 4), PLANE, SPACE)


def score(rotary: RotaryPositions, query: torch.Tensor, key: torch.Tensor, cells: tuple[int, int]) -> torch.Tensor:
    rotation = rotary(torch.tensor([cells]))
    states = rotate(torch.stack([query, key])[None, None], rotation)
    return states[0, 0, 0] @ states[0, 0, 1]


@pytest.mark.parametrize(
    ("grid", "pair", "shifted"),
    [(LINE, (1, 3), (4, 6)), (PLANE, (0, 6), (8, 14)), (SPACE, (0, 6), (23, 29))],
)
def test_rope_scores_depend_on_the_relative_shift_alone(
    grid: TokenGrid, pair: tuple[int, int], shifted: tuple[int, int]
):
    rotary, (query, key) = RotaryPositions(grid, 16), torch.randn(2, 16)
    here, there = score(rotary, query, key, pair), score(rotary, query, key, shifted)
    torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-5)
    assert not torch.isclose(here, score(rotary, query, key, (pair[0], pair[0])))


def test_rope_turns_neighbouring_channels_as_one_complex_number():
    states = torch.randn(1, 1, 7, 4)
    turned = rotate(states, RotaryPositions(LINE, 4)(None))
    angles = torch.arange(7.0)[:, None] * torch.tensor([1.0, 0.01])
    expected = torch.view_as_complex(states.unflatten(-1, (2, 2))) * torch.polar(torch.ones(7, 2), angles)
    torch.testing.assert_close(turned, torch.view_as_real(expected).flatten(-2))


@pytest.mark.parametrize("head_width", [6, 16, 24, 32, 64])
def test_the_rope_of_the_released_v_jepa_2_tiles_the_frequencies_of_each_axis(head_width: int):
    states, channels = torch.randn(1, 1, 1, head_width), 2 * (head_width // 3 // 2)
    turned = rotate(states, RotaryPositions(SPACE, head_width, tiled=True)(torch.tensor([[29]])))[0, 0, 0]
    for axis, place in enumerate((1, 2, 4)):
        start = axis * channels
        for channel in range(channels):
            angle = place / 10000 ** ((channel % (channels // 2)) / (channels // 2))
            mine, other = states[0, 0, 0, start + channel], states[0, 0, 0, start + (channel ^ 1)]
            expected = mine * math.cos(angle) + (other if channel % 2 else -other) * math.sin(angle)
            torch.testing.assert_close(turned[start + channel], expected)
    assert torch.equal(turned[3 * channels :], states[0, 0, 0, 3 * channels :])


def test_a_transformer_uses_the_rope_that_its_configuration_names():
    def table(positions: str) -> torch.Tensor:
        config = ViTConfig.model_validate({"size": None, "width": 48, "depth": 1, "heads": 2, "positions": positions})
        rotary = Transformer(config, SPACE).rotary
        assert rotary is not None
        return rotary.cosines

    assert torch.equal(table("rope"), RotaryPositions(SPACE, 24).cosines)
    assert torch.equal(table("rope_vjepa2"), RotaryPositions(SPACE, 24, tiled=True).cosines)
    assert not torch.allclose(table("rope"), table("rope_vjepa2"))


def test_rope_leaves_left_over_channels_alone():
    states = torch.randn(2, 3, 30, 16)  # three axes of 4 channels: 4 are left over
    turned = rotate(states, RotaryPositions(SPACE, 16)(None))
    assert torch.equal(turned[..., 12:], states[..., 12:])
    assert not torch.isclose(turned[:, :, -1, :12], states[:, :, -1, :12]).all(0).all(0).any()


def test_rope_keeps_the_precision_of_the_states():
    states = torch.randn(1, 1, 7, 4).bfloat16()
    assert rotate(states, RotaryPositions(LINE, 4)(None)).dtype == torch.bfloat16


@pytest.mark.parametrize("heads", [8, 16])
def test_rope_refuses_heads_that_are_too_narrow(heads: int):
    config = ViTConfig(size=None, width=40, depth=1, heads=heads if heads == 8 else 20, positions="rope")
    with pytest.raises(ConfigError, match=r"encoder\.positions: rope .* at least 6"):
        Transformer(config, SPACE)
