"""The kit around its checks: how they are told, run, offered to pytest, and printed by `jepa plugins check`."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor
from toy import Toy
from typer.testing import CliRunner

from jepa_core import objectives as core_objectives
from jepa_core.builtin import ObjectiveConfig
from jepa_core.cli import app, plugins_check
from jepa_core.config import Section
from jepa_core.errors import ConfigError, PluginNotFound, UsageError
from jepa_core.plugin import ObjectivePlugin
from jepa_core.registry import objectives
from jepa_core.supply import Kind
from jepa_core.testing import (
    KINDS,
    Case,
    Check,
    CheckFailed,
    NotApplicable,
    case_of,
    checks_for,
    fresh,
    kinds_of,
    parametrize_with_checks,
    run,
)
from jepa_core.testing.checks import OWN_CODE
from jepa_core.testing.objective import ObjectiveCase

pytestmark = pytest.mark.usefixtures("logging_as_before")


class MuteConfig(ObjectiveConfig):
    """Squared error."""

    name: str = "mute"
    """The registered name."""


MUTE = ObjectivePlugin("mute", MuteConfig, core_objectives.L2)
"""An objective that works and says nothing of itself."""


@pytest.fixture
def mute() -> Generator[None]:
    with objectives.temporarily(MUTE):
        yield


def jepa(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), prog_name="jepa")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


# What a check is


@pytest.mark.parametrize("kind", KINDS)
def test_every_check_says_what_it_promises_and_how_to_mend_a_plugin(kind: Kind):
    checks = checks_for(kind)
    for check in checks:
        assert re.fullmatch(r"[A-Z`(].*\.", check.promise), check.name
        assert len(check.remedy.split()) >= 6, check.name
        assert check.remedy[0].islower() or check.remedy[0] in "`_", check.name  # it follows "To mend: "
    assert len({check.name for check in checks}) == len(checks)


def test_there_are_more_than_thirty_checks():
    found = {(check.function.__module__, check.name) for kind in KINDS for check in checks_for(kind)}
    assert len(found) >= 30


def of(function: object) -> Check:
    return Check("made_up", "objective", function)


def test_an_outcome_tells_a_broken_promise_from_one_that_does_not_apply():
    case = Case(kind="objective", name="mute", plugin=MUTE)

    def passes(case: Case) -> None:
        assert case.name == "mute"

    def fails(case: Case) -> None:
        raise CheckFailed("expected 1, found 2")

    def does_not_apply(case: Case) -> None:
        raise NotApplicable("it has none")

    def breaks(case: Case) -> None:
        raise ZeroDivisionError("division by zero")

    def exits(case: Case) -> None:
        sys.exit("no such device")

    outcomes = [run(of(function), case) for function in (passes, fails, does_not_apply, breaks, exits)]
    assert [(each.state, each.message.partition(" (")[0]) for each in outcomes] == [
        ("pass", ""),
        ("fail", "expected 1, found 2"),
        ("n/a", "it has none"),
        ("fail", "ZeroDivisionError: division by zero"),
        ("fail", "SystemExit: no such device"),
    ]
    assert re.search(r"test_testing_kit\.py:\d+, breaks\)$", outcomes[3].message)
    assert [each.remedy for each in outcomes[3:]] == [OWN_CODE, OWN_CODE]


class Careless(core_objectives.L2):
    """An objective with an ordinary mistake."""

    def distance(self, predicted: Tensor, targets: Tensor) -> Tensor:
        return (predicted - targets).square() * len(getattr(self, "weights"))  # noqa: B009 - is not there


class Hasty(core_objectives.L2):
    """An objective that gives the core something which the core cannot use."""

    def distance(self, predicted: Tensor, targets: Tensor) -> Tensor:
        return (predicted - targets).square().mean()


@pytest.mark.parametrize(
    ("wrong", "place", "is_own"),
    [
        (Careless, "test_testing_kit.py:{line}, distance)", True),
        (Hasty, "jepa_core/objectives.py:{line}, __call__)", False),
    ],
)
def test_an_error_is_reported_once_with_its_place(wrong: type, place: str, is_own: bool):
    case = ObjectiveCase(kind="objective", name="mute", plugin=replace(MUTE, factory=wrong))
    outcomes = [run(check, case) for check in checks_for("objective")]
    (failed,) = [each for each in outcomes if each.state == "fail" and each.check.name != "one_line_summary"]
    assert re.sub(r":\d+, ", ":{line}, ", failed.message).endswith(place)
    assert failed.remedy == (OWN_CODE if is_own else failed.check.remedy)
    assert [each.message for each in outcomes].count(f"as in {failed.check.name}") >= 5
    assert run(failed.check, case).state == "fail"  # asked again, it is no other check


def test_the_core_is_no_part_of_a_plugin_but_for_its_own():
    assert case_of("objective", "l2").packages == {"jepa_core"}
    (stranger,) = Case(kind="objective", name="mute", plugin=replace(MUTE, factory=Careless)).packages
    assert stranger != "jepa_core"


def test_a_section_that_must_be_told_something_waits_for_it():
    class NeedyConfig(Section):
        """Squared error."""

        name: str = "needy"
        """The registered name."""
        power: int
        """Of the error."""

    plugin = ObjectivePlugin("needy", NeedyConfig, core_objectives.L2)
    with pytest.raises(NotApplicable, match=r"objective\.power: required"):
        Case(kind="objective", name="needy", plugin=plugin).section  # noqa: B018
    given = Case(kind="objective", name="needy", plugin=plugin, overrides={"objective": {"power": 2}})
    assert given.section == NeedyConfig(power=2)
    wrong = Case(kind="objective", name="needy", plugin=plugin, overrides={"objective": {"power": "high"}})
    with pytest.raises(ConfigError, match=r"objective\.power: Input should be a valid integer"):
        wrong.section  # noqa: B018


def test_the_section_of_a_given_configuration_is_used_where_it_names_the_plugin():
    text = "objective: {name: smooth_l1, beta: 0.5}\n"
    assert case_of("objective", "smooth_l1", text=text).section.model_dump()["beta"] == 0.5
    both = case_of("objective", "smooth_l1", text=text, overrides=["objective.beta=0.25"])
    assert both.section.model_dump()["beta"] == 0.25
    assert case_of("objective", "l2", text=text).section == case_of("objective", "l2").section


def test_a_wrong_override_is_the_users_mistake_and_no_failed_check(toy: Toy):
    with pytest.raises(ConfigError, match=r"modality\.cellls: unknown key\. Did you mean 'cells'\?"):
        case_of("modality", "toy", overrides=["modality.cellls=3"])
    with pytest.raises(ConfigError, match=r"modality\.name: the configuration is one of 'toy', and 'image' is checked"):
        case_of("modality", "image", text="modality: {name: toy}")


def test_a_name_is_found_in_every_kind_that_has_it():
    assert kinds_of("random") == ("masking",)
    assert kinds_of() == KINDS
    assert kinds_of(kind="probe") == ("probe",)
    with pytest.raises(PluginNotFound, match=r"no plugin of any kind is called 'randon'\. Did you mean 'random'\?"):
        kinds_of("randon")
    with pytest.raises(PluginNotFound, match="objective 'random' is not installed"):
        kinds_of("random", "objective")
    with pytest.raises(UsageError, match="--kind maskings: expected one of modality, masking"):
        kinds_of("random", "maskings")


# A fresh interpreter


def test_a_fresh_interpreter_answers_every_job_by_itself():
    jobs = [(os.getenv, ("HOME",)), (lambda: 0, ()), (int, ("x",)), (inspect.getmodulename, ("a.py",))]
    home, unpicklable, failed, name = fresh.call(*jobs)
    assert (home, name) == (os.environ["HOME"], "a")
    assert "pickle" in unpicklable.message
    assert failed.message == "ValueError: invalid literal for int() with base 10: 'x'"


def test_an_interpreter_that_ends_without_an_answer_says_so():
    assert fresh.call((os._exit, (7,)))[0].message == "the interpreter ended with exit code 7"
    assert "SystemExit" not in fresh.call((sys.exit, ("no such device",)))[0].message
    assert fresh.call((sys.exit, ("no such device",)))[0].message.endswith("no such device")


# With pytest

TESTS = """
import pytest

from jepa_core.registry import objectives
from jepa_core.testing import BoundCheck, parametrize_with_checks
from test_testing_kit import MUTE


@pytest.fixture
def mute():
    with objectives.temporarily(MUTE):
        yield


@parametrize_with_checks("objective", "mute", expected_failures={"one_line_summary": "it is mute"})
def test_known(mute, check: BoundCheck):
    check()


@parametrize_with_checks(
    "objective", "mute", expected_failures={"current_interface": "no more", "light_import": "cannot be"}
)
def test_outdated(mute, check: BoundCheck):
    check()
"""


def test_checks_are_tests_and_expected_failures_must_fail(tmp_path: Path):
    (tmp_path / "test_mute.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nxfail_strict = false\n")
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "test_mute.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    lines = {name: state for state, name in re.findall(r"^([A-Z]+) test_mute.py::(\S+)", found, re.MULTILINE)}
    assert lines["test_known[mute-one_line_summary]"] == "XFAIL"
    assert lines["test_known[mute-current_interface]"] == "PASSED"
    assert "it is mute" in found
    assert lines["test_outdated[mute-current_interface]"] == "FAILED"
    assert "[XPASS(strict)] no more" in found
    assert lines["test_outdated[mute-one_line_summary]"] == "FAILED"
    assert lines["test_outdated[mute-light_import]"] == "FAILED"
    assert "is listed as an expected failure, and does not apply: registered in this process" in found
    assert "test_known[mute-light_import]" not in lines  # skipped ones are counted together
    assert "does not apply: registered in this process, not by a package" in found


def test_an_expected_failure_needs_a_check_and_a_reason():
    with pytest.raises(ValueError, match=r"there is no check 'light_imports'\. Checks: current_interface, "):
        parametrize_with_checks("objective", "l2", expected_failures={"light_imports": "because"})
    with pytest.raises(ValueError, match="'light_import' needs a reason"):
        parametrize_with_checks("objective", "l2", expected_failures={"light_import": " "})


# On the command line


def test_the_command_prints_a_table_and_the_remedy_of_what_fails(mute: None):
    code, out, _ = jepa("plugins", "check", "mute")
    assert code == 1
    words = " ".join(out.split())
    assert "objective mute" in words
    assert re.search(r"current_interface +pass", out)
    assert re.search(r"light_import +n/a +registered in this process", out)
    assert re.search(r"one_line_summary +fail +expected a line of text, found ''", out)
    assert "To mend: give `summary` a few plain words" in words
    assert re.search(r"\d+ passed, 1 failed, 2 do not apply", out)


def test_long_words_of_a_remedy_are_folded_and_not_cut(monkeypatch: pytest.MonkeyPatch):
    word = "objectives.define(" + "x" * 150 + ")"

    def check_long(case: Case) -> None:
        raise CheckFailed(word)

    outcome = run(of(check_long), case_of("objective", "l2"))
    monkeypatch.setenv("COLUMNS", "80")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        plugins_check._print_outcomes("objective l2", [outcome])  # pyright: ignore[reportPrivateUsage]
    assert word in "".join(out.getvalue().split())


def test_the_command_ends_with_0_where_all_is_well_and_prints_json():
    code, out, _ = jepa("plugins", "check", "l2", "--kind", "objective", "--json")
    told = json.loads(out)
    assert (code, told["ok"]) == (0, True)
    assert {row["state"] for row in told["checks"]} == {"pass"}
    assert told["checks"][0]["check"] == "current_interface"
    assert {row["remedy"] for row in told["checks"]} == {""}


def test_the_command_lists_what_it_checks_without_checking():
    code, out, _ = jepa("plugins", "check", "--list", "--kind", "objective")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()[1:]] == [check.name for check in checks_for("objective")]
    rows = json.loads(jepa("plugins", "check", "--list", "--json")[1])
    assert {row["kind"] for row in rows} == set(KINDS)
    assert all(row["promise"] for row in rows)


def test_the_command_needs_a_name_that_is_installed():
    assert jepa("plugins", "check")[0] == 2
    code, _, error = jepa("plugins", "check", "randon")
    assert code == 2
    assert "Did you mean 'random'?" in error


def test_overrides_and_a_configuration_reach_the_checks(tmp_path: Path):
    file = tmp_path / "run.yaml"
    file.write_text("objective: {name: smooth_l1, beta: -1.0}\n")
    code, _, error = jepa("plugins", "check", "smooth_l1", "--config", str(file))
    assert code == 2
    assert "objective.beta: Input should be greater than 0" in error
    assert jepa("plugins", "check", "smooth_l1", "--set", "objective.beta=-1")[0] == 2
    assert jepa("plugins", "check", "l1", "--config", str(file))[0] == 0


def test_the_page_of_the_kit_shows_every_check(monkeypatch: pytest.MonkeyPatch):
    docs = Path(__file__).parent.parent / "docs"
    monkeypatch.syspath_prepend(docs)
    hooks = importlib.import_module("hooks")
    page = hooks.on_page_markdown((docs / "conformance.md").read_text(encoding="utf-8"))
    for kind in KINDS:
        for check in checks_for(kind):
            assert page.count(f"| `{check.name}` | {check.promise} |") >= 1
