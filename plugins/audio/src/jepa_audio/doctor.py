"""What `jepa doctor` says of sounds: which formats really decode here, and whether resampling and spectrograms work."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from jepa_core.errors import JepaError
from jepa_core.types import Finding

FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "opus": "OPUS", "mp3": "MPEG_LAYER_III"}
"""Suffix and subtype of the files that are written and read."""
RATE, PITCH = 48_000, 1000.0
"""Of the tone in them, in Hz."""


def findings() -> Iterator[Finding]:
    """A line each for soundfile, torchaudio and torchcodec; takes a fraction of a second."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: without libsndfile
        remedy = "pip install --force-reinstall soundfile"
        yield Finding("audio soundfile", "warn", f"cannot be imported, and all sounds need it: {error}", remedy)
        return
    try:
        import torchaudio
    except (ImportError, OSError) as error:  # OSError: built for another torch
        remedy = f"pip install 'torchaudio=={version('torch').split('+')[0]}', the version of torch"
        yield Finding("audio torchaudio", "warn", f"cannot be imported, and all sounds need it: {error}", remedy)
        return
    from jepa_audio.decoding import why_no_torchcodec

    faults = {suffix: fault(suffix) for suffix in FORMATS}
    works = ", ".join(suffix for suffix, reason in faults.items() if reason is None)
    engine = f"soundfile {version('soundfile')} with libsndfile {soundfile.__libsndfile_version__}"
    yield Finding("audio soundfile", "ok" if works else "warn", f"{engine} decodes {works or 'nothing'}")
    for suffix, reason in faults.items():
        if reason is not None:
            remedy = "pip install --upgrade soundfile, whose wheels bring libsndfile"
            yield Finding(f"audio {suffix}", "warn", reason, remedy)
    yield Finding("audio torchaudio", "ok", f"{torchaudio.__version__} resamples")
    reason = why_no_torchcodec()
    if reason is None:
        yield Finding("audio torchcodec", "ok", f"{version('torchcodec')} decodes what soundfile does not know")
    elif reason == "not installed":
        yield Finding("audio torchcodec", "ok", "not installed (optional: m4a, aac, wma)")
    else:
        remedy = (
            "Install FFmpeg's libraries (apt install ffmpeg) and the torchcodec that fits this torch, or uninstall it"
        )
        yield Finding("audio torchcodec", "warn", reason, remedy)


def fault(suffix: str) -> str | None:
    """What goes wrong when a tone is written, read and resampled; None where it comes out as it was."""
    import numpy as np
    import soundfile
    import torch

    from jepa_audio.decoding import open_sound

    tone = np.sin(2 * np.pi * PITCH / RATE * np.arange(RATE // 4)).astype(np.float32) / 2
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, f"tone.{suffix}"))
        kind = "OGG" if suffix == "opus" else suffix.upper()
        try:
            soundfile.write(path, tone, RATE, format=kind, subtype=FORMATS[suffix])
        except (soundfile.LibsndfileError, ValueError) as error:  # ValueError: libsndfile was built without the format
            return f"cannot be written: {error}"
        try:
            with open_sound(path, RATE // 3) as sound:
                spectrum = torch.fft.rfft(sound.read(0, RATE // 12)).abs()
        except JepaError as error:
            return f"cannot be decoded: {error}"
    heard = int(spectrum.argmax()) * RATE / 3 / (RATE // 12)
    return None if abs(heard - PITCH) < 10 else f"decodes another sound than was written: {heard:.0f} Hz"
