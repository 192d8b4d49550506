"""The toy modality with every optional part, which keeps all promises of the kit; `wrong_modalities` breaks them.

Importing this module imports no torch, as the plugin interface asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from toy import Toy, ToyConfig

from jepa_core.plugin import WeightFormat
from jepa_core.types import Player

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST = """
modality: {name: toy}
encoder: {depth: 1, width: 16}
"""


class CompleteToy(Toy):
    """Waves with a player, a control, a layout of weights, and files."""

    formats: ClassVar[Sequence[WeightFormat]] = (WeightFormat("toy", "for tests", "toy_parts:ToyTokenizer"),)

    def suffixes(self) -> Sequence[str]:
        return (".npy",)

    def controls(self, config: ToyConfig) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {"upside down": lambda signal: signal.flip(-2)}

    def player(self, config: ToyConfig, raw: Any, max_bytes: int) -> Player | None:
        return Player("audio/wav", raw.tobytes()[:max_bytes])

    def sample(self) -> str | None:
        return SMALLEST


class WithoutData(CompleteToy):
    """Only what it makes of signals can be tried, unless a configuration names data."""

    def demo(self) -> None:
        return None

    def sample(self) -> None:
        return None
