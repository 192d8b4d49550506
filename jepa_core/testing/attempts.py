"""Calls of a plugin's code from a check: what they raise, and what they do besides."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

Answer = TypeVar("Answer")

_SEED = 1_915_731_077


def attempt(call: Callable[[], Answer]) -> Answer | Exception:
    """What the call returns, or what it raises."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the plugin border: a check says what a stranger's code raised
        return error


def generators_moved_by(call: Callable[[], object]) -> list[str]:
    """The global random generators that the call draws from or seeds, by name; their states are put back.

    Python's own is not looked at: checkers of types at run time draw from it (beartype).
    """
    before = _states()
    torch.manual_seed(_SEED)  # or a call that seeds as one before it did would go unnoticed
    np.random.seed(_SEED)  # noqa: NPY002 - the global generator is a legacy one
    try:
        torch_before, numpy_before = _states()
        call()
        torch_after, numpy_after = _states()
    finally:
        torch.random.set_rng_state(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
    moved = ["torch"] if not torch.equal(torch_before, torch_after) else []
    return moved + (["NumPy"] if pickle.dumps(numpy_before) != pickle.dumps(numpy_after) else [])


def _states() -> tuple[torch.Tensor, Any]:
    return torch.random.get_rng_state(), np.random.get_state()  # noqa: NPY002
