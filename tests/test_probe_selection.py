from __future__ import annotations

import pytest
import torch

from jepa_core.probes.selection import choose, cosine, random_batches, stratified

TRUTH = torch.tensor([0, 1, 2, 0])


def answers(*sureness: float, wrong: int = 0) -> torch.Tensor:
    """Logits (samples, heads, classes) that give the truth, and head 0 another class for the first `wrong` samples."""
    logits = torch.nn.functional.one_hot(TRUTH, 3)[:, None] * torch.tensor(sureness)[None, :, None]
    logits[:wrong, 0] = -logits[:wrong, 0]
    return logits


def test_the_split_keeps_the_share_of_every_class_and_never_takes_all_of_one() -> None:
    labels = torch.tensor([0] * 100 + [1] * 10 + [2] * 2 + [3])
    held_out = stratified(labels, 0.2, seed=0)
    assert [int(held_out[labels == c].sum()) for c in range(4)] == [20, 2, 1, 0]
    assert not stratified(torch.tensor([0, 0, 1, 1]), 0.9, seed=0).all()


def test_the_head_that_is_right_most_often_is_chosen() -> None:
    assert choose([(answers(9.0, 1.0, wrong=1), TRUTH)]) == (1, 1.0)


def test_among_equally_accurate_heads_the_surer_one_is_chosen() -> None:
    assert choose([(answers(1.0, 3.0, 2.0), TRUTH)]) == (1, 1.0)


def test_parts_are_one_set_of_answers() -> None:
    logits = answers(9.0, 1.0, wrong=3)
    logits[3, 1] = -logits[3, 1]
    assert choose([(logits[:1], TRUTH[:1]), (logits[1:], TRUTH[1:])]) == choose([(logits, TRUTH)]) == (1, 0.75)


def test_a_head_that_diverged_is_not_chosen() -> None:
    logits = answers(5.0, 1.0, wrong=0)
    logits[2, 0] = torch.nan
    assert choose([(logits, TRUTH)]) == (1, 1.0)
    assert choose([(torch.full((4, 2, 3), torch.inf), TRUTH)]) == (0, 0.0)


def test_batches_pass_over_all_samples_before_one_comes_again() -> None:
    batches = random_batches(10, 5, 5, seed=0)
    assert [len(batch) for batch in batches] == [5] * 5
    for first, second in ((0, 1), (2, 3)):
        assert sorted(torch.cat([batches[first], batches[second]]).tolist()) == list(range(10))
    assert batches[0].tolist() != batches[2].tolist()
    assert all(torch.equal(one, other) for one, other in zip(batches, random_batches(10, 5, 5, seed=0), strict=True))


def test_fewer_samples_than_a_batch_are_one_batch() -> None:
    assert [len(batch) for batch in random_batches(3, 8, 2, seed=0)] == [3, 3]


def test_the_cosine_falls_from_one_to_zero() -> None:
    assert [cosine(step, 4) for step in (0, 2, 4)] == pytest.approx([1.0, 0.5, 0.0])
