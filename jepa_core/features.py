"""Features of a whole source, computed once under evaluation preprocessing."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from jepa_core.cores import count_workers
from jepa_core.data import Sample, SignalDataset
from jepa_core.errors import DataError
from jepa_core.frozen import join_views, merge_views
from jepa_core.loading import Loader
from jepa_core.model import Encoder, Parts
from jepa_core.nn.patches import patchify
from jepa_core.nn.positions import cell_coordinates
from jepa_core.plugin import Source
from jepa_core.token_store import TokenStore
from jepa_core.types import SampleKey, TokenGrid
from jepa_core.unreadable import Unreadable

Precision = Literal["fp32", "bf16"]
"""What encoders compute in; pooling, and everything after it, is fp32."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class Represented:
    """What became of some signals."""

    pooled: Float[Tensor, "batch dim"]
    """One fp32 vector each, on the CPU."""
    make_tokens: Callable[[], Float[Tensor, "batch tokens dim"]]
    """For `tokens`: not every use of features needs them."""

    @property
    def tokens(self) -> Float[Tensor, "batch tokens dim"]:
        """Their tokens, where and as they were computed."""
        return self.make_tokens()


Represent = Callable[[Float[Tensor, "batch ..."]], Represented]
"""From signals, or several views of each, (batch, views, ...), to features."""

Watch = Callable[[str, int, int], None]
"""Is told what is being done, how many units of it are done, and of how many."""

BATCH_SIZE = 64
"""Signals that are read and encoded together, whether they are samples or views of fewer samples."""


def unwatched(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


class SignalBatch(NamedTuple):
    """Some samples of a source, in its order."""

    place: Int[Tensor, "batch"]
    """Positions of the readable ones in the source."""
    signal: Float[Tensor, "batch ..."]
    """Their signals."""
    unreadable: tuple[Unreadable, ...]
    """The others."""


@dataclass(frozen=True)
class Extracted:
    """Features of the readable samples of a source."""

    place: Int[Tensor, "readable"]
    """Their positions in the source, ascending."""
    features: Mapping[str, Float[Tensor, "readable dim"]]
    """Pooled: one matrix per representation, fp32, on the CPU."""
    tokens: Mapping[str, Float[Tensor, "readable tokens dim"]]
    """As `TokenStore` keeps them; empty where they were not asked for."""
    unreadable: tuple[Unreadable, ...]
    """What could not be read."""


def encode_with(parts: Parts, encoder: Encoder, device: torch.device, precision: Precision) -> Represent:
    """Tokens of an encoder, of all views of a sample side by side, and what `Parts.pooling` makes of them."""
    encoder, shape = encoder.to(device), parts.modality.signal_shape(parts.config.modality)

    @torch.no_grad()
    def represent(signal: Tensor) -> Represented:
        flat, views = merge_views(signal, shape)
        with torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext():
            tokens = join_views(encoder(flat.to(device, non_blocking=True)), views)
        return Represented(parts.pooling(tokens).cpu(), lambda: tokens)

    return represent


def baseline_of(parts: Parts, control: Callable[[Tensor], Tensor] = lambda signal: signal) -> Represent:
    """The modality's raw-input features, averaged over views, and as tokens `raw_tokens`; of what `control` leaves."""
    modality, section = parts.modality, parts.config.modality
    shape = modality.signal_shape(section)

    def represent(signal: Tensor) -> Represented:
        flat, views = merge_views(signal, shape)
        flat = control(flat)
        pooled = modality.baseline(section, flat).float().unflatten(0, (-1, views)).mean(1)
        return Represented(pooled, lambda: join_views(raw_tokens(flat, parts.grid), views))

    return represent


def raw_tokens(signal: Float[Tensor, "batch ..."], grid: TokenGrid) -> Float[Tensor, "batch tokens values"]:
    """The values of every cell, and its place: one-hot along each axis of the grid.

    An encoder's tokens know their cells; without the places a probe would see raw input as a bag of cells. A signal
    that does not divide into the grid's cells (its axis 0 are channels) is a single token.
    """
    extent = signal.shape[2:]
    cells = len(extent) == grid.num_axes and not any(side % n for side, n in zip(extent, grid.shape, strict=True))
    if not cells:
        return signal.flatten(1)[:, None]
    values = patchify(signal, [side // n for side, n in zip(extent, grid.shape, strict=True)])
    places = [one_hot(along.long(), n) for along, n in zip(cell_coordinates(grid).T, grid.shape, strict=True)]
    return torch.cat([values, torch.cat(places, dim=1).to(values).expand(len(values), -1, -1)], dim=2)


def signal_batches(parts: Parts, source: Source, device: torch.device) -> Generator[SignalBatch]:
    """All samples of a source in order, as evaluation sees them; its `train.workers` processes end with it."""
    config, modality = parts.config, parts.modality
    modality.require_statistics(config.modality)
    dataset = SignalDataset(source, modality.transform(config.modality, train=False), config.seed)
    keys = [SampleKey(epoch=0, index=index) for index in range(len(source))]
    views = modality.views(config.modality)
    size = max(1, BATCH_SIZE // views)
    loader = Loader(
        dataset,
        _collate,
        [keys[start : start + size] for start in range(0, len(keys), size)],
        workers=count_workers(config.train.workers),
        timeout=config.data.read_timeout,
        room=size * (4 * views * math.prod(modality.signal_shape(config.modality)) + 8),
        pin=device.type == "cuda",
        prefetch=2,
    )
    with loader:
        yield from loader


def _collate(samples: list[tuple[SampleKey, Sample]]) -> SignalBatch:
    readable = [(key.index, content) for key, content in samples if isinstance(content, Tensor)]
    signal = torch.stack([content for _, content in readable]) if readable else torch.empty(0)
    place = torch.tensor([index for index, _ in readable], dtype=torch.int64)
    return SignalBatch(place, signal, tuple(content for _, content in samples if isinstance(content, Unreadable)))


def extract(
    parts: Parts,
    source: Source,
    representations: Mapping[str, Represent],
    device: torch.device,
    what: str,
    watch: Watch = unwatched,
    tokens: bool = False,
) -> Extracted:
    """Read every sample once and represent it in every way.

    Args:
        parts: whose evaluation preprocessing is used.
        source: the samples.
        representations: by name.
        device: where the representations compute.
        what: the source's name, for messages.
        watch: is told how many samples are done.
        tokens: keep all tokens too, and not the pooled features alone.

    Raises:
        DataError: no samples, more unreadable ones than `data.max_unreadable`, features that are not finite, or no room
            for the tokens.
    """
    if not len(source):
        raise DataError(f"{what}: there are no samples. Check the paths of the modality's section.")
    places: list[Tensor] = []
    unreadable: list[Unreadable] = []
    features: dict[str, list[Tensor]] = {name: [] for name in representations}
    stores = {name: TokenStore(len(source), f"{what}: the {name} tokens") for name in representations if tokens}
    done = 0
    watch(what, done, len(source))
    for batch in signal_batches(parts, source, device):
        unreadable += batch.unreadable
        if len(batch.place):
            places.append(batch.place)
            for name, represent in representations.items():
                represented = represent(batch.signal)
                features[name].append(represented.pooled)
                if tokens:
                    stores[name].add(represented.tokens)
        done += len(batch.place) + len(batch.unreadable)
        watch(what, done, len(source))
    _require_few(unreadable, len(source), parts.config.data.max_unreadable, what)
    whole = {name: torch.cat(each) for name, each in features.items()}
    for name, each in whole.items():
        _require_finite(each, name, what)
    return Extracted(torch.cat(places), whole, {name: store.all() for name, store in stores.items()}, tuple(unreadable))


def _require_few(unreadable: list[Unreadable], num_samples: int, most: float, what: str) -> None:
    if len(unreadable) == num_samples or len(unreadable) > most * num_samples:
        raise DataError(
            f"{what}: {len(unreadable)} of {num_samples} samples cannot be read, and data.max_unreadable allows "
            f"{most:.1%}. The first: {unreadable[0].where} ({unreadable[0].reason}). "
            "Mend or remove them, or allow more with --set data.max_unreadable=SHARE."
        )


def _require_finite(features: Tensor, name: str, what: str) -> None:
    bad = int((~features.isfinite().all(1)).sum())
    if bad:
        raise DataError(
            f"{what}: the {name} features of {bad} of {len(features)} samples are not finite. "
            "The run has diverged before this checkpoint (see metrics.jsonl); take an earlier one with --checkpoint."
        )
