from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jepa_core.errors import ConfigError, UnreadableSample
from jepa_video.clips import ClipFrames, indices_by_stride, indices_by_time, span

EVEN = np.arange(100) / 25


class Stub:
    """What `ClipFrames` looks at of a video."""

    path = "clip.mp4"

    def __init__(
        self, num_frames: int, timestamps: Any = None, still: bool = False, part: tuple[int, int] = (0, 1)
    ) -> None:
        self.num_frames, self.timestamps, self.still, self.part = num_frames, timestamps, still, part


def clip(frames: ClipFrames, position: float = 0.0, **video: Any) -> list[int]:
    stub: Any = Stub(**video)
    return frames.of(stub, position).tolist()


class TestByStride:
    @pytest.mark.parametrize("position", [0.0, 0.3, 0.5, 0.999, 1.0])
    @pytest.mark.parametrize("num_frames", [61, 62, 300])
    def test_frames_are_a_stride_apart_and_inside(self, position: float, num_frames: int):
        indices = indices_by_stride(num_frames, 16, 4, position, loop=True)
        assert np.all(np.diff(indices) == 4)
        assert 0 <= indices[0] <= indices[-1] < num_frames

    def test_every_place_is_equally_likely(self):
        starts = Counter(int(indices_by_stride(10, 3, 2, p, loop=True)[0]) for p in np.arange(600) / 600)
        assert starts == dict.fromkeys(range(6), 100)

    def test_the_ends_and_the_middle(self):
        assert [int(indices_by_stride(101, 1, 4, p, loop=True)[0]) for p in (0.0, 0.5, 1.0)] == [0, 50, 100]

    def test_a_short_video_starts_again_or_stops(self):
        for position in (0.0, 0.9):
            assert indices_by_stride(5, 6, 2, position, loop=True).tolist() == [0, 2, 4, 1, 3, 0]
            assert indices_by_stride(5, 6, 2, position, loop=False).tolist() == [0, 2, 4, 4, 4, 4]
            assert indices_by_stride(1, 3, 4, position, loop=True).tolist() == [0, 0, 0]


class TestByTime:
    def test_an_even_rate_is_a_stride(self):
        for fps, stride in ((25, 1), (12.5, 2), (6.25, 4)):
            expected = indices_by_stride(100, 16, stride, 0.0, loop=True)
            assert indices_by_time(EVEN, 16, fps, 0.0, loop=True).tolist() == expected.tolist()

    def test_times_rounded_to_milliseconds_do_not_slip_a_frame(self):
        rounded = np.round(np.arange(100) / 30, 3)
        assert indices_by_time(rounded, 60, 30, 0.0, loop=True).tolist() == list(range(60))

    def test_a_variable_rate_keeps_the_pace_of_the_clock(self):
        times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, 200))
        times -= times[0]
        indices = indices_by_time(times, 16, 4.0, 0.37, loop=True)
        ticks = 0.37 * (times[-1] - 15 / 4) + np.arange(16) / 4
        assert np.all(times[indices] <= ticks + 1e-3)
        assert np.all(times[indices + 1] > ticks)

    def test_a_faster_clock_repeats_frames(self):
        assert indices_by_time(EVEN, 6, 50, 0.0, loop=True).tolist() == [0, 0, 1, 1, 2, 2]

    def test_the_latest_clip_ends_with_the_last_frame(self):
        assert indices_by_time(EVEN, 16, 5, 1.0, loop=True)[-1] == 99

    def test_a_clip_that_just_fits_is_not_short(self):
        assert indices_by_time(EVEN[:16], 16, 25, 0.7, loop=True).tolist() == list(range(16))

    def test_a_short_video_starts_again_or_stops(self):
        assert indices_by_time(EVEN[:4], 7, 25, 0.5, loop=True).tolist() == [0, 1, 2, 3, 0, 1, 2]
        assert indices_by_time(EVEN[:4], 7, 25, 0.5, loop=False).tolist() == [0, 1, 2, 3, 3, 3, 3]
        assert indices_by_time(EVEN[:1], 3, 25, 0.5, loop=True).tolist() == [0, 0, 0]


class TestClipFrames:
    def test_stride_is_four_unless_another_is_given(self):
        assert clip(ClipFrames(3), num_frames=9) == [0, 4, 8]
        assert clip(ClipFrames(3, stride=2), num_frames=5) == [0, 2, 4]
        assert clip(ClipFrames(3, fps=12.5), num_frames=100, timestamps=EVEN) == [0, 2, 4]

    @pytest.mark.parametrize("frames", [ClipFrames(4, stride=5), ClipFrames(4, fps=5.0)])
    def test_parts_share_the_places_where_a_clip_fits(self, frames: ClipFrames):
        video = {"num_frames": 100, "timestamps": EVEN}
        whole = [clip(frames, p, **video)[0] for p in (0.0, 0.5, 1.0)]
        assert whole[0] == 0
        assert clip(frames, 0.0, **video, part=(0, 2))[0] == 0
        assert clip(frames, 0.0, **video, part=(1, 2))[0] == whole[1]
        assert clip(frames, 1.0, **video, part=(1, 2))[0] == whole[2]
        assert clip(frames, 0.999, **video, part=(0, 2))[0] <= whole[1]

    @pytest.mark.parametrize("short", ["loop", "pad", "skip"])
    def test_a_picture_stands_still_whatever_the_policy(self, short: Any):
        assert clip(ClipFrames(4, short=short), num_frames=1, still=True) == [0, 0, 0, 0]
        assert clip(ClipFrames(4, fps=5.0, short=short), num_frames=1, still=True) == [0, 0, 0, 0]

    def test_policies(self):
        assert clip(ClipFrames(4, stride=2), num_frames=3) == [0, 2, 1, 0]
        assert clip(ClipFrames(4, stride=2, short="pad"), num_frames=3) == [0, 2, 2, 2]
        by_time = ClipFrames(4, fps=12.5, short="pad")
        assert clip(by_time, num_frames=3, timestamps=EVEN[:3]) == [0, 2, 2, 2]
        assert clip(replace(by_time, short="loop"), num_frames=3, timestamps=EVEN[:3]) == [0, 2, 1, 0]

    @pytest.mark.parametrize(
        ("frames", "reason"),
        [
            (
                ClipFrames(16, short="skip"),
                "has 12 frames, a clip needs 61; modality.short=loop or pad reads it, or a larger data.max_",
            ),
            (ClipFrames(16, fps=10.0, short="skip"), "has 0.44 s between its first and last frame, a clip needs 1.50"),
        ],
    )
    def test_skip_says_what_is_missing(self, frames: ClipFrames, reason: str):
        with pytest.raises(UnreadableSample, match=re.escape(f"clip.mp4: {reason}")):
            clip(frames, num_frames=12, timestamps=EVEN[:12])

    def test_skip_names_the_limit_that_counts_it(self):
        with pytest.raises(UnreadableSample, match=re.escape("a larger data.max_unreadable lets it be skipped")):
            clip(ClipFrames(16, short="skip"), num_frames=12)

    def test_skip_takes_what_just_fits(self):
        assert clip(ClipFrames(4, stride=4, short="skip"), num_frames=span(4, 4)) == [0, 4, 8, 12]
        assert clip(ClipFrames(4, fps=25.0, short="skip"), num_frames=4, timestamps=EVEN[:4]) == [0, 1, 2, 3]

    def test_pictures_without_times_are_an_error_of_the_configuration(self):
        assert clip(ClipFrames(2), num_frames=5) == [0, 4]
        with pytest.raises(ConfigError, match=r"modality\.fps needs modality\.pictures_fps .*clip\.mp4"):
            clip(ClipFrames(2, fps=4.0), num_frames=5)
