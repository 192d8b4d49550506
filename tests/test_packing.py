from __future__ import annotations

import pytest
import torch

from jepa_core.packing import pack, unpack

CONTENT = {
    "floats": torch.arange(6.0).view(2, 3),
    "half": torch.ones(5, dtype=torch.bfloat16),
    "turned": torch.arange(12).view(3, 4).T,
    "flags": torch.tensor([True, False]),
    "scalar": torch.tensor(3.5),
    "empty": torch.empty(0, 7),
    "rest": ("text", 7),
}


@pytest.mark.parametrize("room", [0, 64, 130, 4096])
def test_content_arrives_whole_whatever_fits_into_the_slot(room: int) -> None:
    slot = memoryview(bytearray(room))
    found = unpack(bytes(pack(CONTENT, slot)), slot)
    assert found.keys() == CONTENT.keys()
    for name, value in CONTENT.items():
        if isinstance(value, torch.Tensor):
            assert found[name].dtype == value.dtype
            assert torch.equal(found[name], value)
        else:
            assert found[name] == value


def test_values_travel_in_the_slot_and_not_in_the_message() -> None:
    slot = memoryview(bytearray(40_064))
    packed = pack([torch.zeros(10_000), torch.ones(3)], slot)
    assert len(packed) < 500


def test_what_both_sides_have_does_not_travel() -> None:
    known, slot = tuple({"number": number} for number in range(100)), memoryview(bytearray(0))
    packed = bytes(pack({"known": tuple(known), "copy": ({},) * 100, "first": known[:1]}, slot, known))
    assert len(packed) < 400
    assert unpack(packed, slot, known) == {"known": known, "copy": ({},) * 100, "first": known[:1]}
    assert unpack(packed, slot, known)["known"] is known


def test_what_was_unpacked_is_its_own() -> None:
    slot = memoryview(bytearray(1024))
    first = unpack(bytes(pack(torch.ones(4), slot)), slot)
    pack(torch.zeros(4), slot)
    assert torch.equal(first, torch.ones(4))
