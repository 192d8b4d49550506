"""Tokens of waveforms by way of spectrograms: the front end on the encoder's device."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from jepa_audio.config import AudioConfig
from jepa_audio.frontend import Spectrogram
from jepa_core.nn.patches import PatchTokenizer


class SpectrogramTokenizer(PatchTokenizer):
    """Patches of the spectrogram of a waveform: the weights of a tokenizer of spectrograms, and the same tokens."""

    def __init__(self, config: AudioConfig, width: int) -> None:
        """The front end adds no weights."""
        super().__init__(1, config.patch, width)
        self.front_end = Spectrogram(config)

    def forward(
        self, signal: Float[Tensor, "batch 1 samples"], keep: Int[Tensor, "batch kept"] | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """Tokens of the kept cells, or of all; the spectrogram is always made as a whole."""
        return super().forward(self.front_end(signal[:, 0])[:, None], keep)
