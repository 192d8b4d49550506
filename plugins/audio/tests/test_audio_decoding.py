from __future__ import annotations

import os
import pickle
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from jepa_audio import decoding
from jepa_audio.decoding import open_reader, open_sound, why_no_torchcodec, with_soundfile
from jepa_core.errors import UnreadableSample

WriteSound = Callable[..., str]
RATE = 16_000
KINDS = {  # largest error per kind of file
    ("a.wav", "PCM_U8"): 1 / 128,
    ("a.wav", "PCM_16"): 1 / 32_768,
    ("a.wav", "PCM_24"): 1e-6,
    ("a.wav", "PCM_32"): 1e-6,
    ("a.wav", "FLOAT"): 0.0,
    ("a.wav", "DOUBLE"): 0.0,
    ("a.wav", "ULAW"): 0.05,
    ("a.flac", "PCM_16"): 1 / 32_768,
    ("a.flac", "PCM_24"): 1e-6,
    ("a.aiff", "PCM_16"): 1 / 32_768,
    ("a.au", "PCM_16"): 1 / 32_768,
    ("a.caf", "PCM_16"): 1 / 32_768,
    ("a.w64", "PCM_16"): 1 / 32_768,
    ("a.ogg", "VORBIS"): 0.1,
    ("a.ogg", "OPUS"): 0.1,
    ("a.mp3", "MPEG_LAYER_III"): 0.1,
}


def whole(path: str, rate: int = RATE) -> torch.Tensor:
    with open_sound(path, rate) as sound:
        return sound.read(0, sound.num_samples)


class TestFormats:
    @pytest.mark.parametrize(("name", "subtype"), KINDS)
    def test_samples_are_those_that_were_written_and_a_segment_is_a_part_of_them(
        self, write_sound: WriteSound, name: str, subtype: str
    ):
        path, error = write_sound(name, subtype=subtype), KINDS[name, subtype]
        written = torch.from_numpy(soundfile.read(write_sound("a.wav", subtype="FLOAT"), dtype="float32")[0])
        with open_sound(path, RATE) as sound:
            everything = sound.read(0, sound.num_samples)
            assert everything.dtype == torch.float32
            assert len(everything) == len(written)
            # libsndfile ends Opus a few milliseconds off.
            assert (everything - written)[: -RATE // 20].abs().max() <= error
            torch.testing.assert_close(sound.read(9000, 1500), everything[9000:10500], rtol=0, atol=1e-6)

    def test_six_channels_are_mixed_down_to_their_mean(self, write_sound: WriteSound):
        path = write_sound("six.wav", channels=6, subtype="FLOAT")
        values, _ = soundfile.read(path, dtype="float32")
        assert values.shape[1] == 6
        assert torch.allclose(whole(path), torch.from_numpy(values).mean(1))

    def test_the_content_decides_and_not_the_name(self, write_sound: WriteSound):
        written = whole(write_sound("a.wav"))
        for name in ("wrong.mp3", "wrong.flac", "wrong.raw", "no suffix"):
            assert torch.equal(whole(write_sound(name, kind="WAV")), written)

    def test_an_opened_file_of_which_a_part_is_asked_for_reads_no_more(
        self, write_sound: WriteSound, monkeypatch: pytest.MonkeyPatch
    ):
        asked = list[int]()
        read = soundfile.SoundFile.read
        monkeypatch.setattr(
            soundfile.SoundFile,
            "read",
            lambda self, frames, **rest: (asked.append(frames), read(self, frames, **rest))[1],
        )
        with open_sound(write_sound("long.wav", seconds=20.0, rate=48_000), RATE) as sound:
            sound.read(8 * RATE, RATE)
        assert sum(asked) < 1.02 * 48_000

    def test_silence_is_read_as_silence(self, write_sound: WriteSound):
        assert not whole(write_sound("silent.wav", values=np.zeros(8000))).any()

    def test_a_stream_that_never_learnt_its_length_is_read_to_its_end(self, write_sound: WriteSound, tmp_path: Path):
        content = bytearray(Path(write_sound("a.wav")).read_bytes())
        assert content[36:40] == b"data"
        for announced in (0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF - 36):
            content[40:44] = struct.pack("<I", announced)
            (tmp_path / "stream.wav").write_bytes(content)
            assert len(whole(str(tmp_path / "stream.wav"))) == RATE


class TestBadFiles:
    def reason(self, path: str, start: int = 0) -> str:
        with pytest.raises(UnreadableSample) as caught, open_sound(path, RATE) as sound:
            sound.read(start, sound.num_samples - start)
        assert caught.value.where == path
        return caught.value.reason

    @pytest.mark.parametrize("name", ["empty.wav", "empty.mp3", "empty.ogg"])
    def test_an_empty_file_is_named_so(self, tmp_path: Path, name: str):
        (tmp_path / name).touch()
        assert self.reason(str(tmp_path / name)) == "the file is empty"

    @pytest.mark.parametrize("name", ["none.wav", "none.aiff", "none.ogg"])
    def test_a_header_without_samples_is_unreadable(self, write_sound: WriteSound, name: str):
        assert "no samples" in self.reason(write_sound(name, values=np.zeros(0)))

    @pytest.mark.parametrize("name", ["text.wav", "text.mp3", "text.flac"])
    def test_what_is_no_sound_is_unreadable(self, tmp_path: Path, name: str):
        for content in (b"this is no sound at all, but a text of some length" * 20, b"\xff\xfb\x94\xc4" + bytes(400)):
            (tmp_path / name).write_bytes(content)
            assert "cannot be decoded: no known format of sound; torchcodec" in self.reason(str(tmp_path / name))

    def test_a_file_that_is_not_there_is_unreadable(self, tmp_path: Path):
        assert self.reason(str(tmp_path / "absent.wav")) == "No such file or directory"

    @pytest.mark.parametrize(
        ("name", "subtype", "message"),
        [
            ("a.wav", "PCM_16", "cut short: holds 15978 of 32000 bytes"),
            ("a.wav", "FLOAT", "cut short: holds"),
            ("a.aiff", "PCM_16", "cut short: holds"),
            ("a.w64", "PCM_16", "cut short: holds"),
            ("a.au", "PCM_16", "cut short: holds"),
            ("a.flac", "PCM_16", "cut short: its last samples are missing"),
            ("a.ogg", "VORBIS", "cut short: its last page is missing"),
            ("a.ogg", "OPUS", "cut short: its last page is missing"),
            ("a.caf", "PCM_16", "malformed"),
            ("a.mp3", "MPEG_LAYER_III", "s, and says that it lasts 3.00"),
        ],
    )
    def test_a_file_that_was_cut_short_is_named_so(
        self, write_sound: WriteSound, cut_in_half: Callable[[str], str], name: str, subtype: str, message: str
    ):
        seconds = 3.0 if subtype in {"VORBIS", "OPUS", "MPEG_LAYER_III"} else 1.0
        assert message in self.reason(cut_in_half(write_sound(name, seconds=seconds, subtype=subtype)))

    def test_of_a_cut_mp3_what_is_there_is_read(self, write_sound: WriteSound, cut_in_half: Callable[[str], str]):
        path = write_sound("a.mp3", seconds=3.0)
        with open_sound(cut_in_half(path), RATE) as sound:
            assert torch.equal(sound.read(0, RATE), whole(path)[:RATE])

    def test_damage_in_the_middle_of_a_flac_is_named_where_it_is_met(self, write_sound: WriteSound, tmp_path: Path):
        content = bytearray(Path(write_sound("a.flac", seconds=10.0, subtype="PCM_16")).read_bytes())
        content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
        (tmp_path / "damaged.flac").write_bytes(content)
        assert self.reason(str(tmp_path / "damaged.flac"))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
    def test_values_that_are_no_numbers_are_unreadable_where_they_are_met(self, write_sound: WriteSound, value: float):
        values = np.full(8000, 0.1, np.float32)
        values[5000] = value
        path = write_sound("numbers.wav", values=values, subtype="FLOAT")
        assert "no numbers" in self.reason(path)
        with open_sound(path, RATE) as sound:
            assert sound.read(0, 5000).isfinite().all()

    def test_a_rate_without_a_common_divisor_is_refused_before_it_takes_gigabytes(self, write_sound: WriteSound):
        path = write_sound("odd.wav", rate=44_099)
        assert "has 44099 Hz, which cannot be resampled to 16000 Hz" in self.reason(path)

    def test_a_decoder_that_lost_its_place_is_named(self, write_sound: WriteSound, monkeypatch: pytest.MonkeyPatch):
        # What soundfile raises for MP3s of which single bytes were changed (11 in 1,700).
        def read(*_: Any, **__: Any) -> None:
            raise ValueError("negative dimensions are not allowed")

        monkeypatch.setattr(soundfile.SoundFile, "read", read)
        assert self.reason(write_sound("a.mp3")) == "damaged: negative dimensions are not allowed"

    def test_failures_leave_no_file_open(self, write_sound: WriteSound, cut_in_half: Callable[[str], str]):
        bad = [cut_in_half(write_sound(name)) for name in ("a.wav", "a.flac", "a.ogg", "a.mp3")]
        bad.append(write_sound("none.wav", values=np.zeros(0)))
        before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
        for path in bad:
            assert self.reason(path)
        assert (len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0) == before


class TestSound:
    def test_it_travels_as_a_path(self, write_sound: WriteSound):
        with open_sound(write_sound("a.wav"), 8000) as sound:
            sent = pickle.dumps(sound)
            assert len(sent) < 500
            with pickle.loads(sent) as other:
                assert torch.equal(other.read(100, 50), sound.read(100, 50))

    def test_it_is_closed_by_its_context(self, write_sound: WriteSound):
        with open_sound(write_sound("a.wav"), RATE) as sound:
            pass
        with pytest.raises(RuntimeError, match="closed"):
            sound.read(0, 10)


class TestTorchCodec:
    def test_it_reads_what_soundfile_does_not_know(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        samples = torch.randn(2, 8000)

        class AudioDecoder:
            def __init__(self, path: str) -> None:
                if not path.endswith("good.m4a"):
                    raise RuntimeError("Could not open input file\nmore")

            def get_all_samples(self) -> Any:
                return SimpleNamespace(data=samples, sample_rate=8000)

        monkeypatch.setitem(sys.modules, "torchcodec", SimpleNamespace())
        monkeypatch.setitem(sys.modules, "torchcodec.decoders", SimpleNamespace(AudioDecoder=AudioDecoder))
        monkeypatch.delitem(sys.modules, "jepa_audio.decoding.with_torchcodec", raising=False)
        monkeypatch.setattr(decoding, "why_no_torchcodec", lambda: None)
        for name in ("good.m4a", "bad.m4a"):
            (tmp_path / name).write_bytes(b"....ftypM4A " * 100)
        with open_sound(str(tmp_path / "good.m4a"), 8000) as sound:
            assert torch.equal(sound.read(10, 100), samples.mean(0)[10:110])
        with pytest.raises(UnreadableSample, match=r"torchcodec: Could not open input file\)$"):
            open_reader(str(tmp_path / "bad.m4a"))
        monkeypatch.delitem(sys.modules, "jepa_audio.decoding.with_torchcodec")

    def test_why_it_is_not_there_is_said(self):
        assert why_no_torchcodec() in {None, "not installed"}


class TestPlaces:
    """Of a sound that is opened once and read here and there, as several clips of a recording are."""

    @pytest.mark.parametrize(
        ("name", "subtype"),
        [("a.ogg", "VORBIS"), ("a.ogg", "OPUS"), ("a.mp3", "MPEG_LAYER_III"), ("a.flac", None), ("a.wav", "GSM610")],
    )
    def test_any_stretch_is_a_part_of_the_whole(self, name: str, subtype: str | None, write_sound: WriteSound):
        path = write_sound(name, seconds=3.0, subtype=subtype)
        everything = whole(path)
        random = np.random.default_rng(0)
        stretches = [(int(random.integers(0, 2 * RATE)), int(random.integers(1, 4000))) for _ in range(100)]
        with open_sound(path, RATE) as sound:
            for start, count in stretches:
                with open_sound(path, RATE) as opened_anew:
                    first = opened_anew.read(start, count)
                expected = everything[start : start + count]
                torch.testing.assert_close(first, expected, rtol=0, atol=1e-6)
                torch.testing.assert_close(sound.read(start, count), expected, rtol=0, atol=1e-6)

    def test_long_ways_are_walked_in_steps(self, write_sound: WriteSound, monkeypatch: pytest.MonkeyPatch):
        path = write_sound("a.ogg")
        expected = whole(path)[12_345:12_400]
        monkeypatch.setattr(with_soundfile, "_STEP", 1000)
        with open_sound(path, RATE) as sound:
            assert torch.equal(sound.read(12_345, 55), expected)


class TestKept:
    @pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
    @pytest.mark.parametrize("rate", [RATE, 11_025])
    def test_samples_are_those_of_the_file_and_the_file_is_not_needed(
        self, name: str, rate: int, write_sound: WriteSound, tmp_path: Path
    ):
        path = str(shutil.copy(write_sound(name, seconds=0.5), tmp_path))
        stretches = (0, 100), (1234, 2000)
        with open_sound(path, rate) as sound:
            length, size = sound.num_samples, sound.decoded_bytes
            expected = [sound.read(*stretch) for stretch in stretches]
        make = open_sound(path, rate).keep()
        assert make
        Path(path).unlink()
        for _ in range(2):
            with make() as kept:
                assert (kept.num_samples, kept.decoded_bytes) == (length, size)
                for stretch, samples in zip(stretches, expected, strict=True):
                    found = kept.read(*stretch)
                    assert torch.equal(found, samples)
                    found.zero_()  # it is a copy

    @pytest.mark.parametrize(("name", "subtype"), [("a.mp3", None), ("a.ogg", "OPUS")])
    def test_what_parts_of_a_file_do_not_give_exactly_is_not_kept(
        self, name: str, subtype: str | None, write_sound: WriteSound
    ):
        assert open_sound(write_sound(name, subtype=subtype), RATE).keep() is None

    def test_it_travels_as_a_path(self, write_sound: WriteSound):
        make = open_sound(write_sound("a.wav"), RATE).keep()
        assert make
        kept = make()
        assert len(pickle.dumps(kept)) < 1000
        with pickle.loads(pickle.dumps(kept)) as sound:
            assert torch.equal(sound.read(0, 50), kept.read(0, 50))
