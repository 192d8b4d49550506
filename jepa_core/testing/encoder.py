"""Checks of encoders: backbones that turn tokens with their grid positions into tokens."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from jepa_core.testing.attempts import attempt, generators_moved_by
from jepa_core.testing.checks import CheckFailed, NotApplicable
from jepa_core.testing.encoder_case import BATCH, EncoderCase, Network
from jepa_core.testing.words import beginning

_SAME, _CLOSE, _CLOSE_IN_BF16 = 1e-5, 1e-3, 0.2
"""Differences of outputs, which are of size 1, that rounding explains: of one computation in fp32, of another one."""
_SMALL, _LARGE = 0.2, 5


def check_width_and_heads_stated(case: EncoderCase) -> None:
    """The module has `width` and `heads`, whole numbers of at least 1.

    To mend: set both in the constructor; the tokenizer is built for `width`, and the predictor takes `heads` unless its
    section says otherwise.
    """
    for grid, module in case.built:
        for name in ("width", "heads"):
            value = getattr(module, name, None)
            if not isinstance(value, int) or value < 1:
                raise CheckFailed(f"on {grid}: expected {name} as a whole number of at least 1, found {value!r}")


def check_tokens_in_tokens_out(case: EncoderCase) -> None:
    """Tokens (batch, n, width) of the whole grid, or of one cell or more, give finite tokens of the same shape.

    To mend: return one token for every one that is given, without a class token, whatever their number.
    """
    if not case.networks:
        raise NotApplicable("its width is not known: width_and_heads_stated says why")
    for network in case.networks:
        for count in (None, 1, network.half):
            keep = None if count is None else network.cells(count)
            tokens = network.tokens(count or network.grid.num_tokens)
            found = attempt(partial(network, tokens, keep))
            said = f"on {network.grid}: expected {tuple(tokens.shape)} for {count or 'all'} cells, found"
            if isinstance(found, Exception):
                raise CheckFailed(f"{said} {type(found).__name__}: {found}") from found
            if found.shape != tokens.shape:
                raise CheckFailed(f"{said} {tuple(found.shape)}")
            if not found.isfinite().all():
                raise CheckFailed(f"{said} {int((~found.isfinite()).sum())} values that are not finite")


def check_all_cells_are_the_whole_grid(case: EncoderCase) -> None:
    """To keep all cells in row-major order gives what no `keep` gives.

    To mend: take positions by cell, `table[keep]`, and all of them in row-major order where `keep` is None.
    """
    for network in case.sound:
        tokens = network.tokens(network.grid.num_tokens)
        keep = torch.arange(network.grid.num_tokens).expand(BATCH, -1)
        _require_close(network(tokens, keep), network(tokens, None), network, "with all cells kept")


def check_order_does_not_matter(case: EncoderCase) -> None:
    """Tokens in another order, with their cells, come out in that order and are otherwise the same.

    To mend: let nothing depend on a token's place in the sequence but on its cell: target blocks and predicted tokens
    are not sorted.
    """
    for network in case.sound:
        tokens, cells = network.sample
        found = network(tokens.flip(1), cells.flip(1)).flip(1)
        _require_close(found, network.answer, network, "in another order")


def check_positions_are_known(case: EncoderCase) -> None:
    """Equal tokens at other cells come out differently.

    To mend: add positions of the cells in `keep`, or rotate queries and keys by them; the tokenizer adds none.
    """
    for network in case.sound:
        tokens, cells = network.sample
        gap = float((network(tokens, cells.roll(1, 1)) - network.answer).abs().max())
        if gap < _SAME:
            raise CheckFailed(
                f"on {network.grid}: expected other outputs at other cells, found a difference of {gap:.2g}"
            )


def check_samples_do_not_mix(case: EncoderCase) -> None:
    """The tokens of a sample depend on no other sample, in training neither.

    To mend: normalise over channels (LayerNorm), never over the batch (BatchNorm): batches differ in size, and
    unreadable samples would count.
    """
    network = case.sound[0]
    tokens, cells = network.sample
    leaf = tokens.clone().requires_grad_()
    with torch.random.fork_rng(devices=[]):
        found = copy.deepcopy(network.module).train()(leaf, cells)[0]
    leak = float(torch.autograd.grad((found * network.directions(found)).sum(), leaf)[0][1:].abs().max())
    if leak > 0:
        raise CheckFailed(f"expected no gradient from sample 0 to another, found up to {leak:.2g}")


def check_every_parameter_is_used(case: EncoderCase) -> None:
    """Every parameter takes part in the output.

    To mend: make no layer that `forward` does not use, or freeze it: training on several devices waits for the gradient
    of every parameter.
    """
    network = case.sound[0]
    found = network.module(*network.sample)
    parameters = {name: each for name, each in network.module.named_parameters() if each.requires_grad}
    if not parameters:
        raise NotApplicable("it has no parameters that are trained")
    loss = (found * network.directions(found)).sum()
    computed = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    gradients = cast("Sequence[Tensor | None]", computed)  # torch's annotations do not know of `allow_unused`
    idle = [name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None]
    if idle:
        raise CheckFailed(f"expected {len(parameters)} parameters in use, found {len(idle)} idle: {beginning(idle)}")


def check_evaluation_repeats(case: EncoderCase) -> None:
    """In evaluation mode the same tokens give the same output, bit for bit, and no random number is drawn.

    To mend: leave dropout and stochastic depth to `self.training`; targets come from a module in evaluation mode.
    """
    network = case.sound[0]
    again: list[Tensor] = []
    moved = generators_moved_by(lambda: again.append(network(*network.sample)))
    gap = float((again[0] - network.answer).abs().max())
    if moved:
        raise CheckFailed(f"expected no draw, found the generator of {' and '.join(moved)} moved")
    if gap > 0:
        raise CheckFailed(f"expected equal outputs, found a difference of {gap:.2g}")


def check_output_is_normed(case: EncoderCase) -> None:
    """Tokens come out of a last norm: their size is about 1, and stays so when those that go in are ten times as large.

    To mend: end with a LayerNorm or RMSNorm; else the scale of targets drifts, and so does the loss.
    """
    network = case.sound[0]
    tokens, cells = network.sample
    for scale, found in ((1, network.answer), (10, network(10 * tokens, cells))):
        size = found.square().mean(-1).sqrt()
        if not ((size > _SMALL) & (size < _LARGE)).all():
            raise CheckFailed(
                f"expected tokens of a root mean square of {_SMALL} to {_LARGE}, found {float(size.min()):.2g} to "
                f"{float(size.max()):.2g} for tokens of size {scale}"
            )


def check_seed_decides_weights(case: EncoderCase) -> None:
    """Weights come from torch's global generator: the same seed, the same weights.

    To mend: initialise with `torch.nn.init` and no generator of your own, or runs cannot be repeated.
    """
    network = case.sound[0]
    weights, again = network.module.state_dict(), case.build(network.grid).state_dict()
    other = [name for name, value in weights.items() if not torch.equal(value, again[name])]
    if other:
        raise CheckFailed(f"expected equal weights for one seed, found {len(other)} others: {beginning(other)}")


def check_state_restores(case: EncoderCase) -> None:
    """A new module with the state of another one gives the same output.

    To mend: what is learned or drawn must be a parameter or a buffer, so that checkpoints hold it; plain attributes may
    hold what follows from the configuration.
    """
    network = case.sound[0]
    other = Network(network.grid, case.build(network.grid, seed=1))
    refused = attempt(partial(other.module.load_state_dict, network.module.state_dict()))
    if isinstance(refused, Exception):
        raise CheckFailed(f"expected to load the state of its own kind, found: {refused}") from refused
    _require_close(other.answer, network.answer, network, "with the same state")


def check_copy_is_independent(case: EncoderCase) -> None:
    """A deep copy gives the same output, and other weights in it leave the original as it is.

    To mend: share no tensors with a copy, and keep no closure over the module: the target encoder is such a copy, and
    one that moves with the encoder makes training collapse.
    """
    network = case.sound[0]
    other = Network(network.grid, copy.deepcopy(network.module))
    _require_close(other.answer, network.answer, network, "in a copy")
    own = [parameter.detach().clone() for parameter in network.module.parameters()]
    with torch.no_grad():
        for parameter in other.module.parameters():
            parameter.mul_(1.5).add_(0.1)
    after, changed = network(*network.sample), other(*other.sample)
    with torch.no_grad():  # for other checks: where the two share tensors, the original has changed too
        for parameter, value in zip(network.module.parameters(), own, strict=True):
            parameter.copy_(value)
    _require_close(after, network.answer, network, "after its copy has changed")
    if torch.equal(changed, network.answer):
        raise CheckFailed("expected other outputs of a copy with other weights, found the same: it uses the original's")


def check_layers_are_averaged(case: EncoderCase) -> None:
    """With `depth`, `layers=n` gives the mean over the last n layers, each layer-normed without affine.

    To mend: take a third argument `layers: int = 1` and average `layer_norm(output, output.shape[-1:])` of the last
    blocks; or have no attribute `depth`, and `target.layers` stays 1.
    """
    network = case.sound[0]
    depth = getattr(network.module, "depth", None)
    if not isinstance(depth, int) or depth < 2:
        raise NotApplicable(f"its depth is {depth}: it gives its output alone")
    found = attempt(partial(network, *network.sample, depth))
    said = f"expected tokens of mean 0 and a root mean square of at most 1 for layers={depth}, found"
    if isinstance(found, Exception):
        raise CheckFailed(f"{said} {type(found).__name__}: {found}") from found
    centre, size = float(found.mean(-1).abs().max()), float(found.square().mean(-1).sqrt().max())
    if centre > _CLOSE or size > 1 + _CLOSE:
        raise CheckFailed(f"{said} mean {centre:.2g}, root mean square {size:.2g}")
    _require_close(network(*network.sample, 1), network.answer, network, "for layers=1")


def check_works_in_bf16(case: EncoderCase) -> None:
    """Under autocast to bf16, tokens in bf16 give finite tokens close to those in fp32.

    To mend: bring tokens and positions to one precision before they are joined, such as
    `tokens.to(self.norm.weight.dtype)`; matrix products change it under autocast.
    """
    network = case.sound[0]
    tokens, cells = network.sample
    with torch.autocast("cpu", torch.bfloat16):
        found = attempt(partial(network, tokens.bfloat16(), cells))
    if isinstance(found, Exception):
        raise CheckFailed(f"expected tokens, found {type(found).__name__}: {found}") from found
    _require_close(found.float(), network.answer, network, "in bf16", _CLOSE_IN_BF16)


def _require_close(
    found: Float[Tensor, "batch token dim"],
    expected: Float[Tensor, "batch token dim"],
    network: Network,
    how: str,
    tolerance: float = _CLOSE,
) -> None:
    gap = float((found - expected).abs().max())
    if not gap <= tolerance:
        raise CheckFailed(
            f"on {network.grid}: expected the same tokens {how}, found a difference of up to {gap:.2g} "
            f"(allowed: {tolerance:g})"
        )
