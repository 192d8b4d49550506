from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from jepa_core.crops import ATTEMPTS, LONGEST, Normalise, random_box
from jepa_core.errors import UnreadableSample
from jepa_video import transforms
from jepa_video.clips import ClipFrames
from jepa_video.decoding import open_video
from jepa_video.transforms import EvaluationTransform, Finish, TrainingTransform

WriteVideo = Callable[..., str]
NumbersIn = Callable[[Tensor], list[int]]

PLAIN = Finish(3, Normalise((0.0,), (1.0,)))
TRAINING = TrainingTransform(ClipFrames(4), (8, 12), (0.3, 1.0), (3 / 4, 1.35), 0.5, "bilinear", PLAIN)
EVALUATION = EvaluationTransform(ClipFrames(4), 1, (8, 12), (16, 16), "bilinear", PLAIN)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Stub:
    """A video in memory that counts what is asked of it."""

    path, part, still, timestamps = "stub", (0, 1), False, None

    def __init__(self, frames: Tensor) -> None:
        self.frames, self.num_frames = frames, len(frames)
        self.asked: list[list[int]] = []
        self.closed = 0

    def read(self, indices: Sequence[int]) -> Tensor:
        self.asked.append(list(indices))
        return self.frames[list(indices)]

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *error: object) -> None:
        self.closed += 1


def stub(*shape: int) -> Any:
    return Stub(torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(0)))


def standing(*shape: int) -> Any:
    """All frames are the same one."""
    frame = torch.randint(0, 256, shape[1:], dtype=torch.uint8, generator=seeded(0))
    return Stub(frame.expand(*shape).clone())


class TestTraining:
    def test_gives_the_signal_of_one_clip(self):
        video = stub(50, 3, 20, 30)
        signal = TRAINING(video, seeded(0))
        assert (signal.shape, signal.dtype, signal.is_contiguous()) == ((3, 4, 8, 12), torch.float32, True)
        assert 0 <= signal.min() <= signal.max() <= 1

    def test_decodes_only_the_frames_of_the_clip_and_closes(self):
        video = stub(50, 3, 20, 30)
        TRAINING(video, seeded(0))
        ((first, *rest),) = video.asked
        assert rest == [first + 4, first + 8, first + 12]
        assert video.closed == 1

    def test_is_a_function_of_the_generator_alone(self):
        first = TRAINING(stub(50, 3, 20, 30), seeded(7))
        torch.manual_seed(1)
        random.seed(1)
        before = torch.get_rng_state()
        assert torch.equal(TRAINING(stub(50, 3, 20, 30), seeded(7)), first)
        assert not torch.equal(TRAINING(stub(50, 3, 20, 30), seeded(8)), first)
        assert torch.equal(torch.get_rng_state(), before)

    def test_crop_and_mirror_are_the_same_for_all_frames(self):
        for seed in range(20):
            signal = TRAINING(standing(50, 3, 20, 30), seeded(seed))
            assert torch.equal(signal, signal[:, :1].expand_as(signal))

    def test_agrees_with_torchvision_on_the_same_clip_and_crop(self):
        video = stub(50, 3, 20, 30)
        start, mirror, *draws = torch.rand(2 * ATTEMPTS + 4, generator=seeded(5)).tolist()
        box = random_box(20, 30, TRAINING.scale, TRAINING.ratio, draws)
        cropped = video.frames[:, :, box.top : box.top + box.height, box.left : box.left + box.width]
        resized = v2.functional.resize(cropped[int(start * 38) :: 4][:4], [8, 12], antialias=True)
        expected = (resized.flip(-1) if mirror < 0.5 else resized).transpose(0, 1) / 255
        assert torch.equal(TRAINING(video, seeded(5)), expected)

    @pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
    def test_mirrors_with_the_given_probability(self, probability: float):
        video: Any = Stub(torch.arange(12, dtype=torch.uint8).expand(20, 3, 8, 12))
        transform = replace(TRAINING, scale=(1.0, 1.0), ratio=(1.5, 1.5), flip=probability)
        signals = (transform(video, seeded(seed)) for seed in range(300))
        mirrored = [bool(signal[0, 0, 0, 0] > signal[0, 0, 0, -1]) for signal in signals]
        assert sum(mirrored) / 300 == pytest.approx(probability, abs=0.08)

    def test_starts_anywhere(self):
        firsts = set[int]()
        for seed in range(100):
            video = stub(17, 3, 4, 4)
            TRAINING(video, seeded(seed))
            firsts.add(video.asked[0][0])
        assert firsts == {0, 1, 2, 3, 4}

    def test_a_repeated_frame_is_decoded_once(self):
        video = stub(3, 3, 20, 30)
        transform = replace(TRAINING, clip=ClipFrames(8, stride=1))
        signal = transform(video, seeded(0))
        assert video.asked == [[0, 1, 2]]
        assert torch.equal(signal[:, :3], signal[:, 3:6])
        assert torch.equal(signal[:, :2], signal[:, 6:])

    def test_grey_is_luma(self):
        video: Any = Stub(torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(20, 3, 8, 8))
        signal = replace(TRAINING, finish=Finish(1, Normalise((0.0,), (1.0,))))(video, seeded(0))
        assert signal.shape == (1, 4, 8, 12)
        assert signal.unique().tolist() == pytest.approx([0.299], abs=0.01)

    def test_channels_are_normalised_by_their_own_numbers(self):
        finish = Finish(3, Normalise((0.1, 0.2, 0.3), (1.0, 2.0, 4.0)))
        plain = TRAINING(stub(50, 3, 20, 30), seeded(0))
        signal = replace(TRAINING, finish=finish)(stub(50, 3, 20, 30), seeded(0))
        for channel, (mean, std) in enumerate([(0.1, 1.0), (0.2, 2.0), (0.3, 4.0)]):
            assert torch.allclose(signal[channel], (plain[channel] - mean) / std)

    def test_closes_and_names_a_video_that_is_too_short(self):
        video = stub(3, 3, 20, 30)
        with pytest.raises(UnreadableSample, match="stub: has 3 frames"):
            replace(TRAINING, clip=ClipFrames(4, short="skip"))(video, seeded(0))
        assert video.closed == 1

    @pytest.mark.parametrize("transform", [TRAINING, EVALUATION])
    def test_pickles(self, transform: Any):
        expected = transform(stub(50, 3, 20, 30), seeded(0))
        assert torch.equal(pickle.loads(pickle.dumps(transform))(stub(50, 3, 20, 30), seeded(0)), expected)


class TestEvaluation:
    def test_is_resize_and_centre_crop_of_the_middle_clip(self):
        video = stub(50, 3, 20, 30)
        transform = v2.Compose([v2.Resize(16), v2.CenterCrop((8, 12)), v2.ToDtype(torch.float32, scale=True)])
        expected = transform(video.frames[19:32:4]).transpose(0, 1)
        assert torch.allclose(EVALUATION(video, seeded(0)), expected, atol=1e-6)

    def test_draws_nothing(self):
        generator = seeded(0)
        before = generator.get_state()
        EVALUATION(stub(50, 3, 20, 30), generator)
        assert torch.equal(generator.get_state(), before)

    def test_several_clips_are_evenly_spaced_views(self):
        video = stub(53, 3, 20, 30)
        views = replace(EVALUATION, clips=2)(video, seeded(0))
        assert views.shape == (2, 3, 4, 8, 12)
        assert [asked[0] for asked in video.asked] == [10, 30]
        assert video.closed == 1
        single: Any = Stub(video.frames[10:23])
        assert torch.equal(views[0], EVALUATION(single, seeded(0)))

    def test_frames_of_the_right_size_are_untouched(self):
        video = stub(13, 3, 8, 12)
        assert torch.equal(
            replace(EVALUATION, cover=(8, 12))(video, seeded(0)), video.frames[::4].transpose(0, 1) / 255
        )

    def test_an_extreme_shape_is_cut_before_it_is_scaled(self, monkeypatch: pytest.MonkeyPatch):
        sizes = list[list[int]]()
        resize = transforms.F.resize
        monkeypatch.setattr(
            transforms.F, "resize", lambda frames, size, mode: sizes.append(size) or resize(frames, size, mode)
        )
        frames = torch.zeros(13, 3, 1, 5001, dtype=torch.uint8)
        frames[..., 2500] = 255  # the middle
        signal = EVALUATION(cast("Any", Stub(frames)), seeded(0))
        assert signal.max() > 0.8
        assert torch.allclose(signal, signal.flip(-1), atol=1e-6)
        assert max(max(size) for size in sizes) <= (LONGEST + 2) * 16

    @pytest.mark.parametrize("shape", [(13, 3, 5, 100), (13, 3, 100, 5), (13, 3, 1, 1)])
    def test_no_shape_leaves_a_border(self, shape: tuple[int, ...]):
        video: Any = Stub(torch.full(shape, 255, dtype=torch.uint8))
        assert EVALUATION(video, seeded(0)).min() == 1


@pytest.mark.parametrize("backend", ["auto", "pyav"])
def test_a_file_becomes_the_clip_that_was_drawn(backend: str, write_video: WriteVideo, numbers_in: NumbersIn):
    path = write_video("groups.mp4", options={"g": "8"})
    clip = ClipFrames(6, stride=3)
    transform = replace(EVALUATION, clip=clip, clips=3, size=(48, 64), cover=(48, 64))
    views = transform(open_video(path, backend), seeded(0))
    assert [numbers_in(view.transpose(0, 1) * 255) for view in views] == [
        list(range(first, first + 16, 3)) for first in (1, 4, 7)
    ]
