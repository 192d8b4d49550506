from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from jepa_core.builtin import KnnProbeConfig
from jepa_core.probes import Features, knn
from jepa_core.probes.knn import KnnProbe


def probe(k: int = 20, temperature: float = 0.07) -> KnnProbe:
    return KnnProbe(KnnProbeConfig(k=k, temperature=temperature))


def clusters(samples: int, seed: int) -> Features:
    directions = torch.eye(5, 8)
    labels = torch.arange(samples) % 5
    noise = torch.randn(samples, 8, generator=torch.Generator().manual_seed(seed))
    return Features(directions[labels] + 0.2 * noise, labels)


def test_the_vote_is_the_published_formula() -> None:
    train, test = clusters(40, 0), clusters(6, 1)
    votes = probe(k=7, temperature=0.5).votes(F.normalize(test.pooled), F.normalize(train.pooled), train.labels, 5)
    for row, query in zip(votes, test.pooled, strict=True):
        cosine = torch.stack([F.cosine_similarity(query, each, dim=0) for each in train.pooled])
        nearest = sorted(range(40), key=lambda index: -float(cosine[index]))[:7]
        expected = torch.zeros(5)
        for index in nearest:
            expected[train.labels[index]] += torch.exp(cosine[index] / 0.5)
        torch.testing.assert_close(row, expected / expected.sum())


def test_near_neighbours_outvote_more_numerous_far_ones() -> None:
    train = Features(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]]), torch.tensor([0, 1, 1]))
    test = Features(torch.tensor([[1.0, 0.1]]), torch.tensor([0]))
    assert probe(k=3, temperature=0.07)(train, test, 2, seed=0).correct.all()
    assert not probe(k=3, temperature=100.0)(train, test, 2, seed=0).correct.any()


def test_only_directions_count() -> None:
    train, test = clusters(100, 0), clusters(50, 1)
    longer = Features(test.pooled * torch.rand(50, 1) * 100, test.labels)
    assert torch.equal(probe()(train, test, 5, 0).correct, probe()(train, longer, 5, 0).correct)


def test_parts_of_bounded_memory_give_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = clusters(100, 0), clusters(53, 1)
    whole = probe()(train, test, 5, 0).correct
    monkeypatch.setattr(knn, "_SIMILARITIES", 1000)  # ten queries at a time
    assert torch.equal(probe()(train, test, 5, 0).correct, whole)
    assert whole.float().mean() > 0.9


def test_permuted_labels_leave_chance() -> None:
    train, test = clusters(1000, 0), clusters(1000, 1)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    shuffled = Features(train.pooled, train.labels[order])
    assert probe()(shuffled, test, 5, 0).correct.float().mean() < 0.3


def test_fewer_samples_than_neighbours_all_vote() -> None:
    train, test = clusters(10, 0), clusters(10, 1)
    assert probe(k=200)(train, test, 5, 0).correct.float().mean() > 0.8
