"""Samples by soundfile, that is libsndfile: wav, flac, ogg, mp3 and what else it knows, by content and not by name."""

from __future__ import annotations

import os
import re
from typing import Any, NoReturn

import soundfile
import torch
from jaxtyping import Float
from torch import Tensor

from jepa_core.errors import UnreadableSample

_OGG_PAGE = 65_307
"""Bytes of the longest page (RFC 3533)."""
_LAST_PAGE = 4
"""The bit of a page's header that says that no page follows."""
_OPEN_ENDED = 2**31 - 2**16
"""Where a stream's header must state a length that nobody knows yet, writers put one near 2^31 or 2^32."""
_LENGTHS = re.compile(r"(?:data|SSND|Data Size|riff)\s*:\s*(\d+) \(should be (\d+)\)")
"""What libsndfile notes where a header announces more bytes than there are."""
_UNKNOWN_LENGTH = 2**48
_WALKED = {"VORBIS", "OPUS"}
"""Read from the start up to the place, because libsndfile does not find it: in Vorbis up to one seek in ten ends
elsewhere (its issue 885, and docs/log.md), in Opus decoding begins from nothing there."""
_SOUGHT_ONCE = {"MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"}
"""Sought exactly in a file that nothing was read of yet, and not always afterwards."""
_STEP = 2**20
"""Samples per channel that are decoded at a time on the way to a place."""
_UNKNOWN = {1, 7}
"""libsndfile's codes for formats that it does not know; 7, in words "does not exist", for what begins like an MP3."""


class UnknownFormat(UnreadableSample):
    """libsndfile does not know the format; another decoder may."""


class SoundFileReader:
    """An open file; of most formats nothing before a segment is decoded, of Ogg everything is."""

    def __init__(self, path: str) -> None:
        """Raises UnreadableSample for a file that cannot be decoded or that was cut short, as far as its ends tell.

        Of MP3 they do not: there, a segment behind the cut is what fails.
        """
        self.path = path
        try:
            self._file = open(path, "rb")  # noqa: SIM115  (closed in `close`)
        except OSError as error:
            raise UnreadableSample(path, error.strerror or str(error)) from error
        try:
            self._open()
            self._check_ends()
        except soundfile.LibsndfileError as error:
            empty = not os.fstat(self._file.fileno()).st_size
            self._file.close()
            if empty:
                raise UnreadableSample(path, "the file is empty") from error
            reason = "no known format of sound" if error.code in _UNKNOWN else _words(error)
            raise UnknownFormat(path, f"cannot be decoded: {reason}") from error
        self.rate, self.num_samples = int(self._sound.samplerate), int(self._sound.frames)

    def _open(self) -> None:
        os.lseek(self._file.fileno(), 0, os.SEEK_SET)  # where a descriptor stands, libsndfile takes for the start
        # By descriptor: given a path, soundfile would believe the name's suffix `.raw`.
        self._sound: Any = soundfile.SoundFile(self._file.fileno(), closefd=False)
        self._position = 0

    @property
    def exact(self) -> bool:
        """Not of MP3, which differs in the seventh digit, nor of Opus, whose end depends on the sizes of reads."""
        return self._sound.subtype not in {*_SOUGHT_ONCE, "OPUS"}

    def _check_ends(self) -> None:
        """Raise UnreadableSample where the file stops before it should."""
        declared = _LENGTHS.search(self._sound.extra_info)
        if declared and int(declared[1]) < _OPEN_ENDED:
            self._fail(f"cut short: holds {declared[2]} of {declared[1]} bytes of samples")
        if self._sound.frames > _UNKNOWN_LENGTH:
            self._fail("does not say how long it is: write it anew")
        if self._sound.format == "OGG" and not _has_last_page(self.path):
            self._fail("cut short: its last page is missing")
        if self._sound.format == "FLAC" and self._sound.frames:
            try:
                self._sound.seek(self._sound.frames - 1)
                self._sound.read(1)
            except soundfile.LibsndfileError:
                self._fail("cut short: its last samples are missing")

    def _fail(self, reason: str) -> NoReturn:
        self.close()
        raise UnreadableSample(self.path, reason)

    def read(self, start: int, count: int) -> Float[Tensor, "samples"]:
        """The mean of the channels, integers as shares of full scale; raises UnreadableSample where it is damaged."""
        try:
            self._go_to(start)
            values = self._sound.read(count, dtype="float32", always_2d=True)
            self._position = start + len(values)
        except (soundfile.LibsndfileError, ValueError) as error:  # ValueError: more samples behind it than there are
            self.close()
            raise UnreadableSample(self.path, f"damaged: {_words(error)}") from error
        return torch.from_numpy(values).mean(1)

    def _go_to(self, start: int) -> None:
        """Without a seek of ours, or without a second one, where those are wrong."""
        walks = self._sound.subtype in _WALKED or not self._sound.seekable()
        if self._position and (start < self._position if walks else self._sound.subtype in _SOUGHT_ONCE):
            self._sound.close()
            self._open()
        if not walks:
            self._sound.seek(start)
        while walks and self._position < start:
            skipped = len(self._sound.read(min(_STEP, start - self._position), dtype="float32", always_2d=True))
            if not skipped:
                break  # the file ends too early, which what comes then will show
            self._position += skipped

    def close(self) -> None:
        """Free everything."""
        self._sound.close()
        self._file.close()


def _words(error: Exception) -> str:
    return (error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)).strip(" :.")


def _has_last_page(path: str) -> bool:
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - _OGG_PAGE))
        tail = file.read()
    page = tail.rfind(b"OggS")
    return page >= 0 and len(tail) > page + 5 and bool(tail[page + 5] & _LAST_PAGE)
