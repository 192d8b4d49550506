"""Study files: which arms they make, and what is wrong with one, told at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jepa_core.ablation.cells import Study, read_study
from jepa_core.ablation.study import StudyConfig, is_name, is_study, read_study_config
from jepa_core.config.text import to_yaml
from jepa_core.errors import ConfigError

pytestmark = pytest.mark.usefixtures("toy")

BASE = "bases: {toy: {config: toy.yaml}}\n"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a study beside a configuration of the toy modality."""
    (tmp_path / "toy.yaml").write_text("modality: {name: toy}\n")

    def write(text: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def read(write: Write) -> Callable[..., Study]:
    """Reads the text of a study on the toy modality."""

    def read(text: str, *overrides: str) -> Study:
        return read_study(write(BASE + text), overrides)

    return read


@pytest.fixture
def problems(write: Write) -> Callable[..., list[str]]:
    """What is wrong with the text of a study."""

    def problems(text: str, *overrides: str) -> list[str]:
        with pytest.raises(ConfigError) as raised:
            read_study(write(text), overrides)
        assert raised.value.where.endswith("mine.yaml")
        return raised.value.problems

    return problems


def ratios(study: Study) -> dict[str, float]:
    return {cell.arm: cell.config.model_dump()["masking"]["ratio"] for cell in study.cells}


# Arms


def test_a_grid_of_axes_makes_every_combination_named_after_its_values(read: Callable[..., Study]) -> None:
    study = read("axes: {masking.ratio: [0.3, 0.5], predictor.depth: [1, 2]}")
    assert study.arms == ("ratio=0.3,depth=1", "ratio=0.3,depth=2", "ratio=0.5,depth=1", "ratio=0.5,depth=2")
    assert study.reference == "ratio=0.3,depth=1"
    cell = study.cells[2]
    assert (cell.config.masking.model_dump()["ratio"], cell.config.predictor.depth) == (0.5, 1)


def test_zipped_axes_take_their_values_together(read: Callable[..., Study]) -> None:
    study = read("axes: {masking.ratio: [0.3, 0.5], predictor.depth: [1, 2]}\ncombine: zip")
    assert study.arms == ("ratio=0.3,depth=1", "ratio=0.5,depth=2")


def test_zipped_axes_of_different_lengths_are_refused(problems: Callable[..., list[str]]) -> None:
    text = "axes: {masking.ratio: [0.3], predictor.depth: [1, 2]}\ncombine: zip\nreference: ratio=0.3,depth=1"
    (problem,) = problems(BASE + text)
    assert problem == "axes: `combine: zip` takes lists of one length, and masking.ratio has 1, predictor.depth has 2."


def test_names_hold_as_much_of_a_key_as_tells_it_from_the_others(read: Callable[..., Study]) -> None:
    assert read("axes: {encoder.depth: [1], predictor.depth: [2]}").arms == ("encoder.depth=1,predictor.depth=2",)


def test_sections_lists_and_null_in_axes_have_readable_names(read: Callable[..., Study]) -> None:
    study = read(
        "axes:\n"
        "  masking: [{name: random, ratio: 0.7}, {name: toy_rows}]\n"
        "  optim.betas: [[0.9, 0.95]]\n"
        "  optim.clip_norm: [null]\n"
    )
    tail = ",betas=0.9-0.95,clip_norm=null"
    assert study.arms == (f"masking=random+ratio=0.7{tail}", f"masking=toy_rows{tail}")
    assert study.cells[0].config.optim.betas == (0.9, 0.95)


def test_characters_that_a_file_system_may_refuse_become_underscores(read: Callable[..., Study]) -> None:
    assert read("axes: {tracking.project: ['a b/c:d']}").arms == ("project=a_b_c_d",)


@pytest.mark.parametrize("value", ["x" * 200, "etc."])
def test_axes_with_values_that_make_no_name_ask_for_names(value: str, problems: Callable[..., list[str]]) -> None:
    (problem,) = problems(BASE + f"axes: {{tracking.project: [{value}]}}")
    assert problem.startswith(f"axes: 'project={value[:9]}")
    assert problem.endswith("is no name: it is too long, or ends in a dot. Spell such arms under `arms`, with names.")


def test_named_arms_come_before_those_of_axes_and_the_first_is_the_reference(read: Callable[..., Study]) -> None:
    study = read("axes: {masking.ratio: [0.3]}\narms: {plain: {}, rows: {set: {masking.name: toy_rows}}}")
    assert study.arms == ("plain", "rows", "ratio=0.3")
    assert study.reference == "plain"


def test_the_reference_can_be_any_arm(read: Callable[..., Study]) -> None:
    assert read("axes: {masking.ratio: [0.3, 0.5]}\nreference: ratio=0.5").reference == "ratio=0.5"


def test_an_arm_may_be_spelt_per_base_or_not_exist_there(write: Write) -> None:
    study = read_study(
        write(
            "bases: {one: {config: toy.yaml}, two: {config: toy.yaml, set: {modality.cells: 8}}, three: "
            "{config: toy.yaml}}\n"
            "seeds: [0]\n"
            "arms:\n"
            "  plain: {}\n"
            "  less: {set: {masking: {name: random, ratio: 0.3}}, bases: {two: {masking.ratio: 0.4}, three: null}}\n"
            "  rows: {set: {masking.ratio: 0.3}, bases: {two: {masking: {name: toy_rows, rows: 3}}}}\n"
        )
    )
    found = {(cell.base, cell.arm): cell.config.masking.model_dump() for cell in study.cells}
    assert found["one", "less"]["ratio"] == 0.3
    assert found["two", "less"]["ratio"] == 0.4
    assert found["two", "rows"] == {"name": "toy_rows", "rows": 3}
    assert ("three", "less") not in found
    assert study.absent == {("three", "less"): "the study leaves it out"}


def test_dotted_and_nested_keys_mean_the_same(read: Callable[..., Study]) -> None:
    one, other = (
        read(f"arms: {{a: {{set: {spelling}}}}}").cells[0].config
        for spelling in ("{masking.name: toy_rows, masking.rows: 3}", "{masking: {name: toy_rows, rows: 3}}")
    )
    assert one == other
    assert one.masking.model_dump() == {"name": "toy_rows", "rows": 3}


# Cells


def test_a_study_is_every_base_with_every_seed_with_every_arm(write: Write) -> None:
    study = read_study(
        write(
            "bases: {one: {config: toy.yaml}, two: {config: toy.yaml}}\n"
            "axes: {masking.ratio: [0.3, 0.5]}\nseeds: [4, 1]"
        )
    )
    assert [cell.name for cell in study.cells][:5] == [
        "one/ratio=0.3/seed_4",
        "one/ratio=0.5/seed_4",
        "one/ratio=0.3/seed_1",
        "one/ratio=0.5/seed_1",
        "two/ratio=0.3/seed_4",
    ]
    assert len(study.cells) == 8
    assert all(cell.config.seed == cell.seed for cell in study.cells)
    assert study.name == "mine"


def test_a_base_may_be_the_demonstration_of_a_modality_with_values_over_it(write: Write) -> None:
    study = read_study(write("bases: {toy: {config: demo toy, set: {train.steps: 3}}}\narms: {plain: {}}"))
    assert study.bases["toy"].modality.name == "toy"
    assert {cell.config.train.steps for cell in study.cells} == {3}


def test_values_of_an_arm_cover_those_of_its_base(write: Write) -> None:
    base = "bases: {toy: {config: toy.yaml, set: {masking: {name: random, ratio: 0.3, num_targets: 2}}}}\n"
    study = read_study(write(base + "arms: {plain: {}, more: {set: {masking.ratio: 0.6}}}\nseeds: [0]"))
    assert ratios(study) == {"plain": 0.3, "more": 0.6}
    assert {cell.config.masking.model_dump()["num_targets"] for cell in study.cells} == {2}


def test_overrides_change_the_study_file(read: Callable[..., Study]) -> None:
    text = "axes: {masking.ratio: [0.3, 0.5]}\narms: {b: {set: {masking.ratio: 0.4}}}"
    study = read(
        text,
        "seeds=[7]",
        "axes.masking.ratio=[0.6]",
        "arms.b.set.masking.num_targets=2",
        "bases.toy.set.train.steps=2",
    )
    assert [cell.name for cell in study.cells] == ["toy/b/seed_7", "toy/ratio=0.6/seed_7"]
    assert study.cells[0].config.masking.model_dump() == {"name": "random", "ratio": 0.4, "num_targets": 2}
    assert study.cells[1].config.train.steps == 2


@pytest.mark.parametrize(
    "spelling", ["{train.steps: 5}", "{train: {steps: 5}}", "{train: {log_every: 2}, train.steps: 5}"]
)
def test_an_override_wins_whichever_way_the_file_spells_the_key(write: Write, spelling: str) -> None:
    path = write(f"bases: {{toy: {{config: toy.yaml, set: {spelling}}}}}\narms: {{plain: {{}}}}")
    assert read_study(path, ["bases.toy.set.train.steps=3"]).cells[0].config.train.steps == 3


def test_the_resolved_study_can_be_read_again(write: Write) -> None:
    text = BASE + "axes: {masking.ratio: [0.3, 0.5]}\narms: {rows: {set: {masking.name: toy_rows}}}\nmatch: flops"
    config = read_study_config(write(text))
    assert read_study_config(write(to_yaml(config))) == config


def test_what_an_arm_changes_is_known_before_matching(read: Callable[..., Study]) -> None:
    study = read("arms: {plain: {}, rows: {set: {masking.name: toy_rows}}}\nmatch: tokens")
    assert study.changes["toy", "plain"] == ()
    assert [str(change) for change in study.changes["toy", "rows"]] == ["masking: random {ratio: 0.5} -> toy_rows"]
    assert set(study.matched) == {("toy", "plain"), ("toy", "rows")}


# What cannot work


def test_every_problem_of_a_study_is_told_at_once(problems: Callable[..., list[str]]) -> None:
    found = problems(
        "bases: {toy: {config: toy.yaml}, gone: {config: nowhere.yaml}}\n"
        "axes: {masking.ratoi: [0.3]}\n"
        "arms: {b: {bases: {ty: null}}}\n"
        "reference: rations\n"
        "evaluation: {probes: [liner], primary: {tpy: a/b, toy: direction/forest}}\n"
    )
    assert len(found) == 7
    told = "\n".join(found)
    assert "reference: 'rations' is no arm. Arms: b, ratoi=0.3." in told
    assert "arms.b.bases.ty: there is no such base. Did you mean 'toy'? Bases: toy, gone." in told
    assert "evaluation.primary.tpy: there is no such base. Did you mean 'toy'?" in told
    assert "bases.gone (nowhere.yaml): there is no such file" in told
    assert "evaluation.probes: probe 'liner' is not installed. Did you mean 'linear'?" in told
    assert "evaluation.primary.toy: 'direction/forest' is not measured. Measured: HEADING/liner." in told
    assert "arm ratoi=0.3 on toy: masking.ratoi: unknown key. Did you mean 'ratio'?" in told


def test_the_same_problem_of_several_arms_and_bases_is_told_once(problems: Callable[..., list[str]]) -> None:
    (problem,) = problems(
        "bases: {one: {config: toy.yaml}, two: {config: toy.yaml}}\n"
        "arms: {a: {}, b: {set: {trian.steps: 3}}, c: {set: {trian.steps: 4}}}"
    )
    assert problem.startswith("arm b; c on one, two: trian: unknown key.")
    (problem,) = problems(BASE + "arms: {b: {set: {trian.steps: 3}}, c: {set: {trian.steps: 4}}}")
    assert problem.startswith("every arm on toy: trian: unknown key.")


def test_what_is_measured_is_named_once_and_the_primary_metric_is_among_it(
    problems: Callable[..., list[str]],
) -> None:
    (problem,) = problems(BASE + "arms: {a: {}}\nevaluation: {probes: [knn, linear, knn]}")
    assert problem.startswith("evaluation.probes: 'knn' is given twice: results go by name")
    (problem,) = problems(BASE + "arms: {a: {}}\nevaluation: {headings: [side, side]}")
    assert problem.startswith("evaluation.headings: 'side' is given twice")
    (problem,) = problems(BASE + "arms: {a: {}}\nevaluation: {headings: [side], primary: {toy: direction/knn}}")
    assert problem == "evaluation.primary.toy: 'direction' is not among evaluation.headings: side."


def test_an_empty_file_is_shown_what_a_study_holds(problems: Callable[..., list[str]]) -> None:
    assert problems("") == ["is empty; see: jepa config schema --study"]


def test_a_key_of_the_study_itself_gets_a_suggestion_and_the_schema(problems: Callable[..., list[str]]) -> None:
    found = problems(BASE + "arms: {a: {st: {}}}\nseed: [0]\nmatch: token\nconfidence: 2\n")
    assert found == [
        "arms.a.st: unknown key. Did you mean 'set'? See: jepa config schema --study",
        "match: expected one of 'steps', 'tokens', 'flops'; got 'token'. See: jepa config schema --study",
        "confidence: expected a number (above 0.5 and below 1); got 2. See: jepa config schema --study",
        "seed: unknown key. Did you mean 'seeds'? See: jepa config schema --study",
    ]


def test_a_study_without_arms_is_refused(problems: Callable[..., list[str]]) -> None:
    assert problems(BASE) == ["arms: a study compares something: give `axes`, or named `arms`."]


def test_arms_that_would_share_a_folder_are_refused(problems: Callable[..., list[str]]) -> None:
    (problem,) = problems(BASE + "arms: {Block: {}, block: {}}")
    assert problem == (
        "arms: two arms are called 'Block' and 'block'. Names differ in more than capitals; give them under `arms`."
    )
    (problem,) = problems(BASE + "axes: {tracking.project: ['a b', 'a/b']}")
    assert problem.startswith("arms: two arms are called 'project=a_b'.")


@pytest.mark.parametrize("name", ["a b", "../up", "", "x" * 101, ".hidden", "dot.", "-flag", "é", "a/b"])
def test_names_that_are_no_folder_everywhere_are_refused(name: str, problems: Callable[..., list[str]]) -> None:
    assert not is_name(name)
    (problem,) = problems(BASE + f"arms: {{'{name}': {{}}}}")
    assert problem.startswith(f"arms.{name}: a name holds letters, digits and . _ = + , - alone")


def test_seeds_are_distinct_and_never_negative(problems: Callable[..., list[str]]) -> None:
    for seeds in ("[0, 1, 0]", "[]"):
        (problem,) = problems(BASE + f"arms: {{a: {{}}}}\nseeds: {seeds}")
        assert problem.startswith("seeds: at least one seed, and every seed once: one that is given twice is one run")
    (problem,) = problems(BASE + "arms: {a: {}}\nseeds: [-1]")
    assert problem.startswith("seeds.0: expected a whole number (at least 0")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ("{seed: 5}", "seed: the study sets the seeds: `seeds`."),
        ("{probes: [{name: knn}]}", "probes: all arms of a base are measured alike."),
        ("{modality: {name: twin}}", "modality.name: arms of a base are compared sample by sample"),
    ],
)
def test_an_arm_cannot_change_what_makes_arms_comparable(
    values: str, why: str, problems: Callable[..., list[str]]
) -> None:
    from toy import Toy, ToyConfig

    from jepa_core.registry import modalities

    class TwinConfig(ToyConfig):
        name: str = "twin"  # pyright: ignore[reportIncompatibleVariableOverride]

    twin = type("Twin", (Toy,), {"name": "twin", "Config": TwinConfig})()
    with modalities.temporarily(twin):
        (problem,) = problems(BASE + f"arms: {{plain: {{}}, odd: {{set: {values}}}}}")
    assert problem.startswith(f"arm odd on toy: {why}")


def test_a_base_with_a_problem_is_told_once_and_not_for_every_arm(problems: Callable[..., list[str]]) -> None:
    (problem,) = problems("bases: {toy: {config: demo toy, set: {train.stpes: 1}}}\narms: {a: {}, b: {}}")
    assert problem.startswith("bases.toy (demo toy): train.stpes: unknown key. Did you mean 'steps'?")


def test_a_demonstration_of_nothing_is_refused(problems: Callable[..., list[str]]) -> None:
    (problem,) = problems("bases: {toy: {config: demo tyo}}\narms: {a: {}}")
    assert problem.startswith("bases.toy.config: modality 'tyo' is not installed.")


def test_what_a_grid_cannot_serve_is_an_error(problems: Callable[..., list[str]]) -> None:
    (problem,) = problems(BASE + "arms: {plain: {}, rows: {set: {masking: {name: toy_rows, rows: 6}}}}")
    assert problem.startswith("arm rows on toy: masking.rows: 6 rows hide the whole grid")
    assert "Allowed: 1 to 5" in problem


def test_networks_that_do_not_fit_together_are_found_before_anything_runs(problems: Callable[..., list[str]]) -> None:
    (problem,) = problems(BASE + "arms: {plain: {}, deep: {set: {target.layers: 3}}}")
    assert problem.startswith("arm deep on toy: target.layers: 3, but the encoder 'vit' has 2 layers.")


def test_infeasible_arms_can_be_left_out_with_their_reason(read: Callable[..., Study]) -> None:
    study = read(
        "arms: {plain: {}, rows: {set: {masking: {name: toy_rows, rows: 6}}}}\nskip_infeasible: true\nseeds: [0]"
    )
    assert [cell.arm for cell in study.cells] == ["plain"]
    assert study.arms == ("plain", "rows")
    assert study.absent["toy", "rows"].startswith("masking.rows: 6 rows hide the whole grid")


def test_a_mistake_is_never_left_out_as_infeasible(problems: Callable[..., list[str]]) -> None:
    (problem,) = problems(
        BASE + "arms: {plain: {}, rows: {set: {masking: {name: toy_rows, row: 6}}}}\nskip_infeasible: true"
    )
    assert "masking.row: unknown key" in problem


def test_a_base_that_no_arm_exists_on_is_refused(problems: Callable[..., list[str]]) -> None:
    found = problems(BASE + "arms: {plain: {bases: {toy: null}}}")
    assert found == [
        "bases.toy: no arm exists here. Remove the base.",
        "reference: the arm 'plain' exists on no base. Choose another one.",
    ]


def test_a_study_is_told_from_a_configuration(write: Write, tmp_path: Path) -> None:
    assert is_study(write(BASE))
    assert not is_study(tmp_path / "toy.yaml")


def test_every_field_of_a_study_has_a_description() -> None:
    schema = StudyConfig.model_json_schema()
    models = [schema, *(schema["$defs"][name] for name in ("BaseConfig", "ArmConfig", "EvaluationConfig"))]
    for model in models:
        assert model["description"]
        assert [key for key, field in model["properties"].items() if not field.get("description")] == []
