"""What a report shows of sounds; NumPy only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

HEIGHT = 64
"""Rows of the picture of a waveform."""
WIDEST = 1024
"""Columns that it should have at most; it has at least one for each token."""


def draw_spectrogram(values: Float[np.ndarray, "mels frames"]) -> UInt8[np.ndarray, "mels frames 3"]:
    """Grey from the quietest (black) to the loudest; row 0, the lowest frequencies, is at the top, as on the grid."""
    low, high = float(values.min()), float(values.max())
    grey = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return np.repeat((grey * 255).round().astype(np.uint8)[..., None], 3, axis=-1)


def draw_waveform(samples: Float[np.ndarray, "samples"], tokens: int) -> UInt8[np.ndarray, "rows columns 3"]:
    """White from the smallest to the largest sample of each column, on black; every token has equally many columns."""
    per_token = max(1, min(WIDEST // tokens, len(samples) // tokens))
    columns = np.array_split(samples, tokens * per_token)
    largest = float(np.abs(samples).max()) or 1.0
    # Row 0 is +largest. A column without sound is a line in the middle.
    ends = np.array([(column.max(), column.min()) for column in columns]) / largest
    top, bottom = ((1 - ends.T) / 2 * (HEIGHT - 1)).round()
    rows = np.arange(HEIGHT)[:, None]
    shown = (rows >= top) & (rows <= bottom)
    return np.repeat((shown * np.uint8(255))[..., None], 3, axis=-1)
