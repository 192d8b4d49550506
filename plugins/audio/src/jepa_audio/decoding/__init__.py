"""From a path to samples: an opened sound file, of which only what is asked for is decoded."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from jepa_audio.decoding.sound import Reader, Sound
from jepa_audio.decoding.with_soundfile import SoundFileReader, UnknownFormat
from jepa_core.errors import UnreadableSample
from jepa_core.sources import FileKind

SOUNDS = FileKind(
    "sound file",
    "sound files",
    (
        *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64"),
        *(".rf64", ".m4a", ".aac", ".wma", ".mka"),
    ),
)
"""What counts as a sound file in a folder, whatever the case; a manifest may name any file. The last four need
torchcodec."""


def open_sound(path: str, rate: int) -> Sound:
    """The opened file at the wanted rate: by soundfile, or by torchcodec, where it is installed, what that cannot.

    Raises:
        UnreadableSample: the file is empty, holds no samples, is of no known format, or was cut short.
    """
    return Sound(path, rate, open_reader)


def open_reader(path: str) -> Reader:
    """The file in the hands of the first decoder that knows it; raises UnreadableSample."""
    try:
        return SoundFileReader(path)
    except UnknownFormat as error:
        if (reason := why_no_torchcodec()) is None:
            return import_module("jepa_audio.decoding.with_torchcodec").TorchCodecReader(path)
        raise UnreadableSample(path, f"{error.reason}; torchcodec, which knows more of them, is {reason}") from error


@cache
def why_no_torchcodec() -> str | None:
    """What keeps torchcodec from being used; None where nothing does."""
    try:
        version("torchcodec")
        import_module("jepa_audio.decoding.with_torchcodec")
    except PackageNotFoundError:
        return "not installed"
    except (ImportError, OSError, RuntimeError) as error:  # without FFmpeg, it raises RuntimeError
        return f"installed, but cannot be imported: {str(error).strip().splitlines()[0]}"
    return None


__all__ = ["SOUNDS", "Reader", "Sound", "open_reader", "open_sound", "why_no_torchcodec"]
