"""Fairness: what all arms of a base are given in equal amounts.

A masking strategy decides how many tokens the encoder sees and how many the predictor answers for, so that without
`match: tokens` a study of masking compares amounts of work as much as choices of cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

from jepa_core.config import RunConfig
from jepa_core.config.text import to_yaml
from jepa_core.errors import ConfigError
from jepa_core.model import Parts
from jepa_core.planning import work
from jepa_core.recipes import read_config
from jepa_core.types import TokenBudget

Parcel = tuple[int, int]
"""(how many sets of one size there are, the most cells that each can have)."""


@dataclass(frozen=True)
class Matched:
    """An arm after matching."""

    config: RunConfig
    words: str = ""
    """What was changed; nothing where nothing was."""


def match(
    what: Literal["steps", "tokens", "flops"], arms: Mapping[str, RunConfig], reference: str
) -> dict[str, Matched]:
    """The arms of one base, made equal in what the study asks for.

    Args:
        what: as `StudyConfig.match`.
        arms: configurations by name.
        reference: the arm whose compute the others get, under `flops`.

    Raises:
        ConfigError: there is no number that all arms can meet.
    """
    if what == "tokens":
        return _match_tokens(arms)
    if what == "flops":
        return _match_flops(arms, reference)
    return {name: Matched(config) for name, config in arms.items()}


def _match_tokens(arms: Mapping[str, RunConfig]) -> dict[str, Matched]:
    budgets = {name: Parts.of(config).masking.budgets for name, config in arms.items()}
    context = {name: [(1, view.context) for view in views] for name, views in budgets.items()}
    target = {name: [(view.num_targets, view.target) for view in views] for name, views in budgets.items()}
    totals = _common("context tokens", context), _common("predicted tokens", target)
    problems, matched = list[str](), dict[str, Matched]()
    for name, config in arms.items():
        shares = shared_out(totals[0], context[name]), shared_out(totals[1], target[name])
        try:
            matched[name] = _limited(config, budgets[name], *shares)
        except ConfigError as error:
            problems += [f"arm {name}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return matched


def _limited(
    config: RunConfig, budgets: Sequence[TokenBudget], context: Sequence[int], target: Sequence[int]
) -> Matched:
    """The arm with masks of these sizes, view by view; raises ConfigError where its strategy cannot be limited."""
    of = config.masking.model_dump()
    masking = {"name": "limited", "of": of, "context_tokens": tuple(context), "target_tokens": tuple(target)}
    limited = read_config(text=to_yaml(config), layers=[{"masking": masking}])
    Parts.of(limited)  # also where nothing changes: lengths that follow the batch are refused
    wanted = tuple(
        TokenBudget(seen, view.num_targets, each) for view, seen, each in zip(budgets, context, target, strict=True)
    )
    if wanted == tuple(budgets):
        return Matched(config)
    return Matched(limited, f"masks limited from {_sizes(budgets)} to {_sizes(wanted)} tokens")


def _sizes(budgets: Sequence[TokenBudget]) -> str:
    """For messages: "30 context + 4 x 8 predicted"; views side by side."""
    return " and ".join(f"{view.context} context + {view.num_targets} x {view.target} predicted" for view in budgets)


def _common(what: str, arms: Mapping[str, Sequence[Parcel]]) -> int:
    """The largest total that every arm can be cut down to; raises ConfigError where there is none."""
    totals = reduce(int.__and__, map(_reachable, arms.values()))
    if not totals:
        has = "; ".join(
            f"{name} has {' + '.join(f'{sets} x {cells}' for sets, cells in own)}" for name, own in arms.items()
        )
        raise ConfigError(
            f"no number of {what} that all arms can be cut down to, with blocks of equal size: {has}. Give the "
            "smallest one larger blocks, or take `match: flops`."
        )
    return totals.bit_length() - 1


def _reachable(parcels: Sequence[Parcel]) -> int:
    """Totals as the bits that are set: every set of a parcel keeps the same number of cells, at least one."""
    totals = 1
    for sets, cells in parcels:
        totals = reduce(int.__or__, (totals << sets * kept for kept in range(1, cells + 1)))
    return totals


def shared_out(total: int, parcels: Sequence[Parcel]) -> list[int]:
    """Cells per set of every parcel that add up to a reachable total, near to the parcels' own proportions.

    >>> shared_out(10, [(1, 12), (2, 4)])
    [6, 2]
    """
    kept: list[int] = []
    for number, (sets, cells) in enumerate(parcels):
        rest = parcels[number + 1 :]
        share = total * cells / sum(sets * cells for sets, cells in parcels[number:])
        reachable = _reachable(rest)
        fitting = [
            each for each in range(1, cells + 1) if total >= sets * each and reachable >> total - sets * each & 1
        ]
        kept.append(min(fitting, key=lambda each: abs(each - share)))
        total -= sets * kept[-1]
    return kept


def _match_flops(arms: Mapping[str, RunConfig], reference: str) -> dict[str, Matched]:
    flops = {name: work(config).flops for name, config in arms.items()}
    matched: dict[str, Matched] = {}
    for name, config in arms.items():
        before, after = config.train.steps, max(1, round(flops[reference].run / flops[name].step))
        if after == before:
            matched[name] = Matched(config)
        else:
            longer = read_config(text=to_yaml(config), layers=[{"train": {"steps": after}}])
            matched[name] = Matched(longer, f"{after:,} updates in place of {before:,}")
    return matched
