"""Labels that a study asks for, and samples that its arms share, are looked at before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_study import install_toy, small_study
from toy import Toy

from jepa_core.ablation.cells import Study
from jepa_core.ablation.folder import StudyFolder
from jepa_core.ablation.labelled import require_headings, require_labels
from jepa_core.ablation.launching import run_study
from jepa_core.ablation.outline import outline
from jepa_core.errors import ConfigError, DataError

HALF = {"half": ()}


def nothing_there(*_: object) -> None:
    raise DataError("nothing was downloaded here")


@pytest.fixture
def elsewhere(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data is not on this machine."""
    monkeypatch.setattr(Toy, "source", nothing_there)


def refused(study: Study, check: Callable[[Study], object] = require_labels) -> list[str]:
    with pytest.raises(ConfigError) as error:
        check(study)
    return error.value.problems


@pytest.mark.usefixtures("toy")
def test_a_heading_that_there_is_not_is_found_before_a_folder_is_made(tmp_path: Path) -> None:
    study = small_study(HALF, primary={"waves": "sied/knn"})
    told = "evaluation.primary.waves: there are no labels 'sied'. Did you mean 'side'? There are: direction, side."
    folder = StudyFolder(tmp_path / "study")
    assert refused(study, lambda study: run_study(study, folder)) == [told]
    assert not folder.path.exists()
    assert refused(study, lambda study: outline(study, folder.run)) == [told]


@pytest.mark.usefixtures("toy")
def test_headings_that_leave_nothing_to_measure_are_refused() -> None:
    assert refused(small_study(HALF, headings=("sied",))) == [
        "evaluation.headings: no base has labels 'sied'. Did you mean 'side'? There are: direction, side.",
        "evaluation.headings: nothing would be measured on waves. It has labels: direction, side.",
    ]
    require_labels(small_study(HALF, headings=("side",), primary={"waves": "side/knn"}))


@pytest.mark.usefixtures("toy")
def test_a_heading_may_be_that_of_one_base_alone() -> None:
    study = small_study(HALF, headings=("side", "word"))
    require_headings(study, {})
    with pytest.raises(ConfigError, match="no base has labels 'word'"):
        require_headings(study, {"waves": ["side"]})


@pytest.mark.usefixtures("toy")
def test_data_without_labels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from toy_parts import Waves

    monkeypatch.setattr(Waves, "labels", {})
    (problem,) = refused(small_study(HALF))
    assert problem.startswith("bases.waves: a probe needs labels under the same heading in both of its splits")


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("values", "splits"),
    [("modality.test_samples=16", "probe_test"), ("modality.train_samples=48", "probe_train")],
)
def test_an_arm_with_other_labelled_samples_is_refused(values: str, splits: str) -> None:
    (problem,) = refused(small_study({"half": (), "other": (values,)}))
    assert problem.startswith(f"arm other on waves: modality: changes which samples {splits} hold")
    assert problem.endswith("Make it another base.")


@pytest.mark.usefixtures("toy")
def test_an_arm_may_see_the_same_samples_otherwise() -> None:
    require_labels(small_study({"half": (), "noisy": ("modality.noise=0.5",), "plain": ("modality.flip=false",)}))


@pytest.mark.usefixtures("elsewhere")
def test_data_that_is_elsewhere_is_no_problem_yet() -> None:
    require_labels(small_study({"half": (), "other": ("modality.test_samples=16",)}, headings=("sied",)))


@pytest.mark.usefixtures("elsewhere")
def test_a_heading_that_there_is_not_ends_a_study_after_its_first_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_toy(tmp_path / "site", monkeypatch)  # the workers have the data
    study = small_study({"half": (), "long": ("train.steps=100000", "checkpoint.every=100000")}, headings=("sied",))
    folder = StudyFolder(tmp_path / "study")
    assert "'sied'. Did you mean 'side'?" in refused(study, lambda study: run_study(study, folder))[0]
    first, second = folder.states(study).values()
    assert (first.state, second.state) in (("done", "interrupted"), ("done", "waiting"))
