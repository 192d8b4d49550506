from __future__ import annotations

import pytest
import torch
from torch import Tensor

from jepa_core.builtin import AttentiveProbeConfig, LinearProbeConfig
from jepa_core.errors import DataError
from jepa_core.nn.attentive import AttentiveClassifier
from jepa_core.probes import Features
from jepa_core.probes.attentive import AttentiveProbe
from jepa_core.probes.linear import LinearProbe
from jepa_core.probes.selection import Grid

WIDTH = 16
QUICK = AttentiveProbeConfig(
    learning_rates=(3e-3, 1e-5), weight_decays=(0.01,), epochs=1, min_steps=150, batch_size=32, heads=4
)


def task(samples: int, seed: int = 0) -> Features:
    """One token of six is marked, and the class is whether two of its channels have the same sign.

    Another token has the opposite values in these two, so that the mean over tokens says nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    tokens = 0.1 * torch.randn(samples, 6, WIDTH, generator=generator)
    signs = torch.randint(0, 2, (samples, 2), generator=generator) * 2.0 - 1
    places = torch.rand(samples, 6, generator=generator).argsort(1)[:, :2]
    every = torch.arange(samples)
    tokens[every, places[:, 0], :2] += signs
    tokens[every, places[:, 1], :2] -= signs
    tokens[every, places[:, 0], 2] += 2
    return features(tokens, (signs.prod(1) > 0).long())


def features(tokens: Tensor, labels: Tensor) -> Features:
    return Features(tokens.mean(1), labels, tokens.half())


def accuracy(correct: Tensor) -> float:
    return correct.float().mean().item()


def test_it_reads_what_the_mean_over_tokens_does_not_hold() -> None:
    train, test = task(400), task(300, seed=1)
    assert accuracy(AttentiveProbe(QUICK)(train, test, 2, seed=0).correct) > 0.95
    linear = LinearProbe(LinearProbeConfig(learning_rates=(0.1,), weight_decays=(1e-4,), steps=50))
    assert accuracy(linear(train, test, 2, seed=0).correct) < 0.6


def test_permuted_labels_leave_chance() -> None:
    train, test = task(400), task(600, seed=1)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    shuffled = Features(train.pooled, train.labels[order], train.tokens)
    assert abs(accuracy(AttentiveProbe(QUICK)(shuffled, test, 2, seed=0).correct) - 0.5) < 0.1


def test_rows_say_which_tokens_are_a_samples() -> None:
    train, test = task(100), task(50, seed=1)
    assert train.tokens is not None
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    held = Features(train.pooled, train.labels, train.tokens[order], order.argsort())
    direct, through = (AttentiveProbe(QUICK)(known, test, 2, seed=0) for known in (train, held))
    assert torch.equal(direct.correct, through.correct)
    assert direct.chosen == through.chosen


def test_the_grid_decides_and_the_choice_is_told() -> None:
    score = AttentiveProbe(QUICK)(task(400), task(50, seed=1), 2, seed=0)
    assert (score.chosen["learning_rate"], score.chosen["weight_decay"]) == (3e-3, 0.01)
    assert 0.9 < score.chosen["validation_accuracy"] <= 1


def test_the_test_split_has_no_part_in_the_choice_nor_in_other_samples_answers() -> None:
    train, test = task(200), task(40, seed=1)
    assert test.tokens is not None
    changed = features(torch.cat([test.tokens[:20], 9 * torch.randn(20, 6, WIDTH)]).float(), 1 - test.labels)
    probe = AttentiveProbe(QUICK)
    before, after = probe(train, test, 2, seed=0), probe(train, changed, 2, seed=0)
    assert before.chosen == after.chosen
    assert torch.equal(before.correct[:20], ~after.correct[:20])


def test_the_same_seed_gives_the_same_answer_and_the_global_generator_is_left_alone() -> None:
    train, test = task(100), task(300, seed=1)
    probe = AttentiveProbe(QUICK.model_copy(update={"min_steps": 20}))
    state = torch.random.get_rng_state()
    first, second, other = (probe(train, test, 2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.chosen == second.chosen
    assert torch.equal(first.correct, second.correct)
    assert not torch.equal(first.correct, other.correct)


class Watched(AttentiveProbe):
    """Notes what every fit sees, and does not train."""

    def __init__(self, config: AttentiveProbeConfig) -> None:
        super().__init__(config)
        self.fits: list[tuple[set[int], Grid]] = []

    def fit(
        self, features: Features, rows: Tensor, num_classes: int, grid: Grid, seed: int
    ) -> list[AttentiveClassifier]:
        self.fits.append((set(rows.tolist()), grid))
        return super().fit(features, rows, num_classes, grid, seed)


def test_all_heads_are_trained_in_one_pass_and_the_chosen_one_again_on_all_samples() -> None:
    probe = Watched(QUICK.model_copy(update={"min_steps": 1}))
    probe(task(100), task(20, seed=1), 2, seed=0)
    (part, grid), (everything, chosen) = probe.fits
    assert len(part) == 80
    assert grid == [(3e-3, 0.01), (1e-5, 0.01)]
    assert everything == set(range(100))
    assert len(chosen) == 1


def steps_of(config: AttentiveProbeConfig, samples: int, monkeypatch: pytest.MonkeyPatch) -> int:
    steps = list[None]()
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: steps.append(None))
    AttentiveProbe(config).fit(task(samples), torch.arange(samples), 2, [(1e-3, 0.0)], seed=0)
    return len(steps)


def test_its_length_is_counted_in_passes_and_for_few_samples_in_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    config = AttentiveProbeConfig(epochs=3, min_steps=10, batch_size=8)
    assert steps_of(config, 80, monkeypatch) == 30
    assert steps_of(config, 16, monkeypatch) == 10
    assert steps_of(config, 3, monkeypatch) == 10


def test_a_head_has_its_learning_rate_on_a_cosine_and_its_weight_decay(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, slopes = list[list[tuple[float, float]]](), list[float]()

    def note(optimizer: torch.optim.Optimizer) -> None:
        seen.append([(group["lr"], group["weight_decay"]) for group in optimizer.param_groups])
        slopes.append(optimizer.param_groups[0]["params"][0].grad.norm().item())

    monkeypatch.setattr(torch.optim.AdamW, "step", note)
    probe = AttentiveProbe(AttentiveProbeConfig(epochs=1, min_steps=4, batch_size=8))
    probe.fit(task(8), torch.arange(8), 2, [(1e-3, 0.1), (1e-2, 0.5)], seed=0)
    rates = [1.0, 0.853553, 0.5, 0.146447]
    for number, (rate, decay) in enumerate([(1e-3, 0.1), (1e-2, 0.5)]):
        assert [step[number][0] for step in seen] == pytest.approx([rate * share for share in rates], rel=1e-4)
        assert {step[number][1] for step in seen} == {decay}
    assert slopes == pytest.approx([slopes[0]] * 4, rel=1e-4)  # nothing is left of the batch before


def test_heads_train_as_if_each_were_alone() -> None:
    train, rows = task(64), torch.arange(64)
    probe = AttentiveProbe(QUICK.model_copy(update={"min_steps": 5}))
    together = probe.fit(train, rows, 2, [(1e-3, 0.0), (1e-2, 0.5)], seed=0)
    alone = [probe.fit(train, rows, 2, [setting], seed=0)[0] for setting in [(1e-3, 0.0), (1e-2, 0.5)]]
    for one, other in zip(together, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not torch.equal(together[0].query, together[1].query)


@pytest.mark.parametrize(("most", "width", "heads"), [(16, 64, 16), (16, 30, 15), (16, 12, 12), (4, 9, 3), (16, 23, 1)])
def test_attention_heads_divide_the_width_whatever_it_is(most: int, width: int, heads: int) -> None:
    given = features(torch.randn(8, 3, width), torch.arange(8) % 2)
    probe = AttentiveProbe(AttentiveProbeConfig(heads=most, epochs=1, min_steps=1))
    (head,) = probe.fit(given, torch.arange(8), 2, [(1e-3, 0.0)], seed=0)
    assert head.heads == heads


def test_more_blocks_attend_among_the_tokens_first() -> None:
    probe = AttentiveProbe(QUICK.model_copy(update={"blocks": 3, "min_steps": 2}))
    (head,) = probe.fit(task(32), torch.arange(32), 2, [(1e-3, 0.0)], seed=0)
    assert len(head.blocks) == 2
    assert probe(task(32), task(8, seed=1), 2, seed=0).correct.shape == (8,)


def test_one_sample_per_class_is_an_error_that_says_what_is_needed() -> None:
    few = features(torch.randn(4, 3, 8), torch.arange(4))
    with pytest.raises(DataError, match=r"no class has two of the 4 training samples.*--probe knn"):
        AttentiveProbe(QUICK)(few, few, 4, seed=0)
