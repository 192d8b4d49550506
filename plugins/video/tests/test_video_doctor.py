from __future__ import annotations

import builtins
from typing import Any

import pytest

from jepa_core.errors import UnreadableSample
from jepa_core.types import Finding
from jepa_video import decoding
from jepa_video.decoding import Video, backends
from jepa_video.doctor import findings


def by_name() -> dict[str, Finding]:
    return {finding.what: finding for finding in findings()}


def test_pyav_decodes_here():
    found = by_name()
    assert (found["video pyav"].state, found["video pyav"].remedy) == ("ok", "")
    assert "decodes" in found["video pyav"].detail
    assert found["video pyav"].detail.endswith("modality.decoder=auto")
    assert list(found) == ["video pyav", "video decord", "video torchcodec"]


def test_what_is_not_installed_is_no_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backends, "why_not", lambda name: "not installed")
    found = by_name()
    assert {finding.state for finding in found.values()} == {"ok"}
    assert found["video decord"].detail == "not installed (optional)"


def test_what_cannot_be_imported_has_a_reason_and_a_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backends, "why_not", lambda name: "installed, but cannot be imported: libavutil.so")
    found = by_name()["video torchcodec"]
    assert found.state == "warn"
    assert "libavutil.so" in found.detail
    assert "FFmpeg" in found.remedy


def test_what_imports_and_does_not_decode_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    def refuse(path: str, backend: str) -> Video:
        if backend == "decord":
            raise UnreadableSample(path, "hopeless")
        return Video(path, "pyav")

    monkeypatch.setattr(decoding, "open_video", refuse)
    monkeypatch.setattr(backends, "why_not", {"decord": None, "torchcodec": "not installed"}.get)
    found = by_name()
    assert found["video decord"].state == "warn"
    assert "hopeless" in found["video decord"].detail
    assert found["video pyav"].state == "ok"


def test_wrong_frames_are_a_warning(monkeypatch: pytest.MonkeyPatch):
    read = Video.read
    monkeypatch.setattr(Video, "read", lambda self, indices: read(self, [0] * len(indices)))
    assert "other frames" in by_name()["video pyav"].detail


def test_without_pyav_there_is_one_line_that_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "av":
            raise ImportError("No module named 'av'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    (found,) = findings()
    assert found.state == "warn"
    assert found.remedy.endswith(" av")
