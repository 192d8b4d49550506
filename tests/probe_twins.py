"""Probes that each break one promise: `TWINS[check]` must fail that check of the kit and no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from jepa_core.config import Section
from jepa_core.plugin import ProbePlugin
from jepa_core.probes import Features, Score


class TwinConfig(Section):
    """The nearest mean of a class."""

    name: Literal["twin"] = "twin"
    """The registered name."""


class Right:
    """A probe without a fault, which the twins derive from: the class with the nearest mean of token means."""

    needs: ClassVar[str] = "tokens"

    def __init__(self, config: TwinConfig) -> None:
        self.calls = 0

    def __call__(self, train: Features, test: Features, num_classes: int, seed: int) -> Score:
        self.calls += 1
        x, labels = self.of(train), train.labels
        means = torch.stack([x[labels == number].mean(0) for number in range(num_classes)])
        answers = torch.cdist(self.of_test(test, x), means).argmin(1)
        return Score(self.compared(answers, test.labels), self.chosen())

    def of(self, features: Features) -> Tensor:
        return features.tokens_of(torch.arange(len(features.labels))).float().mean(1)

    def of_test(self, test: Features, train: Tensor) -> Tensor:
        return self.of(test)

    def compared(self, answers: Tensor, truth: Tensor) -> Tensor:
        return answers == truth

    def chosen(self) -> dict[str, Any]:
        return {"learning_rate": 0.1}


class NeedsWhatNobodyHas(Right):
    needs = "patches"


class AnswersWithLosses(Right):
    def compared(self, answers: Tensor, truth: Tensor) -> Tensor:
        return (answers != truth).float()


class AlwaysSaysTheSame(Right):
    def compared(self, answers: Tensor, truth: Tensor) -> Tensor:
        return truth == 0


class ReadsTheTruth(Right):
    def compared(self, answers: Tensor, truth: Tensor) -> Tensor:
        return torch.ones_like(truth, dtype=torch.bool)


class CentresTheTestSplit(Right):
    def of_test(self, test: Features, train: Tensor) -> Tensor:
        own = self.of(test)
        return own - own.mean(0) + train.mean(0)


class RemembersItsCalls(Right):
    def chosen(self) -> dict[str, Any]:
        return {"calls": self.calls}


class SeedsTorch(Right):
    def __call__(self, train: Features, test: Features, num_classes: int, seed: int) -> Score:
        torch.manual_seed(seed)
        return super().__call__(train, test, num_classes, seed)


class CentresInPlace(Right):
    def __call__(self, train: Features, test: Features, num_classes: int, seed: int) -> Score:
        train.pooled.sub_(train.pooled.mean(0))
        return super().__call__(train, test, num_classes, seed)


class ChoosesATensor(Right):
    def chosen(self) -> dict[str, Any]:
        return {"learning_rate": torch.tensor(0.1)}


class DividesByWhatIsLeft(Right):
    def of(self, features: Features) -> Tensor:
        return super().of(features) * (1 / (len(features.labels) // 6) > 0)


class TakesTokensByPosition(Right):
    def of(self, features: Features) -> Tensor:
        assert features.tokens is not None
        return features.tokens[: len(features.labels)].float().mean(1)


# What the message of the check must name, besides.
TWINS: dict[str, tuple[type[Right], str]] = {
    "needs_stated": (NeedsWhatNobodyHas, "expected one of pooled, tokens, found 'patches'"),
    "one_answer_per_sample": (AnswersWithLosses, "expected (30,), torch.bool, on cpu, found (30,), torch.float32"),
    "separable_classes_are_learned": (AlwaysSaysTheSame, "at least 90% with 3 classes, found 33%"),
    "test_labels_stay_hidden": (ReadsTheTruth, "expected no sample to be right under two labels, found 30 of 30"),
    "test_samples_do_not_mix": (CentresTheTestSplit, "others for these alone, which are of one class"),
    "same_seed_same_answers": (RemembersItsCalls, "the choices {'calls': 1} and {'calls':"),
    "global_randomness_left_alone": (SeedsTorch, "that of torch moved"),
    "features_left_alone": (CentresInPlace, "found changes in pooled of train"),
    "choices_are_plain": (ChoosesATensor, "found 'learning_rate': tensor(0.1000)"),
    "few_samples_are_told": (DividesByWhatIsLeft, "found ZeroDivisionError"),
    "rows_are_followed": (TakesTokensByPosition, "others where tokens of samples without a label lie between"),
}

# Of a twin's other checks, those that cannot say anything because of its mistake; all others pass.
SILENCED: dict[str, set[str]] = {
    "needs_stated": {"rows_are_followed"},
    "one_answer_per_sample": {
        *("separable_classes_are_learned", "test_labels_stay_hidden", "test_samples_do_not_mix"),
        *("same_seed_same_answers", "rows_are_followed"),
    },
}


def twin(factory: Callable[..., Any]) -> ProbePlugin:
    return ProbePlugin("twin", TwinConfig, factory, "breaks one promise")
