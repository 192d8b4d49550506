"""Who measures what: every cell its own encoder, and one cell for all the baselines that it shares with other arms.

An untrained encoder and the raw input do not depend on masking, objective or predictor. They are measured once per base
and seed for every distinct encoder, by the first arm that has it; an arm that failed passes the duty on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property

from jepa_core.ablation.cells import Cell, Study
from jepa_core.config import RunConfig
from jepa_core.config.text import config_hash
from jepa_core.evaluation import RAW
from jepa_core.evaluation.scoring import RANDOM

BASELINES = (RANDOM, RAW)

_Key = tuple[str, str, int, str]
"""Representation, base, seed, and what else the measurement is a function of."""


class Duties:
    """What the cells of one study are to measure."""

    def __init__(self, study: Study) -> None:
        """Nothing is computed before it is asked for."""
        self.study = study

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """Hash of the configuration, by the cell's name."""
        return {cell.name: config_hash(cell.config) for cell in self.study.cells}

    @cached_property
    def _sharing(self) -> Mapping[_Key, tuple[Cell, ...]]:
        """The cells that a baseline is the same for, in the order of the arms."""
        sharing: dict[_Key, list[Cell]] = {}
        for cell in self.study.cells if self.study.config.evaluation.baselines else ():
            for key in self._keys(cell):
                sharing.setdefault(key, []).append(cell)
        order = {arm: position for position, arm in enumerate(self.study.arms)}
        return {key: tuple(sorted(cells, key=lambda cell: order[cell.arm])) for key, cells in sharing.items()}

    def _keys(self, cell: Cell) -> tuple[_Key, ...]:
        section = cell.config
        raw = _digest(section, ("modality", "probes"))
        random = _digest(section, ("modality", "probes", "encoder", "features"))
        return (RANDOM, cell.base, cell.seed, random), (RAW, cell.base, cell.seed, raw)

    def wanted(self, failed: Collection[str]) -> dict[str, tuple[str, ...]]:
        """The representations that every cell measures, by its name; `failed` are names of cells that cannot."""
        found = {cell.name: [self.study.config.evaluation.encoder] for cell in self.study.cells}
        for (representation, *_), cells in self._sharing.items():
            found[_first(cells, failed).name].append(representation)
        return {name: tuple(representations) for name, representations in found.items()}

    def baselines(self, failed: Collection[str]) -> dict[tuple[str, str, int, str], str]:
        """(base, arm, seed, representation) to the arm that measures this baseline for it."""
        return {
            (cell.base, cell.arm, cell.seed, representation): _first(cells, failed).arm
            for (representation, *_), cells in self._sharing.items()
            for cell in cells
        }


def _first(cells: tuple[Cell, ...], failed: Collection[str]) -> Cell:
    return next((cell for cell in cells if cell.name not in failed), cells[0])


def _digest(config: RunConfig, sections: tuple[str, ...]) -> str:
    """Equal for configurations that have these sections in common."""
    dumped = config.model_dump(mode="json", include=set(sections))
    return repr([dumped[name] for name in sections])
