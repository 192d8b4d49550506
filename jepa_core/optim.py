"""AdamW over encoder and predictor, with hyper-parameters set from the step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer

from jepa_core.config.tree import OptimConfig
from jepa_core.errors import ConfigError
from jepa_core.model import JEPA
from jepa_core.schedules import value_at


def build_optimizer(model: JEPA, config: OptimConfig) -> AdamW:
    """Four groups, (encoder, predictor) x (matrices, the rest): biases, norms and other vectors are not decayed."""
    groups = [
        {"params": chosen, "lr_scale": scale, "decayed": decayed}
        for part, scale in ((model.encoder, 1.0), (model.predictor, config.predictor_lr_scale))
        for decayed in (True, False)
        if (chosen := [p for p in part.parameters() if p.requires_grad and (p.ndim > 1) == decayed])
    ]
    return AdamW(groups, betas=config.betas, eps=config.eps, fused=True)


def set_hyperparameters(optimizer: Optimizer, config: OptimConfig, step: int, steps: int) -> tuple[float, float]:
    """Write learning rate and weight decay of the coming update into the groups, and return them."""
    lr, weight_decay = value_at(config.lr, step, steps), value_at(config.weight_decay, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
        group["weight_decay"] = weight_decay if group["decayed"] else 0.0
    return lr, weight_decay


def clip_gradients(part: nn.Module, max_norm: float | None) -> Tensor:
    """The norm of a part's gradients, after scaling them down to `max_norm` where they exceed it."""
    norm = nn.utils.get_total_norm([p.grad for p in part.parameters() if p.grad is not None])
    if max_norm is not None:
        nn.utils.clip_grads_with_norm_(part.parameters(), max_norm, norm)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def resolve_precision(precision: str, device: torch.device) -> str:
    """What accelerate calls it: `auto` is bf16 where the processor computes with it, else fp32 ("no").

    Raises:
        ConfigError: fp16 on a CPU, which has no fast half precision of that kind.
    """
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError(
            "train.precision: fp16 needs a GPU, and this machine trains on its CPU. Use bf16, fp32 or auto."
        )
    if precision == "auto":
        if device.type == "cuda":
            precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
        else:
            # torch has no public name for this; it speaks of the CPUs that compute bf16 rather than emulate it.
            fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]
            precision = "bf16" if fast else "fp32"
    return {"fp32": "no"}.get(precision, precision)
