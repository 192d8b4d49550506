"""Unreadable samples: counted, named in unreadable.jsonl, skipped, and an end to the run when they are too many."""

from __future__ import annotations

import bisect
import itertools
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jepa_core.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unreadable:
    """One sample that could not be read."""

    index: int
    """Its position in the source."""
    where: str
    """Its path."""
    reason: str
    """What the reader said."""


class UnreadableLog:
    """The quarantine of a run: every process holds the same one, the main process writes it down."""

    def __init__(self, path: Path, sizes: Sequence[int], max_share: float, known: Sequence[Unreadable] = ()) -> None:
        """`known` are those of an earlier part of the run; `max_share` is of every data set, whose `sizes` are given.

        Of every one, because a mixture may give a small data set a large part of the batches.
        """
        self.path, self.max_share = path, max_share
        self._sizes, self._ends = sizes, list(itertools.accumulate(sizes))
        self.found = {bad.index: bad for bad in known}

    def __len__(self) -> int:
        """Distinct unreadable samples so far."""
        return len(self.found)

    def add(self, bad: Sequence[Unreadable], step: int, write: bool) -> list[Unreadable]:
        """Note samples met at a step; returns those not known before. Raises DataError above the share."""
        new = [sample for sample in {each.index: each for each in bad}.values() if sample.index not in self.found]
        self.found.update({sample.index: sample for sample in new})
        if new and write:
            with self.path.open("a") as file:
                for sample in new:
                    logger.warning("unreadable: %s (%s)", sample.where, sample.reason)
                    row = {"step": step, "index": sample.index, "where": sample.where, "reason": sample.reason}
                    file.write(json.dumps(row) + "\n")
        self._require_few()
        return new

    def _require_few(self) -> None:
        per_set: dict[int, list[Unreadable]] = {}
        for sample in self.found.values():
            per_set.setdefault(bisect.bisect_right(self._ends, sample.index), []).append(sample)
        for number, found in per_set.items():
            if len(found) > self.max_share * self._sizes[number]:
                part = f" of data set {number + 1}" if len(self._sizes) > 1 else ""
                raise DataError(
                    f"data.max_unreadable: {len(found)} of {self._sizes[number]} samples{part} cannot be read, and "
                    f"{self.max_share:.1%} are allowed. The first is {found[0].where} ({found[0].reason}); "
                    f"all are in {self.path}. "
                    "Mend or remove them, or allow more with --set data.max_unreadable=SHARE."
                )
