"""A run folder and its checkpoints: whole or absent, tensors and plain types only (promise 9).

    RUN/config.yaml  metrics.jsonl  unreadable.jsonl  eval.json  eval_items.safetensors  report.html
    RUN/checkpoints/step_00000500/   written after exactly 500 updates
        config.yaml  state.json  encoder.safetensors  predictor.safetensors  target_encoder.safetensors
        optimizer.safetensors

A checkpoint is written into step_N.tmp, flushed to the disk and renamed; what carries its final name is complete.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from jepa_core.config import RunConfig
from jepa_core.config.compare import changes
from jepa_core.config.text import to_yaml
from jepa_core.config.tree import CheckpointConfig
from jepa_core.errors import CheckpointError, UsageError
from jepa_core.model import Encoder, Parts
from jepa_core.recipes import read_config

FORMAT = 1
"""Of the layout above; written into state.json."""

Which = Literal["target", "context"]
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps everything."""

    path: Path

    @classmethod
    def existing(cls, path: str | Path) -> RunFolder:
        """The folder of a run that was made before; raises UsageError where there is none."""
        run = cls(Path(path))
        if not run.config_path.is_file():
            found = "is no run folder (it has no config.yaml)" if run.path.exists() else "does not exist"
            raise UsageError(f"{path}: {found}. Give the folder that `jepa train` or `jepa import` wrote.")
        return run

    def open(self, config: RunConfig, resume: bool) -> None:
        """Make the folder for a run, or enter it to continue; its config.yaml is the resolved configuration.

        Raises:
            UsageError: it holds a run and `resume` is false, or it cannot be written.
            CheckpointError: it holds a run of another configuration.
        """
        if self.config_path.exists():
            if not resume:
                raise UsageError(f"{self.path}: holds a run. Continue it with --resume, or choose another --run-dir.")
            require_same_config(self.config_path, config)
        try:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            partial = self.config_path.with_suffix(".tmp")
            partial.write_text(to_yaml(config))
            partial.replace(self.config_path)  # at once: a run that is killed here must be continued too
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be written ({error}). Choose another --run-dir.") from error

    @property
    def config_path(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def metrics_path(self) -> Path:
        """One JSON object per logged step."""
        return self.path / "metrics.jsonl"

    @property
    def unreadable_path(self) -> Path:
        """One JSON object per unreadable sample."""
        return self.path / "unreadable.jsonl"

    @property
    def config(self) -> RunConfig:
        """The resolved configuration, read anew."""
        return read_config(self.config_path)

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint after `step` updates is, or would be."""
        return self.path / "checkpoints" / f"step_{step:08d}"

    def steps(self) -> list[int]:
        """Steps that have a whole checkpoint, ascending."""
        found = (self.path / "checkpoints").glob("step_*")
        return sorted(int(path.name[5:]) for path in found if path.name[5:].isdigit() and path.is_dir())

    def find(self, checkpoint: str = "latest") -> Path:
        """The folder of `latest` or `step_N`; raises CheckpointError that lists what there is."""
        steps = self.steps()
        digits = checkpoint.removeprefix("step_")
        wanted = steps[-1:] if checkpoint == "latest" else [s for s in steps if digits.isdigit() and s == int(digits)]
        if not wanted:
            have = ", ".join(f"step_{step}" for step in steps) or "none; let `jepa train` run up to its first one"
            raise CheckpointError(f"{self.path}: no checkpoint {checkpoint!r}. There are: {have}")
        return self.checkpoint(wanted[0])


def _flush(path: Path) -> None:
    """Have the disk, and not a cache, hold a file or a folder's list of names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_checkpoint(folder: Path, tensors: Mapping[str, Tensors], state: Mapping[str, Any], config_yaml: str) -> None:
    """Write a checkpoint so that it is whole or absent.

    Args:
        folder: the final name; what is there already stays until the new one is complete.
        tensors: file stem to named tensors.
        state: plain types for state.json.
        config_yaml: the resolved configuration.

    Raises:
        CheckpointError: the disk refused; earlier checkpoints are untouched.
    """
    partial = folder.with_suffix(".tmp")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for stem, named in tensors.items():
            save_file({name: tensor.contiguous() for name, tensor in named.items()}, partial / f"{stem}.safetensors")
        (partial / "state.json").write_text(json.dumps({"format": FORMAT, **state}, indent=1) + "\n")
        (partial / "config.yaml").write_text(config_yaml)
        for path in (*partial.iterdir(), partial):
            _flush(path)
        replaced = folder.with_suffix(".old")
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
        _flush(folder.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"{folder}: could not be written ({error}). Earlier checkpoints are intact. "
            "Free space or choose another --run-dir, then continue with --resume."
        ) from error


def prune(run: RunFolder, config: CheckpointConfig) -> None:
    """Remove checkpoints that neither `keep_last` nor `keep_every` keeps."""
    for step in run.steps()[: -config.keep_last]:
        if config.keep_every is None or step % config.keep_every:
            shutil.rmtree(run.checkpoint(step), ignore_errors=True)


def read_tensors(path: Path) -> Tensors:
    """The tensors of one file; raises CheckpointError where it is absent or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}). Use another checkpoint of the run.") from error


def read_state(checkpoint: Path) -> dict[str, Any]:
    """state.json; raises CheckpointError where it is absent, damaged or of another format."""
    try:
        state = json.loads((checkpoint / "state.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: state.json cannot be read ({error}). Use another checkpoint.") from error
    if state.get("format") != FORMAT:
        raise CheckpointError(
            f"{checkpoint}: format {state.get('format')}, and this version reads {FORMAT}. "
            "Read it with the version of jepa-core that state.json names."
        )
    return state


def differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Missing, unexpected and misshapen tensors, one line each."""
    lines = [f"missing: {name} {tuple(expected[name].shape)}" for name in expected if name not in found]
    lines += [f"unexpected: {name} {tuple(found[name].shape)}" for name in found if name not in expected]
    lines += [
        f"shape: {name} is {tuple(found[name].shape)}, the model has {tuple(expected[name].shape)}"
        for name in expected
        if name in found and found[name].shape != expected[name].shape
    ]
    return lines


def _matched(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor as `like` is held: on its device, in its type, sharded as it is."""
    value = value.to(device=like.device, dtype=like.dtype if value.is_floating_point() else value.dtype)
    return distribute_tensor(value, like.device_mesh, like.placements) if isinstance(like, DTensor) else value


@torch.no_grad()
def load_strictly(module: nn.Module, tensors: Tensors, where: Path | str) -> None:
    """Copy tensors into a module, sharded or not; raises CheckpointError that lists every difference."""
    expected = module.state_dict()
    lines = differences(expected, tensors)
    if lines:
        shown = "\n  ".join(lines[:20] + ([f"... and {len(lines) - 20} more"] if len(lines) > 20 else []))
        raise CheckpointError(f"{where}: does not fit the model:\n  {shown}\nUse the configuration it was made with.")
    for name, tensor in expected.items():
        tensor.copy_(_matched(tensors[name], tensor))


def _whole(value: Tensor) -> Tensor:
    """The unsharded tensor, on the CPU; every process must ask for it."""
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().cpu()


def module_tensors(module: nn.Module) -> Tensors:
    """The state of a module, whole, on the CPU."""
    return {name: _whole(value) for name, value in module.state_dict().items()}


def optimizer_tensors(optimizer: Optimizer, model: nn.Module) -> Tensors:
    """The moments by parameter name. The groups are not saved: they are a function of configuration and step."""
    return {
        f"{key}/{name}": _whole(value)
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def load_optimizer(optimizer: Optimizer, model: nn.Module, tensors: Tensors) -> None:
    """The inverse of `optimizer_tensors`."""
    parameters = dict(model.named_parameters())
    for entry, value in tensors.items():
        key, name = entry.split("/", 1)
        like = parameters[name]
        optimizer.state[like][key] = value.to(like.device) if value.ndim == 0 else _matched(value, like)


def config_differences(saved: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Dotted paths at which two dumped configurations differ, with both values."""
    return [f"{each.path}: {each.old!r} in the checkpoint, {each.new!r} given" for each in changes(saved, given)]


MAY_CHANGE = (
    "train.accumulate",
    "train.workers",
    "train.log_every",
    "train.compile",
    "data.read_timeout",
    "modality.keep_gib",
    "checkpoint",
    "collapse",
    "tracking",
    "probes",
)
"""What a resumed run may set anew: nothing in it changes a weight (but for the order of additions)."""


def require_same_config(path: Path, given: RunConfig) -> None:
    """Raise CheckpointError that lists every difference to a saved config.yaml which would make the run another one."""
    saved = read_config(path)
    lines = [
        line
        for line in config_differences(saved.model_dump(mode="json"), given.model_dump(mode="json"))
        if not line.startswith(MAY_CHANGE)
    ]
    if lines:
        raise CheckpointError(
            f"{path}: this run was trained with another configuration:\n  " + "\n  ".join(lines) + "\n"
            "Resume with the same configuration, or start a new run from these weights: --init RUN --run-dir NEW."
        )


def load_encoder(
    run: RunFolder, which: Which, checkpoint: str = "latest", config: RunConfig | None = None
) -> tuple[Parts, Encoder]:
    """The target or the context encoder of a run, on the CPU and in evaluation mode.

    The configuration is the checkpoint's own, so that preprocessing and statistics are those of training (promise 14);
    `config` replaces it by one that names other data (`jepa_core.frozen.checkpoint_config`).
    """
    folder = run.find(checkpoint)
    path = folder / f"{'target_encoder' if which == 'target' else 'encoder'}.safetensors"
    if which == "target" and not path.exists():
        raise CheckpointError(f"{folder}: holds no target encoder (imported weights may not). Use --encoder context.")
    parts = Parts.of(config or read_config(folder / "config.yaml"))
    encoder = parts.encoder()
    load_strictly(encoder, read_tensors(path), path)
    return parts, encoder.eval()
