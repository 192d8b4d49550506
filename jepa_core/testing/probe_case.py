"""What the checks of probes are given: a probe and features of classes that are easy to tell apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from jepa_core.plugin import ProbePlugin
from jepa_core.probes import FeatureKind, Features, Probe, Score
from jepa_core.testing.attempts import generators_moved_by
from jepa_core.testing.checks import Case, NotApplicable

CLASSES = 3
_SEED, _TOKENS, _DIM = 7, 2, 8
_SPREAD = 0.3
"""Standard deviation of the features of a class around its place, of size 1."""


def features(seed: int, samples: int, needs: FeatureKind, which: slice = slice(None)) -> Features:
    """Some of so many samples: the classes take turns, each has its place, and tokens differ by noise alone."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % CLASSES
    noise = _SPREAD * torch.randn(samples, _TOKENS, _DIM, generator=generator)
    tokens = torch.eye(_DIM)[labels][:, None] + noise
    asked = None if needs == "pooled" else tokens[which].half()
    return Features(tokens.mean(1)[which], labels[which], asked)


@dataclass(frozen=True, kw_only=True)
class ProbeCase(Case):
    """A probe with its section's values, fitted on 60 samples and scored on 30; every fit takes its time."""

    plugin: ProbePlugin
    train_seed: ClassVar[int] = 0
    train_size: ClassVar[int] = 60
    test_seed: ClassVar[int] = 1
    test_size: ClassVar[int] = 30

    @cached_property
    def probe(self) -> Probe:
        """Built from the section."""
        return self.plugin.build(self.section)

    @property
    def _needs(self) -> FeatureKind:
        return getattr(self.probe, "needs", "tokens")

    @property
    def train(self) -> Features:
        """Of the training split, new whenever it is asked for."""
        return features(self.train_seed, self.train_size, self._needs)

    @property
    def test(self) -> Features:
        """Of the test split, likewise."""
        return features(self.test_seed, self.test_size, self._needs)

    def score(self, train: Features | None = None, test: Features | None = None) -> Score:
        """Fit and score, on the usual features where no others are given."""
        return self.probe(train or self.train, test or self.test, CLASSES, _SEED)

    @cached_property
    def _watched(self) -> tuple[Score, list[str], list[str]]:
        train, test = self.train, self.test
        scores: list[Score] = []
        moved = generators_moved_by(lambda: scores.append(self.score(train, test)))
        changed = [
            f"{name} of {split}"
            for split, now, then in (("train", train, self.train), ("test", test, self.test))
            for name in ("pooled", "labels", "tokens")
            if not _equal(getattr(now, name), getattr(then, name))
        ]
        return scores[0], moved, changed

    @property
    def first(self) -> Score:
        """Of the usual features, whatever it is."""
        return self._watched[0]

    @property
    def moved(self) -> list[str]:
        """The global generators that this fit moved."""
        return self._watched[1]

    @property
    def changed(self) -> list[str]:
        """The tensors that it changed."""
        return self._watched[2]

    @property
    def answers(self) -> Bool[Tensor, "test"]:
        """Which test samples it got right; raises NotApplicable where it says something else."""
        found = self.first.correct
        if found.shape != (self.test_size,) or found.dtype != torch.bool:
            raise NotApplicable("it gives no answer per sample: one_answer_per_sample says what it gives")
        return found


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other is None or (one is not None and other is not None and torch.equal(one, other))
