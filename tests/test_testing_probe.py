from __future__ import annotations

from kit import outcomes, states
from probe_twins import Right, twin

from jepa_core.errors import DataError
from jepa_core.probes import Features, Score
from jepa_core.testing import BoundCheck, parametrize_with_checks

SHORT = ["probe.epochs=1", "probe.min_steps=30"]


@parametrize_with_checks("probe", "knn", "linear")
def test_probes_of_pooled_features_keep_every_promise(check: BoundCheck) -> None:
    check()


@parametrize_with_checks("probe", "attentive", overrides=SHORT)
def test_the_probe_of_tokens_keeps_every_promise(check: BoundCheck) -> None:
    check()


class TellsHowManyAreMissing(Right):
    def __call__(self, train: Features, test: Features, num_classes: int, seed: int) -> Score:
        if len(train.labels) < 2 * num_classes:
            raise DataError("two training samples of every class are needed")
        return super().__call__(train, test, num_classes, seed)


def test_too_few_samples_may_be_refused_in_words() -> None:
    assert states(outcomes(twin(TellsHowManyAreMissing))) == {"pass"}
