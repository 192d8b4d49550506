"""I-JEPA's hyper-parameters where the paper, the public code and summaries of them disagree.

                      paper (2301.08243, A.1)   official (public code)      article (summaries)
    loss              L2                        smooth L1                   L2
    warm-up           15 of 600 epochs          40 of 300 epochs            40 of 300 epochs
    start lr          1e-4                      2e-4                        1e-4
    weight decay      .04 to .4, linear         .04 to .4, cosine           .04 to .4, cosine
    EMA momentum      .996 to 1, linear         .996 to 1, linear           .996 to 1, cosine
    mask blocks       as each of them draws and shortens blocks, see `multiblock`'s own presets

The learning rate rises to 1e-3 and falls to 1e-6 by a cosine in all three, at a batch of 2,048. The predictor's depth
goes with the encoder: 6 for ViT-B, 12 for L and H, 16 for g and G; recipes state it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PAPER: Mapping[str, Any] = {
    "masking": {"name": "multiblock", "preset": "paper"},
    "objective": {"name": "l2"},
    "ema": {"momentum": {"value": 0.996, "end": 1.0, "shape": "linear"}},
    "optim": {
        "lr": {"value": 1e-3, "end": 1e-6, "shape": "cosine", "warmup": 15 / 600, "warmup_from": 1e-4},
        "weight_decay": {"value": 0.04, "end": 0.4, "shape": "linear"},
    },
    "predictor": {"width": 384, "depth": 6},
}
OFFICIAL: Mapping[str, Any] = PAPER | {
    "masking": {"name": "multiblock", "preset": "official"},
    "objective": {"name": "smooth_l1"},
    "optim": {
        "lr": {"value": 1e-3, "end": 1e-6, "shape": "cosine", "warmup": 40 / 300, "warmup_from": 2e-4},
        "weight_decay": {"value": 0.04, "end": 0.4, "shape": "cosine"},
    },
}
ARTICLE: Mapping[str, Any] = PAPER | {
    "masking": {"name": "multiblock", "preset": "article"},
    "ema": {"momentum": {"value": 0.996, "end": 1.0, "shape": "cosine"}},
    "optim": {
        "lr": {"value": 1e-3, "end": 1e-6, "shape": "cosine", "warmup": 40 / 300, "warmup_from": 1e-4},
        "weight_decay": {"value": 0.04, "end": 0.4, "shape": "cosine"},
    },
}

DEFAULTS: Mapping[str, Any] = PAPER | {"masking": {"name": "multiblock"}}
"""What a configuration without a preset gets."""
PRESETS: Mapping[str, Mapping[str, Any]] = {"paper": PAPER, "official": OFFICIAL, "article": ARTICLE}
"""Chosen by the top-level key `preset`."""
