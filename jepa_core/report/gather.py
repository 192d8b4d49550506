"""What the files of a run say, without its data: configuration, log, checkpoint, evaluation, unreadable samples."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from jepa_core.checkpoint import RunFolder, read_state
from jepa_core.collapse import Verdict, verdict
from jepa_core.config import RunConfig
from jepa_core.errors import CheckpointError
from jepa_core.metrics import read_log
from jepa_core.model import Parts
from jepa_core.probes.estimates import Estimate
from jepa_core.types import TokenBudget, TokenGrid

Row = Mapping[str, Any]
"""One line of metrics.jsonl."""


@dataclass(frozen=True)
class ProbeResult:
    """What one probe read from one representation."""

    representation: str
    """target, context, random or raw."""
    accuracy: float
    """In [0, 1], as are the bounds."""
    low: float
    high: float
    """Bounds of the 95 % confidence interval."""
    gain: Estimate | None
    """Accuracy minus that of the untrained encoder on the same samples; None for itself."""


@dataclass(frozen=True)
class ProbeTable:
    """One probe on the labels of one heading."""

    heading: str
    probe: str
    chance: float
    """Accuracy of always giving the same answer."""
    num_test: int
    """Samples that were scored."""
    encoder: str
    """The representation that the evaluation is about: target or context."""
    results: tuple[ProbeResult, ...]

    def of(self, representation: str) -> ProbeResult | None:
        """The result of one representation, where there is one."""
        return next((result for result in self.results if result.representation == representation), None)


@dataclass(frozen=True)
class RunFacts:
    """Everything that a report says of one run in words and numbers."""

    name: str
    """The folder's name."""
    path: Path
    config: RunConfig
    grid: TokenGrid
    upward: Sequence[str]
    """Axes that pictures show upwards."""
    budgets: tuple[TokenBudget, ...]
    rows: list[Row]
    """metrics.jsonl."""
    verdict: Verdict
    probes: list[ProbeTable]
    """eval.json; empty where the run was not evaluated."""
    unreadable: list[Row]
    """unreadable.jsonl."""
    state: Mapping[str, Any] | None
    """state.json of the newest checkpoint: step, seconds, versions; None where there is no checkpoint."""
    num_parameters: int | None
    """Of the encoder; None without a checkpoint."""

    @property
    def last_step(self) -> int:
        """The last step that the log or the checkpoint knows."""
        logged = self.rows[-1]["step"] if self.rows else 0
        return max(logged, self.state["step"] if self.state else 0)

    @property
    def measured(self) -> list[Row]:
        """The rows with a measurement of the collapse monitor."""
        return [row for row in self.rows if "collapse/warnings" in row]

    def series(self, key: str) -> tuple[list[float], list[float]]:
        """Steps and values of one key of the log, where it has a number."""
        pairs = [(row["step"], row[key]) for row in self.rows if _is_number(row.get(key))]
        return [float(step) for step, _ in pairs], [float(value) for _, value in pairs]


def gather(path: Path) -> RunFacts:
    """Read a run folder; raises UsageError where it is none. Files that do not exist yet are None or empty."""
    run = RunFolder.existing(path)
    config, rows = run.config, read_log(run.metrics_path)
    parts = Parts.of(config)
    state, num_parameters = _checkpoint(run)
    return RunFacts(
        name=path.resolve().name,
        path=path,
        config=config,
        grid=parts.grid,
        upward=parts.modality.upward,
        budgets=parts.masking.budgets,
        rows=list(rows),
        verdict=verdict([row for row in rows if "collapse/warnings" in row], config.collapse, config.train.steps),
        probes=_probe_tables(run.path / "eval.json"),
        unreadable=list(read_log(run.unreadable_path)),
        state=state,
        num_parameters=num_parameters,
    )


def config_differences(configs: Sequence[RunConfig]) -> list[tuple[str, list[Any]]]:
    """Dotted paths at which configurations differ, each with the value of every one ("" where it has none)."""
    flat = [dict(_flatten(config.model_dump(mode="json"))) for config in configs]
    paths = dict.fromkeys(path for each in flat for path in each)
    rows = [(path, [each.get(path, "") for each in flat]) for path in paths]
    return [(path, values) for path, values in rows if any(value != values[0] for value in values)]


def _flatten(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _flatten(part, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _probe_tables(path: Path) -> list[ProbeTable]:
    """eval.json by heading and probe, in its order."""
    if not path.is_file():
        return []
    found = json.loads(path.read_text())
    tables: list[ProbeTable] = []
    for heading, probe in dict.fromkeys((row["heading"], row["probe"]) for row in found["results"]):
        rows = [row for row in found["results"] if (row["heading"], row["probe"]) == (heading, probe)]
        results = tuple(_probe_result(row) for row in rows)
        tables.append(ProbeTable(heading, probe, rows[0]["chance"], rows[0]["num_test"], found["encoder"], results))
    return tables


def _probe_result(row: Row) -> ProbeResult:
    gain = Estimate(**row["minus_random"]) if row["minus_random"] else None
    return ProbeResult(row["representation"], row["accuracy"], row["low"], row["high"], gain)


def _checkpoint(run: RunFolder) -> tuple[Mapping[str, Any] | None, int | None]:
    """State and parameter count of the newest checkpoint, from its headers alone."""
    if not run.steps():
        return None, None
    folder = run.find()
    path = folder / "encoder.safetensors"
    try:
        with safe_open(path, "pt") as file:
            sizes = [math.prod(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}). Use another checkpoint of the run.") from error
    return read_state(folder), sum(sizes)
