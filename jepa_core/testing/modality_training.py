"""Checks of a modality in training: one step, and a run that is stopped and resumed."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from jepa_core.checkpoint import RunFolder
from jepa_core.metrics import read_log
from jepa_core.testing.checks import require
from jepa_core.testing.modality_case import ModalityCase
from jepa_core.trainer import Trainer

CLOCK = ("samples_per_second", "data_wait_share")
"""Columns of metrics.jsonl that no two runs share."""


class _Killed(BaseException):
    """The end of a process, as far as the trainer can tell."""


def check_one_step_trains_the_tokenizer(case: ModalityCase) -> None:
    """A training step has a finite loss, a gradient in the encoder, and moves every parameter of the tokenizer.

    To mend: detach nothing and round nothing between signal and tokens, use every parameter in `forward`, and give
    fixed ones requires_grad=False or make them buffers.
    """
    row = case.step.row
    require(math.isfinite(row["loss"]), f"expected a finite loss, found {row['loss']}")
    norm = row["grad_norm_encoder"]
    require(math.isfinite(norm) and norm > 0, f"expected a gradient in the encoder, found one of norm {norm}")
    still = ", ".join(case.step.still)
    require(not still, f"expected every parameter of the tokenizer to move, found that these did not: {still}")


def check_one_step_leaves_the_target_alone(case: ModalityCase) -> None:
    """With momentum 1, a training step moves no weight of the target encoder and leaves no gradient there.

    To mend: let copy.deepcopy copy the tokenizer's tensors (no `__deepcopy__` and no module-level weights that share
    them), and never switch requires_grad on in `forward`.
    """
    moved = ", ".join(case.step.target_moved)
    require(not moved, f"expected the target encoder to stay as it was, found a change or a gradient in {moved}")


def check_resumed_equals_uninterrupted(case: ModalityCase) -> None:
    """A run that is killed and resumed logs the same losses and ends with the same weights, bit for bit.

    To mend: let a sample depend on its index and its generator alone, and keep whatever the tokenizer learns or counts
    in parameters or in persistent buffers.
    """
    case.require_trainable()
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        whole, killed = Path(folder, "whole"), Path(folder, "killed")
        _train(case, whole)
        _train(case, killed, kill_after=case.config.checkpoint.every)
        _train(case, killed, resume=True)
        rows, again = _rows(whole), _rows(killed)
        for row, other in zip(rows, again, strict=True):
            require(row == other, f"expected at step {row['step']} the loss {row['loss']}, found {other['loss']}")
        weights, found = _weights(whole), _weights(killed)
        changed = [name for name in weights if weights[name] != found[name]]
        require(not changed, f"expected the same files bit for bit, found differences in {', '.join(changed)}")


def _train(case: ModalityCase, folder: Path, *, kill_after: int | None = None, resume: bool = False) -> None:
    """Train; with `kill_after`, end in the middle of the step after that one."""

    def kill(row: Mapping[str, Any]) -> None:
        if kill_after is not None and row["step"] > kill_after:
            raise _Killed

    try:
        Trainer(case.config, RunFolder(folder), resume=resume, on_row=kill).train()
    except _Killed:
        assert kill_after in RunFolder(folder).steps()


def _rows(folder: Path) -> list[dict[str, Any]]:
    rows = read_log(RunFolder(folder).metrics_path)
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in rows]


def _weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in RunFolder(folder).find().glob("*.safetensors")}
