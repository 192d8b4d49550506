"""Several sources as one, each with its share of the samples that a run takes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from jepa_core.plugin import Labels, Source
from jepa_core.types import Portion


class MixtureSource:
    """Sources one after the other, without labels; `jepa_core.order` takes them by their weights."""

    def __init__(self, sources: Sequence[Source], weights: Sequence[float]) -> None:
        """`weights` are positive, one per source, and need not add up to 1."""
        self.sources = tuple(sources)
        self.portions = tuple(Portion(len(each), weight) for each, weight in zip(sources, weights, strict=True))
        self._ends = tuple(accumulate(portion.size for portion in self.portions))

    @property
    def labels(self) -> Mapping[str, Labels]:
        """None: the headings and classes of different data sets do not compare."""
        return {}

    def __len__(self) -> int:
        """Samples of all sources."""
        return self._ends[-1]

    def read(self, index: int) -> Any:
        """The raw sample; raises UnreadableSample."""
        source, own = self._find(index)
        return source.read(own)

    def where(self, index: int) -> str:
        """What the sample's own source calls it."""
        source, own = self._find(index)
        return source.where(own)

    def _find(self, index: int) -> tuple[Source, int]:
        number = bisect_right(self._ends, index)
        return self.sources[number], index - (self._ends[number - 1] if number else 0)
