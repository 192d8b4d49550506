"""What probes with a grid of heads share: the held-out part, the batches, the schedule and the choice."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from jepa_core.errors import DataError
from jepa_core.masking import seed_of

# What a probe's seed is used for.
SPLIT, BATCHES, WEIGHTS = range(3)

Grid = list[tuple[float, float]]
"""Learning rate and weight decay of every head."""


def stratified(labels: Int[Tensor, "samples"], share: float, seed: int) -> Bool[Tensor, "samples"]:
    """Which training samples are held out: about `share` of each class, at least one and never all of it.

    Raises:
        DataError: every class has a single sample.
    """
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for members in (torch.nonzero(labels.cpu() == c)[:, 0] for c in labels.cpu().unique()):
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        held_out[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    if not held_out.any():
        raise DataError(
            f"a trained probe chooses its head on held-out training samples, and no class has two of the {len(labels)} "
            "training samples. Give it more labelled samples, or use another probe: jepa eval RUN --probe knn"
        )
    return held_out.to(labels.device)


def random_batches(num_samples: int, batch_size: int, steps: int, seed: int) -> list[Tensor]:
    """Indices of `steps` batches, whole epochs in random order; a last part smaller than a batch is left out."""
    generator = torch.Generator().manual_seed(seed_of(seed, BATCHES))
    size = min(batch_size, num_samples)
    epochs = math.ceil(steps / (num_samples // size))
    orders = [torch.randperm(num_samples, generator=generator).split(size) for _ in range(epochs)]
    return [batch for order in orders for batch in order if len(batch) == size][:steps]


def cosine(step: int, steps: int) -> float:
    """From 1 at step 0 to 0 at step `steps`."""
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def choose(
    answers: Iterable[tuple[Float[Tensor, "part heads classes"], Int[Tensor, "part"]]],
) -> tuple[int, float]:
    """The head with the highest accuracy, among equals the lowest cross-entropy; and that accuracy.

    Args:
        answers: logits of all heads, and the truth, in parts. A head whose logits are not finite has diverged: it
            loses.
    """
    right: list[Tensor] = []
    losses: list[Tensor] = []
    samples = 0
    for logits, truth in answers:
        finite = logits.isfinite().all(-1)
        right.append(((logits.argmax(-1) == truth[:, None]) & finite).sum(0))
        loss = -logits.log_softmax(-1)[torch.arange(len(truth)), :, truth]
        losses.append(torch.where(finite, loss, torch.inf).sum(0))
        samples += len(truth)
    hits, total = torch.stack(right).sum(0).tolist(), torch.stack(losses).sum(0).tolist()
    best = max(range(len(hits)), key=lambda head: (hits[head], -total[head]))
    return best, hits[best] / samples
