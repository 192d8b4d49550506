"""V-JEPA's hyper-parameters: what a video configuration has where it does not say otherwise, and named variants.

                      paper and official code (2404.08471, table 8)   vjepa2 (2506.09985, table 9: the first phase)
    positions         3-D sine-cosine                                 3-D rotary
    clip              16 frames, stride 4                             16 frames, 4 per second
    learning rate     2e-4 to 6.25e-4, cosine to 1e-6                 1e-4 to 5.25e-4 in 12,000 steps, constant
    weight decay      .04 to .4                                       .04
    EMA momentum      .998 to 1, linear                               .99925
    clip_norm         10, after the warm-up in the code               none

All schedules of V-JEPA run over 1.25 times the training, so that it ends at four fifths of them. The weight decay grows
by a cosine in the code and linearly in the paper. Both predict under two mask views with a mask token each, in absolute
distance; the official code cuts masks to the batch's shortest (`multiblock3d`'s preset `official`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HORIZON = 1.25

PAPER: Mapping[str, Any] = {
    "masking": {"name": "multiblock3d"},
    "objective": {"name": "l1"},
    "ema": {"momentum": {"value": 0.998, "end": 1.0, "shape": "linear", "horizon": _HORIZON}},
    "optim": {
        "lr": {
            "value": 6.25e-4,
            "end": 1e-6,
            "shape": "cosine",
            "warmup": 40 / 300,
            "warmup_from": 2e-4,
            "horizon": _HORIZON,
        },
        "weight_decay": {"value": 0.04, "end": 0.4, "shape": "linear", "horizon": _HORIZON},
        "clip_norm": 10.0,
    },
    "predictor": {
        "width": 384,
        "depth": 12,
        "mode": "joint",
        "mask_token_per_view": True,
        "zero_init_mask_tokens": True,
    },
    "probes": [{"name": "attentive"}, {"name": "linear"}, {"name": "knn"}],
}
OFFICIAL: Mapping[str, Any] = PAPER | {
    "masking": {"name": "multiblock3d", "preset": "official"},
    "optim": {
        **PAPER["optim"],
        "weight_decay": {"value": 0.04, "end": 0.4, "shape": "cosine", "horizon": _HORIZON},
    },
}
_CONSTANT: Mapping[str, Any] = {"end": None, "shape": "linear", "horizon": 1.0}
VJEPA2: Mapping[str, Any] = PAPER | {
    "encoder": {"name": "vit", "positions": "rope"},
    "ema": {"momentum": {"value": 0.99925, **_CONSTANT}},
    "optim": {
        "lr": {"value": 5.25e-4, "warmup": 12 / 240, "warmup_from": 1e-4, **_CONSTANT},
        "weight_decay": {"value": 0.04, **_CONSTANT},
        "clip_norm": None,
    },
    "predictor": {**PAPER["predictor"], "heads": 12},
}

DEFAULTS: Mapping[str, Any] = PAPER
"""What a configuration without a preset gets."""
PRESETS: Mapping[str, Mapping[str, Any]] = {"paper": PAPER, "official": OFFICIAL, "vjepa2": VJEPA2}
"""Chosen by the top-level key `preset`."""
