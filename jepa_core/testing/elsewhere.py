"""What the checks of a modality have done in a fresh interpreter; importing this imports no torch."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn
from unittest import mock

from jepa_core.config import Section
from jepa_core.errors import UnreadableSample
from jepa_core.plugin import Modality, Split
from jepa_core.types import SampleKey, TokenGrid

if TYPE_CHECKING:
    import numpy as np

    from jepa_core.data import SignalDataset

SPLITS: tuple[Split, ...] = ("pretrain", "probe_train", "probe_test")
CACHES = ("HOME", "XDG_CACHE_HOME", "JEPA_CACHE")
"""Environment variables that say where a package keeps what it has downloaded or made."""


def planned(plugin: Modality, section: Section) -> tuple[TokenGrid, tuple[int, ...], list[str]]:
    """Grid, shape of a signal, and which heavy packages it took to say so."""
    before = set(sys.modules)
    grid, shape = plugin.grid(section), tuple(plugin.signal_shape(section))
    return grid, shape, sorted({"torch", "numpy"} & (set(sys.modules) - before))


def opened(plugin: Modality, section: Section) -> dict[Split, int]:
    """Samples of every split without a network and with empty caches; the first of each is read."""
    sizes: dict[Split, int] = {}
    with tempfile.TemporaryDirectory() as empty, _without_network(), _caches_in(empty):
        for split in SPLITS:
            source = plugin.source(section, split)
            sizes[split] = len(source)
            if len(source):
                _read(source)
    return sizes


def _read(source: Any) -> None:
    try:
        source.read(0)
    except UnreadableSample:
        return  # which is said where samples are looked at


def _caches_in(folder: str) -> AbstractContextManager[Any]:
    return mock.patch.dict(os.environ, dict.fromkeys(CACHES, folder))


@contextmanager
def _without_network() -> Generator[None]:
    """Every attempt to reach another machine is an error, as on one without a network."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise OSError("the network was asked for")

    with mock.patch.object(socket, "getaddrinfo", refuse), mock.patch.object(socket.socket, "connect", refuse):
        yield


def read(dataset: SignalDataset, keys: Sequence[SampleKey]) -> list[np.ndarray | str]:
    """The signals of a dataset that travelled here, or why there is none."""
    from torch import Tensor

    samples = [dataset[key][1] for key in keys]
    return [sample.numpy() if isinstance(sample, Tensor) else sample.reason for sample in samples]
