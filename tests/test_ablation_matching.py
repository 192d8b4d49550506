"""Fairness: what all arms of a base are given in equal amounts, and what only the studied choice may change."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_study import small_study
from toy import ToyRowsConfig, toy_config, toy_registered
from toy_parts import RowMasking

from jepa_core.ablation import running
from jepa_core.ablation.cells import Study, read_study
from jepa_core.ablation.folder import StudyFolder
from jepa_core.ablation.matching import Matched, match, shared_out
from jepa_core.ablation.results import read_results
from jepa_core.checkpoint import RunFolder
from jepa_core.config import RunConfig
from jepa_core.data import Batch
from jepa_core.errors import ConfigError
from jepa_core.model import Parts
from jepa_core.planning import work
from jepa_core.plugin import Masking
from jepa_core.registry import maskings
from jepa_core.trainer import Trainer
from jepa_core.types import TokenGrid

pytestmark = pytest.mark.usefixtures("toy")

ROWS = "masking={name: toy_rows, rows: 2}"  # 24 context, 2 x 6 predicted
GROUPS = "masking={name: random, ratio: 0.5, num_targets: 3}"  # 18 context, 3 x 6 predicted
FEW = "masking={name: random, ratio: 0.2}"  # 29 context, 1 x 7 predicted


def tokens(config: RunConfig) -> tuple[int, int]:
    """Context and predicted tokens of a sample."""
    budgets = Parts.of(config).masking.budgets
    return sum(view.context for view in budgets), sum(view.num_targets * view.target for view in budgets)


def matched(what: Any, *arms: str) -> dict[str, Matched]:
    return match(what, {arm: toy_config(arm) for arm in arms}, arms[0])


# Tokens


def test_all_arms_show_and_predict_equally_many_tokens() -> None:
    found = matched("tokens", ROWS, GROUPS, FEW)
    assert {tokens(each.config) for each in found.values()} == {(18, 6)}  # 6: the most that 2 and 3 divide, up to 7


def test_the_common_number_is_the_largest_that_all_can_meet() -> None:
    assert {tokens(each.config) for each in matched("tokens", ROWS, FEW).values()} == {(24, 6)}
    assert {tokens(each.config) for each in matched("tokens", ROWS, GROUPS).values()} == {(18, 12)}


def test_an_arm_that_has_the_numbers_already_is_left_alone() -> None:
    found = matched("tokens", ROWS, "masking={name: random, ratio: 0.34}")  # 24 context, 12 predicted
    assert [each.config for each in found.values()] == [
        toy_config(ROWS),
        toy_config("masking={name: random, ratio: 0.34}"),
    ]
    assert [each.words for each in found.values()] == ["", ""]


def test_what_is_cut_is_the_arms_own_mask_and_the_words_say_how_far() -> None:
    found = matched("tokens", FEW, ROWS)[FEW]
    assert found.config.masking.model_dump() == {
        "name": "limited",
        "of": {"name": "random", "ratio": 0.2, "num_targets": 1},
        "context_tokens": (24,),
        "target_tokens": (6,),
    }
    assert found.words == "masks limited from 29 context + 1 x 7 predicted to 24 context + 1 x 6 predicted tokens"


def test_matching_tokens_changes_nothing_but_the_masking() -> None:
    before, after = toy_config(FEW), matched("tokens", FEW, ROWS)[FEW].config
    assert after.model_copy(update={"masking": before.masking}) == before


def test_arms_without_a_number_in_common_are_refused_with_what_each_has() -> None:
    with pytest.raises(ConfigError) as raised:
        matched("tokens", "masking={name: toy_rows, rows: 5}", "masking={name: random, ratio: 0.08}")
    assert raised.value.problems == [
        "no number of predicted tokens that all arms can be cut down to, with blocks of equal size: "
        "masking={name: toy_rows, rows: 5} has 5 x 6; masking={name: random, ratio: 0.08} has 1 x 3. Give the smallest "
        "one larger blocks, or take `match: flops`."
    ]


def test_the_base_of_an_impossible_match_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(
        "bases: {toy: {config: demo toy}}\nmatch: tokens\n"
        "arms: {rows: {set: {masking: {name: toy_rows, rows: 5}}}, few: {set: {masking.ratio: 0.08}}}"
    )
    with pytest.raises(ConfigError, match=r"match on toy: no number of predicted tokens"):
        read_study(tmp_path / "study.yaml")


class UnevenConfig(ToyRowsConfig):
    """As `toy_rows`."""

    name: Literal["uneven"] = "uneven"  # pyright: ignore[reportIncompatibleVariableOverride]
    """The registered name."""


class Uneven(RowMasking):
    """Promises fewer context tokens than it gives, as a rule does that cuts every batch to its own length."""

    def __init__(self, config: ToyRowsConfig, grid: TokenGrid) -> None:
        super().__init__(config, grid)
        (budget,) = self.budgets
        self.budgets = (replace(budget, context=budget.context - 1),)


def test_masks_whose_lengths_follow_the_batch_cannot_be_matched() -> None:
    with (
        maskings.temporarily(Masking("uneven", UnevenConfig, Uneven)),
        pytest.raises(ConfigError, match=r"arm masking=.*uneven.*: masking.of: its masks have other lengths"),
    ):
        matched("tokens", "masking={name: random, ratio: 0.36, num_targets: 2}", "masking={name: uneven}")


def test_a_cell_whose_lengths_follow_the_batch_says_that_its_tokens_are_nearly_so_many(tmp_path: Path) -> None:
    with maskings.temporarily(Masking("uneven", UnevenConfig, Uneven)):
        study = small_study({"half": (), "uneven": ("masking={name: uneven}",)})
        folder = StudyFolder(tmp_path / "study")
        folder.open(study, resume=False, threads=1)
        assert running.work(study, folder)
        facts = read_results(study, folder.path).facts
    assert [(fact.arm, fact.varies) for fact in facts] == [("half", False), ("uneven", True)]


@given(parcels=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9)), min_size=1, max_size=3), data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_reachable_total_is_met_exactly_and_within_every_budget(
    parcels: Sequence[tuple[int, int]], data: st.DataObject
) -> None:
    asked = [data.draw(st.integers(1, cells)) for _, cells in parcels]
    total = sum(sets * kept for (sets, _), kept in zip(parcels, asked, strict=True))
    kept = shared_out(total, parcels)
    assert sum(sets * each for (sets, _), each in zip(parcels, kept, strict=True)) == total
    assert all(1 <= each <= cells for (_, cells), each in zip(parcels, kept, strict=True))


def test_views_are_cut_in_proportion() -> None:
    assert shared_out(50, [(1, 80), (1, 20)]) == [40, 10]
    assert shared_out(30, [(2, 10), (1, 40)]) == [5, 20]
    assert prod(shared_out(3, [(1, 80), (2, 20)])) == 1


# FLOPs and steps


def test_arms_get_the_compute_of_the_reference_by_more_or_fewer_updates() -> None:
    found = matched("flops", ROWS, "predictor.depth=4", FEW)
    reference = work(toy_config(ROWS)).flops.run
    for each in found.values():
        flops = work(each.config).flops
        assert abs(flops.run - reference) <= flops.step / 2
    deep = found["predictor.depth=4"]
    assert deep.config.train.steps < 8
    assert deep.words == f"{deep.config.train.steps} updates in place of 8"
    assert found[ROWS] == Matched(toy_config(ROWS))


def test_matching_flops_changes_nothing_but_the_number_of_updates() -> None:
    after = matched("flops", ROWS, "predictor.depth=4")["predictor.depth=4"].config
    train = after.train.model_copy(update={"steps": 8})
    assert after.model_copy(update={"train": train}) == toy_config("predictor.depth=4")


def test_an_arm_cannot_set_the_updates_that_are_matched(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("bases: {toy: {config: demo toy}}\narms: {a: {}, b: {set: {train.steps: 4}}}")
    assert {cell.config.train.steps for cell in read_study(path).cells} == {8, 4}
    with pytest.raises(ConfigError, match=r"arm b on toy: train.steps: `match: flops` sets the number of updates"):
        read_study(path, ["match=flops"])
    with pytest.raises(ConfigError, match=r"arm b on toy: train.steps: `match: tokens` gives all arms of a base the"):
        read_study(path, ["match=tokens"])


def test_without_matching_arms_are_what_they_say() -> None:
    assert {arm: each.config for arm, each in matched("steps", ROWS, FEW).items()} == {
        arm: toy_config(arm) for arm in (ROWS, FEW)
    }


# What all arms of a seed share

ARMS = """
bases: {toy: {config: demo toy}}
seeds: [3, 4]
match: tokens
arms:
  plain: {}
  rows: {set: {masking: {name: toy_rows}}}
  l1: {set: {objective.name: l1}}
  no-ema: {set: {ema.momentum: {value: 0.0, end: 0.0}}}
  deep: {set: {predictor.depth: 2}}
  decay: {set: {optim.weight_decay: {value: 0.1, end: 0.1}}}
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Arms of many kinds."""
    path = tmp_path_factory.mktemp("study") / "arms.yaml"
    path.write_text(ARMS)
    with toy_registered():
        return read_study(path)


def begun(config: RunConfig, folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], list[Batch]]:
    """The weights that a cell begins with, of encoder and predictor, and its first batches."""
    trainer = Trainer(config, RunFolder(folder))
    with closing(trainer._batches()) as batches:
        taken = list(islice(batches, 5))  # into the second pass over 64 samples
    model = trainer.state.model
    return model.encoder.state_dict(), model.predictor.state_dict(), taken


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_all_arms_of_a_seed_share_initial_weights_data_order_and_augmentation(study: Study, tmp_path: Path) -> None:
    cells = [cell for cell in study.cells if cell.seed == 3]
    assert len(cells) == 6
    found = {cell.arm: begun(cell.config, tmp_path / cell.name) for cell in cells}
    encoder, predictor, batches = found["plain"]
    for arm, (its_encoder, its_predictor, its_batches) in found.items():
        assert same(encoder, its_encoder), arm
        assert same(predictor, its_predictor) or arm == "deep", arm
        for batch, its_batch in zip(batches, its_batches, strict=True):
            assert batch.keys == its_batch.keys, arm
            assert torch.equal(batch.signal, its_batch.signal), arm


def test_arms_with_the_same_masking_see_the_same_masks(study: Study, tmp_path: Path) -> None:
    cells = {cell.arm: cell for cell in study.cells if cell.seed == 3}
    *_, plain = begun(cells["plain"].config, tmp_path / "plain")
    *_, other = begun(cells["l1"].config, tmp_path / "l1")
    for batch, its_batch in zip(plain, other, strict=True):
        assert torch.equal(batch.views[0].context, its_batch.views[0].context)
        assert torch.equal(batch.views[0].targets, its_batch.views[0].targets)


def test_seeds_differ_in_weights_and_in_data_order(study: Study, tmp_path: Path) -> None:
    cells = [cell for cell in study.cells if cell.arm == "plain"]
    (one, _, first), (other, _, second) = (begun(cell.config, tmp_path / cell.name) for cell in cells)
    assert not same(one, other)
    assert [batch.keys for batch in first] != [batch.keys for batch in second]


def test_nothing_differs_between_arms_of_a_seed_but_the_studied_choice(study: Study) -> None:
    found = {cell.arm: cell.config.model_dump() for cell in study.cells if cell.seed == 4}
    differing = {
        arm: {key for key, value in config.items() if value != found["plain"][key]} for arm, config in found.items()
    }
    assert differing == {
        "plain": set(),
        "rows": {"masking"},
        "l1": {"objective"},
        "no-ema": {"ema"},
        "deep": {"predictor"},
        "decay": {"optim"},
    }
