"""Unreadable samples: counted, named in unreadable.jsonl, skipped, and an end to the run when they are too many."""

from __future__ import annotations

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

    def __init__(self, path: Path, num_samples: int, max_share: float, known: Sequence[Unreadable] = ()) -> None:
        """`known` are those of an earlier part of the run; `max_share` is of `num_samples`."""
        self.path, self.num_samples, self.max_share = path, num_samples, max_share
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
        if len(self) > self.max_share * self.num_samples:
            first = next(iter(self.found.values()))
            raise DataError(
                f"data.max_unreadable: {len(self)} of {self.num_samples} samples cannot be read, and "
                f"{self.max_share:.1%} are allowed. The first is {first.where} ({first.reason}); "
                f"all are in {self.path}. "
                "Mend or remove them, or allow more with --set data.max_unreadable=SHARE."
            )
        return new
