"""Hyper-parameters and front ends of published spectrogram JEPAs, chosen by the top-level key `preset`.

                      ajepa            audio-jepa       m2d                eat              sony
    paper             2311.15830       2507.02915       2210.14648         2401.03497       2405.08679
    front end         kaldi            kaldi            mel, slaney        kaldi            mel, slaney
    sample rate       16 kHz           32 kHz           16 kHz             16 kHz           16 kHz
    bands             128              96, 20-16,000    80, 50-8,000       128, 20-8,000    80, 50-8,000
    window, hop (ms)  25, 10           48.8, 19.53      25, 10             25, 10           25, 10
    clip              1,024 frames     512              608                1,024            208
    tokens (16 x 16)  8 x 64           6 x 32           5 x 38             8 x 64           5 x 13
    normalised by     std              nothing          std                2 std            std
    samples           mean removed     peak of 1        as they are        mean removed     as they are
    masking           curriculum       random .5        random .7          inverse_block    random .6
    target encoder    sees all         sees all         sees the targets   sees all, mean   sees the targets
                                                                           of 12 layers
    objective         L2               L2               L2                 L2               smooth L1
    predictor         512 x 16         384 x 6          512 x 8            384 x 6          512 x 8

What is ours. A-JEPA publishes no code: its front end is that of AudioMAE, its momentum and weight decay are I-JEPA's,
"cyclic crops" are `modality.cyclic`, and a context of 70 tokens replaces the 34 that the larger layouts would leave.
Audio-JEPA draws its ratio from .4 to .6 and takes 2 - 2 cos for its loss, as M2D does: here the ratio is .5 and the
loss L2 on layer-normed targets. EAT's utterance loss, its copies of a sample with other masks and its convolutional
decoder are left out, and its momentum reaches its end with the run rather than after a quarter of it. Where the public
code adds zeros to a spectrogram that is too short, clips here have the samples that all frames need, and silence is
added to the waveform.

Statistics belong to the data, so no preset has them. The papers' on AudioSet, for `modality.mean` and `modality.std`:
Sony -7.0633 and 4.1971, M2D -7.1 and 4.2, AudioMAE and EAT -4.268 and 4.569.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BETAS = (0.9, 0.95)
_KALDI: Mapping[str, Any] = {
    "frontend": "kaldi",
    "mels": 128,
    "f_min": 20.0,
    "seconds": 10.24,
    "level": "centre",
}


def _momentum(value: float, end: float, shape: str = "linear", horizon: float = 1.0) -> Mapping[str, Any]:
    schedule = {"value": value, "end": end, "shape": shape, "horizon": horizon}
    return {"momentum": schedule, "half_life_samples": None}


def _rate(value: float, warmup: float, start: float = 0.0, end: float = 0.0) -> Mapping[str, Any]:
    return {"value": value, "end": end, "shape": "cosine", "warmup": warmup, "warmup_from": start}


def _constant(value: float) -> Mapping[str, Any]:
    return {"value": value, "end": None}


DEFAULTS: Mapping[str, Any] = {
    "masking": {"name": "random", "ratio": 0.6},
    "objective": {"name": "smooth_l1"},
    "ema": {"half_life_samples": 1e6, "momentum": {"value": 0.9999, "end": 1.0, "shape": "linear"}},
    "optim": {"lr": _rate(1e-3, 0.05, end=1e-6), "weight_decay": _constant(0.05), "betas": _BETAS, "clip_norm": 3.0},
    "predictor": {"width": 384, "depth": 8},
}
"""What a configuration without a preset gets: Sony's choices, with a momentum, a learning rate and a predictor that
also suit runs shorter than 300 passes of AudioSet. Its front end is that of `AudioConfig`, which is Sony's."""

AJEPA: Mapping[str, Any] = {
    "modality": {**_KALDI, "gain": 6.0, "cyclic": True},
    "masking": {"name": "curriculum", "hard": {"name": "time_frequency", "context_tokens": 70}},
    "objective": {"name": "l2"},
    "ema": _momentum(0.996, 1.0),
    "optim": {
        "lr": _rate(2e-4, 0.05, end=1e-6),
        "weight_decay": {"value": 0.04, "end": 0.4},
        "betas": (0.9, 0.999),
        "clip_norm": None,
    },
    "predictor": {"width": 512, "depth": 16, "heads": 16},
}
AUDIO_JEPA: Mapping[str, Any] = {
    "modality": {
        "frontend": "kaldi",
        "sample_rate": 32_000,
        "seconds": 10.0,
        "mels": 96,
        "f_min": 20.0,
        "window": 48.828125,  # 2.5 hops, of which 512 are 10 s
        "hop": 19.53125,
        "level": "peak",
        "mean": 0.0,
        "std": 1.0,
    },
    "masking": {"name": "random", "ratio": 0.5},
    "objective": {"name": "l2"},
    "ema": _momentum(0.996, 1.0, "cosine", horizon=3.9),  # of 50 passes of AudioSet; the run of 100,000 steps is 13
    "optim": {"lr": _rate(1e-3, 0.01, 1e-6), "weight_decay": _constant(1e-6), "betas": _BETAS, "clip_norm": None},
    "predictor": {"width": 384, "depth": 6, "heads": 12},
}
SONY: Mapping[str, Any] = {
    "masking": {"name": "random", "ratio": 0.6},
    "target": {"input": "targets"},
    "objective": {"name": "smooth_l1"},
    "ema": _momentum(0.99995, 0.99999),
    "optim": {"lr": _rate(2.4e-3, 20 / 300), "weight_decay": _constant(0.05), "betas": _BETAS, "clip_norm": 3.0},
    "predictor": {"width": 512, "depth": 8, "heads": 16},
}
M2D: Mapping[str, Any] = {
    **SONY,
    "modality": {"seconds": 6.1},
    "masking": {"name": "random", "ratio": 0.7},
    "objective": {"name": "l2"},
}
EAT: Mapping[str, Any] = {
    "modality": {**_KALDI, "divisor": 2.0},
    "masking": {"name": "inverse_block", "ratio": 0.8, "block": (5, 5)},
    "target": {"layers": 12},
    "objective": {"name": "l2"},
    "ema": _momentum(0.9998, 0.99999),
    "optim": {"lr": _rate(5e-4, 53_333 / 400_000), "weight_decay": _constant(0.05), "betas": _BETAS, "clip_norm": 4.0},
    "predictor": {"width": 384, "depth": 6, "heads": 12},
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "ajepa": AJEPA,
    "audio-jepa": AUDIO_JEPA,
    "m2d": M2D,
    "eat": EAT,
    "sony": SONY,
}
"""By name."""
