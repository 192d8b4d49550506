"""Trains the toy modality with sharded parameters, for test_sharding.py; children of a process import it by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

MOMENTUM, STEPS = 0.9, 3


def small_run() -> tuple[Any, Any, Any, Any, Any]:
    from toy import toy_config

    from jepa_core.ema import TargetEncoder
    from jepa_core.masking import SampleRandom
    from jepa_core.model import Parts
    from jepa_core.types import SampleKey

    parts = Parts.of(toy_config())
    torch.manual_seed(0)
    model = parts.model()
    signal = torch.randn(8, *parts.modality.signal_shape(parts.config.modality))
    views = parts.masking(SampleRandom.of(0, [SampleKey(0, index) for index in range(8)]))
    return parts, model, TargetEncoder(model.encoder), signal, views


def train_steps(model: Any, target: Any, optimizer: Any, signal: torch.Tensor, views: Any, steps: int) -> list[float]:
    from jepa_core.config.tree import TargetConfig
    from jepa_core.targets import TargetSide

    losses = []
    for step in range(steps):
        shown = TargetConfig(input="targets" if step % 2 else "all")
        loss = model(signal, views, TargetSide(shown, target, model.objective)(signal, views).views)[0].mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        target.follow(model.encoder, MOMENTUM)
        losses.append(loss.item())
    return losses


def everything(model: Any, target: Any, optimizer: Any) -> dict[str, torch.Tensor]:
    from jepa_core.checkpoint import module_tensors, optimizer_tensors

    named = {f"model/{name}": value for name, value in module_tensors(model).items()}
    named |= {f"target/{name}": value for name, value in module_tensors(target.encoder).items()}
    return named | {f"optimizer/{name}": value for name, value in optimizer_tensors(optimizer, model).items()}


def sharded_run(rank: int, world: int, folder: Path) -> None:
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor
    from toy import toy_registered

    from jepa_core.checkpoint import load_optimizer, load_strictly
    from jepa_core.optim import build_optimizer, set_hyperparameters

    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    with toy_registered():
        parts, model, target, signal, views = small_run()
        for block in model.encoder.backbone.blocks:
            fully_shard(block)
        fully_shard(model)
        target.shard_like(model.encoder)
        assert all(isinstance(parameter, DTensor) for parameter in target.parameters())
        assert sum(p.to_local().numel() for p in target.parameters()) < sum(p.numel() for p in target.parameters())
        optimizer = build_optimizer(model, parts.config.optim)
        set_hyperparameters(optimizer, parts.config.optim, 0, 10)
        train_steps(model, target, optimizer, signal, views, STEPS)
        named = everything(model, target, optimizer)
        named["distance"] = torch.tensor(target.distance(model.encoder))
        if rank == 0:
            save_file({name: value.contiguous() for name, value in named.items()}, folder / "sharded.safetensors")
        dist.barrier()

        whole = load_file(folder / "whole.safetensors")
        load_strictly(model, {n[6:]: v for n, v in whole.items() if n.startswith("model/")}, "whole")
        load_strictly(target.encoder, {n[7:]: v for n, v in whole.items() if n.startswith("target/")}, "whole")
        load_optimizer(optimizer, model, {n[10:]: v for n, v in whole.items() if n.startswith("optimizer/")})
        train_steps(model, target, optimizer, signal, views, 1)
        named = everything(model, target, optimizer)
        if rank == 0:
            save_file({name: value.contiguous() for name, value in named.items()}, folder / "continued.safetensors")
        dist.barrier()
    dist.destroy_process_group()
