"""Checks of objectives: distances between predicted and target tokens, one per sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from jepa_core.objectives import Objective
from jepa_core.plugin import ObjectivePlugin
from jepa_core.testing.attempts import generators_moved_by
from jepa_core.testing.checks import Case, CheckFailed, NotApplicable

_BATCH, _DIM = 4, 16
_SHAPES = ((_BATCH, 6, _DIM), (_BATCH, 3, 5, _DIM))
_CLOSE = 1e-4
"""Relative difference that rounding in fp32 explains."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveCase(Case):
    """An objective, and tokens to compare: as the networks give them, of standard deviation 1."""

    plugin: ObjectivePlugin

    @cached_property
    def objective(self) -> Objective:
        """Built from the section."""
        return self.plugin.build(self.section)

    def targets(self, tokens: Float[Tensor, "batch *tokens dim"]) -> Float[Tensor, "batch *tokens dim"]:
        """What the objective makes of a target encoder's tokens; raises NotApplicable where it changes their shape."""
        made = self.objective.normalise(tokens.clone())
        if made.shape != tokens.shape:
            raise NotApplicable("normalise changes the shape of tokens: normalise_keeps_shape says how")
        return made

    def loss(
        self, predicted: Float[Tensor, "batch *tokens dim"], targets: Float[Tensor, "batch *tokens dim"]
    ) -> Float[Tensor, "batch"]:
        """Of copies; raises NotApplicable unless it is one number per sample."""
        found = self.objective(predicted.clone(), targets.clone())
        if found.shape != (len(predicted),):
            raise NotApplicable("the loss is not one number per sample: one_loss_per_sample says what it is")
        return found


def tokens(seed: int, shape: tuple[int, ...] = _SHAPES[1]) -> Float[Tensor, "batch *tokens dim"]:
    """Random tokens, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def check_one_loss_per_sample(case: ObjectiveCase) -> None:
    """The loss of (batch, tokens, dim) and of (batch, blocks, tokens, dim) is (batch,), in fp32.

    To mend: take the mean over all axes but the first (`Objective.__call__` does, from `distance`); the trainer
    averages over samples itself, because some may be unreadable.
    """
    for shape in _SHAPES:
        found = case.objective(tokens(0, shape), case.targets(tokens(1, shape)))
        if found.shape != (_BATCH,) or found.dtype != torch.float32:
            raise CheckFailed(
                f"expected a loss of shape ({_BATCH},), torch.float32, for tokens of shape {shape}, "
                f"found {tuple(found.shape)}, {found.dtype}"
            )


def check_normalise_keeps_shape(case: ObjectiveCase) -> None:
    """`normalise` turns tokens of any number of axes into fp32 tokens of the same shape.

    To mend: normalise over the last axis alone, and begin with `tokens.float()`.
    """
    for shape in _SHAPES:
        found = case.objective.normalise(tokens(1, shape).bfloat16())
        if found.shape != shape or found.dtype != torch.float32:
            raise CheckFailed(
                f"expected {shape}, torch.float32, found {tuple(found.shape)}, {found.dtype}, for tokens in bf16"
            )


def check_computed_in_fp32(case: ObjectiveCase) -> None:
    """The loss of bf16 tokens is that of the same numbers in fp32.

    To mend: call `.float()` on both before anything is computed; bf16 has three digits, and a mean over thousands of
    channels in it is wrong.
    """
    predicted, targets = tokens(0).bfloat16(), case.targets(tokens(1)).bfloat16()
    _require_close(
        case.loss(predicted, targets), case.loss(predicted.float(), targets.float()), "in bf16 as in fp32", 1e-5
    )


def check_own_target_is_nearest(case: ObjectiveCase) -> None:
    """The target itself as the prediction costs less than the target of another sample.

    To mend: the loss falls as predictions approach their targets: a similarity needs a minus sign.
    """
    targets = case.targets(tokens(1))
    own, other = case.loss(targets, targets), case.loss(targets.roll(1, 0), targets)
    if not (own < other).all():
        sample = int((own - other).argmax())
        raise CheckFailed(
            f"expected less than {other[sample]:.4g}, the loss of another sample's target, found {own[sample]:.4g} "
            f"for its own (sample {sample})"
        )


def check_finite_everywhere(case: ObjectiveCase) -> None:
    """Loss and gradient are finite for any finite tokens: zeros, constants, large ones, and predictions that are exact.

    To mend: add a small constant before a division, a root or a logarithm: the derivative of a root at 0, and the
    direction of a vector of length 0, are not finite.
    """
    targets = case.targets(tokens(1))
    zeros = torch.zeros_like(targets)
    cases = {
        "zeros": (zeros, targets),
        "constant targets": (tokens(0), case.targets(torch.ones_like(targets))),
        "large tokens": (1e4 * tokens(0), case.targets(1e4 * tokens(1))),
        "exact predictions": (targets, targets),
        "zeros on both sides": (zeros, case.targets(zeros)),
    }
    for what, (predicted, wanted) in cases.items():
        loss, gradient = _with_gradient(case, predicted, wanted)
        for name, found in (("loss", loss), ("gradient", gradient)):
            if not found.isfinite().all():
                bad = int((~found.isfinite()).sum())
                raise CheckFailed(f"expected a finite {name} for {what}, found {bad} of {found.numel()} that are not")


def check_gradient_reaches_every_prediction(case: ObjectiveCase) -> None:
    """Every predicted token gets a gradient.

    To mend: do not detach predictions, do not round them, and leave no token out of the mean.
    """
    gradient = _with_gradient(case, tokens(0), case.targets(tokens(1)))[1]
    idle = (gradient == 0).all(-1)
    if idle.any():
        raise CheckFailed(f"expected a gradient at {idle.numel()} predicted tokens, found none at {int(idle.sum())}")


def check_samples_do_not_mix(case: ObjectiveCase) -> None:
    """The loss of a sample is the same alone as in a batch.

    To mend: compute no statistic over the batch, in `normalise` neither: gradients that are accumulated, other numbers
    of processes and unreadable samples would change what is trained.
    """
    whole = case.loss(tokens(0), case.targets(tokens(1)))
    alone = [case.loss(tokens(0)[[sample]], case.targets(tokens(1)[[sample]])) for sample in range(_BATCH)]
    _require_close(torch.cat(alone), whole, "alone as in a batch")


def check_mean_over_tokens(case: ObjectiveCase) -> None:
    """The loss is a mean over tokens: to have every token twice changes nothing.

    To mend: divide by the number of tokens, so that the learning rate of one mask suits another with fewer.
    """
    predicted, targets = tokens(0), case.targets(tokens(1))
    twice = case.loss(torch.cat([predicted, predicted], -2), torch.cat([targets, targets], -2))
    _require_close(twice, case.loss(predicted, targets), "with every token twice as with each once")


def check_loss_repeats(case: ObjectiveCase) -> None:
    """The same tokens give the same loss, bit for bit, and no random number is drawn.

    To mend: keep no state from one call to the next, and draw nothing: a resumed run could not repeat it.
    """
    predicted, targets = tokens(0), case.targets(tokens(1))
    losses = [case.loss(predicted, targets) for _ in range(3)]
    moved = generators_moved_by(lambda: case.loss(predicted, targets))
    if moved:
        raise CheckFailed(f"expected no draw, found the generator of {' and '.join(moved)} moved")
    if not all(torch.equal(each, losses[0]) for each in losses):
        gap = max(float((each - losses[0]).abs().max()) for each in losses)
        raise CheckFailed(f"expected three equal losses, found differences of up to {gap:.3g}")


def check_inputs_left_alone(case: ObjectiveCase) -> None:
    """Neither predictions nor targets are changed.

    To mend: use no operation that works in place (`add_`, `normalize(..., out=)`): other views, and the monitors of
    collapse, read the same targets.
    """
    uses: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
        "the loss": (case.objective, (tokens(0), case.targets(tokens(1)))),
        "normalise": (case.objective.normalise, (tokens(1),)),
    }
    for what, (call, given) in uses.items():
        before = [each.clone() for each in given]
        call(*given)
        changed = sum(int((now != then).sum()) for now, then in zip(given, before, strict=True))
        if changed:
            raise CheckFailed(f"expected unchanged tokens, found {changed} values changed by {what}")


def _with_gradient(
    case: ObjectiveCase, predicted: Float[Tensor, "batch *tokens dim"], targets: Float[Tensor, "batch *tokens dim"]
) -> tuple[Float[Tensor, "batch"], Float[Tensor, "batch *tokens dim"]]:
    """The loss and its gradient by predictions; zeros where there is none."""
    leaf = predicted.detach().clone().requires_grad_()
    loss = case.loss(leaf, targets)
    if not loss.requires_grad:
        return loss, torch.zeros_like(leaf)
    return loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0]


def _require_close(found: Tensor, expected: Tensor, how: str, tolerance: float = _CLOSE) -> None:
    gap = (found - expected).abs() / expected.abs().clamp(min=1e-6)
    if not (gap <= tolerance).all():
        sample = int(gap.argmax())
        raise CheckFailed(f"expected {expected[sample]:.6g} {how}, found {found[sample]:.6g} (sample {sample})")
