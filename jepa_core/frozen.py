"""Trained encoders in use: from a run folder to features, with the preprocessing of its training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from jepa_core.checkpoint import RunFolder, Which, config_differences, load_encoder, read_state
from jepa_core.config import RunConfig
from jepa_core.data import INITIALISATION
from jepa_core.errors import UsageError
from jepa_core.masking import seed_of
from jepa_core.model import Encoder, Parts
from jepa_core.recipes import read_config
from jepa_core.registry import modalities
from jepa_core.types import TokenGrid

MAY_CHANGE = ("modality.", "data.", "features.", "probes", "train.workers")
"""What can be set anew for a trained encoder: where data is and what is done with its features."""


class FrozenEncoder:
    """A trained encoder: a raw sample to a signal, a batch of signals to tokens or to one vector each.

    `encoder = jepa_core.load("runs/demo")`, then `encoder.embed(encoder.preprocess(raw)[None])` is (1, features):
    as many as the encoder's width, unless the section `features` says otherwise.
    """

    def __init__(self, parts: Parts, encoder: Encoder, which: Which, step: int, device: torch.device) -> None:
        """`step` is how many updates the weights have seen."""
        self.parts, self.which, self.step, self.device = parts, which, step, device
        self.encoder = encoder.to(device)
        """The module itself, in evaluation mode: for fine-tuning, call it instead of `tokens`."""
        self.signal_shape = parts.modality.signal_shape(parts.config.modality)
        """Shape of one signal."""
        parts.modality.require_statistics(parts.config.modality)
        self._transform = parts.modality.transform(parts.config.modality, train=False)

    @property
    def config(self) -> RunConfig:
        """The configuration that it was trained with."""
        return self.parts.config

    @property
    def grid(self) -> TokenGrid:
        """Which cell each token stands for."""
        return self.parts.grid

    def preprocess(self, raw: Any) -> Tensor:
        """A raw sample, as the modality's sources read it, to a signal (`signal_shape`), as evaluation sees it.

        Where evaluation takes several views of a sample, they are stacked: (views, *signal_shape).
        """
        return self._transform(raw, torch.Generator())

    @torch.no_grad()
    def tokens(self, signal: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch tokens dim"]:
        """One vector per cell of the grid, after the last norm; raises UsageError for signals of another shape.

        Of several views of each sample, (batch, views, *signal_shape), the tokens follow each other: all cells of the
        first view, then those of the second.
        """
        flat, views = merge_views(signal, self.signal_shape)
        if tuple(flat.shape[1:]) != self.signal_shape:
            wanted, given = ", ".join(map(str, ("batch", *self.signal_shape))), tuple(signal.shape)
            raise UsageError(f"signal: expected shape ({wanted}), got {given}. A single one is passed as signal[None].")
        return join_views(self.encoder(flat.to(self.device)), views)

    def embed(self, signal: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch dim"]:
        """One vector per sample: the mean over its tokens, of all its views, or what `features` makes of them."""
        return self.parts.pooling(self.tokens(signal))


def load(
    run: str | Path,
    which: Which = "target",
    checkpoint: str = "latest",
    device: str | torch.device | None = None,
    overrides: Sequence[str] = (),
) -> FrozenEncoder:
    """A trained encoder of a run.

    Args:
        run: the folder that `jepa train` or `jepa import` wrote.
        which: the target encoder (what papers evaluate) or the context encoder.
        checkpoint: "latest" or "step_N".
        device: where it computes; None takes an accelerator where there is one.
        overrides: as `--set`, for what `checkpoint_config` allows.

    Raises:
        UsageError: no run folder, or a device that this machine lacks.
        CheckpointError: no such checkpoint, or a damaged one.
    """
    place, folder = find_device(device), RunFolder.existing(run)
    path = folder.find(checkpoint)
    parts, encoder = load_encoder(folder, which, checkpoint, checkpoint_config(path, overrides))
    return FrozenEncoder(parts, encoder, which, read_state(path)["step"], place)


def checkpoint_config(checkpoint: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration of a checkpoint, at most with other data and probes.

    Raises:
        UsageError: an override would change what the encoder is, or the statistics that it was trained with.
    """
    path = checkpoint / "config.yaml"
    saved, given = read_config(path), read_config(path, overrides)
    kept = ("name", *modalities.get(saved.modality.name).unnormalised)
    fixed = tuple(f"modality.{key}:" for key in kept)
    refused = [
        line
        for line in config_differences(saved.model_dump(mode="json"), given.model_dump(mode="json"))
        if line.startswith(fixed) or not line.startswith(MAY_CHANGE)
    ]
    if refused:
        raise UsageError(
            "--set: the encoder was trained with this, and normalisation statistics belong to it:\n  "
            + "\n  ".join(refused)
            + f"\nWhat can be set: {', '.join(name.rstrip('.') for name in MAY_CHANGE)}."
        )
    return given


def untrained_encoder(parts: Parts) -> Encoder:
    """The encoder with the weights that its run began with; torch's global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(parts.config.seed, INITIALISATION))
        return parts.encoder().eval()


def merge_views(
    signal: Float[Tensor, "batch ..."], signal_shape: tuple[int, ...]
) -> tuple[Float[Tensor, "signals ..."], int]:
    """Signals, and how many views each sample has: (batch, views, *signal_shape) becomes (batch * views, ...)."""
    if signal.dim() != len(signal_shape) + 2:
        return signal, 1
    return signal.flatten(0, 1), signal.shape[1]


def join_views(tokens: Float[Tensor, "signals tokens dim"], views: int) -> Float[Tensor, "batch more dim"]:
    """The tokens of all views of a sample, one view after the other."""
    return tokens.unflatten(0, (-1, views)).flatten(1, 2)


def find_device(device: str | torch.device | None = None) -> torch.device:
    """The named device, or the best that there is; raises UsageError where this machine lacks it."""
    if device is None:
        best = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return best or torch.device("cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:  # what torch raises for a device that it was not built for
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {device}: {reason}. `jepa doctor` lists what works on this machine.") from error
    return place
