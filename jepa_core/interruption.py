"""Ctrl-C and SIGTERM as a wish that the loop grants at the next step."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Self

ECHO_SECONDS = 1.0
"""Within which a second SIGTERM is the same one."""


class Interruption:
    """Within the context the first SIGINT or SIGTERM is only noted; a second one ends the program at once.

    SIGTERM twice within `ECHO_SECONDS` is one: who ends a process with its group, as `timeout` does, sends it to both.

    One object may be entered again inside of its own context: who runs several things in a row sees what they noted.
    """

    def __init__(self, *, patient: bool = False) -> None:
        """Nothing is installed before the context is entered; to a `patient` one, more signals say nothing new."""
        self.signal: signal.Signals | None = None
        self._noted = 0.0  # when, on the monotonic clock
        self._patient, self._depth = patient, 0
        self._before: dict[signal.Signals, object] = {}

    def ask(self) -> None:
        """Note the wish without a signal."""
        self.signal = self.signal or signal.SIGTERM

    def _note(self, number: int, _where: FrameType | None) -> None:
        now, before = time.monotonic(), self._noted
        is_echo = number == self.signal == signal.SIGTERM and now - before < ECHO_SECONDS
        if self.signal is not None and not self._patient and not is_echo:
            raise KeyboardInterrupt
        self.signal, self._noted = signal.Signals(number), before if is_echo else now

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
