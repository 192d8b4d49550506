"""1,158 Mandarin syllables of one speaker, real recordings, unpacked at first use (data/LICENSE)."""

from __future__ import annotations

import zipfile
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jepa_core.plugin import Labels
from jepa_core.sources import FileSource, PathTable
from jepa_core.sources.cache import cached_folder
from jepa_core.sources.files import Read

NUM_TEST = 258
"""Recordings for testing; the other 900 are for training. No recording is in both."""
_ARCHIVE = "mandarin-syllables.zip"
_FOLDER = "mandarin-syllables-1"

# Zhuyin letters, as in the names of the files, and how Hanyu Pinyin writes them.
# fmt: off
_INITIALS = {
    "ㄅ": "b", "ㄆ": "p", "ㄇ": "m", "ㄈ": "f", "ㄉ": "d", "ㄊ": "t", "ㄋ": "n", "ㄌ": "l", "ㄍ": "g",
    "ㄎ": "k", "ㄏ": "h", "ㄐ": "j", "ㄑ": "q", "ㄒ": "x", "ㄓ": "zh", "ㄔ": "ch", "ㄕ": "sh", "ㄖ": "r",
    "ㄗ": "z", "ㄘ": "c", "ㄙ": "s",
}
_FINALS = {
    "ㄧ": "i", "ㄨ": "u", "ㄩ": "ü", "ㄚ": "a", "ㄛ": "o", "ㄜ": "e", "ㄝ": "ê", "ㄞ": "ai", "ㄟ": "ei",
    "ㄠ": "ao", "ㄡ": "ou", "ㄢ": "an", "ㄣ": "en", "ㄤ": "ang", "ㄥ": "eng", "ㄦ": "er",
}
# fmt: on
_TONES = {"1": "neutral", "": "1", "2": "2", "3": "3", "4": "4"}


@cache
def names() -> tuple[str, ...]:
    """The files' names without suffix, in the order of the archive: a syllable in Zhuyin and a digit for its tone."""
    with resources.as_file(resources.files("jepa_audio") / "data" / _ARCHIVE) as path, zipfile.ZipFile(path) as archive:
        return tuple(name.removesuffix(".ogg") for name in archive.namelist())


def parts_of(name: str) -> dict[str, str]:
    """Initial consonant ("none" where there is none), final ("none" in syllables such as zhi) and tone of a syllable.

    >>> parts_of("ㄓㄨㄤ4")
    {'initial': 'zh', 'final': 'uang', 'tone': '4'}
    """
    initial = name[0] if name[0] in _INITIALS else ""
    tone = name[-1] if name[-1] in _TONES else ""
    final = name[len(initial) : len(name) - len(tone)]
    return {
        "initial": _INITIALS.get(initial, "none"),
        "final": "".join(_FINALS[letter] for letter in final) or "none",
        "tone": _TONES[tone],
    }


def split_indices(test: bool) -> Int[np.ndarray, "samples"]:
    """Positions in the archive, ascending.

    Fixed for ever: `RandomState` is the one NumPy generator whose stream is frozen between releases.
    """
    order = np.random.RandomState(0).permutation(len(names()))
    return np.sort(order[:NUM_TEST] if test else order[NUM_TEST:])


def source(test: bool, read: Read) -> FileSource:
    """900 recordings to learn from, or 258 to be scored on, with three headings of labels: initial, final and tone.

    Raises:
        DataError: where the files cannot be written.
    """
    chosen = [names()[index] for index in split_indices(test)]
    labels = {heading: _labels(heading, chosen) for heading in ("initial", "final", "tone")}
    paths = PathTable.of(f"{name}.ogg" for name in chosen)
    return FileSource(str(cached_folder(_FOLDER, _unpack)), paths, read, labels)


def _labels(heading: str, chosen: list[str]) -> Labels:
    classes = sorted({parts_of(name)[heading] for name in names()})
    return Labels(np.array([classes.index(parts_of(name)[heading]) for name in chosen], np.int64), tuple(classes))


def _unpack(folder: Path) -> None:
    with resources.as_file(resources.files("jepa_audio") / "data" / _ARCHIVE) as path, zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
