from __future__ import annotations

import pytest
from PIL import features

from jepa_image.plugin import image


def test_a_whole_pillow_is_ok() -> None:
    (finding,) = image.doctor()
    assert (finding.state, finding.remedy) == ("ok", "")
    assert "WebP" in finding.detail


def test_a_pillow_without_a_codec_names_the_format_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda codec: codec != "webp")
    (finding,) = image.doctor()
    assert finding.state == "warn"
    assert "WebP" in finding.detail
    assert "JPEG" not in finding.detail
    assert finding.remedy
