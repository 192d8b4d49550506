from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from jepa_core.errors import ConfigError, UnreadableSample
from jepa_series.builtin import PIECE, TEST_PEOPLE, archive, pieces
from jepa_series.modality import BUILTIN_STATISTICS, SeriesConfig, series
from jepa_series.signals import BAND, STEP, read_recording


def section(**values: Any) -> SeriesConfig:
    return SeriesConfig.model_validate({"name": "series", "builtin": "shoulder-exercises", **values})


def ramp(steps: int) -> np.ndarray:
    """Two channels that count the time steps, from 0 and from 1000."""
    return (np.arange(steps)[None] + np.array([[0], [1000]])).astype(np.float32)


def counting(**values: Any) -> SeriesConfig:
    return section(builtin=None, channels=2, length=8, patch=4, mean=(0.0,), std=(1.0,), **values)


def test_nobody_is_in_both_splits_and_every_piece_lies_in_its_recording():
    data = archive()
    first = np.cumsum(data.lengths) - data.lengths
    people = [set(data.person[pieces(test)[:, 0]]) for test in (False, True)]
    assert people == [{1, 2, 3, 4, 5, 6, 7}, set(TEST_PEOPLE)]
    for recording, start in np.concatenate([pieces(False), pieces(True)]):
        assert first[recording] <= start <= first[recording] + data.lengths[recording] - PIECE


def test_the_statistics_of_the_built_in_data_are_those_of_the_people_to_learn_from():
    data = archive()
    known = ~np.isin(np.repeat(data.person, data.lengths), TEST_PEOPLE)
    values = data.values[known] * data.unit
    mean, std = BUILTIN_STATISTICS["shoulder-exercises"]
    assert values.mean(0) == pytest.approx(mean, abs=1e-3)
    assert values.std(0) == pytest.approx(std, rel=1e-3)


def test_other_data_must_state_its_statistics_before_anything_is_trained():
    with pytest.raises(ConfigError, match=r"modality.mean and modality.std: null"):
        series.require_statistics(section(builtin=None))
    series.require_statistics(section(builtin=None, mean=(0.0,), std=(1.0,)))
    with pytest.raises(ValidationError, match=r"one number per channel \(6\) or one for all"):
        section(mean=(1.0, 2.0))


def test_a_training_clip_begins_anywhere_and_follows_its_generator():
    clip = series.transform(counting(), train=True)
    begins = {int(clip(ramp(10), torch.Generator().manual_seed(seed))[0, 0]) for seed in range(40)}
    assert begins == {0, 1, 2}
    drawn = clip(ramp(10), torch.Generator().manual_seed(1))
    assert torch.equal(drawn[1] - drawn[0], torch.full((8,), 1000.0))
    assert torch.equal(drawn, clip(ramp(10), torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(("clips", "begins"), [(1, [6]), (2, [0, 12]), (3, [0, 6, 12])])
def test_clips_of_evaluation_are_evenly_spaced(clips: int, begins: list[int]):
    config = counting(clips=clips)
    signal = series.transform(config, train=False)(ramp(20), torch.Generator())
    assert signal.view(series.views(config), 2, 8)[:, 0, 0].tolist() == begins


@pytest.mark.parametrize("train", [True, False])
def test_a_short_recording_is_padded_with_its_mean_values(train: bool):
    config = section(builtin=None, channels=2, length=8, patch=4, mean=(1.0, 1001.0), std=(2.0, 2.0))
    signal = series.transform(config, train=train)(ramp(3), torch.Generator())
    assert signal.tolist() == [[-0.5, 0, 0.5, 0, 0, 0, 0, 0]] * 2


def test_files_hold_a_line_or_row_per_time_step(tmp_path: Path):
    (tmp_path / "a.txt").write_text("1, 2\n3,4\n5 6\n")
    np.save(tmp_path / "b.npy", np.array([[1, 2], [3, 4], [5, 6]]))
    source = series.open(counting(), str(tmp_path))
    assert [source.read(index).tolist() for index in range(2)] == [[[1, 3, 5], [2, 4, 6]]] * 2


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"", "shape"),
        ("a.txt", b"1 2\n3\n", "inhomogeneous"),
        ("a.txt", b"time value\n1 2\n", "could not convert"),
        ("a.txt", b"1 2 3\n", r"must be \(time, 2\)"),
        ("a.txt", b"1 nan\n", "not finite"),
        ("a.npy", b"\x93NUMPY\x01\x00", "EOF"),
        ("a.npy", b"PK\x03\x04 an archive", "magic"),
    ],
)
def test_a_damaged_file_is_unreadable_and_says_why(name: str, content: bytes, reason: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableSample, match=reason):
        read_recording(str(tmp_path / name), channels=2)


def test_a_token_holds_one_channel_and_one_patch_of_time():
    config = counting()
    tokenizer = series.tokenizer(config, width=16)
    signal = torch.randn(1, 2, 8)
    changed = signal.clone()
    changed[0, 1, 4:] += 1
    moved = (tokenizer(signal) != tokenizer(changed)).any(-1)
    assert moved.tolist() == [[False, False, False, True]]
    assert series.grid(config).axes == ("channel", "time")


def test_a_picture_has_a_band_per_channel_with_a_curve_in_its_middle_where_values_are_average():
    picture = series.picture(section(), torch.zeros(6, 80))
    assert picture.shape == (6 * BAND, 80 * STEP, 3)
    inked = {int(row) for row in np.flatnonzero((picture[..., 0] < 255).any(1))}
    assert {row % BAND for row in inked} == {BAND // 2}
    assert len(inked) == 6
