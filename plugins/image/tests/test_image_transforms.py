from __future__ import annotations

import pickle
import random

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from jepa_core.crops import ATTEMPTS, LONGEST, Normalise, random_box
from jepa_image import transforms
from jepa_image.transforms import EvaluationTransform, TrainingTransform

PLAIN = Normalise((0.0,), (1.0,))


def training(size: tuple[int, int] = (8, 8), flip: float = 0.0, normalise: Normalise = PLAIN) -> TrainingTransform:
    return TrainingTransform(size, (0.3, 1.0), (3 / 4, 4 / 3), flip, "bilinear", normalise)


def evaluation(size: tuple[int, int], cover: tuple[int, int], interpolation: str = "bilinear") -> EvaluationTransform:
    return EvaluationTransform(size, cover, interpolation, PLAIN)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(0))


class TestTrainingTransform:
    def test_is_a_function_of_the_generator_alone(self):
        transform, raw = training(flip=0.5), pixels(3, 20, 30)
        first = transform(raw, seeded(7))
        torch.manual_seed(1)
        random.seed(1)
        assert torch.equal(transform(raw, seeded(7)), first)
        assert not torch.equal(transform(raw, seeded(8)), first)

    def test_leaves_the_global_generators_alone(self):
        torch.manual_seed(3)
        before = torch.get_rng_state()
        training(flip=0.5)(pixels(1, 20, 20), seeded(0))
        assert torch.equal(torch.get_rng_state(), before)

    def test_agrees_with_torchvision_on_the_same_crop(self):
        raw, transform = pixels(3, 40, 60), training((16, 24))
        row = torch.rand(2 * ATTEMPTS + 3, generator=seeded(5)).tolist()
        box = random_box(40, 60, transform.scale, transform.ratio, row[1:])
        expected = v2.functional.resize(
            raw[:, box.top : box.top + box.height, box.left : box.left + box.width], [16, 24], antialias=True
        )
        assert torch.equal(transform(raw, seeded(5)), expected / 255)

    @pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
    def test_mirrors_with_the_given_probability(self, probability: float):
        raw = torch.arange(8, dtype=torch.uint8).expand(1, 8, 8)
        transform = TrainingTransform((8, 8), (1.0, 1.0), (1.0, 1.0), probability, "bilinear", PLAIN)
        mirrored = [bool(out[0, 0, 0] > out[0, 0, -1]) for seed in range(400) for out in [transform(raw, seeded(seed))]]
        assert sum(mirrored) / 400 == pytest.approx(probability, abs=0.07)

    @pytest.mark.parametrize("shape", [(1, 28, 28), (3, 1, 1), (3, 1, 200), (12, 9, 4)])
    def test_any_shape_of_bytes_or_floats_becomes_the_signal(self, shape: tuple[int, ...]):
        for raw in (pixels(*shape), pixels(*shape) / 255):
            signal = training((6, 10))(raw, seeded(0))
            assert (signal.shape, signal.dtype) == ((shape[0], 6, 10), torch.float32)
            assert 0 <= signal.min() <= signal.max() <= 1

    def test_does_not_write_into_the_raw_sample(self):
        for raw in (pixels(1, 8, 8), pixels(1, 8, 8) / 255):
            before = raw.clone()
            training(normalise=Normalise((0.5,), (0.5,)))(raw, seeded(0))
            evaluation((8, 8), (8, 8))(raw, seeded(0))
            assert torch.equal(raw, before)

    def test_pickles_before_and_after_use(self):
        transform, raw = training(normalise=Normalise((0.4, 0.5, 0.6), (0.2, 0.2, 0.2))), pixels(3, 20, 30)
        fresh = pickle.loads(pickle.dumps(transform))
        expected = transform(raw, seeded(0))
        for copy in (fresh, pickle.loads(pickle.dumps(transform))):
            assert torch.equal(copy(raw, seeded(0)), expected)


class TestEvaluationTransform:
    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    def test_is_resize_and_centre_crop_of_torchvision(self, interpolation: str):
        mode = v2.InterpolationMode(interpolation)
        expected = v2.Compose([v2.Resize(32, mode), v2.CenterCrop(24), v2.ToDtype(torch.float32, scale=True)])
        for shape in ((3, 375, 500), (3, 50, 40), (3, 20, 20)):
            raw = pixels(*shape)
            signal = evaluation((24, 24), (32, 32), interpolation)(raw, seeded(0))
            assert torch.allclose(signal, expected(raw), atol=1e-6)

    def test_image_of_the_right_size_is_untouched(self):
        raw = pixels(1, 28, 28)
        assert torch.equal(evaluation((28, 28), (28, 28))(raw, seeded(0)), raw / 255)

    def test_draws_nothing(self):
        raw, generator = pixels(3, 30, 40), seeded(0)
        before = generator.get_state()
        first = evaluation((16, 16), (20, 20))(raw, generator)
        assert torch.equal(generator.get_state(), before)
        assert torch.equal(evaluation((16, 16), (20, 20))(raw, seeded(9)), first)

    @pytest.mark.parametrize("shape", [(1, 5, 100), (1, 100, 5), (1, 1, 1), (1, 13, 29)])
    def test_no_shape_leaves_a_border(self, shape: tuple[int, ...]):
        raw = torch.full(shape, 255, dtype=torch.uint8)
        signal = evaluation((16, 24), (16, 24))(raw, seeded(0))
        assert signal.shape == (1, 16, 24)
        assert signal.min() == 1

    def test_an_extreme_shape_is_cut_before_it_is_scaled(self, monkeypatch: pytest.MonkeyPatch):
        sizes = list[list[int]]()
        resize = transforms.F.resize
        monkeypatch.setattr(
            transforms.F, "resize", lambda raw, size, mode: sizes.append(size) or resize(raw, size, mode)
        )
        raw = torch.zeros(1, 5001, 1, dtype=torch.uint8)
        raw[:, 2500] = 255  # the middle
        signal = evaluation((16, 16), (16, 16))(raw, seeded(0))
        assert signal.max() > 0.8
        assert torch.allclose(signal, signal.flip(-2), atol=1e-6)
        assert max(sizes[0]) <= (LONGEST + 2) * 16

    def test_the_centre_is_kept(self):
        raw = torch.zeros(1, 9, 27, dtype=torch.uint8)
        raw[:, :, 9:18] = 255
        assert evaluation((9, 9), (9, 9))(raw, seeded(0)).min() == 1
