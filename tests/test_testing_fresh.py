"""An interpreter of the kit that never ends."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jepa_core.registry import objectives
from jepa_core.testing import CheckFailed, checks_for, fresh
from jepa_core.testing.checks import Case


def test_jobs_that_do_not_end_are_failures_that_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "PATIENCE", 0.2)
    found = fresh.call((len, ("four",)), (time.sleep, (600,)))
    assert [each.message for each in found] == ["an interpreter that had not ended after 0.2 seconds"] * 2


def test_a_module_whose_import_never_ends_fails_its_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "endless.py").write_text("import time\ntime.sleep(600)")
    monkeypatch.setattr(fresh, "PATIENCE", 0.2)
    case = Case(kind="objective", name="endless", plugin=objectives.get("l2"), target="endless:endless")
    (check,) = (each for each in checks_for("objective") if each.name == "light_import")
    with pytest.raises(CheckFailed, match=r"expected endless:endless to be imported, .* not ended after 0.2 seconds"):
        check(case)
