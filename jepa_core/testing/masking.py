"""Checks of masking strategies, on grids of one to three axes from a single cell to a few hundred."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from functools import partial

from jepa_core.errors import ConfigError, PluginIncompatible
from jepa_core.masking import MaskView
from jepa_core.testing.attempts import attempt, generators_moved_by
from jepa_core.testing.checks import CheckFailed, NotApplicable
from jepa_core.testing.masking_case import (
    BATCH,
    MaskingCase,
    Moment,
    Served,
    equal_views,
    lengths,
    malformed,
    strangers,
    streams,
)
from jepa_core.testing.words import beginning
from jepa_core.testing.work import instructions

_FEW, _MANY = 16, 256


def check_some_grid_served(case: MaskingCase) -> None:
    """With this configuration the strategy works on one grid at least.

    To mend: choose defaults that fit common grids, such as 14 x 14, and state `num_axes` and `needs_axes` of the
    `Masking` where it needs some; the message shows why the last grid was refused.
    """
    refused = [(grid, built) for grid, built in case.built if isinstance(built, Exception)]
    if len(refused) == len(case.built):
        grid, error = refused[-1]
        raise CheckFailed(
            f"expected one of {len(refused)} grids to be accepted, found none; on {grid}: {error}"
        ) from error


def check_refusal_says_why(case: MaskingCase) -> None:
    """A grid that cannot be served is refused with a ConfigError whose problems begin with their dotted path.

    To mend: check the grid in the factory and raise
    `ConfigError("masking.KEY: what is wrong on a grid of GRID. Allowed: RANGE.")`; nothing else, and no assertion.
    """
    for grid, error in case.built:
        if isinstance(error, ConfigError):
            bad = [problem for problem in error.problems if not problem.startswith("masking.")]
            if bad:
                raise CheckFailed(f"on {grid}: expected a problem that begins with 'masking.', found: {bad[0]}")
        elif isinstance(error, Exception) and not isinstance(error, PluginIncompatible):
            raise CheckFailed(f"on {grid}: expected ConfigError, found {type(error).__name__}: {error}") from error


def check_accepted_grid_works(case: MaskingCase) -> None:
    """A grid that the factory accepts is one on which masks can be drawn.

    To mend: decide in the factory whether every sample can have its tokens, with the numbers that drawing uses, and
    raise ConfigError with the feasible range there; a run would otherwise stop in the middle.
    """
    if not case.drawn:
        raise NotApplicable("no grid is accepted")
    for grid, _, views in case.drawn:
        if isinstance(views, Exception):
            raise CheckFailed(
                f"on {grid}: expected masks of {BATCH} samples, found {type(views).__name__}: {views}"
            ) from views


def check_options_are_checked(case: MaskingCase) -> None:
    """With other values of its options, too, a strategy refuses a grid with a ConfigError or draws masks.

    To mend: as for accepted_grid_works; the factory sees the whole section, so it can tell which values leave room for
    a context and for targets on the grid. What no grid allows, the section itself refuses: `Field(gt=0, lt=1)`.
    """
    for what, built in case.varied:
        if isinstance(built, ConfigError | PluginIncompatible):
            continue
        views = built if isinstance(built, Exception) else attempt(partial(built, streams(range(BATCH))))
        if found := malformed(views, BATCH):
            raise CheckFailed(f"with {what}: expected ConfigError or masks of {BATCH} samples, found {found}") from (
                views if isinstance(views, Exception) else None
            )


def check_views_well_formed(case: MaskingCase) -> None:
    """A draw is a tuple of `MaskView`s with int64 indices: context (batch, n), targets (batch, blocks, m), none empty.

    To mend: return `(MaskView.of(context, targets),)` with int64 arrays; one target block still has an axis of its own.
    """
    if not case.drawn:
        raise NotApplicable("no grid is accepted")
    for grid, _, views in case.drawn:
        if not isinstance(views, Exception) and (found := malformed(views, BATCH)):
            raise CheckFailed(f"on {grid}: expected a tuple of MaskViews of {BATCH} samples, found {found}")


def check_grid_stated(case: MaskingCase) -> None:
    """The strategy's `grid` is the one that it was built on.

    To mend: `self.grid = grid` in the constructor; reports and statistics read it.
    """
    for served in case.served:
        if served.strategy.grid != served.grid:
            raise CheckFailed(f"expected the grid {served.grid}, found {served.strategy.grid}")


def check_budgets_met(case: MaskingCase) -> None:
    """Every view has the numbers of tokens that its entry of `budgets` states.

    To mend: compute `self.budgets` once in the constructor, one `TokenBudget` per view, and cut both sides to it with
    `jepa_core.masking.budget.random_subset`.
    """
    for served in case.served:
        stated = [(each.context, each.num_targets, each.target) for each in served.strategy.budgets]
        if lengths(served.views) != stated:
            raise CheckFailed(f"on {served.grid}: expected {_said(stated)}, found {_said(lengths(served.views))}")


def check_lengths_independent_of_batch(case: MaskingCase) -> None:
    """The numbers of tokens are the same in batches of every size.

    To mend: cut to a fixed budget, never to the smallest sample of the batch; else accumulating gradients changes what
    is trained, and four processes of 32 are not one of 128.
    """
    for served in case.served:
        for size in (1, 2, 5, 256):
            found = lengths(served.strategy(streams(range(size))))
            if found != lengths(served.views):
                raise CheckFailed(
                    f"on {served.grid}: expected {_said(lengths(served.views))} as in a batch of {BATCH}, "
                    f"found {_said(found)} in one of {size}"
                )


def check_lengths_constant_through_training(case: MaskingCase) -> None:
    """The numbers of tokens are the same at the start, in the middle and at the end of training.

    To mend: let `random.progress` decide what is drawn, not how many tokens: memory and speed are planned for
    `budgets`.
    """
    for served in case.served:
        for when, views in served.later:
            found = malformed(views, BATCH) or _said(lengths(views))
            if found != _said(lengths(served.views)):
                raise CheckFailed(
                    f"on {served.grid}: expected {_said(lengths(served.views))} as at the start, "
                    f"found {found}{when.words}"
                ) from (views if isinstance(views, Exception) else None)


def check_cells_exist(case: MaskingCase) -> None:
    """Every index is a cell of the grid, throughout training.

    To mend: indices count cells in row-major order, from 0 to `grid.num_tokens` - 1; a place that an exclusive bound
    draws, or a block that sticks out, is the usual reason.
    """
    for served in case.served:
        if found := strangers(served):
            raise CheckFailed(f"on {served.grid}: expected 0 to {served.grid.num_tokens - 1}, found {found}")


def check_cells_ascend(case: MaskingCase) -> None:
    """Cells of the context, and of each target block, ascend and none is there twice.

    To mend: sort them, and draw without replacement (`jepa_core.masking.budget.random_subset` does both); a repeated
    cell is a token that counts twice.
    """
    for served in case.served:
        for what, cells in served.cells:
            falling = (cells.diff(dim=-1) <= 0).flatten(1).any(1)
            if falling.any():
                sample = int(falling.nonzero()[0])
                raise CheckFailed(
                    f"on {served.grid}: expected ascending cells, found in {what}, sample {sample}: "
                    f"{beginning(cells[sample].tolist())}"
                )


def check_context_without_targets(case: MaskingCase) -> None:
    """No cell of a sample is context and target at once, unless the section says `allow_overlap: true`.

    To mend: take the target cells out of the context before it is cut to its budget, or the predictor copies the
    answer. A strategy for which this is the point has a boolean field `allow_overlap` in its section.
    """
    if getattr(case.section, "allow_overlap", False):
        raise NotApplicable("the section says allow_overlap: true")
    for served in case.served:
        for when, number, view in _views(served):
            both = (view.context[:, :, None] == view.targets.flatten(1)[:, None]).any(2)
            if both.any():
                raise CheckFailed(
                    f"on {served.grid}: expected none, found {int(both.any(1).sum())} of {BATCH} samples "
                    f"in view {number}{when.words} with a cell on both sides, {int(both.sum(1).max())} at most"
                )


def check_mask_belongs_to_its_sample(case: MaskingCase) -> None:
    """The mask of a sample does not depend on the other samples of its batch, nor on its place there.

    To mend: draw from `random` alone, which has one stream per sample (`uniform`, `words`, `integers`), and let no
    sample's numbers decide for another; so workers, processes and resumed runs draw the same masks.
    """
    half = BATCH // 2
    neighbours = [*reversed(range(half)), *range(5 * BATCH, 5 * BATCH + half)]
    for served in case.served:
        for when, views in served.moments:
            others, alone = (served.strategy(when.streams(samples)) for samples in (neighbours, [0]))
            for number, view in enumerate(views):
                mirrored = MaskView(others[number].context.flip(0), others[number].targets.flip(0)).rows(half, BATCH)
                for what, found in (("with other neighbours", mirrored), ("alone", alone[number])):
                    expected = view.rows(0, len(found.context))
                    if lengths((found,)) == lengths((expected,)) and not equal_views((found,), (expected,)):
                        raise CheckFailed(
                            f"on {served.grid}: expected the masks that samples have in a batch of {BATCH}, "
                            f"found others {what} in view {number}{when.words}"
                        )


def check_same_mask_again(case: MaskingCase) -> None:
    """A strategy that is built again draws the same mask for the same seed, epoch and sample.

    To mend: keep no counter, no generator and no clock in the strategy; all that is random comes from `random`, and
    what the constructor draws from a fixed seed.
    """
    for served in case.served:
        again = case.plugin.build(case.section, served.grid)
        for when, views in served.moments:
            if not equal_views(again(when.streams(range(BATCH))), views):
                raise CheckFailed(
                    f"on {served.grid}: expected equal masks of {BATCH} samples, found others{when.words}"
                )


def check_global_randomness_left_alone(case: MaskingCase) -> None:
    """Neither building nor drawing touches the global generators of torch and NumPy.

    To mend: draw from `random`; where a generator is needed, make one (`np.random.default_rng(seed)`) in the
    constructor.
    """
    for served in case.served:
        building = generators_moved_by(partial(case.plugin.build, case.section, served.grid))
        drawing = generators_moved_by(partial(served.strategy, streams(range(BATCH))))
        if building or drawing:
            raise CheckFailed(
                f"on {served.grid}: expected untouched generators, found that of {' and '.join({*building, *drawing})} "
                f"moved by {'building' if building else 'drawing'}"
            )


def check_batch_costs_less_than_its_samples(case: MaskingCase) -> None:
    """A batch is drawn at once: 16 times as many samples take less than 4 times the Python instructions.

    To mend: compute with arrays whose first axis is the batch, without a Python loop over samples; loader workers have
    milliseconds for a batch.
    """
    served = max(case.served, key=lambda each: each.grid.num_tokens)
    few, many = (instructions(partial(served.strategy, streams(range(size)))) for size in (_FEW, _MANY))
    if many >= 4 * few:
        raise CheckFailed(
            f"on {served.grid}: expected less than {4 * few} instructions for {_MANY} samples, 4 times the {few} of "
            f"{_FEW}, found {many}"
        )


def check_strategy_pickles(case: MaskingCase) -> None:
    """A strategy survives pickling and then draws the same masks.

    To mend: keep functions of a module, not lambdas and not open files, in the strategy: loader workers that are
    spawned get a pickled copy.
    """
    for served in case.served:
        if not equal_views(served.strategy(streams(range(BATCH))), served.views):
            raise NotApplicable("it draws other masks when it is asked again: see same_mask_again")
        copy = attempt(lambda strategy=served.strategy: pickle.loads(pickle.dumps(strategy)))
        if isinstance(copy, Exception):
            raise CheckFailed(f"on {served.grid}: expected a copy, found {type(copy).__name__}: {copy}") from copy
        if not equal_views(copy(streams(range(BATCH))), served.views):
            raise CheckFailed(f"on {served.grid}: expected equal masks of {BATCH} samples, found others in the copy")


def _views(served: Served) -> Iterator[tuple[Moment, int, MaskView]]:
    """All views of all moments, each with its moment and number."""
    for when, views in served.moments:
        for number, view in enumerate(views):
            yield when, number, view


def _said(views: list[tuple[int, ...]]) -> str:
    return "; ".join(f"{context} context, {blocks} x {tokens} target tokens" for context, blocks, tokens in views)
