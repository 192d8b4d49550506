"""Masks on an N-dimensional token grid: views, per-sample randomness and the block machinery."""

from jepa_core.masking.random import SampleRandom, seed_of
from jepa_core.masking.views import MaskView

__all__ = ["MaskView", "SampleRandom", "seed_of"]
