"""Ctrl-C and SIGTERM as a wish that the loop grants at the next step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interruption:
    """Within the context the first SIGINT or SIGTERM is only noted; a second one ends the program at once."""

    def __init__(self) -> None:
        """Nothing is installed before the context is entered."""
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def _note(self, number: int, _where: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)

    def __enter__(self) -> Self:
        """Install the handlers; only the main thread may, elsewhere (a notebook's worker thread) nothing changes."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put back what was there."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
