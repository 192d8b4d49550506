"""What `jepa doctor` says of videos: which back ends really decode here, and why the others do not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from jepa_core.errors import JepaError
from jepa_core.types import Finding

REMEDIES = {
    "pyav": "pip install --force-reinstall --only-binary :all: av",
    "decord": "pip install --force-reinstall decord, or uninstall it: PyAV reads the same frames",
    "torchcodec": "Install the libraries of FFmpeg (apt install ffmpeg) and the torchcodec that fits this torch, or "
    "uninstall it: PyAV reads the same frames",
}
NUM_FRAMES, SIDE, BRIGHTER = 8, 64, 25
"""Of the file that is written and read: frame k is grey of 25 k."""


def findings() -> Iterator[Finding]:
    """A line for each back end; takes a tenth of a second."""
    try:
        import av
    except (ImportError, OSError) as error:
        yield Finding("video pyav", "warn", f"cannot be imported, and all videos need it: {error}", REMEDIES["pyav"])
        return
    from jepa_video.decoding.backends import OPTIONAL, why_not

    with tempfile.TemporaryDirectory() as folder:
        sample = str(Path(folder, "sample.mp4"))
        try:
            write_sample(sample)
        except av.FFmpegError as error:
            yield Finding("video pyav", "warn", f"cannot encode MPEG-4: {error}", REMEDIES["pyav"])
            return
        for name in ("pyav", *OPTIONAL):
            reason = why_not(name) if name in OPTIONAL else None
            if reason == "not installed":
                yield Finding(f"video {name}", "ok", "not installed (optional)")
                continue
            reason = reason or fault(sample, name)
            if reason:
                yield Finding(f"video {name}", "warn", reason, REMEDIES[name])
            else:
                distribution, setting = ("av", "auto") if name == "pyav" else (name, name)
                yield Finding(f"video {name}", "ok", f"{version(distribution)} decodes: modality.decoder={setting}")


def write_sample(path: str) -> None:
    """A small MPEG-4 file; every FFmpeg has an encoder of its own for it."""
    import av
    import numpy as np

    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for number in range(NUM_FRAMES):
            values = np.full((SIDE, SIDE), BRIGHTER * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="gray")))
        container.mux(stream.encode())


def fault(path: str, backend: str) -> str | None:
    """What goes wrong when the back end reads the sample; None where its frames come, and are the right ones."""
    from jepa_video.decoding import open_video

    try:
        with open_video(path, backend) as video:
            means = video.read(range(video.num_frames)).float().mean((1, 2, 3)).tolist()
    except JepaError as error:
        return f"cannot decode: {error}"
    right = len(means) == NUM_FRAMES and all(abs(mean - BRIGHTER * k) < BRIGHTER / 2 for k, mean in enumerate(means))
    return None if right else f"decodes other frames than were written: {means}"
