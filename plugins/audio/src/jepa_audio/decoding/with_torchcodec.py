"""Samples by torchcodec, which uses the FFmpeg of the system: m4a, aac, wma and the sound of videos."""

from __future__ import annotations

import os
from importlib import import_module

from jaxtyping import Float
from torch import Tensor

from jepa_core.errors import UnreadableSample

# Not a plain import: torchcodec is optional, and a type checker that does not find it would refuse the line.
AudioDecoder = import_module("torchcodec.decoders").AudioDecoder


class TorchCodecReader:
    """A file that is decoded as a whole when it is opened: such containers do not say how long they are exactly."""

    def __init__(self, path: str) -> None:
        """Raises UnreadableSample."""
        try:
            samples = AudioDecoder(os.path.abspath(path)).get_all_samples()
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UnreadableSample(path, f"cannot be decoded (torchcodec: {reason})") from error
        self.rate = int(samples.sample_rate)
        self._samples: Tensor = samples.data.float().mean(0)
        self.num_samples, self.exact = len(self._samples), True

    def read(self, start: int, count: int) -> Float[Tensor, "samples"]:
        """The mean of the channels."""
        return self._samples[start : start + count]

    def close(self) -> None:
        """Nothing is open: the samples go with the reader."""
