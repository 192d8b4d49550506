from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor
from toy import toy_config

from jepa_core.data import Batch, Collate, Share, SignalDataset, StepSampler, count_workers, loader, sample_key
from jepa_core.model import Parts
from jepa_core.types import SampleKey


def keys_of(sampler: StepSampler, passes: int) -> list[SampleKey]:
    return [key for keys in islice(sampler, passes) for key in keys]


def batches(share: Share, *overrides: str, workers: int = 0, start: int = 0, count: int = 6) -> list[Batch]:
    parts = Parts.of(toy_config(*overrides))
    source = parts.modality.source(parts.config.modality, "pretrain")
    dataset = SignalDataset(source, parts.modality.transform(parts.config.modality, train=True), seed=3)
    collate = Collate(parts.masking, 3, parts.modality.signal_shape(parts.config.modality))
    return list(islice(loader(dataset, StepSampler(3, len(source), share, start), collate, workers, False), count))


def same(left: Batch, right: Batch) -> bool:
    pairs: list[tuple[Tensor, Tensor]] = [(left.signal, right.signal), (left.weight, right.weight)]
    for ours, theirs in zip(left.views, right.views, strict=True):
        pairs += [(ours.context, theirs.context), (ours.targets, theirs.targets)]
    return left.keys == right.keys and all(torch.equal(a, b) for a, b in pairs)


def test_every_pass_over_the_data_takes_each_sample_once_in_a_new_order() -> None:
    keys = keys_of(StepSampler(0, 10, Share(4)), 5)
    first, second = keys[:10], keys[10:]
    assert {key.epoch for key in first} == {0}
    assert {key.epoch for key in second} == {1}
    assert Counter(key.index for key in keys) == Counter(dict.fromkeys(range(10), 2))
    assert [key.index for key in first] != [key.index for key in second]


def test_a_data_set_smaller_than_a_batch_is_passed_several_times() -> None:
    keys = keys_of(StepSampler(0, 3, Share(8)), 1)
    assert [key.epoch for key in keys] == [0, 0, 0, 1, 1, 1, 2, 2]


def test_processes_and_passes_divide_a_step_without_overlap() -> None:
    whole = set(keys_of(StepSampler(0, 100, Share(8)), 3))
    assert len(whole) == 24
    for accumulate, world in ((1, 4), (4, 1), (2, 2)):
        parts = [
            keys_of(StepSampler(0, 100, Share(8, accumulate, world, rank)), 3 * accumulate) for rank in range(world)
        ]
        assert sorted(key.index for part in parts for key in part) == sorted(key.index for key in whole)


def test_two_processes_and_two_passes_cut_a_step_into_the_same_slices() -> None:
    alone = list(islice(StepSampler(0, 100, Share(8, accumulate=2)), 2))
    ranks = [next(iter(StepSampler(0, 100, Share(8, world=2, rank=rank)))) for rank in range(2)]
    assert alone == ranks


def test_a_later_start_continues_the_sequence() -> None:
    whole = keys_of(StepSampler(0, 10, Share(4)), 9)
    assert keys_of(StepSampler(0, 10, Share(4), start=5), 4) == whole[20:]


def test_another_seed_is_another_order() -> None:
    assert [sample_key(0, i, 50) for i in range(50)] != [sample_key(1, i, 50) for i in range(50)]


@pytest.mark.usefixtures("toy")
def test_workers_and_resuming_change_no_value() -> None:
    straight = batches(Share(8))
    assert all(map(same, straight, batches(Share(8), workers=2)))
    assert all(map(same, straight[4:], batches(Share(8), workers=2, start=4, count=2)))


@pytest.mark.usefixtures("toy")
def test_signals_and_masks_of_a_sample_do_not_depend_on_its_batch() -> None:
    whole, halves = batches(Share(8), count=1)[0], batches(Share(8, accumulate=2), count=2)
    assert torch.equal(whole.signal, torch.cat([half.signal for half in halves]))
    assert torch.equal(whole.views[0].context, torch.cat([half.views[0].context for half in halves]))


@pytest.mark.usefixtures("toy")
def test_augmentation_differs_between_passes_over_the_data() -> None:
    first, second = batches(Share(64), count=2)
    order = [row.index for row in second.keys]
    again = torch.stack([second.signal[order.index(key.index)] for key in first.keys])
    assert not torch.equal(first.signal, again)


@pytest.mark.usefixtures("toy")
def test_an_unreadable_sample_is_a_zero_row_of_weight_zero_and_is_named() -> None:
    found = batches(Share(64), "modality.unreadable=[3, 5]", count=1)[0]
    bad = [row for row, key in enumerate(found.keys) if key.index in (3, 5)]
    assert found.weight.sum() == 62
    assert not found.weight[bad].any()
    assert not found.signal[bad].any()
    assert {each.index for each in found.unreadable} == {3, 5}
    assert all(each.where and each.reason for each in found.unreadable)


@pytest.mark.usefixtures("toy")
def test_an_unreadable_sample_is_read_once_and_then_left_alone() -> None:
    parts = Parts.of(toy_config("modality.unreadable=[3]"))
    source, reads = parts.modality.source(parts.config.modality, "pretrain"), list[int]()

    class Counted(type(source)):
        def read(self, index: int) -> Any:
            reads.append(index)
            return super().read(index)  # pyright: ignore[reportAbstractUsage]  (the source is no mere protocol)

    object.__setattr__(source, "__class__", Counted)  # the toy's source is frozen
    dataset = SignalDataset(source, parts.modality.transform(parts.config.modality, train=True), seed=0)
    answers = [dataset[SampleKey(epoch, 3)][1] for epoch in range(3)]
    assert reads == [3]
    assert answers[0] == answers[1] == answers[2]


def test_auto_workers_leave_the_cores_to_the_training_processes() -> None:
    assert count_workers(5) == 5
    assert count_workers("auto", processes_here=10_000) == 0
    assert 0 <= count_workers("auto") <= 8
