"""A made-up modality for tests of the core: waves on a 2-D grid, drawn from the sample's index, without files.

`with toy_registered():` (or the fixture `toy` of conftest.py) registers it; `toy_config(...)` reads a small run.
Importing this module imports no torch, as the plugin interface asks.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from jepa_core.config import RunConfig, Section
from jepa_core.plugin import Masking, Modality, Source, Split, Transform
from jepa_core.types import TokenGrid

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


class ToyConfig(Section):
    """Waves: their direction and their brighter side are the two labels."""

    name: Literal["toy"] = "toy"
    """The registered name."""
    cells: int = Field(default=6, ge=2, le=32)
    """Cells per axis of the token grid."""
    cell: int = Field(default=2, ge=1, le=8)
    """Values per axis of one cell."""
    train_samples: int = Field(default=64, ge=0)
    """Samples to learn from, also those of the probes."""
    test_samples: int = Field(default=32, ge=0)
    """Samples that probes are scored on."""
    noise: float = Field(default=0.1, ge=0)
    """Standard deviation of the noise on waves of amplitude 1."""
    mean: float = 0.0
    """Subtracted from every value."""
    std: float = Field(default=1.0, gt=0)
    """Every value is divided by this."""
    flip: bool = True
    """Mirror half of the training samples left to right."""
    unreadable: tuple[int, ...] = ()
    """Training samples that cannot be read."""
    views: int = Field(default=1, ge=1)
    """Views of every sample that evaluation takes, each shifted by one more value to the right."""


class ToyRowsConfig(Section):
    """Whole rows of the grid are hidden."""

    name: Literal["toy_rows"] = "toy_rows"
    """The registered name."""
    rows: int = Field(default=2, ge=1)
    """Rows that are hidden, each one target block; fewer than the grid has."""


class Toy(Modality):
    """Waves of four directions, brighter on one of two sides."""

    name: ClassVar[str] = "toy"
    summary: ClassVar[str] = "waves on a 2-D grid, for tests"
    Config: ClassVar[type[Section]] = ToyConfig
    defaults: ClassVar[Mapping[str, Any]] = {
        "masking": {"name": "random", "ratio": 0.5},
        "encoder": {"name": "vit", "size": None, "width": 32, "depth": 2, "heads": 2},
        "predictor": {"width": 16, "depth": 1},
        "train": {"steps": 8, "batch_size": 16, "precision": "fp32", "workers": 0, "log_every": 1},
        "checkpoint": {"every": 4},
        "collapse": {"every": 4},
        "probes": [{"name": "linear", "steps": 50, "batch_size": 32}, {"name": "knn", "k": 5}],
    }
    unnormalised: ClassVar[Mapping[str, Any]] = {"mean": 0.0, "std": 1.0}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "wide": {"encoder": {"width": 64, "heads": 4}},
        "rows": {"masking": {"name": "toy_rows", "rows": 3}, "objective": {"name": "l1"}},
    }

    def grid(self, config: ToyConfig) -> TokenGrid:
        """`cells` x `cells`."""
        return TokenGrid((config.cells, config.cells), ("rows", "columns"))

    def signal_shape(self, config: ToyConfig) -> tuple[int, ...]:
        """(1, 12, 12) by default."""
        side = config.cells * config.cell
        return (1, side, side)

    def source(self, config: ToyConfig, split: Split) -> Source:
        """64 training samples (the same for pretraining and for probes) and 32 test samples."""
        from toy_parts import Waves

        test = split == "probe_test"
        return Waves(
            split="test" if test else "train",
            samples=config.test_samples if test else config.train_samples,
            side=config.cells * config.cell,
            noise=config.noise,
            unreadable=() if test else config.unreadable,
        )

    def open(self, config: ToyConfig, path: str) -> Source:
        """A folder of .npy files, each of shape (side, side)."""
        from toy_parts import Arrays

        return Arrays.under(path)

    def transform(self, config: ToyConfig, train: bool) -> Transform:
        """Normalisation, and in training a flip."""
        from toy_parts import ToyTransform

        return ToyTransform(config.mean, config.std, flip=train and config.flip, views=1 if train else config.views)

    def views(self, config: ToyConfig) -> int:
        """As the configuration says."""
        return config.views

    def tokenizer(self, config: ToyConfig, width: int) -> nn.Module:
        """One linear projection of every kept cell."""
        from toy_parts import ToyTokenizer

        return ToyTokenizer(config.cells, config.cell, width)

    def picture(self, config: ToyConfig, signal: Tensor) -> np.ndarray:
        """Grey values, every value 4 x 4."""
        from toy_parts import grey

        return grey(signal * config.std + config.mean)

    def demo(self) -> str | None:
        """The defaults as they are."""
        return "modality: {name: toy}\n"


TOY = Toy()
TOY_ROWS = Masking("toy_rows", ToyRowsConfig, "toy_parts:RowMasking", "hidden rows, for tests", needs_axes=("rows",))


@contextmanager
def toy_registered() -> Generator[Toy]:
    """The names `toy` (modality) and `toy_rows` (masking) exist inside the block."""
    from jepa_core.registry import maskings, modalities

    with modalities.temporarily(TOY), maskings.temporarily(TOY_ROWS):
        yield TOY


def toy_config(*overrides: str) -> RunConfig:
    """A run on the toy modality: `toy_config("train.steps=4", "modality.unreadable=[3]")`; call it while registered."""
    from jepa_core.recipes import read_config

    return read_config(text="modality: {name: toy}", overrides=overrides)
