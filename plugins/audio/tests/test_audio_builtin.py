from __future__ import annotations

from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from jepa_audio import builtin
from jepa_audio.config import AudioConfig
from jepa_audio.decoding import open_sound
from jepa_audio.plugin import audio
from jepa_core.recipes import read_config


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JEPA_CACHE", str(folder))
        builtin.source(test=True, read=str)
    return folder


@pytest.fixture(autouse=True)
def environment(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JEPA_CACHE", str(cache))


def test_a_name_is_a_consonant_a_final_and_a_tone():
    assert builtin.parts_of("ㄓㄨㄤ4") == {"initial": "zh", "final": "uang", "tone": "4"}
    assert builtin.parts_of("ㄩㄢ") == {"initial": "none", "final": "üan", "tone": "1"}
    assert builtin.parts_of("ㄕ2") == {"initial": "sh", "final": "none", "tone": "2"}
    assert builtin.parts_of("ㄇㄚ1")["tone"] == "neutral"


def test_no_recording_is_in_both_splits_and_all_are_in_one():
    train, test = builtin.split_indices(test=False), builtin.split_indices(test=True)
    assert (len(train), len(test)) == (900, 258)
    assert sorted([*train, *test]) == list(range(1158))


def test_the_split_is_the_same_for_ever():
    assert builtin.split_indices(test=True)[:6].tolist() == [1, 5, 8, 14, 15, 18]


def test_labels_have_the_same_classes_in_both_splits():
    train, test = (builtin.source(test, str).labels for test in (False, True))
    assert [len(train[heading].names) for heading in ("initial", "final", "tone")] == [22, 36, 5]
    assert {heading: labels.names for heading, labels in train.items()} == {
        heading: labels.names for heading, labels in test.items()
    }
    assert len(np.unique(train["initial"].ids)) == 22


def test_a_label_is_that_of_its_recording():
    source = builtin.source(test=True, read=str)
    for index in range(0, len(source), 50):
        parts = builtin.parts_of(Path(source.where(index)).stem)
        assert {heading: labels.name_of(index) for heading, labels in source.labels.items()} == parts


def test_recordings_are_real_sound():
    source = builtin.source(test=True, read=partial(open_sound, rate=16_000))
    config = audio.Config.model_validate({"mean": 0.0, "std": 1.0, "seconds": 0.32, "hop": 5.0, "patch": (16, 4)})
    assert isinstance(config, AudioConfig)
    transform = audio.transform(config, train=False)
    values = [transform(source.read(index), None) for index in (0, 100)]  # pyright: ignore[reportArgumentType]  (draws nothing)
    assert all(each.shape == audio.signal_shape(config) and each.std() > 1 for each in values)


def test_demo_is_a_run_on_built_in_data():
    config = read_config(text=audio.demo()).modality
    assert isinstance(config, AudioConfig)
    assert len(audio.source(config, "pretrain")) == 900
    assert len(audio.source(config, "probe_test")) == 258


def test_the_licence_and_the_credit_of_the_built_in_data_travel_with_it():
    folder = resources.files("jepa_audio") / "data"
    licence = (folder / "LICENSE").read_text(encoding="utf-8")
    assert "ChionMeilin with the vocal source from Chu Lo" in licence
    assert "CC-BY-3.0" in licence
    assert "CREATIVE COMMONS" in licence
    assert {entry.name for entry in folder.iterdir()} == {"LICENSE", "mandarin-syllables.zip"}


def test_recordings_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JEPA_CACHE", str(tmp_path))
    source = audio.source(AudioConfig(builtin="mandarin-syllables", mean=0, std=1, keep_gib=1), "probe_test")

    def samples() -> torch.Tensor:
        with source.read(0) as sound:
            return sound.read(100, 2000)

    first, second = samples(), samples()
    Path(source.where(0)).unlink()
    assert torch.equal(samples(), first)
    assert torch.equal(first, second)
