"""Checks of probes: classifiers of frozen features, on made-up features of three classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import cast, get_args

import torch

from jepa_core.errors import DataError
from jepa_core.probes import FeatureKind, Features
from jepa_core.testing.attempts import attempt
from jepa_core.testing.checks import CheckFailed, NotApplicable
from jepa_core.testing.probe_case import CLASSES, ProbeCase, features

_LEARNED = 0.9


def check_needs_stated(case: ProbeCase) -> None:
    """`needs` names a kind of features that the core computes.

    To mend: `needs: ClassVar[FeatureKind] = "pooled"`, or "tokens" where the probe looks at every token.
    """
    needs = getattr(case.probe, "needs", None)
    if needs not in get_args(FeatureKind):
        raise CheckFailed(f"expected one of {', '.join(get_args(FeatureKind))}, found {needs!r}")


def check_one_answer_per_sample(case: ProbeCase) -> None:
    """`Score.correct` is a bool per test sample, on the CPU.

    To mend: compare the chosen class with the label of every test sample, in their order, and move the result to the
    CPU; accuracies, intervals and paired differences follow from it.
    """
    found, count = case.first.correct, case.test_size
    if found.shape != (count,) or found.dtype != torch.bool or found.device.type != "cpu":
        shape = tuple(found.shape)
        raise CheckFailed(f"expected ({count},), torch.bool, on cpu, found {shape}, {found.dtype}, on {found.device}")


def check_separable_classes_are_learned(case: ProbeCase) -> None:
    """Classes that lie far apart are told apart.

    To mend: fit on `train.pooled` (or `train.tokens_of`) and `train.labels` until classes that a line separates are
    separated; look for a learning rate that does not suit features of size 1, and for a mix-up of samples and labels.
    """
    found = float(case.answers.float().mean())
    if found < _LEARNED:
        raise CheckFailed(f"expected an accuracy of at least {_LEARNED:.0%} with {CLASSES} classes, found {found:.0%}")


def check_test_labels_stay_hidden(case: ProbeCase) -> None:
    """What a probe answers does not depend on the labels of the test split.

    To mend: choose everything, the number of steps too, on a part of the training split, and use `test.labels` for
    nothing but the comparison; else accuracies are too high, by more the more is chosen.
    """
    answers = case.answers
    wrong = replace(case.test, labels=(case.test.labels + 1) % CLASSES)
    both = int((case.score(test=wrong).correct & answers).sum())
    if both:
        raise CheckFailed(f"expected no sample to be right under two labels, found {both} of {len(answers)}")


def check_test_samples_do_not_mix(case: ProbeCase) -> None:
    """What a probe answers for a sample does not depend on the other samples of the test split.

    To mend: standardise and choose by the training split alone.
    """
    expected = case.answers[::CLASSES]
    one_class = features(case.test_seed, case.test_size, case.probe.needs, slice(0, None, CLASSES))
    found = case.score(test=one_class).correct
    if not torch.equal(found, expected):
        raise CheckFailed(
            f"expected the answers that {len(expected)} samples get among {len(case.answers)}, found "
            f"{int((found != expected).sum())} others for these alone, which are of one class"
        )


def check_same_seed_same_answers(case: ProbeCase) -> None:
    """The same features, labels and seed give the same answers and choices.

    To mend: draw from `torch.Generator().manual_seed(...)` of the seed that the probe is given, keep no state between
    calls, and put the global generator back where a module's weights come from it (`torch.random.fork_rng`).
    """
    answers, first, second = case.answers, case.first, case.score()
    if not torch.equal(answers, second.correct) or first.chosen != second.chosen:
        other = int((answers != second.correct).sum())
        raise CheckFailed(
            f"expected equal scores, found {other} other answers and the choices {first.chosen} and {second.chosen}"
        )


def check_global_randomness_left_alone(case: ProbeCase) -> None:
    """The global generators of torch and NumPy are as before.

    To mend: draw from a generator of your own, or wrap what draws from torch's in `torch.random.fork_rng()`: other
    probes, and what follows an evaluation, draw from them too.
    """
    if case.moved:
        raise CheckFailed(f"expected untouched generators, found that of {' and '.join(case.moved)} moved")


def check_features_left_alone(case: ProbeCase) -> None:
    """Features and labels are not changed.

    To mend: use no operation that works in place (`sub_`, `div_`): the next probe gets the same tensors.
    """
    changed = case.changed
    if changed:
        raise CheckFailed(f"expected unchanged features, found changes in {', '.join(changed)}")


def check_choices_are_plain(case: ProbeCase) -> None:
    """`Score.chosen` holds finite numbers by name, as JSON has them.

    To mend: turn tensors into numbers with `.item()`, and leave out what is no number.
    """
    chosen = cast("Mapping[object, object]", case.first.chosen)  # what its annotation promises is what is checked
    for name, value in chosen.items():
        plain = isinstance(value, int | float) and not isinstance(attempt(lambda v=value: _dumped(v)), Exception)
        if not isinstance(name, str) or not plain:
            raise CheckFailed(f"expected finite numbers, found {name!r}: {value!r}")


def check_few_samples_are_told(case: ProbeCase) -> None:
    """One training sample per class is enough, or a DataError says what is missing.

    To mend: raise `jepa_core.errors.DataError` with the number that is needed where a split of the training samples
    leaves a part empty.
    """
    few = features(case.train_seed, case.train_size, case.probe.needs, slice(0, CLASSES))
    error = attempt(lambda: case.score(train=few))
    if isinstance(error, Exception) and not isinstance(error, DataError):
        raise CheckFailed(f"expected a score or a DataError, found {type(error).__name__}: {error}") from error


def check_rows_are_followed(case: ProbeCase) -> None:
    """Where some samples have no label, the tokens of those that have one are taken.

    To mend: take tokens by `features.tokens_of(samples)`, never from `features.tokens` by position: it may hold
    samples that have no label (`Features.rows`).
    """
    if case.probe.needs != "tokens":
        raise NotApplicable("it needs no tokens")
    found, expected = case.score(train=_scattered(case.train), test=_scattered(case.test)), case.answers
    if not torch.equal(found.correct, expected):
        raise CheckFailed(
            f"expected the same answers for the same samples, found {int((found.correct != expected).sum())} of "
            f"{len(expected)} others where tokens of samples without a label lie between them"
        )


def _scattered(whole: Features) -> Features:
    """The same samples, whose tokens lie in another order among those of as many samples without a label."""
    assert whole.tokens is not None
    count = len(whole.labels)
    rows = torch.randperm(2 * count, generator=torch.Generator().manual_seed(0))[:count]
    tokens = torch.full((2 * count, *whole.tokens.shape[1:]), 9.0, dtype=whole.tokens.dtype)
    tokens[rows] = whole.tokens
    return replace(whole, tokens=tokens, rows=rows)


def _dumped(value: object) -> str:
    return json.dumps(value, allow_nan=False)
