"""Two processes, or one with two passes per step: the same samples, augmentation and masks, and so the same training.

The sums of the two are added in another order, hence the tolerance: 1e-5 relative for losses, 2e-5 absolute for weights
after 12 fp32 updates. (AdamW divides by the root of the second moment, which magnifies a rounding difference of a
gradient near zero to a share of the learning rate.)
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_train import rows, train_toy

RUN = (
    "train.steps=12",
    "checkpoint.every=6",
    "encoder.drop_path=0.2",
    "modality.unreadable=[7,9]",
    "data.max_unreadable=0.1",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(folder: Path, *arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    # accelerate's own --cpu starts a single process where there is no MPI; its torchrun front end is --multi_gpu.
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines=1"]
    launcher += [f"--num_processes={processes}", f"--main_process_port={free_port()}", "--mixed_precision=no"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = [str(Path(__file__).with_name("toy_train.py")), str(folder), *arguments]
    command = [*launcher, *program]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    newest = max((folder / "checkpoints").glob("step_*"))
    files = ("encoder", "predictor", "target_encoder")
    return {
        f"{stem}/{name}": value for stem in files for name, value in load_file(newest / f"{stem}.safetensors").items()
    }


def test_two_processes_equal_two_accumulated_passes(tmp_path: Path) -> None:
    done = launch(tmp_path / "two", *RUN)
    assert done.returncode == 0, done.stderr
    train_toy(tmp_path / "one", (*RUN, "train.accumulate=2"))
    two, one = rows(tmp_path / "two"), rows(tmp_path / "one")
    assert [row["step"] for row in two] == [row["step"] for row in one] == list(range(1, 13))
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=1e-5)
    assert [row["unreadable"] for row in two] == [row["unreadable"] for row in one]
    ours, theirs = weights_of(tmp_path / "two"), weights_of(tmp_path / "one")
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=2e-5, msg=name)


def test_a_run_of_two_processes_continues_on_one(tmp_path: Path) -> None:
    half = launch(tmp_path / "both", *RUN, "--kill-at", "9")
    assert half.returncode != 0
    train_toy(tmp_path / "both", (*RUN, "train.accumulate=2"), resume=True)
    train_toy(tmp_path / "one", (*RUN, "train.accumulate=2"))
    both, one = rows(tmp_path / "both"), rows(tmp_path / "one")
    assert [row["loss"] for row in both] == pytest.approx([row["loss"] for row in one], rel=1e-5)


def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_that_does(tmp_path: Path) -> None:
    done = launch(tmp_path, "train.batch_size=15")
    assert done.returncode != 0
    assert "train.batch_size: 15 does not divide by 2 processes x 1" in done.stderr
    assert "The nearest that does is" in done.stderr
