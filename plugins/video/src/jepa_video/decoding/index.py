"""What a video file really holds: the frames that can be decoded, found by reading its packets and decoding none.

A container's own count of frames is a claim: files are cut short, edit lists hide frames, streams begin before their
first key frame. A decoder that is asked for a frame that never comes may repeat another one, or search for ever while
it holds the interpreter lock (decord issues 269 and 373). So a frame counts here when its whole packet is in the file,
the container shows it, and a key frame comes before it. Damage inside packets does not show here. When such frames are
read, PyAV refuses most of them; decord gives others in their place (docs/log.md).
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import dropwhile
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.format import VideoFormat
from av.video.stream import VideoStream
from jaxtyping import Float, Int

from jepa_core.errors import UnreadableSample
from jepa_video.decoding.lengths import is_cut_short

NOMINAL_RATE = Fraction(25)
"""Frames per second of a stream that states none."""
COMMON_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""FFmpeg's names of MP4 with its relatives, and of Matroska with WebM."""


class Packet(NamedTuple):
    """What is kept of a packet."""

    pts: int | None
    """Presentation time."""
    key: bool
    """Whether decoding can begin here."""
    shown: bool
    """Whether the container shows its frame: an edit list may hide it."""


@dataclass(frozen=True)
class FrameIndex:
    """The decodable frames of a file, in the order in which they are shown."""

    pts: Int[np.ndarray, "frames"]
    """Presentation times in units of `time_base`, strictly increasing; 0, 1, ... where the file is `numbered`."""
    keys: Int[np.ndarray, "keys"]
    """Times at which decoding can begin, increasing."""
    time_base: Fraction
    """Seconds."""
    numbered: bool
    """The packets carry no usable times: frames are known by counting from the first one, at the nominal rate."""
    oddity: str | None
    """What makes decord 0.6 or torchcodec 0.11 give other frames than decoding from the start does; None for files of
    the common kind, of which all back ends give the same frames."""

    @property
    def timestamps(self) -> Float[np.ndarray, "frames"]:
        """Seconds since the first frame."""
        return (self.pts - self.pts[0]) * float(self.time_base)


@contextmanager
def ffmpeg_reasons(path: str) -> Generator[None]:
    """Turn what FFmpeg says about a file into UnreadableSample."""
    try:
        yield
    except av.FFmpegError as error:
        damaged = isinstance(error, av.InvalidDataError)
        reason = "holds data that cannot be decoded" if damaged else error.strerror or type(error).__name__
        raise UnreadableSample(path, reason) from error


def open_container(path: str) -> tuple[InputContainer, VideoStream]:
    """The file and its main video stream, with one decoding thread.

    Raises:
        UnreadableSample: for a file that is no video, or whose table of contents is cut off.
    """
    try:
        # Absolute: "clip:1.mp4" would be taken for a protocol. A title in Latin-1 is no damage.
        container = av.open(os.path.abspath(path), metadata_errors="replace")
    except av.InvalidDataError as error:
        reason = "no video of a known format, or the part that describes it is cut off"
        raise UnreadableSample(path, reason if os.path.getsize(path) else "the file is empty") from error
    except av.FFmpegError as error:
        raise UnreadableSample(path, error.strerror or type(error).__name__) from error
    stream = container.streams.best("video")
    # "tty" is FFmpeg's reading of any .txt file; a cover is the picture in a recording of sound.
    if container.format.name == "tty" or not isinstance(stream, VideoStream) or _is_cover(stream):
        reason = f"has no video stream: its format is {container.format.long_name}"
        container.close()
        raise UnreadableSample(path, reason)
    stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
    return container, stream


def _is_cover(stream: VideoStream) -> bool:
    return Disposition.attached_pic in Disposition(stream.disposition)


def read_index(path: str, container: InputContainer, stream: VideoStream) -> FrameIndex:
    """Index a freshly opened file, reading all of it; its position is undefined afterwards.

    Raises:
        UnreadableSample: where no frame can be decoded, or the file is cut short.
    """
    format_ = stream.codec_context.format
    with ffmpeg_reasons(path):
        packets, whole = _read_packets(container, stream)
        if not whole or is_cut_short(path, stream):
            count = f"{len(packets)} of {stream.frames}" if stream.frames else str(len(packets))
            raise UnreadableSample(path, f"is damaged or cut short: {count} frames are whole")
        times = _times(packets, container, stream)
        numbered = times is None
        if times is None:
            container.seek(0)
            times = np.arange(sum(1 for _ in container.decode(stream)))
    if not len(times) or not format_:
        raise UnreadableSample(path, "holds no frame that can be decoded")
    keys = (
        times[:1]
        if numbered
        else np.unique([packet.pts for packet in packets if packet.key and packet.pts is not None])
    )
    rate = stream.average_rate or NOMINAL_RATE
    return FrameIndex(
        pts=times,
        keys=keys,
        time_base=1 / rate if numbered else stream.time_base or 1 / rate,
        numbered=numbered,
        oddity=_oddity(packets, container, stream, format_),
    )


def _read_packets(container: InputContainer, stream: VideoStream) -> tuple[list[Packet], bool]:
    """The packets up to the first incomplete one, and whether there is none such."""
    packets = list[Packet]()
    for packet in container.demux(stream):
        if packet.is_corrupt:
            return packets, False
        if packet.size:
            packets.append(Packet(packet.pts, packet.is_keyframe, not packet.is_discard))
    return packets, True


def _times(packets: list[Packet], container: InputContainer, stream: VideoStream) -> Int[np.ndarray, "frames"] | None:
    """Presentation times of the decodable frames; None where the packets do not tell them."""
    if container.format.name == "avi" and stream.codec_context.has_b_frames:
        return None  # AVI stores the order of decoding only
    decodable = list(dropwhile(lambda packet: not packet.key, packets))
    times = [packet.pts for packet in decodable if packet.pts is not None]
    # Frames that are shown before the first key frame but stored after it refer to frames that are not there.
    shown = [packet.pts for packet in decodable if packet.shown and packet.pts is not None and packet.pts >= times[0]]
    unique = np.unique(np.asarray(shown, np.int64))
    return unique if len(times) == len(decodable) and len(unique) == len(shown) else None


def _oddity(packets: list[Packet], container: InputContainer, stream: VideoStream, format_: VideoFormat) -> str | None:
    """See `FrameIndex.oddity`; each was met, with frames that were wrong, late or missing without a word."""
    bits = max(component.bits for component in format_.components)
    width, height = stream.codec_context.width, stream.codec_context.height
    halved = (format_.chroma_width(2), format_.chroma_height(2)) != (2, 2)
    if container.format.name not in COMMON_CONTAINERS:
        return f"{container.format.name} files"
    if bits != 8:
        return f"colours of {bits} bits"
    if halved and (width % 2 or height % 2):
        return f"the odd size {width} x {height}"
    if not all(packet.shown for packet in packets):
        return "files whose edit list hides frames"
    return "open groups of pictures" if _has_open_groups(packets) else None


def _has_open_groups(packets: list[Packet]) -> bool:
    """Whether a frame that is shown before a key frame is stored after it, and so refers to the group before."""
    latest_key = None
    for packet in packets:
        if packet.key:
            latest_key = packet.pts
        elif latest_key is not None and packet.pts is not None and packet.pts < latest_key:
            return True
    return False
