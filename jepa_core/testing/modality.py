"""Checks of a modality: what it plans, its grid and its tokenizer."""

from __future__ import annotations

import torch

from jepa_core.config.text import dump
from jepa_core.errors import ConfigError, JepaError
from jepa_core.nn.tokens import take_tokens
from jepa_core.recipes import read_config
from jepa_core.testing.checks import CheckFailed, NotApplicable, require
from jepa_core.testing.fresh import Failure
from jepa_core.testing.modality_case import CLOSE, SEED, WIDTH, ModalityCase
from jepa_core.testing.reach import APART, is_far, sharing, unlaid_axes
from jepa_core.testing.words import beginning

__all__ = ["ModalityCase"]


def check_planning_needs_no_torch(case: ModalityCase) -> None:
    """`grid` and `signal_shape` compute the same everywhere, without torch or NumPy, so that plans are instant.

    To mend: compute both from the section alone, in plain Python, with no import of torch or NumPy on the way.
    """
    if isinstance(case.planned, Failure):
        raise CheckFailed(f"expected a grid in a fresh interpreter, found {case.planned.message}")
    grid, shape, heavy = case.planned
    require(not heavy, f"expected plain Python, found that grid or signal_shape imported {', '.join(heavy)}")
    found, wanted = (grid, shape), (case.grid, case.shape)
    require(found == wanted, f"expected {wanted}, found {found} in a fresh interpreter")


def check_defaults_and_presets_are_valid(case: ModalityCase) -> None:
    """With its defaults, and with each preset, `modality: {name: ...}` is a whole configuration.

    To mend: see what the message names; defaults must bring a masking strategy, and a value in `defaults` or `presets`
    is spelled as in a file.
    """
    fields = case.plugin.Config.model_fields.items()
    given = {key: getattr(case.section, key) for key, field in fields if field.is_required()}
    for preset in (None, *case.plugin.presets):
        values = {"preset": preset, "modality": {"name": case.name, **given}}
        try:
            read_config(text=dump(values))
        except ConfigError as error:
            raise CheckFailed(f"expected preset {preset!r} to be valid, found {error}") from error


def check_demo_is_valid(case: ModalityCase) -> None:
    """What `jepa demo` runs, and the smaller run that is checked, are configurations of this modality.

    To mend: try the text that `demo` and `sample` return: jepa config validate FILE
    """
    texts = [text for text in (case.plugin.demo(), case.plugin.sample()) if text is not None]
    if not texts:
        raise NotApplicable("it has no built-in data (Modality.demo)")
    for text in texts:
        try:
            found = read_config(text=text).modality.name
        except ConfigError as error:
            raise CheckFailed(f"expected a valid configuration, found {error}") from error
        require(found == case.name, f"expected a configuration of '{case.name}', found one of '{found}'")


def check_weight_formats_load(case: ModalityCase) -> None:
    """Every layout in `formats` has a name of its own and an implementation that can be imported.

    To mend: spell `implementation` as "package.module:Class", and import optional packages inside its methods.
    """
    formats = case.plugin.formats
    if not formats:
        raise NotApplicable("it translates no weights of other programs (Modality.formats)")
    names = [each.name for each in formats]
    require(len(set(names)) == len(names), f"expected different names, found {', '.join(names)}")
    for each in formats:
        try:
            each.load()
        except JepaError as error:
            raise CheckFailed(f"expected the implementation of '{each.name}', found that {error}") from error


def check_one_token_per_cell(case: ModalityCase) -> None:
    """The tokenizer gives (batch, cells of the grid, width) for signals of `signal_shape`.

    To mend: cut the signal into exactly the cells that `grid` counts, flatten them in row-major order, and project
    each to `width` channels.
    """
    found = tuple(case.tokenizer()(case.noise, None).shape)
    wanted = (len(case.noise), case.grid.num_tokens, WIDTH)
    require(found == wanted, f"expected tokens {wanted} on the grid {case.grid}, found {found}")


def check_kept_tokens_equal_the_gathered_ones(case: ModalityCase) -> None:
    """Tokens of kept cells are those that the whole signal has there, in the order of `keep`, also where it repeats.

    To mend: cut into cells first, then `take_tokens(cells, keep)`, then project; add positions in the encoder, not in
    the tokenizer, or take them by `keep` too.
    """
    cells = case.grid.num_tokens
    generator = torch.Generator().manual_seed(SEED)
    order = torch.stack([torch.randperm(cells, generator=generator) for _ in case.noise])
    keep = torch.cat([order[:, : max(1, cells // 2)], order[:, :2]], dim=1)  # shuffled, and some of them twice
    with torch.no_grad():
        found, wanted = case.tokenizer()(case.noise, keep), take_tokens(case.tokens, keep)
    require(found.shape == wanted.shape, f"expected {tuple(wanted.shape)}, found {tuple(found.shape)}")
    gap, largest = (found - wanted).abs().max().item(), wanted.abs().max().item()
    require(
        gap <= CLOSE * largest,
        f"expected the same tokens with and without `keep`, found differences up to {gap:.3g}, where the largest value "
        f"is {largest:.3g}",
    )


def check_hidden_cells_do_not_leak(case: ModalityCase) -> None:
    """Tokens of cells that are no neighbours have no value of the signal in common, in training neither.

    To mend: let no statistic, attention or convolution of the tokenizer reach further than half a cell beyond its own;
    normalise in the transform, and mix tokens in the encoder, which sees only kept ones.
    """
    if max(case.grid.shape) <= APART:
        raise NotApplicable(f"the grid {case.grid} has only neighbours")
    free = unlaid_axes(case.grid.shape, case.shape)
    for training in (False, True):
        for cell in (0, case.grid.num_tokens // 2, case.grid.num_tokens - 1):
            reached = sharing(case, cell, training)
            far = [each for each in reached if is_far(each, cell, reached, case.grid.shape, free)]
            mode = "in training" if training else "in evaluation"
            require(
                not far,
                f"expected cell {cell} to share values of the signal with its neighbours alone, found that {mode} it "
                f"shares some with {len(far)} others of {case.grid.num_tokens}: {beginning(far)}",
            )


def check_samples_do_not_mix(case: ModalityCase) -> None:
    """The tokens of a sample depend on no other sample of the batch, in training neither.

    To mend: normalise over the values of a token (LayerNorm), never over the batch (BatchNorm, `signal.mean(0)`):
    batches differ in size, and a padded or unreadable sample would count.
    """
    case.tokens  # noqa: B018 - it raises
    others = case.noise.clone()
    others[1:] = 3 * others[1:].flip(0) + 1
    for training in (False, True):
        expected, found = (case.tokens_of(signal, training)[0] for signal in (case.noise, others))
        gap, largest = (found - expected).abs().max().item(), expected.abs().max().item()
        require(
            gap <= CLOSE * largest,
            f"expected the tokens of sample 0 whatever the others are, found differences up to {gap:.3g} "
            f"{'in training' if training else 'in evaluation'}, where the largest value is {largest:.3g}",
        )


def check_tokenizer_state_round_trip(case: ModalityCase) -> None:
    """A tokenizer with the saved state of another one computes the same tokens.

    To mend: keep every weight as an nn.Parameter or buffer of a registered submodule (nn.ModuleList, not a list), and
    let nothing that matters depend on how a new module is initialised.
    """
    another = case.tokenizer(SEED + 1)
    another.load_state_dict(case.tokenizer().state_dict())
    with torch.no_grad():
        gap = (another(case.noise, None) - case.tokens).abs().max().item()
    require(gap == 0, f"expected equal tokens after loading state_dict, found differences up to {gap:.3g}")
