from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from jepa_core.builtin import LinearProbeConfig
from jepa_core.errors import DataError
from jepa_core.probes import Features
from jepa_core.probes.linear import Heads, LinearProbe
from jepa_core.probes.selection import Grid, stratified

QUICK = LinearProbeConfig(learning_rates=(0.1,), weight_decays=(1e-4, 1e-1), steps=100, batch_size=256)


def task(
    samples: int, classes: int = 4, dim: int = 16, spread: float = 1.5, spectrum: float = 1.0, seed: int = 0
) -> Features:
    """Gaussian classes; feature variances fall from 1 to `spectrum` and are mixed by a rotation."""
    means = torch.randn(classes, dim, generator=torch.Generator().manual_seed(1))
    rotation = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(2)))[0]
    scale = torch.logspace(0, np.log10(spectrum) / 2, dim)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % classes
    pooled = means[labels] + spread * torch.randn(samples, dim, generator=generator)
    return Features(pooled * scale @ rotation, labels)


def accuracy(correct: Tensor) -> float:
    return correct.float().mean().item()


def reference(train: Features, test: Features, inverse_decay: float) -> float:
    """scikit-learn's, in fp64 and by Newton's method, on the same standardised features."""
    mean, std = train.pooled.double().mean(0), train.pooled.double().std(0)
    model = LogisticRegression(C=inverse_decay / len(train.labels), solver="newton-cholesky", tol=1e-6)
    model.fit(((train.pooled - mean) / std).numpy(), train.labels.numpy())
    return model.score(((test.pooled - mean) / std).numpy(), test.labels.numpy())


@pytest.mark.parametrize("spectrum", [1.0, 1e-6], ids=["round", "elongated"])
@pytest.mark.parametrize("weight_decay", [1e-5, 1e-2])
def test_a_head_reaches_the_optimum_of_logistic_regression(spectrum: float, weight_decay: float) -> None:
    train, test = task(1000, spectrum=spectrum), task(2000, spectrum=spectrum, seed=1)
    probe = LinearProbe(LinearProbeConfig(learning_rates=(0.1,), weight_decays=(weight_decay,), steps=300))
    ours = accuracy(probe(train, test, 4, seed=0).correct)
    assert ours == pytest.approx(reference(train, test, 1 / weight_decay), abs=0.015)


def test_the_chosen_head_is_as_good_as_the_best_logistic_regression() -> None:
    train, test = task(500, classes=10, dim=64, spread=2.5, spectrum=1e-4), task(2000, 10, 64, 2.5, 1e-4, seed=1)
    ours = accuracy(LinearProbe(LinearProbeConfig())(train, test, 10, seed=0).correct)
    assert ours > max(reference(train, test, 1 / decay) for decay in (1e-4, 1e-3, 1e-2, 1e-1)) - 0.015


def test_many_classes_of_few_samples_are_told_apart() -> None:
    train, test = task(2000, classes=400, dim=64, spread=0.4), task(800, classes=400, dim=64, spread=0.4, seed=1)
    assert accuracy(LinearProbe(QUICK)(train, test, 400, seed=0).correct) > 0.9


def test_permuted_labels_leave_chance() -> None:
    train, test = task(2000), task(2000, seed=1)
    shuffled = Features(train.pooled, train.labels[torch.randperm(2000, generator=torch.Generator().manual_seed(0))])
    assert accuracy(LinearProbe(QUICK)(train, test, 4, seed=0).correct) > 0.9
    assert accuracy(LinearProbe(QUICK)(shuffled, test, 4, seed=0).correct) < 0.32


def test_the_test_split_has_no_part_in_the_choice_nor_in_other_samples_answers() -> None:
    train, test = task(300), task(200, seed=1)
    changed = Features(torch.cat([test.pooled[:100], 1e3 * torch.randn(100, 16)]), test.labels)
    before, after = LinearProbe(QUICK)(train, test, 4, seed=0), LinearProbe(QUICK)(train, changed, 4, seed=0)
    assert before.chosen == after.chosen
    assert torch.equal(before.correct[:100], after.correct[:100])


def test_the_same_seed_gives_the_same_answer_and_another_one_another_split() -> None:
    train, test = task(300, spread=4.0), task(500, spread=4.0, seed=1)
    first, second = (LinearProbe(QUICK)(train, test, 4, seed=0) for _ in range(2))
    assert first.chosen == second.chosen
    assert torch.equal(first.correct, second.correct)
    assert not torch.equal(stratified(train.labels, 0.2, 0), stratified(train.labels, 0.2, 1))


def test_the_grid_decides_and_the_choice_is_told() -> None:
    train, test = task(200, dim=150, spread=6.0), task(2000, dim=150, spread=6.0, seed=1)
    score = LinearProbe(LinearProbeConfig(weight_decays=(1e-7, 1.0), learning_rates=(0.1,)))(train, test, 4, seed=0)
    assert score.chosen["weight_decay"] == 1.0
    assert 0 < score.chosen["validation_accuracy"] <= 1


class Watched(LinearProbe):
    """Notes how many samples each fit sees, and how many heads it trains."""

    def __init__(self, config: LinearProbeConfig) -> None:
        super().__init__(config)
        self.fits: list[tuple[int, int]] = []

    def fit(self, features: Tensor, labels: Tensor, num_classes: int, grid: Grid, seed: int) -> Heads:
        self.fits.append((len(features), len(grid)))
        return super().fit(features, labels, num_classes, grid, seed)


def test_all_heads_are_trained_in_one_pass_and_the_chosen_one_again_on_all_samples() -> None:
    probe = Watched(QUICK)
    probe(task(100), task(100, seed=1), 4, seed=0)
    assert probe.fits == [(80, 2), (100, 1)]


def test_scale_and_offset_of_a_feature_do_not_matter() -> None:
    train, test = task(300), task(300, seed=1)
    scale, offset = torch.logspace(-3, 3, 16), torch.arange(16.0)
    moved = [Features(each.pooled * scale + offset, each.labels) for each in (train, test)]
    plain, other = LinearProbe(QUICK)(train, test, 4, seed=0), LinearProbe(QUICK)(moved[0], moved[1], 4, seed=0)
    assert (plain.correct == other.correct).float().mean() > 0.99


def test_a_constant_feature_is_harmless() -> None:
    train, test = task(300), task(300, seed=1)
    wider = [Features(torch.cat([f.pooled, torch.full((300, 2), 7.0)], 1), f.labels) for f in (train, test)]
    assert accuracy(LinearProbe(QUICK)(wider[0], wider[1], 4, seed=0).correct) > 0.85


def test_features_that_are_all_the_same_give_chance_and_not_an_error() -> None:
    train, test = Features(torch.ones(40, 8), torch.arange(40) % 4), Features(torch.ones(20, 8), torch.arange(20) % 4)
    assert accuracy(LinearProbe(QUICK)(train, test, 4, seed=0).correct) == 0.25


def test_one_sample_per_class_is_an_error_that_says_what_is_needed() -> None:
    few = Features(torch.randn(4, 3), torch.arange(4))
    with pytest.raises(DataError, match=r"no class has two of the 4 training samples.*--probe knn"):
        LinearProbe(QUICK)(few, few, 4, seed=0)
