"""Time whole optimizer steps: target, context, predictor, loss, backward, AdamW, EMA.

    python benchmarks/train_step.py --size small --batch 16
    python benchmarks/train_step.py --size base --batch 16 --reference PATH

PATH is a checkout of the public I-JEPA code (github.com/facebookresearch/ijepa). It is run as it stands, imported from
there, on the same model (from the same weights: the first losses must agree), the same batch, the same context and
target indices, the same precision; the two take turns, and the ratio is the median over rounds. Data loading and
logging are left out of both.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_core.checkpoint import RunFolder
from jepa_core.config import RunConfig
from jepa_core.interop.official import from_official
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.model import Parts
from jepa_core.optim import clip_gradients
from jepa_core.processes import make_accelerator
from jepa_core.recipes import read_config
from jepa_core.state import TrainingState
from jepa_core.targets import TargetSide
from jepa_core.types import SampleKey

TOLERANCE = {"fp32": 1e-5, "bf16": 1e-2}
"""Relative difference of the two first losses that rounding explains."""


@dataclass(frozen=True)
class Contender:
    """One implementation of the step."""

    name: str
    step: Callable[[], Tensor]
    """Does one update and returns its loss, detached."""
    parameters: int
    """Trainable ones."""


def configuration(size: str, side: int, patch: int, batch: int, precision: str) -> RunConfig:
    """The public code's recipe (smooth L1, its target blocks) on an encoder of a named size."""
    return read_config(
        text=f"""
        preset: official
        modality: {{name: image, builtin: null, size: {side}, patch: {patch}}}
        encoder: {{name: vit, size: {size}}}
        predictor: {{depth: 6}}
        train: {{batch_size: {batch}, precision: {precision}, workers: 0}}
        """
    )


def count(*modules: nn.Module) -> int:
    """Parameters that are trained."""
    return sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad)


def new_state(config: RunConfig) -> TrainingState:
    """Networks and optimizer on the device."""
    with tempfile.TemporaryDirectory() as folder:
        return TrainingState(Parts.of(config), make_accelerator(config, RunFolder(Path(folder))))


def ours(config: RunConfig, state: TrainingState, signal: Tensor, views: tuple[MaskView, ...]) -> Contender:
    """The step as `jepa_core.trainer` takes it."""
    state.wrapped.train()
    target_side = TargetSide(config.target, state.target, state.model.objective)

    def step() -> Tensor:
        with state.accelerator.autocast():
            targets = target_side(signal, views)
        losses, _ = state.wrapped(signal, views, targets.views)
        loss = losses.mean()
        state.accelerator.backward(loss)
        for part in (state.model.encoder, state.model.predictor):
            clip_gradients(part, config.optim.clip_norm)
        state.move()
        return loss.detach()

    return Contender("jepa-core", step, count(state.model))


def reference(
    path: Path, config: RunConfig, state: TrainingState, signal: Tensor, views: tuple[MaskView, ...]
) -> Contender:
    """The same step by the public code: its networks, mask gathering and optimizer groups, in its order.

    `state` takes over its random weights.
    """
    logging.disable(logging.INFO)  # it prints its networks
    sys.path.insert(0, str(path))
    from src.helper import init_model, init_opt  # pyright: ignore[reportMissingImports]
    from src.masks.utils import apply_masks  # pyright: ignore[reportMissingImports]

    modality: Any = config.modality
    encoder, predictor = init_model(
        device=signal.device,
        patch_size=modality.patch[0],
        model_name=f"vit_{config.encoder.size}",  # pyright: ignore[reportAttributeAccessIssue]
        crop_size=modality.size[0],
        pred_depth=config.predictor.depth,
        pred_emb_dim=config.predictor.width,
    )
    target = copy.deepcopy(encoder).requires_grad_(False)
    for part, theirs in (
        (state.model.encoder, encoder),
        (state.target.encoder, encoder),
        (state.model.predictor, predictor),
    ):
        part.load_state_dict(from_official(theirs.state_dict(), learned_positions=False))
    optimizer, _, schedule, decay = init_opt(encoder, predictor, 1000, 2e-4, 1e-3, 40, 300)
    (view,) = views
    context, targets = [view.context], list(view.targets.unbind(1))
    bf16 = config.train.precision == "bf16"

    def step() -> Tensor:
        schedule.step()
        decay.step()
        with torch.autocast(signal.device.type, torch.bfloat16, enabled=bf16):
            with torch.no_grad():
                tokens = target(signal)
                wanted = apply_masks(F.layer_norm(tokens, tokens.shape[-1:]), targets)
            loss = F.smooth_l1_loss(predictor(encoder(signal, context), context, targets), wanted)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for mine, theirs in zip(target.parameters(), encoder.parameters(), strict=True):
                mine.mul_(0.996).add_(0.004 * theirs)
        return loss.detach()

    return Contender("public I-JEPA code", step, count(encoder, predictor))


def seconds(step: Callable[[], Tensor], repeats: int, clock: Callable[[], float]) -> float:
    """Seconds of one step."""
    begin = clock()
    for _ in range(repeats):
        step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (clock() - begin) / repeats


def compare(contenders: list[Contender], arguments: argparse.Namespace) -> list[list[float]]:
    """Seconds per step, by contender and round; within a round the contenders take turns."""
    clock = time.process_time if arguments.processor_time else time.perf_counter
    turns = [
        [seconds(contender.step, arguments.repeats, clock) for contender in contenders]
        for _ in range(arguments.rounds + 1)
    ]
    return [list(times) for times in zip(*turns[1:], strict=True)]  # the first round warms up


def measure(arguments: argparse.Namespace, precision: str) -> dict[str, Any]:
    """One row of the table."""
    config = configuration(arguments.size, arguments.side, arguments.patch, arguments.batch, precision)
    parts, state = Parts.of(config), new_state(config)
    device = state.accelerator.device
    signal = torch.randn(arguments.batch, *parts.modality.signal_shape(config.modality)).to(device)
    keys = [SampleKey(0, index) for index in range(arguments.batch)]
    views = tuple(view.to(device) for view in parts.masking(SampleRandom.of(config.seed, keys)))
    contenders = [ours(config, state, signal, views)]
    if arguments.reference:
        contenders.append(reference(arguments.reference, config, state, signal, views))
        assert contenders[0].parameters == contenders[1].parameters, [each.parameters for each in contenders]
        first, second = (contender.step() for contender in contenders)
        torch.testing.assert_close(first, second, rtol=TOLERANCE[precision], atol=0)
    times = compare(contenders, arguments)
    row: dict[str, Any] = {
        "precision": precision,
        "parameters": contenders[0].parameters,
        "context": views[0].context.shape[1],
        "targets": list(views[0].targets.shape[1:]),
        "samples_per_second": {
            each.name: round(arguments.batch / statistics.median(taken), 2)
            for each, taken in zip(contenders, times, strict=True)
        },
    }
    if arguments.reference:
        ratios = sorted(theirs / mine for mine, theirs in zip(*times, strict=True))
        row["ratio"] = {"median": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]}
    return row


def main() -> None:
    """Read the arguments, print one JSON object per precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small", help="a named encoder size (default: small)")
    parser.add_argument("--side", type=int, default=224, help="pixels per side")
    parser.add_argument("--patch", type=int, default=16, help="pixels per side of a patch")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=7, help="how often the contenders take turns")
    parser.add_argument("--repeats", type=int, default=2, help="steps per turn")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="count processor seconds of all threads: for a busy machine, no GPU",
    )
    parser.add_argument("--reference", type=Path, help="a checkout of the public I-JEPA code")
    arguments = parser.parse_args()
    for precision in arguments.precision:
        print(json.dumps(measure(arguments, precision)), flush=True)


if __name__ == "__main__":
    main()
