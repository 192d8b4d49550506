"""Checks of what evaluations and reports show of a modality's signals."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from jepa_core.testing.checks import NotApplicable, require
from jepa_core.testing.modality_case import ModalityCase

PLAYER_BYTES = 100_000
"""A report allows a player more; what is checked is that it can be made to fit."""


def check_baseline_is_one_vector_per_sample(case: ModalityCase) -> None:
    """`baseline` gives (batch, features) finite numbers, which every evaluation shows beside the encoders.

    To mend: flatten what you return, or leave the method out: the default is the flattened signal.
    """
    found = case.plugin.baseline(case.section, case.signals)
    fits = found.ndim == 2 and len(found) == len(case.signals) and found.is_floating_point()
    require(fits, f"expected ({len(case.signals)}, features) of floats, found {tuple(found.shape)} of {found.dtype}")
    require(bool(found.isfinite().all()), "expected finite numbers, found others")


def check_controls_keep_the_shape(case: ModalityCase) -> None:
    """Every control turns signals into signals of the same shape, without changing those that it was given.

    To mend: return a new tensor of the shape of the argument; work on signal.clone() where something is overwritten.
    """
    controls = case.plugin.controls(case.section)
    if not controls:
        raise NotApplicable("it has no controls (Modality.controls)")
    for name, control in controls.items():
        given = case.signals.clone()
        found = tuple(control(given).shape)
        require(found == tuple(given.shape), f"{name}: expected shape {tuple(given.shape)}, found {found}")
        require(torch.equal(given, case.signals), f"{name}: expected its argument to stay as it was, found it changed")


def check_picture_shows_every_cell(case: ModalityCase) -> None:
    """`picture` gives (height, width, 3) uint8 with every cell of the grid in it.

    To mend: draw at least one point per cell: the last axis to the right, the one before it downwards, slices of any
    axes before side by side; repeat one channel three times, and scale to 0..255 before the conversion.
    """
    picture: Any = case.plugin.picture(case.section, case.signals[0])
    kind = f"{type(picture).__name__} of {getattr(picture, 'dtype', '?')}, shape {tuple(getattr(picture, 'shape', ()))}"
    fits = isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    require(fits, f"expected an array (height, width, 3) of uint8, found {kind}")
    rows, columns = (1, *case.grid.shape)[-2:]
    slices = case.grid.num_tokens // (rows * columns)
    height, width, _ = picture.shape
    shown = height >= rows and width >= slices * columns and width % slices == 0
    require(shown, f"expected {slices} slices of at least {rows} x {columns} points, found {height} x {width} points")


def check_player_keeps_to_its_size(case: ModalityCase) -> None:
    """What a report plays of a sample holds at most the allowed number of bytes.

    To mend: make it smaller, coarser or shorter until it fits, or return None.
    """
    players = [case.plugin.player(case.section, raw, PLAYER_BYTES) for raw in case.raw()]
    if all(player is None for player in players):
        raise NotApplicable("it plays nothing (Modality.player)")
    for number, player in enumerate(players):
        if player is not None:
            size = len(player.content)
            require(size <= PLAYER_BYTES, f"sample {number}: expected at most {PLAYER_BYTES:,} bytes, found {size:,}")
