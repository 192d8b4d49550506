"""Ctrl-C and SIGTERM as a wish that the loop grants at the next step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interruption:
    """Within the context the first SIGINT or SIGTERM is only noted; a second one ends the program at once.

    One object may be entered again inside of its own context: who runs several things in a row sees what they noted.
    """

    def __init__(self, *, patient: bool = False) -> None:
        """Nothing is installed before the context is entered; to a `patient` one, more signals say nothing new."""
        self.signal: signal.Signals | None = None
        self._patient, self._depth = patient, 0
        self._before: dict[signal.Signals, object] = {}

    def ask(self) -> None:
        """Note the wish without a signal."""
        self.signal = self.signal or signal.SIGTERM

    def _note(self, number: int, _where: FrameType | None) -> None:
        if self.signal is not None and not self._patient:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)

    def __enter__(self) -> Self:
        """Install the handlers; only the main thread may, elsewhere (a notebook's worker thread) nothing changes."""
        self._depth += 1
        if self._depth == 1 and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put back what was there, at the end of the outermost context."""
        self._depth -= 1
        while self._depth == 0 and self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
