"""The training loop: one for every modality, on one process or many.

`Trainer.train` is the loop and `_forward` the step of the paper (I-JEPA, section 3). Whatever is random is a function
of the seed and of the sample or the step, so that resuming replays nothing and another world size changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.utils import gather_object
from jaxtyping import Float
from torch import Tensor

from jepa_core import collapse
from jepa_core.checkpoint import RunFolder
from jepa_core.config import RunConfig
from jepa_core.cores import count_workers, training_processes_here
from jepa_core.data import DROPOUT, Batch, Collate, SignalDataset
from jepa_core.errors import CollapseStop, DataError, NonFiniteLoss
from jepa_core.interruption import Interruption
from jepa_core.loading import Loader
from jepa_core.masking import seed_of
from jepa_core.metrics import MetricsLog, Pace, read_log, truncate_log
from jepa_core.model import Parts, ViewOutput
from jepa_core.optim import clip_gradients
from jepa_core.order import Order, StepSampler, portions_of
from jepa_core.processes import Agreed, make_accelerator, on_main_process, process_share
from jepa_core.schedules import half_life_samples, target_momentum
from jepa_core.state import TrainingState
from jepa_core.targets import Targets, TargetSide
from jepa_core.types import SampleKey
from jepa_core.unreadable import Unreadable, UnreadableLog

MOST_SKIPPED = 50
"""Updates in a row that the fp16 scaler may skip before the run ends with an error."""


@dataclass(frozen=True)
class Pass:
    """What is kept of one forward and backward pass of this process."""

    keys: tuple[SampleKey, ...]
    losses: Float[Tensor, "batch"]
    weight: Float[Tensor, "batch"]
    unreadable: tuple[Unreadable, ...]
    measured: dict[str, float | None] | None
    """What the collapse monitor found, where it looked."""


class Trainer:
    """Trains one configuration into one run folder."""

    def __init__(
        self,
        config: RunConfig,
        run: RunFolder,
        *,
        resume: bool = False,
        init: RunFolder | None = None,
        on_row: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        """Build everything; with `resume`, continue from the newest checkpoint if there is one.

        Args:
            config: the resolved configuration.
            run: its folder; made if need be.
            resume: whether to continue.
            init: a run whose newest weights are where this one starts.
            on_row: called on the main process with every row of metrics.jsonl.
        """
        self.config, self.run, self.on_row = config, run, on_row
        self.accelerator = make_accelerator(config, run)
        self.share = process_share(config, self.accelerator)
        self.parts = Parts.of(config)
        self.parts.modality.require_statistics(config.modality)
        self.source = self.parts.modality.source(config.modality, "pretrain")
        if not len(self.source):
            raise DataError("modality: the source of pretraining has no samples. Check its path.")
        on_main_process(self.accelerator, lambda: run.open(config, resume))  # what is refused above leaves no folder
        self.order = Order(config.seed, portions_of(self.source))
        self.state = TrainingState(self.parts, self.accelerator)
        self.target_side = TargetSide(config.target, self.state.target, self.parts.objective)
        if init is not None:
            self.state.initialise(init)
        if resume:
            self.state.resume(run)
        noted = self._continue_log(run.unreadable_path)
        known = [Unreadable(row["index"], row["where"], row["reason"]) for row in noted]
        self._continue_log(run.metrics_path)
        sizes = [portion.size for portion in portions_of(self.source)]
        self.quarantine = UnreadableLog(run.unreadable_path, sizes, config.data.max_unreadable, known)
        self.pace = Pace()
        self._skipped = 0
        self._collapsed: CollapseStop | None = None

    def _continue_log(self, path: Path) -> list[dict[str, Any]]:
        """Drop the rows after the step that the run continues from; the rest, for every process."""
        on_main_process(self.accelerator, lambda: truncate_log(path, self.state.step))
        return read_log(path)

    def describe(self) -> list[str]:
        """What is about to be trained, in numbers that one should look at before a long run."""
        config, train, device = self.config, self.config.train, self.accelerator.device
        counts = [
            f"{sum(p.numel() for p in part.parameters()) / 1e6:.2f} M {name} parameters"
            for name, part in (("encoder", self.state.model.encoder), ("predictor", self.state.model.predictor))
        ]
        budgets = [f"{b.context} context, {b.num_targets} x {b.target} target" for b in self.parts.masking.budgets]
        half_life = half_life_samples(target_momentum(config, 0), train.batch_size)
        share = f"{self.share.world} processes x {train.accumulate} passes x {self.share.micro_batch}"
        lines = [
            f"{config.modality.name}: {len(self.source)} samples, {', '.join(counts)}",
            f"grid {self.parts.grid}; tokens per sample: {'; '.join(budgets)}",
            f"{train.steps} steps of {train.batch_size} samples ({share}) = "
            f"{train.steps * train.batch_size / len(self.source):.1f} passes over the data; EMA half-life at the start "
            f"{half_life:.0f} samples; {self.accelerator.mixed_precision.replace('no', 'fp32')} on {device}",
        ]
        if self.state.step:
            lines.append(f"continuing after step {self.state.step}")
        return lines

    def train(self, interruption: Interruption | None = None) -> Literal["done", "interrupted"]:
        """Train to the last step, or until Ctrl-C or SIGTERM; either way the last step gets a checkpoint.

        `interruption` is given where the caller runs more than this, and is to know that it was asked to stop.
        """
        steps, every = self.config.train.steps, self.config.checkpoint.every
        before, begin = self.state.seconds, time.perf_counter()
        self.state.wrapped.train()
        self._start_trackers()
        log, stop = MetricsLog(self.run.metrics_path), False
        with log, interruption or Interruption() as noted, closing(self._batches()) as batches:
            while self.state.step < steps and not stop:
                stop = self._update(batches, noted, log)
                self.state.seconds = before + time.perf_counter() - begin
                if self.state.step % every == 0 or self.state.step == steps or stop:
                    self.state.save(self.run)
        # Not accelerator.end_training(): it destroys the process group under the model, whose destructor then may hang.
        self.accelerator.wait_for_everyone()
        for tracker in self.accelerator.trackers:
            tracker.finish()
        if self._collapsed is not None:
            raise self._collapsed
        return "interrupted" if self.state.step < steps else "done"

    def _batches(self) -> Generator[Batch]:
        """The passes of this process from the present step on, on its device."""
        config, device, modality = self.config, self.accelerator.device, self.parts.modality
        dataset = SignalDataset(self.source, modality.transform(config.modality, train=True), config.seed)
        collate = Collate(self.parts.masking, config.seed, modality.signal_shape(config.modality))
        loader = Loader(
            dataset,
            collate,
            StepSampler(self.order, self.share, start=self.state.taken, steps=config.train.steps),
            workers=count_workers(config.train.workers, training_processes_here(self.share.world)),
            timeout=config.data.read_timeout,
            room=collate.room(self.share.micro_batch),
            known=self.quarantine.found,
            pin=device.type == "cuda",
        )
        with loader:
            while True:
                with self.pace.waiting():
                    batch = next(loader).without(self.quarantine.found).to(device)
                yield batch

    def _forward(self, batch: Batch) -> tuple[Tensor, list[ViewOutput], Targets | None]:
        """Losses (B,), what each view gave, and what it was to give; None: the encoder's own tokens."""
        targets = self._targets(batch) if self.config.target.stop_gradient else None
        losses, outputs = self.state.wrapped(batch.signal, batch.views, targets and targets.views)
        return losses, outputs, targets

    def _targets(self, batch: Batch) -> Targets:
        """Of the target encoder, without gradient."""
        with self.accelerator.autocast():
            return self.target_side(batch.signal, batch.views)

    def _update(self, batches: Iterator[Batch], interruption: Interruption, log: MetricsLog) -> bool:
        """One optimizer step over all passes of this process; returns whether the run is to stop after it."""
        slices = self.share.slices()
        passes = [self._pass(next(batches), number, look=number == slices[-1]) for number in slices]
        agreed = self._agree(passes, interruption)
        self._require_finite(agreed, passes)
        self._note_unreadable(agreed, passes)
        values = self.state.move()
        self.pace.count(self.config.train.batch_size)
        self._skipped = 0 if values is not None else self._skipped + 1
        if values is not None:
            self._record(log, {"loss": agreed.loss, **values}, agreed, passes[-1].measured)
        return agreed.stop

    def _pass(self, batch: Batch, number: int, look: bool) -> Pass:
        """Forward and backward of one slice of the step; gradients add up. The collapse monitor may have a `look`."""
        torch.manual_seed(seed_of(self.config.seed, DROPOUT, self.state.taken, number))
        with self.accelerator.accumulate(self.state.wrapped):
            losses, outputs, targets = self._forward(batch)
            # Over the nominal size: an unreadable sample is absent, whichever process or pass it falls to.
            self.accelerator.backward((losses * batch.weight).sum() / len(losses))
        measured = None
        if look and self._is_measured(self.state.step + 1):
            measured = self._measure(batch, outputs, targets or self._targets(batch))
        return Pass(batch.keys, losses.detach(), batch.weight, batch.unreadable, measured)

    def _is_measured(self, step: int) -> bool:
        return step % self.config.collapse.every == 0 or step == self.config.train.steps

    def _measure(self, batch: Batch, outputs: list[ViewOutput], targets: Targets) -> dict[str, float | None]:
        """The collapse metrics of a pass; every process takes part, for the weights may be sharded."""
        distance = self.state.target.distance(self.state.model.encoder)
        with self.accelerator.autocast():
            others = self.target_side.of_others(batch.signal, batch.views, targets, batch.weight)
        return collapse.measure(self.parts.objective, outputs, targets, others, batch.weight, distance)

    def _agree(self, passes: Sequence[Pass], interruption: Interruption) -> Agreed:
        """One reduction and one wait for the device per step, after the backward passes and before the update."""
        self.accelerator.unscale_gradients(self.state.optimizer)
        model, most = self.state.model, self.config.optim.clip_norm
        norms = torch.stack([clip_gradients(part, most) for part in (model.encoder, model.predictor)])
        asked = interruption.signal is not None or self._collapsed is not None
        loss = torch.stack([(each.losses * each.weight).sum() for each in passes]).double().sum()
        weight = torch.stack([each.weight.sum() for each in passes]).double().sum()
        flags = torch.tensor([asked, sum(len(each.unreadable) for each in passes)], dtype=torch.float64)
        total: Any = self.accelerator.reduce(torch.cat([torch.stack([loss, weight]), flags.to(loss.device)]), "sum")
        loss_sum, samples, stop, unreadable, encoder, predictor = torch.cat([total, norms.double()]).tolist()
        return Agreed(loss_sum / max(samples, 1.0), (encoder, predictor), stop > 0, int(unreadable))

    def _require_finite(self, agreed: Agreed, passes: Sequence[Pass]) -> None:
        """Raise NonFiniteLoss, naming step, process and samples, before any weight moves (promise 10)."""
        fp16 = self.accelerator.mixed_precision == "fp16"  # there the scaler skips an overflow, and lowers the scale
        gradients = all(map(math.isfinite, agreed.grad_norms)) or (fp16 and self._skipped < MOST_SKIPPED)
        if math.isfinite(agreed.loss) and gradients:
            return
        rank = self.accelerator.process_index
        samples = [
            self.source.where(key.index)
            for each in passes
            for key, loss in zip(each.keys, each.losses.tolist(), strict=True)
            if not math.isfinite(loss)
        ]
        named = ", ".join(samples[:8])
        where = f"on process {rank} from {named}" if samples else f"not from a sample of process {rank}"
        what = "loss" if not math.isfinite(agreed.loss) else "gradient norm"
        raise NonFiniteLoss(
            f"step {self.state.step}: the {what} is not finite, {where}. No weight was moved; the last checkpoint is "
            "good. Look at these samples, lower optim.lr, set optim.clip_norm, or --set train.precision=fp32."
        )

    def _note_unreadable(self, agreed: Agreed, passes: Sequence[Pass]) -> None:
        """Put what any process could not read into everybody's quarantine."""
        if agreed.unreadable:
            found = gather_object([bad for each in passes for bad in each.unreadable])
            self.quarantine.add(found, self.state.step + 1, write=self.accelerator.is_main_process)

    def _record(
        self, log: MetricsLog, values: dict[str, Any], agreed: Agreed, measured: dict[str, float | None] | None
    ) -> None:
        """Write the row of this step, where one is due."""
        step, config = self.state.step, self.config
        due = measured is not None or step == 1 or step % config.train.log_every == 0
        if not due or not self.accelerator.is_main_process:
            return
        encoder, predictor = agreed.grad_norms
        epoch = self.state.taken * config.train.batch_size / len(self.source)
        row: dict[str, Any] = {"step": step, "epoch": epoch, **values}
        row |= {"grad_norm_encoder": encoder, "grad_norm_predictor": predictor, "unreadable": len(self.quarantine)}
        row |= self.pace.read()
        if measured is not None:
            row |= {f"collapse/{name}": value for name, value in measured.items()}
            row["collapse/warnings"] = collapse.warnings_of(measured, config.collapse)
        log.write(row)
        self.accelerator.log({name: value for name, value in row.items() if isinstance(value, float)}, step=step)
        self._watch_collapse(row)
        if self.on_row is not None:
            self.on_row(row)

    def _watch_collapse(self, row: Mapping[str, Any]) -> None:
        """Have the next step be the last one at a warning after the grace period, where the configuration says so."""
        config = self.config.collapse
        names = row.get("collapse/warnings", [])
        if config.stop and names and row["step"] >= config.grace * self.config.train.steps:
            told = "; ".join(f"{name} ({collapse.EXPLANATIONS[name]})" for name in names)
            self._collapsed = CollapseStop(
                f"step {row['step']}: {told}. See `jepa report {self.run.path}`; raise the EMA momentum or lower "
                "optim.lr, or go on with --set collapse.stop=false."
            )

    def _start_trackers(self) -> None:
        if self.config.tracking.trackers:
            self.accelerator.init_trackers(self.config.tracking.project)
