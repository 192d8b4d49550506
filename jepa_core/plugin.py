"""What a plugin is: small objects that name, describe and build; importing one must not import torch.

A modality subclasses `Modality`. A masking strategy, objective, encoder or probe is one instance of the class of that
name below, whose `factory` ("package.module:attribute") is imported when it is first built.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from jepa_core.config.base import Section
from jepa_core.errors import ConfigError, PluginIncompatible
from jepa_core.supply import imports_of_strangers
from jepa_core.types import Finding, Player, Portion, TokenBudget, TokenGrid

if TYPE_CHECKING:
    import numpy as np
    from torch import Generator, Tensor, nn

    from jepa_core.interop import Converter
    from jepa_core.masking import MaskView, SampleRandom
    from jepa_core.objectives import Objective
    from jepa_core.probes import Probe

API_VERSION = 1
"""The plugin interface of this core; it accepts this number, and the one before with a warning."""

Split = Literal["pretrain", "probe_train", "probe_test"]


def _resolved(target: str | Callable[..., Any]) -> Callable[..., Any]:
    """What "package.module:attribute" refers to, or the callable itself; raises PluginLoadError."""
    if callable(target):
        return target
    module, _, attribute = target.partition(":")
    with imports_of_strangers(target, f"Mend or reinstall the package that holds {module}."):
        return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True)
class Labels:
    """The labels of a source under one heading."""

    ids: np.ndarray
    """(samples,) int64, positions in `names`; -1 for a sample without a label."""
    names: tuple[str, ...]
    """Class names in the order of the ids."""

    def name_of(self, index: int) -> str:
        """The class of a sample, in words; empty for one without a label."""
        number = int(self.ids[index])
        return self.names[number] if number >= 0 else ""


class Source(Protocol):
    """Where raw samples come from: cheap to pickle, opens files only in `read` (so in the worker)."""

    @property
    def labels(self) -> Mapping[str, Labels]:
        """Label sets by heading ("label" where there is one); empty for unlabelled data."""
        ...

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def read(self, index: int) -> Any:
        """The raw sample; raises UnreadableSample."""
        ...

    def where(self, index: int) -> str:
        """Path or identifier of the sample, for messages and manifests."""
        ...


@runtime_checkable
class Mixture(Protocol):
    """What a source of several data sets states besides; one without it is a single data set."""

    @property
    def portions(self) -> Sequence[Portion]:
        """The data sets in the order of their samples."""
        ...


class Transform(Protocol):
    """From a raw sample to a signal."""

    def __call__(self, raw: Any, generator: Generator) -> Tensor:
        """A float32 signal of `Modality.signal_shape`, or a stack of `Modality.views`.

        Every random draw comes from `generator`.

        Raises UnreadableSample where `raw` is only a handle and is decoded here.
        """
        ...


@runtime_checkable
class MaskingStrategy(Protocol):
    """From per-sample randomness to mask views."""

    grid: TokenGrid
    budgets: tuple[TokenBudget, ...]
    """One per mask view; the same throughout a run, whatever `random.progress` says."""

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        """One view per budget for every sample of the batch.

        What is drawn may depend on `random.progress`, the share of training that is done.
        """
        ...


@dataclass(frozen=True)
class WeightFormat:
    """A layout in which other programs keep weights."""

    name: str
    """What `jepa export --to` and `jepa import --format` call it."""
    summary: str
    """One line for listings."""
    implementation: str | Callable[[], Converter]
    """A class that is a `jepa_core.interop.Converter`: "package.module:attribute", imported at first use, or itself."""

    def load(self) -> Callable[[], Converter]:
        """The class itself, imported."""
        return _resolved(self.implementation)


class Modality(ABC):
    """A kind of signal: its data, its token grid and its tokenizer. Methods import what they need."""

    name: ClassVar[str]
    """The registered name."""
    summary: ClassVar[str]
    """One line for listings."""
    api_version: ClassVar[int] = API_VERSION
    """The plugin interface that it was written for."""
    Config: ClassVar[type[Section]]
    """Its section of the configuration."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Values of other sections that suit the modality; the user's file wins."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Named sets of values over `defaults`, chosen by the top-level key `preset`."""
    unnormalised: ClassVar[Mapping[str, Any]] = {}
    """Values of its section's `mean` and `std` under which signals are not normalised, so that `jepa stats` can measure
    them: numbers where the section holds one for all, sequences where it holds one per channel (axis 0 of a signal).
    Fields that scale besides belong here too, such as a factor on `std`. Where the section allows null, nothing is
    trained before `mean` and `std` are stated (`require_statistics`)."""
    upward: ClassVar[Sequence[str]] = ()
    """Axes of the grid that a report draws upwards, the first cell at the bottom, where others run downwards."""
    formats: ClassVar[Sequence[WeightFormat]] = ()
    """Layouts of other programs that `jepa import` and `jepa export` translate."""

    @abstractmethod
    def grid(self, config: Any) -> TokenGrid:
        """The token grid; no torch, so that plans and checks are instant."""

    @abstractmethod
    def signal_shape(self, config: Any) -> tuple[int, ...]:
        """Shape of one signal without the batch axis, for example (C, H, W)."""

    @abstractmethod
    def source(self, config: Any, split: Split) -> Source:
        """The samples of a split; raises DataError or UsageError where there are none."""

    @abstractmethod
    def open(self, config: Any, path: str) -> Source:
        """The samples of a folder, file or manifest given on the command line (`jepa embed`)."""

    def suffixes(self) -> Sequence[str]:
        """Endings of the files that `open` finds in a folder, such as ".npy": `jepa plugins check` damages some."""
        return ()

    @abstractmethod
    def transform(self, config: Any, train: bool) -> Transform:
        """Augmentation for training, or the deterministic preprocessing of evaluation."""

    def views(self, config: Any) -> int:
        """How many views of every sample evaluation takes, such as clips of a long recording.

        With V > 1 the transform of evaluation returns (V, *signal_shape); that of training returns one signal always.
        Pooled features are the mean over the views, and a probe of tokens sees those of all.
        """
        return 1

    def require_statistics(self, config: Any) -> None:
        """Raise ConfigError, with the command that measures them, where the section leaves statistics null."""
        absent = [key for key in self.unnormalised if getattr(config, key) is None]
        if absent:
            named = " and ".join(f"modality.{key}" for key in absent)
            raise ConfigError(
                f"{named}: null, so signals cannot be normalised. `jepa stats CONFIG` measures mean and std on the "
                "pretraining data and prints the lines to put into the configuration."
            )

    @abstractmethod
    def tokenizer(self, config: Any, width: int) -> nn.Module:
        """Module: signal (B, ...), keep (B, n) or None -> tokens (B, n or N, width); projects only kept cells.

        A cell may be kept twice, in any order: of overlapping target blocks, each has its own (`target.input`).
        """

    def baseline(self, config: Any, signal: Tensor) -> Tensor:
        """(B, F) raw-input features that every evaluation shows beside the encoders: the flattened signal."""
        return signal.flatten(1)

    def controls(self, config: Any) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Ways to take away from signals (B, ...) what labels may be about, by name; none by default.

        Every evaluation shows the raw input of each: where a label can be told from it, the label is about less than
        it seems.
        """
        return {}

    @abstractmethod
    def picture(self, config: Any, signal: Tensor) -> np.ndarray:
        """What a report shows of one signal: (height, width, 3) uint8 with every cell of the grid on a regular lattice.

        The last axis runs to the right, the one before it downwards; slices of any axes before stand side by side.
        """

    def player(self, config: Any, raw: Any, max_bytes: int) -> Player | None:
        """What a report plays of a raw sample: the clip whose `picture` it shows; None by default.

        It holds at most `max_bytes`: what is longer is made smaller, coarser or shorter. Raises UnreadableSample.
        """
        return None

    def demo(self) -> str | None:
        """The YAML text of `jepa demo NAME`, or None where there is no built-in data."""
        return None

    def sample(self) -> str | None:
        """The YAML text of the smallest run on built-in data, for `jepa plugins check`; the demo's by default.

        The number of steps does not matter: a few are taken. Data that takes long to make, or a large encoder, does.
        """
        return self.demo()

    def doctor(self) -> Sequence[Finding]:
        """What `jepa doctor` says of this modality's own needs, such as decoders; raises nothing."""
        return ()


@dataclass(frozen=True)
class Plugin:
    """A registered name that builds one object."""

    name: str
    """The registered name."""
    Config: type[Section]
    """Its section of the configuration."""
    factory: str | Callable[..., Any]
    """What builds it: "package.module:attribute", imported at first use, or a callable."""
    summary: str = ""
    """One line for listings."""
    api_version: int = API_VERSION
    """The plugin interface that it was written for."""

    def load(self) -> Callable[..., Any]:
        """The factory itself, imported."""
        return _resolved(self.factory)


@dataclass(frozen=True)
class Masking(Plugin):
    """A masking strategy and the grids that it can serve."""

    num_axes: tuple[int, ...] | None = None
    """Numbers of axes that it serves; None for any."""
    needs_axes: Sequence[str] = ()
    """Names of axes that the grid must have."""

    def check_grid(self, grid: TokenGrid) -> None:
        """Raise PluginIncompatible where the strategy cannot serve the grid."""
        missing = [axis for axis in self.needs_axes if axis not in grid.axes]
        if missing:
            raise PluginIncompatible(
                f"masking.name: '{self.name}' needs the axis {missing[0]!r}, and the grid is {grid}. "
                "Choose another strategy: jepa plugins list"
            )
        if self.num_axes is not None and grid.num_axes not in self.num_axes:
            served = " or ".join(map(str, self.num_axes))
            raise PluginIncompatible(
                f"masking.name: '{self.name}' serves grids of {served} axes, and the grid is {grid}. "
                "Choose another strategy: jepa plugins list"
            )

    def build(self, config: Any, grid: TokenGrid) -> MaskingStrategy:
        """The strategy on a grid; raises ConfigError with the feasible range where the two cannot work together."""
        self.check_grid(grid)
        return self.load()(config, grid)


@dataclass(frozen=True)
class EncoderPlugin(Plugin):
    """A backbone: tokens with their grid positions in, tokens out."""

    def build(self, config: Any, grid: TokenGrid) -> nn.Module:
        """Module with `width` and `heads`: tokens (B, n, width), keep (B, n) or None -> normed (B, n, width).

        One that also has `depth` takes a third argument, `layers`, from 1 to `depth`: above 1 it returns the mean over
        the outputs of so many of its last layers, each layer-normed without affine (`target.layers`).
        """
        return self.load()(config, grid)


@dataclass(frozen=True)
class ObjectivePlugin(Plugin):
    """A distance between predicted and target tokens."""

    def build(self, config: Any) -> Objective:
        """See `jepa_core.objectives.Objective`."""
        return self.load()(config)


@dataclass(frozen=True)
class ProbePlugin(Plugin):
    """A frozen evaluation."""

    def build(self, config: Any) -> Probe:
        """See `jepa_core.probes.Probe`."""
        return self.load()(config)
