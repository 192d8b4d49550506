from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor
from toy import toy_config

from jepa_core.data import Batch, Collate, SignalDataset
from jepa_core.errors import UnreadableSample
from jepa_core.loading import Loader
from jepa_core.model import Parts
from jepa_core.order import Order, Share, StepSampler, portions_of
from jepa_core.types import SampleKey
from jepa_core.unreadable import Unreadable


def batches(share: Share, *overrides: str, workers: int = 0, start: int = 0, count: int = 6) -> list[Batch]:
    parts = Parts.of(toy_config(*overrides))
    source = parts.modality.source(parts.config.modality, "pretrain")
    dataset = SignalDataset(source, parts.modality.transform(parts.config.modality, train=True), seed=3)
    collate = Collate(parts.masking, 3, parts.modality.signal_shape(parts.config.modality))
    sampler = StepSampler(Order(3, portions_of(source)), share, start)
    with Loader(
        dataset, collate, sampler, workers=workers, timeout=None, room=collate.room(share.micro_batch)
    ) as loader:
        return list(islice(loader, count))


def same(left: Batch, right: Batch) -> bool:
    pairs: list[tuple[Tensor, Tensor]] = [(left.signal, right.signal), (left.weight, right.weight)]
    for ours, theirs in zip(left.views, right.views, strict=True):
        pairs += [(ours.context, theirs.context), (ours.targets, theirs.targets)]
    return left.keys == right.keys and all(torch.equal(a, b) for a, b in pairs)


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
def test_a_sample_that_turned_out_to_be_unreadable_later_is_taken_out_of_a_batch() -> None:
    batch = batches(Share(16), "modality.unreadable=[3]", count=4)[0]
    index = next(key.index for key in batch.keys if key.index != 3)
    known = {index: Unreadable(index, "elsewhere", "found by another process")}
    row = [key.index for key in batch.keys].index(index)
    without = batch.without(known)
    assert without.weight.sum() == batch.weight.sum() - 1
    assert not without.weight[row]
    assert not without.signal[row].any()
    assert without.unreadable == (*batch.unreadable, known[index])
    assert batch.signal[row].any()
    assert same(batch, batch.without({1000: known[index]}))


@pytest.mark.usefixtures("toy")
def test_a_sample_may_turn_out_to_be_unreadable_in_the_transform() -> None:
    parts = Parts.of(toy_config())
    source = parts.modality.source(parts.config.modality, "pretrain")

    def decode(raw: Any, generator: torch.Generator) -> Tensor:
        raise UnreadableSample("some/path", "cut short")

    assert SignalDataset(source, decode, seed=0)[SampleKey(0, 3)] == (
        SampleKey(0, 3),
        Unreadable(3, "some/path", "cut short"),
    )
