"""The kit's checks of modalities: a complete one passes all, and every check has one wrong twin that it catches."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import pytest
from complete_toy import CompleteToy, WithoutData
from toy import TOY_ROWS
from wrong_modalities import TWINS

from jepa_core.plugin import Modality
from jepa_core.registry import maskings, modalities
from jepa_core.testing import Outcome, checks_for, fresh, run
from jepa_core.testing.modality_case import ModalityCase

CHECKS = checks_for("modality")
IMPORTS = {
    "light_import": "import numpy\n",
    "import_leaves_the_process_alone": "print('hello')\n",
}
"""Modules of entry points that do what the twin of a check does."""
OF_FRESH = {"planning_needs_no_torch", "loader_processes_read_the_same_samples"}
"""Checks that start an interpreter by themselves where nothing was prepared."""
OF_TRAINING = {"one_step_trains_the_tokenizer", "one_step_leaves_the_target_alone", "resumed_equals_uninterrupted"}
TRAINED_WITH = ("Config", "sample", "grid", "signal_shape", "source", "transform", "tokenizer")


@contextmanager
def registered(plugin: Modality) -> Generator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the twin that speaks an earlier interface
        with modalities.temporarily(plugin), maskings.temporarily(TOY_ROWS):
            yield


def case_of(check: str = "") -> ModalityCase:
    plugin = TWINS[check][0]() if check else CompleteToy()
    target = f"wrong_import_{check}:plugin" if check in IMPORTS else "complete_toy:plugin"
    overrides = {"train": {"batch_size": 4}}
    return ModalityCase(kind="modality", name="toy", plugin=plugin, target=target, overrides=overrides)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Generator[Mapping[str, ModalityCase]]:
    """The right one under "" and every twin; what they do in a fresh interpreter, they all do in the same one."""
    cases = {name: case_of(name) for name in ("", *TWINS)}
    jobs = list[fresh.Job]()
    for case in cases.values():
        with registered(case.plugin):
            jobs.append(case.plan_job)
    for case in cases.values():
        with registered(case.plugin):
            jobs += case.visit_jobs
    answers = fresh.call(*jobs)
    visits = iter(answers[len(cases) :])
    for case, planned in zip(cases.values(), answers, strict=False):
        case.__dict__.update(planned=planned, visit=(next(visits), next(visits)))
    folder = tmp_path_factory.mktemp("imports")
    for name, text in IMPORTS.items():
        (folder / f"wrong_import_{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield cases


def outcomes(case: ModalityCase) -> list[Outcome]:
    """Of all checks; those of training only where the twin is another one in training."""
    in_training = [getattr(type(case.plugin), name) is not getattr(CompleteToy, name) for name in TRAINED_WITH]
    chosen = [check for check in CHECKS if check.name not in OF_TRAINING or any(in_training)]
    with registered(case.plugin):
        return [run(check, case) for check in chosen]


def test_every_check_has_one_wrong_twin_of_its_own():
    assert list(TWINS) == [check.name for check in CHECKS]
    assert len({twin for twin, _ in TWINS.values()}) == len(CHECKS)


def test_a_complete_modality_passes_every_check(cases: Mapping[str, ModalityCase]):
    with registered(cases[""].plugin):
        assert [each for each in (run(check, cases[""]) for check in CHECKS) if each.state != "pass"] == []


def test_without_built_in_data_only_what_needs_none_is_checked():
    case = ModalityCase(kind="modality", name="toy", plugin=WithoutData())
    states = {each.check.name: each.state for each in outcomes(case)}
    assert "fail" not in states.values()
    assert [states[name] for name in ("kept_tokens_equal_the_gathered_ones", "unknown_keys_are_refused")] == [
        "pass"
    ] * 2
    assert [states[name] for name in ("demo_is_valid", "samples_follow_their_seed", *OF_TRAINING)] == ["n/a"] * 5


def test_a_given_configuration_brings_the_data(tmp_path: Path):
    text = "modality: {name: toy, cells: 4}"
    case = ModalityCase(kind="modality", name="toy", plugin=WithoutData(), text=text)
    with registered(case.plugin):
        states = {check.name: run(check, case).state for check in CHECKS if check.name not in OF_FRESH}
        assert case.config.train.steps == 2
    assert case.grid.shape == (4, 4)
    assert states["samples_follow_their_seed"] == states["resumed_equals_uninterrupted"] == "pass"
    assert states["built_in_data_needs_no_download"] == "n/a"


@pytest.mark.parametrize("name", TWINS)
def test_a_wrong_twin_fails_its_check_and_no_other(name: str, cases: Mapping[str, ModalityCase]):
    failed = {each.check.name: each.message for each in outcomes(cases[name]) if each.state == "fail"}
    assert list(failed) == [name], failed
    assert TWINS[name][1] in failed[name]
