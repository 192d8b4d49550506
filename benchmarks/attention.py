"""Time attention, forward and backward: torch's fused kernel, and the same written out as two matrix products.

    OMP_NUM_THREADS=1 python benchmarks/attention.py

Processor time of one thread, so that a busy machine disturbs it little; the least of several rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

SHAPES = ((64, 4, 22, 32), (64, 4, 64, 32), (32, 6, 85, 64), (8, 12, 196, 64), (2, 12, 784, 64), (1, 12, 1568, 64))
"""Batch, heads, tokens, channels per head: from a demo's context to a clip's whole grid."""
ROUNDS = 7


def written_out(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """As `jepa_core.nn.block.attend` does it for bf16 on a CPU."""
    similarity = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return similarity.softmax(-1) @ value


def milliseconds(
    attention: Callable[[Tensor, Tensor, Tensor], Tensor], shape: tuple[int, ...], dtype: torch.dtype
) -> float:
    """Forward and backward; channels of a token lie together, as a projection leaves them."""
    batch, heads, tokens, channels = shape
    inputs = [
        torch.randn(batch, tokens, heads, channels, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3)
    ]
    times: list[float] = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        mixed = attention(*inputs)
        mixed.backward(torch.ones_like(mixed))
        times.append(time.process_time() - begin)
    return 1000 * min(times)


def main() -> None:
    """Print one row per precision and shape."""
    torch.set_num_threads(1)
    print("| precision | batch x heads x tokens x channels | fused, ms | written out, ms | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        for shape in SHAPES:
            fused = milliseconds(F.scaled_dot_product_attention, shape, dtype)
            ours = milliseconds(written_out, shape, dtype)
            print(f"| {name} | {' x '.join(map(str, shape))} | {fused:.1f} | {ours:.1f} | {fused / ours:.2f} |")


if __name__ == "__main__":
    main()
