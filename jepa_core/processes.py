"""Processes and devices, through accelerate."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState, GradientState
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs, DistributedType, ProjectConfiguration

from jepa_core.checkpoint import RunFolder
from jepa_core.config import RunConfig
from jepa_core.errors import ConfigError, JepaError, MissingDependency
from jepa_core.optim import resolve_precision
from jepa_core.order import Share

_SUPPORTED = (
    DistributedType.NO,
    DistributedType.MULTI_CPU,
    DistributedType.MULTI_GPU,
    DistributedType.FSDP,
)


@dataclass(frozen=True)
class Agreed:
    """What all processes know of a step before any weight moves."""

    loss: float
    """Mean over the readable samples of all processes and passes."""
    grad_norms: tuple[float, float]
    """Of encoder and predictor, before clipping."""
    stop: bool
    """Some process was asked to stop."""
    unreadable: int
    """Unreadable samples met, on all processes."""


def make_accelerator(config: RunConfig, run: RunFolder) -> Accelerator:
    """An accelerator for the run, under `accelerate launch`, `torchrun` or alone.

    Raises:
        ConfigError: a way of distribution that the target encoder cannot follow.
        MissingDependency: a tracker that is not installed.
    """
    available = {each.value for each in get_available_trackers()}
    absent = [name for name in config.tracking.trackers if name not in available]
    if absent:
        raise MissingDependency(
            f"tracking.trackers: {absent[0]} is not installed. Install it: pip install {absent[0]}; "
            "or train without: --set 'tracking.trackers=[]'."
        )
    # accelerate keeps one state per Python process and refuses a second precision; several runs may share a process.
    AcceleratorState._reset_state()  # pyright: ignore[reportPrivateUsage]
    GradientState._reset_state()  # pyright: ignore[reportPrivateUsage]
    # Without being told, accelerate starts no group on processors alone: each process would believe it is alone.
    cpu = not torch.accelerator.is_available() or os.environ.get("ACCELERATE_USE_CPU", "false").lower() == "true"
    device = PartialState(cpu=cpu).device
    assert device is not None
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision=resolve_precision(config.train.precision, device),
        gradient_accumulation_steps=config.train.accumulate,
        log_with=list(config.tracking.trackers) or None,
        project_config=ProjectConfiguration(project_dir=str(run.path), logging_dir=str(run.path / "trackers")),
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)],
    )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != started:
        raise JepaError(
            f"the launcher started {started} processes, and accelerate formed a group of {accelerator.num_processes}. "
            "Launch with torchrun or accelerate launch --multi_gpu; `jepa doctor` tests the processes of this machine."
        )
    kind = accelerator.distributed_type
    if kind not in _SUPPORTED or (kind == DistributedType.FSDP and not accelerator.is_fsdp2):
        raise ConfigError(
            f"{kind.value} cannot carry a target encoder outside the prepared model. "
            "Launch with DDP (accelerate launch --multi_gpu) or FSDP version 2 (--use_fsdp --fsdp_version 2)."
        )
    return accelerator


def on_main_process(accelerator: Accelerator, action: Callable[[], None]) -> None:
    """Have the main process act while the others wait; its JepaError ends every process, none is left waiting."""
    error: JepaError | None = None
    if accelerator.is_main_process:
        try:
            action()
        except JepaError as caught:
            error = caught
    failed = torch.tensor(float(error is not None), device=accelerator.device)
    if float(accelerator.reduce(failed, "sum")):  # pyright: ignore[reportArgumentType]  (a tensor in, a tensor out)
        raise error or JepaError(
            f"process {accelerator.process_index} ends: the main process failed (see its message)."
        )


def process_share(config: RunConfig, accelerator: Accelerator) -> Share:
    """This process's part of every step; raises ConfigError where the batch does not divide."""
    train, world = config.train, accelerator.num_processes
    if train.batch_size % (world * train.accumulate):
        raise ConfigError(
            f"train.batch_size: {train.batch_size} does not divide by {world} processes x {train.accumulate} "
            f"accumulation steps. The nearest that does is {_nearest(train.batch_size, world * train.accumulate)}."
        )
    return Share(train.batch_size, train.accumulate, world, accelerator.process_index)


def _nearest(value: int, factor: int) -> int:
    return max(1, round(value / factor)) * factor
