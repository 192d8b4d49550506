from __future__ import annotations

import pickle

import pytest
import torch
from torch import Tensor

from jepa_core.crops import ATTEMPTS, LONGEST, Box, Normalise, covering_size, elongation_limit, random_box


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def values(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(0))


def draws(count: int, seed: int = 0) -> list[list[float]]:
    return torch.rand(count, 2 * ATTEMPTS + 2, generator=seeded(seed)).tolist()


class TestRandomBox:
    @pytest.mark.parametrize(("height", "width"), [(28, 28), (375, 500), (500, 375)])
    def test_stays_inside_and_keeps_to_scale_and_ratio(self, height: int, width: int):
        for row in draws(500):
            box = random_box(height, width, (0.3, 1.0), (3 / 4, 4 / 3), row)
            assert 0 <= box.top <= height - box.height
            assert 0 <= box.left <= width - box.width
            assert 0.28 < box.height * box.width / (height * width) <= 1
            assert 0.7 < box.width / box.height < 1.42

    def test_area_is_uniform_over_the_range(self):
        shares = [
            box.height * box.width / 1e6
            for row in draws(4000)
            for box in [random_box(1000, 1000, (0.2, 0.5), (1.0, 1.0), row)]
        ]
        counts = torch.histc(torch.tensor(shares), bins=3, min=0.2, max=0.5) / 4000
        assert counts.tolist() == pytest.approx([1 / 3] * 3, abs=0.03)

    def test_every_border_is_reached(self):
        boxes = [random_box(10, 10, (0.5, 0.5), (1.0, 1.0), row) for row in draws(300)]
        assert {box.top for box in boxes} == {0, 1, 2, 3}
        assert {box.left for box in boxes} == {0, 1, 2, 3}

    @pytest.mark.parametrize(
        ("height", "width", "expected"),
        [(10, 1000, Box(0, 493, 10, 13)), (1000, 10, Box(493, 0, 13, 10)), (1, 1, Box(0, 0, 1, 1))],
    )
    def test_impossible_shape_gives_the_largest_centred_crop_of_an_allowed_ratio(
        self, height: int, width: int, expected: Box
    ):
        assert random_box(height, width, (0.9, 1.0), (3 / 4, 4 / 3), draws(1)[0]) == expected


class TestCoveringSize:
    @pytest.mark.parametrize(("height", "width"), [(10, 10), (375, 500), (500, 375), (1, 200), (7, 3)])
    @pytest.mark.parametrize("cover", [(8, 8), (16, 24), (24, 16)])
    def test_covers_and_touches_one_side(self, height: int, width: int, cover: tuple[int, int]):
        size = covering_size(height, width, cover)
        assert size[0] >= cover[0]
        assert size[1] >= cover[1]
        assert size[0] == cover[0] or size[1] == cover[1]

    def test_keeps_the_shape(self):
        assert covering_size(480, 640, (240, 240)) == (240, 320)
        assert covering_size(640, 480, (240, 240)) == (320, 240)


class TestElongationLimit:
    @pytest.mark.parametrize(("height", "width"), [(720, 1280), (100, 1600), (1600, 100), (1, 1)])
    def test_is_all_of_what_is_not_extreme(self, height: int, width: int):
        assert elongation_limit(height, width, (224, 224)) == Box(0, 0, height, width)

    @pytest.mark.parametrize(("height", "width"), [(1, 5000), (5000, 1), (3, 900), (900, 7)])
    @pytest.mark.parametrize("cover", [(224, 224), (16, 24), (24, 16)])
    def test_is_the_centre_and_bounds_what_is_scaled(self, height: int, width: int, cover: tuple[int, int]):
        box = elongation_limit(height, width, cover)
        assert (2 * box.top, 2 * box.left) == (height - box.height, width - box.width)
        resized = covering_size(box.height, box.width, cover)
        sample = max(cover[0] / box.height, cover[1] / box.width)  # rounding up adds two at most
        assert all(side <= LONGEST * wanted + 2 * sample for side, wanted in zip(resized, cover, strict=True))
        assert all(side >= wanted for side, wanted in zip(resized, cover, strict=True))


class TestNormalise:
    def test_one_number_per_channel_or_one_for_all(self):
        raw = torch.tensor([0, 255, 51], dtype=torch.uint8).view(3, 1, 1)
        assert Normalise((0.0, 0.5, 0.2), (1.0, 0.5, 0.1))(raw).flatten().tolist() == pytest.approx([0, 1, 0], abs=1e-6)
        assert Normalise((0.2,), (0.2,))(raw).flatten().tolist() == pytest.approx([-1, 4, 0], abs=1e-6)

    def test_undo_gives_back_the_values(self):
        normalise, raw = Normalise((0.4, 0.5), (0.3, 0.2)), values(2, 4, 4)
        assert torch.allclose(normalise.undo(normalise(raw)), raw / 255, atol=1e-6)

    @pytest.mark.parametrize("axes", [(5,), (2, 3), (4, 2, 3)])
    def test_channels_are_the_first_of_any_number_of_axes(self, axes: tuple[int, ...]):
        normalise, raw = Normalise((0.4, 0.5), (0.3, 0.2)), values(2, *axes)
        for channel in (0, 1):
            own = Normalise(normalise.mean[channel : channel + 1], normalise.std[channel : channel + 1])
            assert torch.equal(normalise(raw)[channel], own(raw[channel][None])[0])

    def test_floats_are_taken_as_they_are_and_not_written_into(self):
        raw = torch.tensor([[2.0, 4.0]])
        assert Normalise((1.0,), (0.5,))(raw).tolist() == [[2.0, 6.0]]
        assert raw.tolist() == [[2.0, 4.0]]

    def test_pickles_after_use(self):
        normalise, raw = Normalise((0.4, 0.5), (0.3, 0.2)), values(2, 4, 4)
        expected = normalise(raw)
        assert torch.equal(pickle.loads(pickle.dumps(normalise))(raw), expected)
