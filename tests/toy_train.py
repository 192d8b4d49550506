"""Trains the toy modality: a function for tests, and a program for `accelerate launch`.

python toy_train.py RUN_DIR [--resume] [--kill-at STEP] [OVERRIDE...]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TIMES = ("samples_per_second", "data_wait_share")


def train_toy(
    folder: str | Path, overrides: Sequence[str] = (), *, resume: bool = False, kill_at: int | None = None
) -> str:
    """Train; with `kill_at` the process kills itself, as `kill -9` would, once that step is logged."""
    from toy import toy_config, toy_registered

    from jepa_core.checkpoint import RunFolder
    from jepa_core.trainer import Trainer

    def die(row: Mapping[str, Any]) -> None:
        if row["step"] == kill_at:
            pids = [worker.pid for worker in multiprocessing.active_children()]
            Path(folder, "workers.json").write_text(json.dumps(pids))
            os.kill(os.getpid(), signal.SIGKILL)

    with toy_registered():
        return Trainer(toy_config(*overrides), RunFolder(Path(folder)), resume=resume, on_row=die).train()


def train_traced(folder: str | Path, overrides: Sequence[str]) -> None:
    """Train with torch.compile tracing the networks and generating no code, which would take a minute."""
    import torch

    compile_, compiled = torch.nn.Module.compile, list[str]()

    def traced(self: torch.nn.Module, *_: object, **__: object) -> None:
        compiled.append(type(self).__name__)
        compile_(self, backend="aot_eager")

    torch.nn.Module.compile = traced
    train_toy(folder, overrides)
    assert compiled == ["JEPA", "TargetEncoder"]


def rows(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what depends on the clock."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in found]


def weights(folder: Path) -> dict[str, bytes]:
    """The tensor files of the newest checkpoint, byte for byte."""
    newest = max((folder / "checkpoints").glob("step_*"))
    return {path.name: path.read_bytes() for path in sorted(newest.glob("*.safetensors"))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--kill-at", type=int)
    given = parser.parse_args()
    train_toy(given.folder, given.overrides, resume=given.resume, kill_at=given.kill_at)
