from __future__ import annotations

import sys
from typing import Any

import pytest
import soundfile

from jepa_audio import decoding, doctor
from jepa_audio.plugin import audio
from jepa_core.types import Finding


def by_name() -> dict[str, Finding]:
    return {finding.what: finding for finding in audio.doctor()}


def test_every_format_is_really_decoded():
    found = by_name()
    assert set(found) == {"audio soundfile", "audio torchaudio", "audio torchcodec"}
    assert "decodes wav, flac, ogg, opus, mp3" in found["audio soundfile"].detail
    assert {finding.state for finding in found.values()} == {"ok"}


def test_a_format_that_decodes_to_something_else_is_named(monkeypatch: pytest.MonkeyPatch):
    read = soundfile.SoundFile.read

    def faster(self: Any, frames: int, **options: Any) -> Any:
        values = read(self, frames, **options)
        return values[::2].repeat(2, 0)[: len(values)] * 0 if self.format == "FLAC" else values

    monkeypatch.setattr(soundfile.SoundFile, "read", faster)
    found = by_name()["audio flac"]
    assert (found.state, found.detail) == ("warn", "decodes another sound than was written: 0 Hz")
    assert "pip install" in found.remedy


def test_a_format_that_cannot_be_decoded_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(doctor.FORMATS, "mp3", "NO_SUCH_SUBTYPE")
    assert by_name()["audio mp3"].detail.startswith("cannot be written")


@pytest.mark.parametrize("package", ["soundfile", "torchaudio"])
def test_a_package_that_does_not_import_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, package: str):
    monkeypatch.setitem(sys.modules, package, None)
    found = by_name()[f"audio {package}"]
    assert found.state == "warn"
    assert "all sounds need it" in found.detail
    assert package in found.remedy


@pytest.mark.parametrize(
    ("reason", "state", "detail"),
    [
        ("not installed", "ok", "not installed (optional: m4a, aac, wma)"),
        ("installed, but cannot be imported: no FFmpeg", "warn", "installed, but cannot be imported: no FFmpeg"),
    ],
)
def test_torchcodec_is_optional(monkeypatch: pytest.MonkeyPatch, reason: str, state: str, detail: str):
    monkeypatch.setattr(decoding, "why_no_torchcodec", lambda: reason)
    found = by_name()["audio torchcodec"]
    assert (found.state, found.detail) == (state, detail)
