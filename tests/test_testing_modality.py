"""The kit's checks of modalities: a complete one passes all, and every check has one wrong twin that it catches."""

from __future__ import annotations

import re
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import pytest
import wrong_parts
from complete_toy import CompleteToy, WithoutData
from torch import nn
from toy import TOY_ROWS, ToyConfig
from toy_parts import ToyTokenizer
from wrong_modalities import OF_TRAINING, SILENCED, TWINS

from jepa_core.plugin import Modality, Source, Split, Transform
from jepa_core.registry import maskings, modalities
from jepa_core.testing import Outcome, checks_for, fresh, run
from jepa_core.testing.modality_case import ModalityCase
from jepa_core.testing.reach import is_far, unlaid_axes

CHECKS = checks_for("modality")
IMPORTS = {
    "light_import": "import numpy\n",
    "import_leaves_the_process_alone": "print('hello')\n",
}
"""Modules of entry points that do what the twin of a check does."""
OF_FRESH = {"planning_needs_no_torch", "loader_processes_read_the_same_samples"}
"""Checks that start an interpreter by themselves where nothing was prepared."""
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


class Unlabelled(CompleteToy):
    def source(self, config: ToyConfig, split: Split) -> Source:
        return wrong_parts.Unlabelled(super().source(config, split), split)


class TokenizesNothing(CompleteToy):
    def tokenizer(self, config: ToyConfig, width: int) -> nn.Module:
        ToyTokenizer(config.cells, config.cell, width)
        return None  # pyright: ignore[reportReturnType]  (is the mistake)


class Misspells(CompleteToy):
    def transform(self, config: ToyConfig, train: bool) -> Transform:
        return wrong_parts.Misspelt(super().transform(config, train))


class MixesFarCells(CompleteToy):
    def tokenizer(self, config: ToyConfig, width: int) -> nn.Module:
        return wrong_parts.Shifting(config.cells, config.cell, width)


class MixesRows(CompleteToy):
    def tokenizer(self, config: ToyConfig, width: int) -> nn.Module:
        return wrong_parts.CentringColumns(config.cells, config.cell, width)


class NormsTheBatch(CompleteToy):
    def tokenizer(self, config: ToyConfig, width: int) -> nn.Module:
        return wrong_parts.BatchNorm(config.cells, config.cell, width)


class DrawsAnew(CompleteToy):
    def transform(self, config: ToyConfig, train: bool) -> Transform:
        return wrong_parts.Unseeded(super().transform(config, train))


def told(plugin: Modality, *checks: str, text: str | None = None) -> dict[str, Outcome]:
    """By check, of those alone where some are named, and of what needs no other interpreter."""
    case = ModalityCase(kind="modality", name="toy", plugin=plugin, text=text)
    with registered(plugin):
        found = [run(check, case) for check in CHECKS if check.name in checks]
    return {each.check.name: each for each in found}


def test_a_run_with_probes_needs_labels():
    found = told(Unlabelled(), "labels_fit_the_samples")["labels_fit_the_samples"]
    assert (found.state, "for the probes of the run (linear, knn), found none" in found.message) == ("fail", True)
    found = told(Unlabelled(), "labels_fit_the_samples", text="{modality: {name: toy}, probes: []}")
    assert found["labels_fit_the_samples"].state == "n/a"


LEAKS = ("hidden_cells_do_not_leak", "samples_do_not_mix")


@pytest.mark.parametrize(
    ("plugin", "states"),
    [(MixesFarCells, ["fail", "pass"]), (MixesRows, ["fail", "pass"]), (NormsTheBatch, ["fail", "fail"])],
)
def test_no_way_of_mixing_goes_unseen(plugin: type[Modality], states: list[str]):
    assert [each.state for each in told(plugin(), *LEAKS).values()] == states


def test_a_tokenizer_is_a_module():
    found = told(TokenizesNothing(), "one_token_per_cell", "tokenizer_state_round_trip", *LEAKS)
    assert found["one_token_per_cell"].message == "expected an nn.Module from `tokenizer`, found None"
    assert {each.message for name, each in found.items() if name != "one_token_per_cell"} == {
        "as in one_token_per_cell"
    }


def test_a_mistake_in_the_code_is_one_failure_with_its_place():
    names = ("samples_follow_their_seed", "loader_processes_read_the_same_samples", "evaluation_is_deterministic")
    first, *others = told(Misspells(), *names).values()
    assert re.fullmatch(r"NameError: name 'sygnal' is not defined \(.*wrong_parts\.py:\d+, __call__\)", first.message)
    assert {each.message for each in others} == {"as in samples_follow_their_seed"}


def test_what_differs_in_every_reading_is_no_fault_of_the_loader():
    names = ("samples_follow_their_seed", "loader_processes_read_the_same_samples")
    assert [each.state for each in told(DrawsAnew(), *names).values()] == ["fail", "n/a"]


def test_which_axes_of_a_grid_a_signal_cannot_have():
    assert (
        unlaid_axes((14, 14), (3, 224, 224)) == unlaid_axes((4, 10), (1, 64, 160)) == unlaid_axes((40,), (1, 3200)) == 0
    )
    assert unlaid_axes((6, 15), (6, 150)) == 0
    assert unlaid_axes((4, 10), (1, 3200)) == unlaid_axes((4, 10), (2, 3200)) == 1  # frequencies of a waveform


def test_an_axis_that_a_signal_lacks_may_be_reached_as_a_whole():
    grid, windows = (3, 5), [1, 2, 3, 6, 7, 8, 11, 12, 13]  # of cell 7, in the middle: columns 1 to 3
    assert not any(is_far(cell, 7, windows, grid, free=1) for cell in windows)
    assert [cell for cell in windows if is_far(cell, 2, windows, grid, free=0)] == [11, 12, 13]
    everything = list(range(15))
    assert [cell for cell in everything if is_far(cell, 7, everything, grid, free=1)] == [0, 4, 5, 9, 10, 14]


@pytest.mark.parametrize("name", TWINS)
def test_a_wrong_twin_fails_its_check_and_no_other(name: str, cases: Mapping[str, ModalityCase]):
    found = outcomes(cases[name])
    failed = {each.check.name: each.message for each in found if each.state == "fail"}
    assert list(failed) == [name], failed
    assert TWINS[name][1] in failed[name]
    assert {each.check.name for each in found if each.state == "n/a"} == SILENCED.get(name, set())
