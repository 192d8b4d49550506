"""One sound file, opened to be read in parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Protocol, Self

from jaxtyping import Float
from torch import Tensor

from jepa_audio.decoding.resampling import Rates, resampled
from jepa_core.errors import UnreadableSample

LARGEST = 1e9
"""Of a waveform's values, beyond which they are no sound and their power is near what fp32 can hold."""


class Reader(Protocol):
    """An open file in the hands of a decoder."""

    @property
    def rate(self) -> int:
        """Samples per second."""
        ...

    @property
    def num_samples(self) -> int:
        """Of each channel."""
        ...

    @property
    def exact(self) -> bool:
        """Whether a stretch is, bit for bit, that of the whole file."""
        ...

    def read(self, start: int, count: int) -> Float[Tensor, "samples"]:
        """The mean of the channels; fewer samples than `count` where the file ends too early."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...


@dataclass(frozen=True)
class SamplesReader:
    """Samples that are in memory, in the place of a file."""

    samples: Float[Tensor, "samples"]
    """The mean of the channels."""
    rate: int
    """Samples per second."""

    exact: bool = True
    """It is all of the file."""

    @property
    def num_samples(self) -> int:
        """All of them."""
        return len(self.samples)

    def read(self, start: int, count: int) -> Float[Tensor, "samples"]:
        """A copy of the samples, which a transform may change."""
        return self.samples[start : start + count].clone()

    def close(self) -> None:
        """They stay."""


class Sound:
    """A file, mixed down to one channel, at the wanted rate; a context that closes it.

    Pickled, it is a path: it opens the file again where it is unpickled.
    """

    def __init__(self, path: str, rate: int, opener: Callable[[str], Reader]) -> None:
        """Open the file; `rate` is the one that is wanted. Raises UnreadableSample."""
        self.path, self.rate = path, rate
        self._opener, self._reader = opener, opener(path)
        self._rates = Rates(self._reader.rate, rate)
        if not self._reader.num_samples:
            raise self._unreadable("holds no samples")
        if not self._rates.feasible:
            raise self._unreadable(
                f"has {self._reader.rate} Hz, which cannot be resampled to {rate} Hz: "
                "the two have hardly a common divisor. Convert the file"
            )

    def __reduce__(self) -> tuple[type[Sound], tuple[str, int, Callable[[str], Reader]]]:
        """As what it was made of."""
        return type(self), (self.path, self.rate, self._opener)

    @property
    def file_rate(self) -> int:
        """Samples per second of the file itself."""
        return self._reader.rate

    @property
    def num_samples(self) -> int:
        """At the wanted rate."""
        return self._rates.length(self._reader.num_samples)

    def read(self, start: int, count: int) -> Float[Tensor, "count"]:
        """Samples from `start` on, both at the wanted rate and inside the file; full scale is -1 to 1.

        Whatever the stretch, the samples are those of the whole file resampled.

        Raises:
            UnreadableSample: where the file ends too early, is damaged, or holds values that are no numbers.
        """
        assert start >= 0
        assert start + count <= self.num_samples
        samples = resampled(self._rates, self._reader.num_samples, start, count, self._read)
        # Not `> LARGEST`: of NaN, every comparison is false.
        if not float(samples.abs().max()) <= LARGEST:
            raise self._unreadable(f"holds values that are no numbers, or beyond {LARGEST:g}")
        return samples

    @property
    def decoded_bytes(self) -> int:
        """Of all samples at the rate of the file."""
        return 4 * self._reader.num_samples

    def keep(self) -> Callable[[], Sound] | None:
        """Decode all samples: makes sounds that open no file; None where the decoder is not exact.

        They are kept at the file's rate, so that clips are resampled, and rounded, as those of the file are.

        Raises:
            UnreadableSample: as `read`.
        """
        with self:
            if not self._reader.exact:
                return None
            held = SamplesReader(self._read(0, self._reader.num_samples), self._reader.rate)
        return partial(Sound._of_samples, held, self.path, self.rate, self._opener)

    @classmethod
    def _of_samples(cls, held: SamplesReader, path: str, rate: int, opener: Callable[[str], Reader]) -> Sound:
        sound = cls(path, rate, lambda _path: held)
        sound._opener = opener  # of the file, which a pickle of it opens
        return sound

    def _read(self, start: int, count: int) -> Float[Tensor, "count"]:
        samples = self._reader.read(start, count)
        if len(samples) < count:
            raise self._unreadable(
                f"ends after {(start + len(samples)) / self._reader.rate:.2f} s, and says that it lasts "
                f"{self._reader.num_samples / self._reader.rate:.2f}"
            )
        return samples

    def _unreadable(self, reason: str) -> UnreadableSample:
        self.close()
        return UnreadableSample(self.path, reason)

    def close(self) -> None:
        """Free everything; may be called twice."""
        self._reader.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
