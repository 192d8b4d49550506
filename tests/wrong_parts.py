"""What the wrong modalities build; the half of them that needs torch."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from torch import Generator, Tensor, nn
from toy_parts import ToyTokenizer

from jepa_core.errors import UnreadableSample
from jepa_core.plugin import Labels, Source, Split, Transform


class ClassToken(ToyTokenizer):
    def forward(self, signal: Tensor, keep: Tensor | None = None) -> Tensor:
        tokens = super().forward(signal, keep)
        return torch.cat([tokens, tokens[:, :1]], dim=1)


class Sorting(ToyTokenizer):
    def forward(self, signal: Tensor, keep: Tensor | None = None) -> Tensor:
        return super().forward(signal, None if keep is None else keep.sort(1).values)


class Centring(ToyTokenizer):
    def forward(self, signal: Tensor, keep: Tensor | None = None) -> Tensor:
        return super().forward(signal - (signal.mean((1, 2, 3), keepdim=True) if self.training else 0), keep)


class BatchCentring(ToyTokenizer):
    def forward(self, signal: Tensor, keep: Tensor | None = None) -> Tensor:
        return super().forward(signal - (signal.mean(0, keepdim=True) if self.training else 0), keep)


class CentringColumns(ToyTokenizer):
    def forward(self, signal: Tensor, keep: Tensor | None = None) -> Tensor:
        return super().forward(signal - signal.mean(2, keepdim=True), keep)


class Shifting(ToyTokenizer):
    def forward(self, signal: Tensor, keep: Tensor | None = None) -> Tensor:
        return super().forward(signal + 0.5 * signal.roll(3 * self.cell, -1), keep)


class BatchNorm(ToyTokenizer):
    def __init__(self, cells: int, cell: int, width: int) -> None:
        super().__init__(cells, cell, width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, signal: Tensor, keep: Tensor | None = None) -> Tensor:
        return self.norm(super().forward(signal, keep).transpose(1, 2)).transpose(1, 2)


class WithList(ToyTokenizer):
    def __init__(self, cells: int, cell: int, width: int) -> None:
        super().__init__(cells, cell, width)
        self.scales = [torch.rand(width)]

    def forward(self, signal: Tensor, keep: Tensor | None = None) -> Tensor:
        return super().forward(signal, keep) * self.scales[0]


class WithUnused(ToyTokenizer):
    def __init__(self, cells: int, cell: int, width: int) -> None:
        super().__init__(cells, cell, width)
        self.unused = nn.Parameter(torch.ones(width))


class Sharing(ToyTokenizer):
    def __deepcopy__(self, memo: Any) -> Self:
        other = type(self)(self.cells, self.cell, self.project.out_features)
        for mine, theirs in zip(self.parameters(), other.parameters(), strict=True):
            theirs.data = mine.data
        return other


class Counting(ToyTokenizer):
    calls = 0

    def forward(self, signal: Tensor, keep: Tensor | None = None) -> Tensor:
        self.calls += self.training
        return super().forward(signal, keep) * (1 + 0.1 * self.calls)


class _Wrapped:
    def __init__(self, source: Source, split: Split = "pretrain") -> None:
        self.source, self.split = source, split

    @property
    def labels(self) -> Mapping[str, Labels]:
        return self.source.labels

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int) -> Any:
        return self.source.read(index)

    def where(self, index: int) -> str:
        return self.source.where(index)


class WithLock(_Wrapped):
    def __init__(self, source: Source, split: Split) -> None:
        super().__init__(source, split)
        self.lock = threading.Lock()


class Stale(_Wrapped):
    """Whoever asks for the sample before the last one gets the last one again."""

    last = 0

    def read(self, index: int) -> Any:
        self.last = self.last if index == self.last - 1 else index
        return super().read(self.last)


class Nameless(_Wrapped):
    @property
    def labels(self) -> Mapping[str, Labels]:
        return {heading: replace(each, names=each.names[:1]) for heading, each in super().labels.items()}


class Unlabelled(_Wrapped):
    @property
    def labels(self) -> Mapping[str, Labels]:
        return {}


class Unlocated(_Wrapped):
    def where(self, index: int) -> str:
        return "a wave"


class Grey(_Wrapped):
    def read(self, index: int) -> Any:
        try:
            return super().read(index)
        except UnreadableSample:
            return np.zeros((12, 12), np.float32)


class _Changed:
    def __init__(self, right: Transform) -> None:
        self.right = right


class Seeding(_Changed):
    def __call__(self, raw: Any, generator: Generator) -> Tensor:
        torch.manual_seed(0)
        return self.right(raw, generator)


class Unseeded(_Changed):
    def __call__(self, raw: Any, generator: Generator) -> Tensor:
        signal = self.right(raw, generator)
        return signal + torch.randn(signal.shape)


class Misspelt(_Changed):
    def __call__(self, raw: Any, generator: Generator) -> Tensor:
        return self.right(sygnal, generator)  # pyright: ignore[reportUndefinedVariable]  (the mistake)


class Double(_Changed):
    def __call__(self, raw: Any, generator: Generator) -> Tensor:
        return self.right(raw, generator).double()


class Noisy(_Changed):
    def __call__(self, raw: Any, generator: Generator) -> Tensor:
        signal = self.right(raw, generator)
        return signal + 1e-3 * torch.randn(signal.shape, generator=generator)
