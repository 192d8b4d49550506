"""curriculum: two strategies, mixed by the progress of training, with one set of budgets."""

from __future__ import annotations

import pickle
from collections.abc import Generator
from typing import Any, Literal

import numpy as np
import pytest
import torch

from jepa_audio.masking_configs import CurriculumConfig, curriculum
from jepa_audio.masking_curriculum import chance_of_hard
from jepa_core.config import Section
from jepa_core.errors import ConfigError, PluginIncompatible
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.inspect import measure
from jepa_core.plugin import Masking, MaskingStrategy
from jepa_core.registry import maskings, section_class
from jepa_core.types import SampleKey, TokenBudget, TokenGrid

SPECTROGRAM = TokenGrid((8, 64), ("frequency", "time"))
CLIP = TokenGrid((4, 8, 8), ("time", "height", "width"))
EASY = {"name": "random", "ratio": 0.5}
HARD = {"name": "time", "span": 8}


def config_of(**values: Any) -> CurriculumConfig:
    return CurriculumConfig.model_validate({"name": "curriculum", **values}, context={"section_class": section_class})


def build(grid: TokenGrid = SPECTROGRAM, **values: Any) -> MaskingStrategy:
    return curriculum.build(config_of(**values), grid)


def streams(samples: int | range, progress: float = 0.5) -> SampleRandom:
    indices = range(samples) if isinstance(samples, int) else samples
    return SampleRandom.of(0, [SampleKey(0, index, progress) for index in indices])


def is_hard(view: MaskView) -> np.ndarray:
    """Whether the predicted tokens lie in 38 time steps or fewer, as those of HARD do."""
    steps = view.targets.flatten(1).numpy() % 64
    return np.array([len(np.unique(row)) <= 38 for row in steps])


@pytest.mark.parametrize(
    ("schedule", "start", "middle", "end"),
    [
        ("a_jepa", 0.0001, 0.70718, 1.0),  # sqrt(.5 (1 - .0001)) + .0001; over 1 at the end, so cut
        ("competence", 0.01, 0.70714, 1.0),
        ("linear", 0.01, 0.505, 1.0),
    ],
)
def test_the_chance_of_the_hard_strategy_grows_as_its_schedule_says(
    schedule: str, start: float, middle: float, end: float
) -> None:
    config = config_of(schedule=schedule)
    found = [chance_of_hard(config, progress) for progress in (0.0, 0.5, 1.0)]
    assert found == pytest.approx([start, middle, end], abs=1e-5)
    every = [chance_of_hard(config, progress) for progress in np.linspace(0, 1, 101)]
    assert every == sorted(every)
    assert max(every) <= 1


def test_both_printed_forms_give_the_quarters_that_the_summaries_state() -> None:
    for schedule in ("a_jepa", "competence"):
        found = [chance_of_hard(config_of(schedule=schedule), share) for share in (0.1, 0.25, 0.5, 0.75)]
        assert found == pytest.approx([0.316, 0.5, 0.707, 0.866], abs=0.001)


@pytest.mark.parametrize("progress", [0.0, 0.25, 0.5, 1.0])
def test_the_share_of_hard_samples_is_that_chance(progress: float) -> None:
    (view,) = build(easy=EASY, hard=HARD)(streams(4000, progress))
    assert is_hard(view).mean() == pytest.approx(chance_of_hard(config_of(), progress), abs=0.025)


def test_a_sample_stays_hard_once_it_is() -> None:
    strategy = build(easy=EASY, hard=HARD)
    drawn = np.array([is_hard(strategy(streams(300, progress))[0]) for progress in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)])
    assert (np.diff(drawn.astype(int), axis=0) >= 0).all()


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    ("easy", "hard", "grid", "budgets"),
    [
        (EASY, HARD, SPECTROGRAM, [(208, 1, 256)]),  # 256 + 256 and 208 + 304 tokens
        ({"name": "multiblock"}, {"name": "time_frequency"}, SPECTROGRAM, [(34, 3, 26)]),
        ({"name": "time_frequency"}, {"name": "multiblock"}, SPECTROGRAM, [(34, 3, 26)]),
        (EASY, {"name": "multiblock"}, SPECTROGRAM, [(136, 1, 77)]),
        ({"name": "random", "num_targets": 4}, {"name": "multiblock"}, SPECTROGRAM, [(136, 4, 77)]),
        ({"name": "tube"}, {"name": "frame_drop"}, CLIP, [(24, 1, 128)]),
    ],
)
def test_masks_have_the_smaller_of_both_budgets_whoever_they_come_from(
    easy: dict[str, Any], hard: dict[str, Any], grid: TokenGrid, budgets: list[tuple[int, int, int]], progress: float
) -> None:
    strategy = build(grid, easy=easy, hard=hard)
    assert strategy.budgets == tuple(TokenBudget(*each) for each in budgets)
    (view,) = strategy(streams(200, progress))
    assert view.context.shape == (200, budgets[0][0])
    assert view.targets.shape == (200, *budgets[0][1:])
    assert (view.context.diff(dim=1) > 0).all()
    assert (view.targets.diff(dim=2) > 0).all()
    hidden = ~(view.context[:, :, None, None] == view.targets[:, None]).flatten(1).any(1)
    assert hidden.all()


def test_several_views_are_mixed_one_by_one() -> None:
    grid = TokenGrid((8, 14, 14), CLIP.axes)
    narrow = {"num_blocks": 4, "spatial_scale": (0.15, 0.15)}
    strategy = build(grid, easy={"name": "multiblock3d"}, hard={"name": "multiblock3d", "views": (narrow, narrow)})
    views = strategy(streams(20))
    assert len(views) == len(strategy.budgets) == 2
    for view, budget in zip(views, strategy.budgets, strict=True):
        assert (view.context.shape[1], *view.targets.shape[1:]) == (budget.context, budget.num_targets, budget.target)


def test_tokens_and_blocks_are_a_random_part_of_what_the_strategy_drew() -> None:
    alone = maskings.get("multiblock").build(section_class("masking", "multiblock")(name="multiblock"), SPECTROGRAM)
    strategy = build(easy={"name": "multiblock"}, hard={"name": "time_frequency"})
    (mixed,) = strategy(streams(400, 0.0))
    (whole,) = alone(streams(400, 0.0).fork(0))
    same = [
        sum(set(block) <= set(drawn) for drawn in whole.targets[row].tolist() for block in mixed.targets[row].tolist())
        for row in range(400)
    ]
    assert np.mean([count >= 3 for count in same]) > 0.99  # but for a sample whose coin says hard, one in 10,000
    assert all(set(mixed.context[row].tolist()) <= set(whole.context[row].tolist()) for row in range(50))
    chosen = [
        next(number for number, drawn in enumerate(whole.targets[row].tolist()) if set(block) <= set(drawn))
        for row in range(400)
        for block in mixed.targets[row, :1].tolist()
    ]
    assert set(chosen) == {0, 1}  # the first block that is kept is the first or, where that is left out, the second
    assert 0.15 < np.mean(chosen) < 0.35


def test_every_cell_is_context_and_target_at_every_stage_of_a_curriculum_of_even_strategies() -> None:
    for progress in (0.0, 0.5, 1.0):
        (view,) = measure(build(easy=EASY, hard={"name": "inverse_block"}), 4000, progress=progress).views
        assert abs(view.context_rate / view.context_rate.mean() - 1).max() < 0.2
        assert abs(view.target_rate / view.target_rate.mean() - 1).max() < 0.1
        assert view.leaking == 0


def test_a_mask_is_a_function_of_the_sample_and_of_the_progress() -> None:
    strategy = build(easy=EASY, hard=HARD)
    again = pickle.loads(pickle.dumps(strategy))
    (together,) = strategy(streams(30, 0.3))
    for start in range(0, 30, 3):  # so few that some have samples of one kind only
        (part,) = again(streams(range(start, start + 3), 0.3))
        assert torch.equal(part.context, together.context[start : start + 3])
        assert torch.equal(part.targets, together.targets[start : start + 3])


def test_curricula_nest() -> None:
    inner = {"name": "curriculum", "easy": EASY, "hard": HARD}
    (view,) = build(easy=inner, hard={"name": "inverse_block"})(streams(500, 0.25))
    assert view.context.shape[1] == 102
    hard = is_hard(view)
    assert 0.1 < hard.mean() < 0.4  # half of the samples are of the inner curriculum, half of those are hard


def test_problems_of_both_strategies_are_told_with_their_places() -> None:
    with pytest.raises(ConfigError) as refused:
        build(easy={"name": "random", "ratio": 0.9999}, hard={"name": "time", "ratio": 0.999})
    assert [problem.split(":")[0] for problem in refused.value.problems] == ["masking.easy.ratio", "masking.hard.ratio"]


def test_a_strategy_that_cannot_serve_the_grid_is_told_with_its_place() -> None:
    with pytest.raises(PluginIncompatible, match=r"^masking\.hard\.name: 'time_frequency' serves grids of 2 axes"):
        build(CLIP, easy=EASY)


def test_strategies_with_unlike_numbers_of_views_are_refused() -> None:
    grid = TokenGrid((8, 14, 14), CLIP.axes)
    with pytest.raises(ConfigError, match=r"masking.hard: .* masking.easy has 1 and masking.hard has 2\."):
        build(grid, easy=EASY, hard={"name": "multiblock3d"})


@pytest.mark.parametrize("values", [{"preset": "official"}, {"equal_length": "legacy_prefix"}])
def test_strategies_whose_lengths_depend_on_the_batch_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"masking.easy: .* other lengths in every batch.*equal_length: budget"):
        build(TokenGrid((14, 14), SPECTROGRAM.axes), easy={"name": "multiblock", **values}, hard=EASY)


class ThirdConfig(Section):
    """A third party's: the first half of the cells predicts the second."""

    name: Literal["third"] = "third"
    """The registered name."""
    share: float = 0.5
    """Of the cells that are context."""


class Third:
    def __init__(self, config: ThirdConfig, grid: TokenGrid) -> None:
        self.grid, self._seen = grid, round(config.share * grid.num_tokens)
        self.budgets = (TokenBudget(self._seen, 1, grid.num_tokens - self._seen),)

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        cells = np.tile(np.arange(self.grid.num_tokens), (len(random), 1))
        return (MaskView.of(cells[:, : self._seen], cells[:, None, self._seen :]),)


@pytest.fixture
def third() -> Generator[None]:
    with maskings.temporarily(Masking("third", ThirdConfig, Third, "of a third party")):
        yield


@pytest.mark.usefixtures("third")
def test_a_third_party_s_strategy_takes_part() -> None:
    strategy = build(easy={"name": "third", "share": 0.25}, hard=HARD)
    (view,) = strategy(streams(400, 0.0))
    assert strategy.budgets == (TokenBudget(128, 1, 304),)
    assert (view.context == torch.arange(128)).all(1).float().mean() > 0.99
    assert view.targets.min() >= 0
