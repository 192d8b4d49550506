"""Which samples a run takes, and when: one endless sequence that is a function of the seed and of the source.

The sequence is cut into passes of n positions, n being the number of samples. In each pass data set d gets n_d of the
positions, its share by weight of the n (largest remainder); which ones, a permutation keyed by (seed, pass) decides.
Data set d's turns are counted over all passes: turn j takes sample j mod size_d of the data set's own permutation of
its own pass j // size_d. So within its own pass every sample of a data set occurs once, whatever its weight, and a
source of one data set is passed as a whole again and again. n_d is the same in every pass: a data set's part of the run
is off its share by less than 1 / n, for good.

A step takes the next `batch_size` positions, whatever the number of processes; so nothing is dropped, nothing is
replayed on resume, and another world size trains on the same samples.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import Sampler

from jepa_core.data import MIXTURE, ORDER
from jepa_core.errors import DataError
from jepa_core.masking import seed_of
from jepa_core.plugin import Mixture, Source
from jepa_core.types import Portion, SampleKey


@dataclass(frozen=True)
class Share:
    """Which part of every step this process computes: in pass a of the step, slice a * world + rank."""

    batch_size: int
    """Samples per step, over everything."""
    accumulate: int = 1
    """Passes per step."""
    world: int = 1
    """Processes."""
    rank: int = 0
    """This process."""

    @property
    def micro_batch(self) -> int:
        """Samples per pass and process."""
        return self.batch_size // (self.world * self.accumulate)

    def slices(self) -> list[int]:
        """Numbers of this process's slices of a step; randomness that is not a sample's is keyed on them."""
        return [number * self.world + self.rank for number in range(self.accumulate)]


class _Turns(NamedTuple):
    """The positions of one pass over everything."""

    owner: Int[np.ndarray, "positions"]
    """Whose turn it is."""
    turn: Int[np.ndarray, "positions"]
    """How many turns of the same data set come before it in this pass."""


class Order:
    """The endless sequence of samples of a source.

    >>> order = Order(0, [Portion(size=8), Portion(size=2)])
    >>> sum(order.key(position).index >= 8 for position in range(10))
    5
    """

    def __init__(self, seed: int, portions: Sequence[Portion]) -> None:
        """`portions` as `portions_of` gives them; raises DataError where a data set would never be taken."""
        self.num_samples = sum(portion.size for portion in portions)
        self._seed = seed
        self._turns_per_pass = _apportion(self.num_samples, portions)
        self._sizes = [portion.size for portion in portions]
        self._first = [0, *itertools.accumulate(self._sizes)]
        # Positions are asked for in ascending order: the present pass is enough, and of an own pass the one before it.
        self._turns = lru_cache(maxsize=1)(self._draw_turns)
        self._own = [lru_cache(maxsize=2)(partial(self._permutation, number)) for number in range(len(portions))]

    def key(self, position: int, progress: float = 0.0) -> SampleKey:
        """Which draw of which sample stands at a position of the sequence; `progress` is passed on."""
        number_of_pass, offset = divmod(position, self.num_samples)
        owners, turns = self._turns(number_of_pass)
        owner = int(owners[offset])
        turn = number_of_pass * self._turns_per_pass[owner] + int(turns[offset])
        own_pass, place = divmod(turn, self._sizes[owner])
        return SampleKey(own_pass, self._first[owner] + int(self._own[owner](own_pass)[place]), progress)

    def _draw_turns(self, number_of_pass: int) -> _Turns:
        generator = torch.Generator().manual_seed(seed_of(self._seed, MIXTURE, number_of_pass))
        owner = np.repeat(np.arange(len(self._sizes), dtype=np.int32), self._turns_per_pass)
        owner = owner[torch.randperm(self.num_samples, generator=generator).numpy()]
        turn = np.empty(self.num_samples, dtype=np.int64)
        for number, count in enumerate(self._turns_per_pass):
            turn[owner == number] = np.arange(count)
        return _Turns(owner, turn)

    def _permutation(self, number: int, own_pass: int) -> Int[np.ndarray, "size"]:
        generator = torch.Generator().manual_seed(seed_of(self._seed, ORDER, own_pass) + number)
        return torch.randperm(self._sizes[number], generator=generator).numpy()


def portions_of(source: Source) -> Sequence[Portion]:
    """The data sets of a mixture; any other source is one."""
    return source.portions if isinstance(source, Mixture) else (Portion(len(source)),)


def _apportion(positions: int, portions: Sequence[Portion]) -> list[int]:
    """How many of the positions each data set gets by its weight: largest remainder, of equals the first."""
    total = sum(portion.weight for portion in portions)
    exact = [positions * portion.weight / total for portion in portions]
    counts = [int(quota) for quota in exact]
    by_remainder = sorted(range(len(exact)), key=lambda number: counts[number] - exact[number])
    for number in by_remainder[: positions - sum(counts)]:
        counts[number] += 1
    if 0 in counts:
        number = counts.index(0)
        raise DataError(
            f"data set {number + 1} of the mixture: its weight {portions[number].weight:g} of {total:g} earns it none "
            f"of the {positions} positions of a pass, so it would never be taken. Raise its weight, or leave it out."
        )
    return counts


class StepSampler(Sampler[list[SampleKey]]):
    """The keys of every pass of this process, from a step on and without end: its whole state is that step."""

    def __init__(self, order: Order, share: Share, start: int = 0, steps: int | None = None) -> None:
        """`start` is how many global batches were taken before, by any number of processes.

        `steps` is the length of the whole run, which the keys' `progress` is a share of; None leaves that at 0.
        """
        self.order, self.share, self.start, self.steps = order, share, start, steps

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """One list of keys per pass."""
        size = self.share.micro_batch
        for step in itertools.count(self.start):
            # Updates that the fp16 scaler skips make a run take more batches than it has steps.
            progress = min(step / self.steps, 1.0) if self.steps else 0.0
            for number in self.share.slices():
                first = step * self.share.batch_size + number * size
                yield [self.order.key(position, progress) for position in range(first, first + size)]
