from __future__ import annotations

import random
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from jepa_core.errors import UnreadableSample
from jepa_video.decoding import backends, open_video
from jepa_video.decoding.index import FrameIndex

WriteVideo = Callable[..., str]
NumbersIn = Callable[[Tensor], list[int]]

X265 = "log-level=none:"
GROUPS_OF_8 = {"g": "8"}

# What decord 0.6 and torchcodec 0.11 read as PyAV does.
PLAIN: dict[str, dict[str, Any]] = {
    "h264.mp4": {},
    "groups.mp4": {"options": GROUPS_OF_8},
    "table first.mp4": {"options": GROUPS_OF_8, "muxing": {"movflags": "faststart"}},
    "h264.mkv": {"options": GROUPS_OF_8},
    "a:b.mov": {"options": GROUPS_OF_8},
    "mpeg4.mp4": {"codec": "mpeg4", "options": GROUPS_OF_8},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "8", "cpu-used": "8", "deadline": "realtime"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": X265 + "open-gop=0:keyint=8"}},
    "full colour, odd.mp4": {"size": (47, 65), "pixels": "yuv444p", "options": GROUPS_OF_8},
    "uneven.mkv": {"times": [int(t) for t in np.cumsum(np.arange(24) * 7 % 50 + 10)], "options": GROUPS_OF_8},
    "one.mp4": {"frames": 1},
}
# What only PyAV reads right, with a word of the reason.
ODD: dict[str, tuple[str, dict[str, Any]]] = {
    "open groups.mp4": ("open groups", {"options": {"x264-params": "open-gop=1:keyint=8:bframes=2:scenecut=0"}}),
    "open groups.mkv": ("open groups", {"codec": "libx265", "options": {"x265-params": X265 + "keyint=8:bframes=3"}}),
    "h264.ts": ("mpegts", {"options": GROUPS_OF_8}),
    "one group.ts": ("mpegts", {}),
    "mpeg2.mpg": ("mpeg", {"codec": "mpeg2video", "options": {"g": "8", "bf": "2"}}),
    "mpeg4.avi": ("avi", {"codec": "mpeg4", "options": GROUPS_OF_8}),
    "mpeg4 with B.avi": ("avi", {"codec": "mpeg4", "options": {"g": "8", "bf": "2"}}),
    "h264.avi": ("avi", {"options": GROUPS_OF_8}),
    "flv1.flv": ("flv", {"codec": "flv", "options": GROUPS_OF_8}),
    "wmv2.wmv": ("asf", {"codec": "wmv2", "options": GROUPS_OF_8}),
    "palette.gif": ("gif", {"codec": "gif", "pixels": "rgb8"}),
    "ten bits.mp4": ("10 bits", {"pixels": "yuv420p10le", "options": GROUPS_OF_8}),
    "odd size.webm": ("47 x 65", {"codec": "libvpx-vp9", "size": (65, 47), "options": {"cpu-used": "8"}}),
}
OPTIONAL = [
    pytest.param(
        name, marks=pytest.mark.skipif(bool(backends.why_not(name)), reason=f"{name}: {backends.why_not(name)}")
    )
    for name in backends.OPTIONAL
]


def reason_of(path: str | Path, backend: str = "auto") -> str:
    with pytest.raises(UnreadableSample) as caught:
        open_video(str(path), backend)
    assert caught.value.where == str(path)
    return caught.value.reason


def cut(path: str, name: str, share: float, tmp_path: Path) -> Path:
    content = Path(path).read_bytes()
    target = tmp_path / name
    target.write_bytes(content[: int(len(content) * share)])
    return target


def patch(path: str, name: str, box: bytes, offset: int, values: bytes, tmp_path: Path) -> str:
    """A copy of an mp4 with other bytes at an offset from the end of the name of a box."""
    content = bytearray(Path(path).read_bytes())
    start = content.index(box) + len(box) + offset
    content[start : start + len(values)] = values
    (tmp_path / name).write_bytes(content)
    return str(tmp_path / name)


class TestFrames:
    @pytest.mark.parametrize("name", [*PLAIN, *ODD])
    @pytest.mark.parametrize("backend", ["auto", "pyav"])
    def test_any_frame_in_any_order_is_the_one_asked_for(
        self, name: str, backend: str, write_video: WriteVideo, numbers_in: NumbersIn
    ):
        options = PLAIN[name] if name in PLAIN else ODD[name][1]
        with open_video(write_video(name, **options), backend) as opened:
            assert opened.num_frames == options.get("frames", 24)
            draw = random.Random(0)
            for count in (1, 2, 3, 24, 2):
                indices = [draw.randrange(opened.num_frames) for _ in range(count)]
                assert numbers_in(opened.read(indices)) == indices
            assert numbers_in(opened.read(range(opened.num_frames))) == list(range(opened.num_frames))

    @pytest.mark.parametrize("name", [*PLAIN, *ODD])
    def test_a_frame_is_the_same_whichever_others_are_read(self, name: str, write_video: WriteVideo):
        options = PLAIN[name] if name in PLAIN else ODD[name][1]
        with open_video(write_video(name, **options), "pyav") as opened:
            whole = opened.read(range(opened.num_frames))
            for first in range(min(5, opened.num_frames)):
                indices = range(first, opened.num_frames, 5)
                assert torch.equal(opened.read(indices), whole[indices.start :: 5])

    @pytest.mark.parametrize("backend", OPTIONAL)
    @pytest.mark.parametrize("name", PLAIN)
    def test_every_back_end_gives_the_frames_of_pyav(self, name: str, backend: str, write_video: WriteVideo):
        path = write_video(name, **PLAIN[name])
        with open_video(path, "pyav") as expected, open_video(path, backend) as opened:
            assert opened.timestamps == pytest.approx(expected.timestamps, abs=0)
            for first in (0, 17 % expected.num_frames, 5 % expected.num_frames):
                indices = range(first, expected.num_frames, 3)
                difference = opened.read(indices).int() - expected.read(indices).int()
                # H.264 decodes to the same bits everywhere; the inverse transform of MPEG-4 may round otherwise.
                assert difference.abs().max() <= (1 if "mpeg4" in name else 0)

    @pytest.mark.parametrize("backend", OPTIONAL)
    @pytest.mark.parametrize("name", ODD)
    def test_a_back_end_that_reads_a_file_wrong_is_not_used_for_it(
        self, name: str, backend: str, write_video: WriteVideo
    ):
        word, options = ODD[name]
        reason = reason_of(write_video(name, **options), backend)
        assert word in reason
        assert "auto or pyav" in reason

    def test_frames_are_rgb_bytes(self, write_video: WriteVideo):
        frames = open_video(write_video("h264.mp4")).read([3, 1, 3])
        assert (frames.shape, frames.dtype) == ((3, 3, 48, 64), torch.uint8)
        assert torch.equal(frames[0], frames[2])

    def test_a_frame_beyond_the_end_is_our_bug(self, write_video: WriteVideo):
        with pytest.raises(AssertionError, match="has 24 frames"):
            open_video(write_video("h264.mp4")).read([24])

    @pytest.mark.parametrize("backend", ["pyav", *OPTIONAL])
    def test_rotated_by_metadata_is_turned_upright(self, backend: str, write_video: WriteVideo, tmp_path: Path):
        path = write_video("wide.mp4", size=(64, 128))  # decord cannot turn sizes that are no multiples of 32
        quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)  # 90 degrees clockwise
        turned = patch(path, "turned.mp4", b"tkhd", 40, quarter, tmp_path)
        with open_video(path, backend) as upright, open_video(turned, backend) as opened:
            expected = torch.rot90(upright.read([4]), k=-1, dims=(2, 3))
            assert torch.equal(opened.read([4]), expected)


class TestTimes:
    def test_constant_rate(self, write_video: WriteVideo):
        with open_video(write_video("h264.mp4")) as opened:
            assert opened.fps == pytest.approx(25)
            assert opened.timestamps == pytest.approx(np.arange(24) / 25)

    def test_variable_rate(self, write_video: WriteVideo):
        times = np.array(PLAIN["uneven.mkv"]["times"])
        with open_video(write_video("uneven.mkv", **PLAIN["uneven.mkv"])) as opened:
            assert opened.timestamps == pytest.approx((times - times[0]) / 1000)
            assert opened.fps == pytest.approx(23 * 1000 / (times[-1] - times[0]))

    def test_avi_without_times_has_its_nominal_rate(self, write_video: WriteVideo):
        with open_video(write_video("h264.avi", **ODD["h264.avi"][1])) as opened:
            assert opened.timestamps == pytest.approx(np.arange(24) / 25)

    def test_one_frame_has_no_rate(self, write_video: WriteVideo):
        with open_video(write_video("one.mp4", frames=1)) as opened:
            assert (opened.num_frames, opened.fps, opened.still) == (1, None, False)


class TestClaims:
    @pytest.fixture
    def edited(self, write_video: WriteVideo, tmp_path: Path) -> str:
        """A file whose edit list hides the first 10 of 24 frames."""
        path = write_video("groups.mp4", options=GROUPS_OF_8)
        offset = 12  # version and flags, number of edits, duration
        start = Path(path).read_bytes().index(b"elst") + 4 + offset
        begins = int.from_bytes(Path(path).read_bytes()[start : start + 4], "big")
        return patch(path, "edited.mp4", b"elst", offset, struct.pack(">i", begins + 10 * 512), tmp_path)

    def test_frames_that_an_edit_list_hides_do_not_count(self, edited: str, numbers_in: NumbersIn):
        with av.open(edited) as container:
            assert container.streams.video[0].frames == 24
        with open_video(edited) as opened:
            assert opened.num_frames == 14
            assert numbers_in(opened.read(range(14))) == list(range(10, 24))
            assert numbers_in(opened.read([13, 0])) == [23, 10]

    def test_decord_may_not_repeat_a_frame_in_place_of_another(self, edited: str):
        decord = pytest.importorskip("decord")
        from jepa_video.decoding.with_decord import DecordReader

        counted = decord.VideoReader(edited)
        times = counted.get_frame_timestamp(range(len(counted)))[:, 0]
        believed = FrameIndex(np.round(times * 12800).astype(np.int64), np.zeros(1), Fraction(1, 12800), False, None)
        with pytest.raises(UnreadableSample, match="duplicate frames"):
            DecordReader(edited, believed).read(range(len(times)))

    def test_frames_before_the_first_key_frame_do_not_count(
        self, write_video: WriteVideo, numbers_in: NumbersIn, tmp_path: Path
    ):
        content = Path(write_video("h264.ts", options=GROUPS_OF_8)).read_bytes()
        tail = tmp_path / "tail.ts"
        tail.write_bytes(content[188 * (len(content) // 188 // 4) :])
        with open_video(str(tail)) as opened:
            shown = numbers_in(opened.read(range(opened.num_frames)))
        assert shown in (list(range(8, 24)), list(range(16, 24)))

    @pytest.mark.parametrize("filler", [b"\x00", b"\x0c"])  # noise where a slice should be; a unit that holds no frame
    @pytest.mark.parametrize("backend", ["auto", "pyav", *OPTIONAL])
    def test_a_frame_that_does_not_come_is_an_error_and_not_its_neighbour(
        self, filler: bytes, backend: str, write_video: WriteVideo, tmp_path: Path
    ):
        path = write_video("groups.mp4", options=GROUPS_OF_8)
        with av.open(path) as container:
            packet = [packet for packet in container.demux(video=0) if packet.size][10]
            position, size = packet.pos, packet.size
        assert position is not None
        content = bytearray(Path(path).read_bytes())
        content[position : position + size] = (size - 4).to_bytes(4, "big") + filler * (size - 4)
        (tmp_path / "damaged.mp4").write_bytes(content)
        with open_video(str(tmp_path / "damaged.mp4"), backend) as opened:
            with pytest.raises(UnreadableSample) as caught:
                opened.read(range(24))
            assert caught.value.where == opened.path
            assert "\n" not in caught.value.reason

    def test_auto_refuses_a_frame_with_damage_inside_its_packet(self, write_video: WriteVideo, tmp_path: Path):
        path = write_video("groups.mp4", options=GROUPS_OF_8)
        with av.open(path) as container:
            packet = [packet for packet in container.demux(video=0) if packet.size][8]
            position, size = packet.pos, packet.size
        assert position is not None
        content, middle = bytearray(Path(path).read_bytes()), position + size // 2
        content[middle : middle + 8] = bytes(byte ^ 0x55 for byte in content[middle : middle + 8])
        (tmp_path / "damaged.mp4").write_bytes(content)
        with (
            open_video(str(tmp_path / "damaged.mp4")) as opened,
            pytest.raises(UnreadableSample, match="frame 8 of 24"),
        ):
            opened.read(range(24))

    def test_a_stream_with_faulty_packets_says_so(self, write_video: WriteVideo, tmp_path: Path):
        content = bytearray(Path(write_video("h264.ts", options=GROUPS_OF_8)).read_bytes())
        content[188 * (len(content) // 188 // 2) + 1] |= 0x80  # the flag by which a receiver says so
        (tmp_path / "faulty.ts").write_bytes(content)
        assert "frames are whole" in reason_of(tmp_path / "faulty.ts")

    @pytest.mark.parametrize(
        ("name", "options", "share", "reason"),
        [
            ("cut.mp4", {}, 0.6, "is cut off"),
            ("cut.mp4", {"muxing": {"movflags": "faststart"}}, 0.9, "of 24 frames are whole"),
            ("cut.mkv", {}, 0.6, "frames are whole"),
            ("cut.webm", PLAIN["vp9.webm"], 0.6, "frames are whole"),
            ("cut.avi", {"codec": "mpeg4"}, 0.9, "of 24 frames are whole"),
        ],
    )
    def test_a_file_that_is_cut_short_says_so(
        self, name: str, options: dict[str, Any], share: float, reason: str, write_video: WriteVideo, tmp_path: Path
    ):
        whole = write_video(name, **options)
        assert open_video(whole).num_frames == 24
        assert reason in reason_of(cut(whole, name, share, tmp_path))
