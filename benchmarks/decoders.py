"""Video decoders: clips per second and core, the data wait of a small training run, and memory over many clips.

    OMP_NUM_THREADS=1 python benchmarks/decoders.py speed
    OMP_NUM_THREADS=1 python benchmarks/decoders.py wait
    OMP_NUM_THREADS=1 python benchmarks/decoders.py soak --clips 10000

Files are synthesised: textures that drift, with grain, 10 seconds at 30 frames per second, H.264 at x264's defaults (a
key frame every 250). A clip is 16 frames, 4 apart, from a random start, as in V-JEPA; the file is opened for each clip,
as in training. `speed` counts processor time, so that a busy machine disturbs it little, and contenders take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch
from jaxtyping import UInt8

from jepa_core.crops import Normalise
from jepa_video.clips import ClipFrames
from jepa_video.decoding import open_video
from jepa_video.decoding.backends import OPTIONAL, why_not
from jepa_video.transforms import Finish, TrainingTransform

RATE = 30
SIZES = {256: (256, 340), 720: (720, 1280)}
"""Height and width by number of lines."""
CROP = 224

CONFIG = """
modality: {{name: video, pretrain: "{folder}", decoder: {decoder}, size: 112}}
encoder: {{name: vit, size: null, width: 192, depth: 6, heads: 3}}
predictor: {{width: 96, depth: 3}}
train: {{batch_size: 8, steps: 40, log_every: 10, workers: {workers}}}
"""


def backends() -> list[str]:
    """What works on this machine."""
    return [name for name in (*OPTIONAL, "pyav") if name == "pyav" or why_not(name) is None]


def textures(height: int, width: int, seconds: float) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Blurred noise that drifts by some pixels a frame, and fresh grain on each frame."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 200, (height // 16 + 2, width // 16 + 2, 3)).repeat(16, 0).repeat(16, 1)
    smooth = sum(np.roll(coarse, (down, right), (0, 1)) for down in range(0, 16, 4) for right in range(0, 16, 4)) / 16
    for number in range(round(RATE * seconds)):
        moved = np.roll(smooth, (2 * number, 3 * number), (0, 1))[:height, :width]
        yield (moved + random.integers(0, 12, (height, width, 1))).astype(np.uint8)


def write_file(path: Path, lines: int, seconds: float = 10.0) -> None:
    """One synthetic video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width = SIZES[lines]
        stream.pix_fmt = "yuv420p"
        for values in textures(*SIZES[lines], seconds):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24")))
        container.mux(stream.encode())


def transform() -> TrainingTransform:
    """What V-JEPA does to a clip."""
    finish = Finish(3, Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return TrainingTransform(ClipFrames(16), (CROP, CROP), (0.3, 1.0), (0.75, 1.35), 0.5, "bilinear", finish)


def milliseconds(path: str, backend: str, clips: int) -> float:
    """Processor time per clip, of all threads; the same clips for every back end."""
    prepare, generator = transform(), torch.Generator().manual_seed(0)
    begin = time.process_time()
    for _ in range(clips):
        prepare(open_video(path, backend), generator)
    return 1000 * (time.process_time() - begin) / clips


def speed(folder: Path, rounds: int, clips: int) -> None:
    """Clips per second and core of every back end."""
    print(
        "| lines | back end | ms per clip | clips per second and core | PyAV / this |\n| --- | --- | --- | --- | --- |"
    )
    for lines in SIZES:
        path = folder / f"{lines}.mp4"
        write_file(path, lines)
        taken = {name: list[float]() for name in backends()}
        for _ in range(rounds + 1):
            for name, times in taken.items():
                times.append(milliseconds(str(path), name, clips))
        best = {name: min(times[1:]) for name, times in taken.items()}  # the first round warms up
        for name, value in best.items():
            print(f"| {lines} | {name} | {value:.0f} | {1000 / value:.1f} | {best['pyav'] / value:.2f} |")


def wait(folder: Path) -> None:
    """The share of a step that waits for data, from metrics.jsonl of small training runs."""
    videos = folder / "videos"
    videos.mkdir()
    write_file(videos / "0.mp4", 256)
    for number in range(1, 16):
        os.link(videos / "0.mp4", videos / f"{number}.mp4")
    print("| back end | loader processes | data wait | clips per second |\n| --- | --- | --- | --- |")
    for name in backends():
        for workers in (0, 1):
            run = folder / f"run_{name}_{workers}"
            config = folder / f"{name}_{workers}.yaml"
            config.write_text(CONFIG.format(folder=videos, decoder=name, workers=workers))
            command = [sys.executable, "-m", "jepa_core.cli", "train", str(config), "--run-dir", str(run)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            paces = [row for row in rows if "data_wait_share" in row][1:]  # the first fills the queue
            share, pace = (np.median([row[key] for row in paces]) for key in ("data_wait_share", "samples_per_second"))
            print(f"| {name} | {workers} | {share:.0%} | {pace:.1f} |")


def soak(folder: Path, clips: int) -> None:
    """Resident memory at ten moments of a long run over a short file; what leaks grows from line to line."""
    write_file(folder / "256.mp4", 256, seconds=2.5)
    print("| back end | clips | resident, MB | open files | threads |\n| --- | --- | --- | --- | --- |")
    for name in backends():
        prepare, generator = transform(), torch.Generator().manual_seed(0)
        for number in range(clips + 1):
            prepare(open_video(str(folder / "256.mp4"), name), generator)
            if number % (clips // 10) == 0:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                files, threads = (len(os.listdir(f"/proc/self/{kind}")) for kind in ("fd", "task"))
                resident = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
                print(f"| {name} | {number} | {resident:.0f} | {files} | {threads} |", flush=True)


def main() -> None:
    """Print one table of benchmarks/README.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "wait", "soak"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=int, default=10, help="per round, or in all (soak)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "speed":
            speed(Path(folder), given.rounds, given.clips)
        elif given.what == "wait":
            wait(Path(folder))
        else:
            soak(Path(folder), given.clips)


if __name__ == "__main__":
    main()
