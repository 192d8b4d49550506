"""What a run will cost, before anything is allocated: parameters, tokens, FLOPs, memory, hours, schedules.

Networks are built on the meta device. FLOPs count a multiplication and an addition as two, and matrix products alone;
a backward pass costs two forward passes, and recomputed activations one more. Memory is an estimate: weights,
gradients, optimizer and what the backward pass needs are counted tensor by tensor; the allocator's fragments, the
compiler's workspace and what the loader holds are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from jepa_core.builtin import ViTConfig
from jepa_core.config import RunConfig
from jepa_core.masking import MaskView
from jepa_core.model import JEPA, Parts
from jepa_core.schedules import half_life_samples, target_momentum, value_at
from jepa_core.types import TokenBudget

GIB = 2**30
_FP32 = 4
_ADAM_STATES = 2  # first and second moment


@dataclass(frozen=True)
class Machine:
    """What the run is planned for."""

    devices: int = 1
    """Processes, each with one device."""
    memory_gib: float = 80.0
    """Memory of a device."""
    tflops: float = 312.0
    """Peak TFLOPS of a device in the run's precision (an A100 in bf16)."""
    utilisation: float = 0.4
    """Share of the peak that is reached; .3 to .5 is usual for transformers."""


@dataclass(frozen=True)
class Parameters:
    """Numbers of weights; the target encoder has as many as the encoder."""

    encoder: int
    """Tokenizer and backbone."""
    predictor: int
    """The predictor."""
    encoder_as_published: int | None
    """For a named size on a grid of two axes: with a class token, learned positions and a head of 1000 classes, as
    papers count."""


@dataclass(frozen=True)
class Flops:
    """Floating-point operations."""

    target: int
    """Forward pass of the target encoder, one sample, all that it is shown."""
    context: int
    """Forward pass of the context encoder, one sample, all views."""
    predictor: int
    """Forward pass of the predictor, one sample, all views."""
    step: int
    """One update: the whole batch, backward passes included."""
    run: int
    """All steps."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device when every device holds all weights."""

    weights: int
    """fp32 weights of encoder and predictor."""
    target: int
    """fp32 weights of the target encoder."""
    gradients: int
    """fp32 gradients."""
    optimizer: int
    """AdamW's two moments."""
    samples: int
    """Samples in one forward pass of one device."""
    activations: int
    """Kept for the backward pass, as configured."""
    activations_recomputed: int | None
    """The same with `encoder.activation_checkpointing`; None for an encoder without it."""

    @property
    def fixed(self) -> int:
        """What does not depend on the batch."""
        return self.weights + self.target + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """All of it, as configured."""
        return self.fixed + self.activations


@dataclass(frozen=True)
class Moment:
    """What the schedules say at one step."""

    when: str
    """In words."""
    step: int
    """Completed updates."""
    lr: float
    """Learning rate of the encoder."""
    weight_decay: float
    """Weight decay of matrices."""
    momentum: float
    """Momentum of the target encoder."""


@dataclass(frozen=True)
class Plan:
    """The whole estimate."""

    grid: str
    """The token grid, in words."""
    tokens: int
    """Tokens of a sample."""
    target_input: Literal["all", "targets"]
    """Whether the target encoder sees all of them, or the target blocks of every view, each by itself."""
    views: tuple[TokenBudget, ...]
    """Context and target tokens of a sample in each mask view."""
    steps: int
    """Updates of the run."""
    batch_size: int
    """Samples per update."""
    parameters: Parameters
    """How large it is."""
    flops: Flops
    """How much it computes."""
    memory: Memory
    """What one device holds."""
    machine: Machine
    """What it was planned for."""
    hours: float
    """Duration of the run on that machine."""
    half_life_samples: float
    """After how many samples the target encoder, at its first momentum, has forgotten half of its past."""
    schedule: tuple[Moment, ...]
    """Learning rate, weight decay and momentum on the way."""
    advice: tuple[str, ...]
    """What to set where it does not fit."""

    @property
    def context_tokens(self) -> int:
        """Tokens per sample that the context encoder sees, over all views."""
        return sum(view.context for view in self.views)


@dataclass(frozen=True)
class Work:
    """What a run computes: the part of a plan that is counted fastest."""

    views: tuple[TokenBudget, ...]
    """Context and target tokens of a sample in each mask view."""
    parameters: Parameters
    """How large it is."""
    flops: Flops
    """How much it computes."""

    @property
    def context_tokens(self) -> int:
        """Tokens per sample that the context encoder sees, over all views."""
        return sum(view.context for view in self.views)

    @property
    def predicted_tokens(self) -> int:
        """Tokens per sample that are predicted, over all views and blocks; a cell in two blocks counts twice."""
        return sum(view.num_targets * view.target for view in self.views)


def work(config: RunConfig) -> Work:
    """Count tokens, parameters and FLOPs; raises as `plan`, allocates nothing."""
    parts = Parts.of(config)
    model = _networks(parts)
    return Work(tuple(parts.masking.budgets), _parameters(parts, model), _flops(parts, model))


def plan(config: RunConfig, machine: Machine = Machine()) -> Plan:
    """Estimate a run; raises ConfigError or PluginError for a configuration that cannot work, allocates nothing."""
    parts = Parts.of(config)
    model = _networks(parts)
    train, flops = config.train, _flops(parts, model)
    memory = _memory(parts, model, machine)
    seconds = flops.run / (machine.devices * machine.tflops * 1e12 * machine.utilisation)
    return Plan(
        grid=str(parts.grid),
        tokens=parts.grid.num_tokens,
        target_input=config.target.input,
        views=tuple(parts.masking.budgets),
        steps=train.steps,
        batch_size=train.batch_size,
        parameters=_parameters(parts, model),
        flops=flops,
        memory=memory,
        machine=machine,
        hours=seconds / 3600,
        half_life_samples=half_life_samples(target_momentum(config, 0), train.batch_size),
        schedule=tuple(_schedule(config)),
        advice=tuple(_advice(config, memory, flops, machine)),
    )


def _networks(parts: Parts) -> JEPA:
    """Without values, and without gradients: FlopCounterMode fails on parameters that a module returns as they are."""
    with torch.device("meta"):
        return parts.model().requires_grad_(False)


def _parameters(parts: Parts, model: JEPA) -> Parameters:
    encoder = sum(parameter.numel() for parameter in model.encoder.parameters())
    predictor = sum(parameter.numel() for parameter in model.predictor.parameters())
    section, published = parts.config.encoder, None
    if isinstance(section, ViTConfig) and section.size and section.positions != "learned" and parts.grid.num_axes == 2:
        width = section.dimensions[0]
        if section.dimensions == ViTConfig(size=section.size).dimensions:
            published = encoder + width + (parts.grid.num_tokens + 1) * width + 1000 * (width + 1)
    return Parameters(encoder, predictor, published)


def _views(parts: Parts, samples: int) -> tuple[MaskView, ...]:
    """Mask views of the right shapes; which cells they name costs nothing."""
    return tuple(
        MaskView(
            torch.zeros(samples, budget.context, dtype=torch.int64),
            torch.zeros(samples, budget.num_targets, budget.target, dtype=torch.int64),
        )
        for budget in parts.masking.budgets
    )


def _width(model: JEPA) -> int:
    """Channels of the encoder's tokens, which every backbone states."""
    return int(model.encoder.backbone.width)  # pyright: ignore[reportArgumentType]


def _counted(call: Callable[[], object]) -> int:
    """FLOPs of a call on meta tensors."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def _flops(parts: Parts, model: JEPA) -> Flops:
    config = parts.config
    with torch.device("meta"):
        signal = torch.empty(1, *parts.modality.signal_shape(config.modality))
        views = _views(parts, samples=1)
        shown = [None] if config.target.input == "all" else [view.targets for view in views]
        target = sum(_counted(lambda keep=keep: model.encoder(signal, keep)) for keep in shown)
        context = sum(_counted(lambda view=view: model.encoder(signal, view.context)) for view in views)
        width = _width(model)
        seen = [torch.empty(1, budget.context, width) for budget in parts.masking.budgets]
        predictor = sum(
            _counted(lambda view=view, tokens=tokens, number=number: model.predictor(tokens, view, number))
            for number, (view, tokens) in enumerate(zip(views, seen, strict=True))
        )
    passes = 4 if _recomputes(config) else 3
    backward = (passes - 1) * _learning(config, target, context, predictor)
    step = config.train.batch_size * (target + context + predictor + backward)
    return Flops(target, context, predictor, step, step * config.train.steps)


def _learning(config: RunConfig, target: int, context: int, predictor: int) -> int:
    """FLOPs of the forward passes that a backward pass follows, of one sample."""
    return context + predictor + (0 if config.target.stop_gradient else target)


def _recomputes(config: RunConfig) -> bool:
    return isinstance(config.encoder, ViTConfig) and config.encoder.activation_checkpointing


def _with_recomputation(parts: Parts, wanted: bool) -> Parts:
    """The same run with or without activation checkpointing."""
    encoder = parts.config.encoder.model_copy(update={"activation_checkpointing": wanted})
    return replace(parts, config=parts.config.model_copy(update={"encoder": encoder}))


def _memory(parts: Parts, model: JEPA, machine: Machine) -> Memory:
    config = parts.config
    encoder = sum(parameter.numel() for parameter in model.encoder.parameters()) * _FP32
    weights = sum(parameter.numel() for parameter in model.parameters()) * _FP32
    samples = -(-config.train.batch_size // (machine.devices * config.train.accumulate))
    if isinstance(config.encoder, ViTConfig):
        plain = _activations(_with_recomputation(parts, wanted=False), samples)
        kept = _activations(_with_recomputation(parts, wanted=True), samples)
        shallower = min(config.encoder.dimensions[1], config.predictor.depth)
        recomputed = kept + plain // shallower  # at most: the largest block is whole while its gradient is computed
    else:
        plain, recomputed = _activations(parts, samples), None
    return Memory(
        weights=weights,
        target=encoder,
        gradients=weights,
        optimizer=_ADAM_STATES * weights,
        samples=samples,
        activations=recomputed if recomputed is not None and _recomputes(config) else plain,
        activations_recomputed=recomputed,
    )


def _activations(parts: Parts, samples: int) -> int:
    """Bytes of all tensors that autograd saves, each storage once, on fake tensors: shapes and types without values."""
    held: dict[int, torch.UntypedStorage] = {}
    config = parts.config
    # fp16 has the bytes of bf16, for which alone `nn.block.attend` writes attention out on a CPU.
    with FakeTensorMode(), torch.autocast("cpu", torch.float16, enabled=config.train.precision != "fp32"):
        model = parts.model()
        own = {_storage(tensor)[0] for tensor in (*model.parameters(), *model.buffers())}

        def keep(tensor: Tensor) -> Tensor:
            number, storage = _storage(tensor)
            if number not in own:
                held[number] = storage
            return tensor

        signal = torch.empty(samples, *parts.modality.signal_shape(config.modality))
        views = _views(parts, samples)
        given = [torch.empty(*view.targets.shape, _width(model)) for view in views]
        targets = given if config.target.stop_gradient else None
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(signal, views, targets)
    return sum(storage.nbytes() for storage in held.values())


def _storage(tensor: Tensor) -> tuple[int, torch.UntypedStorage]:
    """A tensor's storage and its identity: views share it."""
    storage = tensor.untyped_storage()
    return storage._cdata, storage  # pyright: ignore[reportPrivateUsage]


def _schedule(config: RunConfig) -> list[Moment]:
    """At the start, after the warm-up, half-way, and at the last update."""
    steps, optim = config.train.steps, config.optim
    moments = {"start": 0, "half-way": steps // 2, "last update": steps - 1}
    if optim.lr.warmup:
        moments = {"start": 0, "warmed up": round(optim.lr.warmup * steps)} | moments
    return [
        Moment(
            when,
            step,
            lr=value_at(optim.lr, step, steps),
            weight_decay=value_at(optim.weight_decay, step, steps),
            momentum=target_momentum(config, step),
        )
        for when, step in sorted(moments.items(), key=lambda item: item[1])
    ]


def _advice(config: RunConfig, memory: Memory, flops: Flops, machine: Machine) -> list[str]:
    """How to make it fit, where it does not."""
    room = int(machine.memory_gib * GIB)
    if memory.total <= room:
        return []
    if memory.fixed > room:
        return [
            "The weights and the optimizer alone do not fit: shard them over more devices (accelerate launch "
            "--use_fsdp --fsdp_version 2)."
        ]
    lines: list[str] = []
    recomputed = memory.activations_recomputed
    if recomputed is not None and not _recomputes(config) and memory.fixed + recomputed <= room:
        again = _learning(config, flops.target, flops.context, flops.predictor)
        longer = config.train.batch_size * again / flops.step
        lines.append(f"--set encoder.activation_checkpointing=true makes it fit, for {longer:.0%} more time.")
    per_sample = memory.activations / memory.samples
    for accumulate in range(config.train.accumulate + 1, config.train.batch_size // machine.devices + 1):
        samples, rest = divmod(config.train.batch_size, accumulate * machine.devices)
        if rest == 0 and memory.fixed + samples * per_sample <= room:
            lines.append(f"--set train.accumulate={accumulate} makes it fit, with {samples} samples per pass.")
            break
    return lines or ["More devices, a smaller batch or a smaller model would make it fit."]
