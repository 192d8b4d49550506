"""The log of a run as data: metrics.jsonl, and the pace at which it goes."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; a last line that a kill cut short is left out; empty where there is no file."""
    rows: list[dict[str, Any]] = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def truncate_log(path: Path, step: int) -> None:
    """Drop the rows that lie after a step: the resumed run writes them again."""
    if path.exists():
        kept = [row for row in read_log(path) if row["step"] <= step]
        partial = path.with_suffix(".tmp")
        partial.write_text("".join(json.dumps(row) + "\n" for row in kept))
        partial.replace(path)


class MetricsLog:
    """Appends rows to metrics.jsonl, each flushed, so that a killed run keeps what it had."""

    def __init__(self, path: Path) -> None:
        """Appends to what is there."""
        self._file = path.open("a")

    def write(self, row: Mapping[str, Any]) -> None:
        """One row; it must hold `step`."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        """The log itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the file."""
        self._file.close()


class Pace:
    """Samples per second and the share of time that was spent waiting for data, since the last reading."""

    def __init__(self) -> None:
        """Starts now."""
        self._start()

    def _start(self) -> None:
        self._since, self._waited, self._samples = time.perf_counter(), 0.0, 0

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Counts the time inside as waiting."""
        begin = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begin

    def count(self, samples: int) -> None:
        """Samples that were trained on."""
        self._samples += samples

    def read(self) -> dict[str, float]:
        """`samples_per_second` and `data_wait_share`; starts anew."""
        elapsed = max(time.perf_counter() - self._since, 1e-9)
        values = {"samples_per_second": self._samples / elapsed, "data_wait_share": self._waited / elapsed}
        self._start()
        return values
