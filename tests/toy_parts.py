"""What the toy modality builds; the half of it that needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn
from toy import ToyRowsConfig

from jepa_core.errors import ConfigError, UnreadableSample, UsageError
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.nn.tokens import take_tokens
from jepa_core.plugin import Labels
from jepa_core.types import TokenBudget, TokenGrid

DIRECTIONS = ("east", "south-east", "south", "south-west")
SIDES = ("left", "right")


@dataclass(frozen=True)
class Waves:
    """Plane waves of random phase, one of four directions, dimmed on one side."""

    split: str
    samples: int
    side: int
    noise: float
    unreadable: tuple[int, ...] = ()

    @property
    def labels(self) -> Mapping[str, Labels]:
        """`direction` has four classes, `side` two; all eight combinations take turns."""
        index = np.arange(self.samples, dtype=np.int64)
        return {"direction": Labels(index % 4, DIRECTIONS), "side": Labels(index // 4 % 2, SIDES)}

    def __len__(self) -> int:
        """Number of samples."""
        return self.samples

    def read(self, index: int) -> np.ndarray:
        """(side, side) float32."""
        if index in self.unreadable:
            raise UnreadableSample(self.where(index), "made unreadable for a test")
        random = np.random.default_rng([self.split == "test", index])
        place = np.arange(self.side) / self.side
        angle = np.pi / 4 * (index % 4)
        along = np.cos(angle) * place[None, :] + np.sin(angle) * place[:, None]
        wave = np.cos(2 * np.pi * (2 * along + random.random()))
        right = place >= 0.5
        bright = np.where(right == (index // 4 % 2 == 1), 1.0, 0.3)[None, :]
        return (wave * bright + self.noise * random.standard_normal(wave.shape)).astype(np.float32)

    def where(self, index: int) -> str:
        """An identifier such as "toy:train/7"."""
        return f"toy:{self.split}/{index}"


@dataclass(frozen=True)
class Arrays:
    """Unlabelled .npy files of one folder, by name."""

    folder: str
    names: tuple[str, ...]

    @classmethod
    def under(cls, path: str) -> Arrays:
        """The files of the folder `path`."""
        names = tuple(sorted(file.name for file in Path(path).glob("*.npy")))
        if not names:
            raise UsageError(f"{path}: not a folder of .npy files")
        return cls(path, names)

    @property
    def labels(self) -> Mapping[str, Labels]:
        """None."""
        return {}

    def __len__(self) -> int:
        """Number of files."""
        return len(self.names)

    def read(self, index: int) -> np.ndarray:
        """The file's array."""
        try:
            return np.load(self.where(index))
        except (OSError, EOFError, ValueError) as error:
            raise UnreadableSample(self.where(index), str(error)) from error

    def where(self, index: int) -> str:
        """The file's path."""
        return str(Path(self.folder) / self.names[index])


@dataclass(frozen=True)
class ToyTransform:
    """Normalise, and mirror half of the samples or take several views."""

    mean: float
    std: float
    flip: bool
    views: int = 1

    def __call__(self, raw: np.ndarray, generator: Generator) -> Float[Tensor, "*views 1 side side"]:
        """From (side, side) to (1, side, side), or (views, 1, side, side) where there are several."""
        signal = (torch.from_numpy(raw)[None] - self.mean) / self.std
        if self.views > 1:
            return torch.stack([signal.roll(shift, dims=-1) for shift in range(self.views)])
        mirrored = self.flip and torch.rand((), generator=generator) < 0.5
        return signal.flip(-1) if mirrored else signal


class ToyTokenizer(nn.Module):
    """A linear projection of cells; only kept cells are projected."""

    def __init__(self, cells: int, cell: int, width: int) -> None:
        """`cells` per axis, each of `cell` x `cell` values."""
        super().__init__()
        self.cells, self.cell = cells, cell
        self.project = nn.Linear(cell * cell, width)

    def forward(
        self, signal: Float[Tensor, "batch 1 side side"], keep: Int[Tensor, "batch kept"] | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """Tokens of the kept cells, or of all, in row-major order."""
        blocks = signal.view(-1, self.cells, self.cell, self.cells, self.cell).transpose(2, 3)
        values = blocks.reshape(len(signal), self.cells**2, self.cell**2)
        return self.project(values if keep is None else take_tokens(values, keep))


class RowMasking:
    """Some rows are hidden, each of them a target block; the others are context."""

    def __init__(self, config: ToyRowsConfig, grid: TokenGrid) -> None:
        """`config.rows` must leave a row to see."""
        rows, columns = grid.shape
        if config.rows >= rows:
            raise ConfigError(
                f"masking.rows: {config.rows} rows hide the whole grid of {grid}. Allowed: 1 to {rows - 1}."
            )
        self.grid, self._rows = grid, config.rows
        self.budgets = (TokenBudget((rows - config.rows) * columns, config.rows, columns),)

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        """One view; rows are drawn without bias."""
        rows, columns = self.grid.shape
        order = torch.from_numpy(random.uniform(rows).argsort(1))
        cells = torch.arange(rows * columns).view(rows, columns)
        hidden, seen = order[:, : self._rows], order[:, self._rows :].sort(1).values
        return (MaskView(cells[seen].flatten(1), cells[hidden]),)


def grey(signal: Float[Tensor, "1 height width"], zoom: int = 4) -> np.ndarray:
    """(height * zoom, width * zoom, 3) uint8; -1 is black and 1 is white."""
    values = ((signal[0].clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()
    return np.kron(values, np.ones((zoom, zoom), np.uint8))[..., None].repeat(3, axis=-1)
