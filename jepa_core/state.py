"""What a run is at a step: weights, target encoder, optimizer, counters; how it moves, is saved and continued."""

from __future__ import annotations

import logging

import torch
from accelerate import Accelerator
from torch import nn

from jepa_core.checkpoint import (
    RunFolder,
    load_optimizer,
    load_strictly,
    module_tensors,
    optimizer_tensors,
    prune,
    read_state,
    read_tensors,
    require_same_config,
    write_checkpoint,
)
from jepa_core.config.text import config_hash, to_yaml
from jepa_core.data import INITIALISATION
from jepa_core.ema import TargetEncoder
from jepa_core.masking import seed_of
from jepa_core.model import Parts
from jepa_core.optim import build_optimizer, set_hyperparameters
from jepa_core.processes import on_main_process
from jepa_core.recipes import versions
from jepa_core.schedules import target_momentum

logger = logging.getLogger(__name__)


class TrainingState:
    """Everything that an update changes. All of it is in a checkpoint; random numbers need no state (see `data`)."""

    def __init__(self, parts: Parts, accelerator: Accelerator) -> None:
        """Initialise from the seed, shard or replicate as the launcher says."""
        config = parts.config
        self.config, self.accelerator = config, accelerator
        torch.manual_seed(seed_of(config.seed, INITIALISATION))
        self.model = parts.model()
        self.target = TargetEncoder(self.model.encoder, config.target.layers)
        if config.train.compile:
            self.model.compile()
            self.target.compile()
        self.wrapped, self.optimizer = accelerator.prepare(self.model, build_optimizer(self.model, config.optim))
        self.target.to(accelerator.device).shard_like(self.model.encoder)
        self.step = 0
        """Completed updates."""
        self.taken = 0
        """Global batches drawn: `step`, and the updates that the fp16 scaler skipped."""
        self.seconds = 0.0
        """Training time, that of earlier parts of the run included."""

    def move(self) -> dict[str, float] | None:
        """Move the weights, then the target encoder; the values used, or None where the fp16 scaler skipped it."""
        config, momentum = self.config, target_momentum(self.config, self.step)
        lr, weight_decay = set_hyperparameters(self.optimizer, config.optim, self.step, config.train.steps)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.taken += 1
        if self.accelerator.optimizer_step_was_skipped:
            return None
        self.target.follow(self.model.encoder, momentum)
        self.step += 1
        return {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}

    def save(self, run: RunFolder) -> None:
        """Write the checkpoint of this step; raises CheckpointError on every process where the disk refuses."""
        tensors = {stem: module_tensors(module) for stem, module in self._parts().items()}
        tensors["optimizer"] = optimizer_tensors(self.optimizer, self.model)
        counters = {"step": self.step, "taken": self.taken, "seconds": self.seconds}
        scaler = self.accelerator.scaler.state_dict() if self.accelerator.scaler else None
        state = {
            **counters,
            "scaler": scaler,
            "config_hash": config_hash(self.config),
            "versions": versions(self.config),
            "device": f"{self.accelerator.num_processes} x {self.accelerator.device.type}",
        }

        def write() -> None:
            write_checkpoint(run.checkpoint(self.step), tensors, state, to_yaml(self.config))
            prune(run, self.config.checkpoint)

        on_main_process(self.accelerator, write)

    def _parts(self) -> dict[str, nn.Module]:
        """What is saved, by file."""
        return {"encoder": self.model.encoder, "predictor": self.model.predictor, "target_encoder": self.target.encoder}

    def initialise(self, run: RunFolder) -> None:
        """Start at step 0 from the weights of another run instead of random ones.

        Weights that came from outside may hold an encoder alone: then the target encoder starts equal to it and the
        predictor is new, and the log says so.
        """
        folder = run.find()
        for stem, module in self._parts().items():
            path = folder / f"{stem}.safetensors"
            if path.exists() or stem == "encoder":
                load_strictly(module, read_tensors(path), path)
            elif stem == "target_encoder":
                logger.warning("%s holds no target encoder: it starts equal to the context encoder", folder)
                self.target.follow(self.model.encoder, momentum=0.0)
            else:
                logger.warning("%s holds no predictor: a new one is trained", folder)
        if not self.config.target.stop_gradient:
            self.target.follow(self.model.encoder, momentum=0.0)

    def resume(self, run: RunFolder) -> None:
        """Continue from the newest checkpoint; a run that has none yet starts at step 0."""
        if not run.steps():
            return
        folder = run.find()
        require_same_config(folder / "config.yaml", self.config)
        state = read_state(folder)
        for stem, module in self._parts().items():
            load_strictly(module, read_tensors(folder / f"{stem}.safetensors"), folder / f"{stem}.safetensors")
        load_optimizer(self.optimizer, self.model, read_tensors(folder / "optimizer.safetensors"))
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step, self.taken, self.seconds = state["step"], state["taken"], state["seconds"]
