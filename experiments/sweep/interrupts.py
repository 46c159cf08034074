"""Ctrl-C and a scheduler's SIGTERM as one KeyboardInterrupt that cannot get lost, and the end."""

import os
import signal
import sys
from typing import NoReturn

__all__ = ["Interrupts", "leave"]


class Interrupts:
    """Raises KeyboardInterrupt on SIGINT and SIGTERM while open as a context manager.

    Python drops an exception that a signal raises inside a finalizer or a callback from C, and jax
    has many of both while it compiles. So the request is also kept: call `check` in every loop.
    """

    def __init__(self):
        self._requested = False

    def __enter__(self) -> "Interrupts":
        numbers = [signal.SIGTERM]
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # in a script's background it is
            numbers.append(signal.SIGINT)
        self._told, sys.unraisablehook = sys.unraisablehook, self._tell
        self._before = {number: signal.signal(number, self._interrupt) for number in numbers}
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._told

    def check(self) -> None:
        """Raises KeyboardInterrupt if one was asked for."""
        if self._requested:
            raise KeyboardInterrupt

    def _tell(self, dropped):
        """Of what Python drops all but the interruption, which is not lost."""
        if not isinstance(dropped.exc_value, KeyboardInterrupt):
            self._told(dropped)

    def _interrupt(self, number, frame):
        self._requested = True
        raise KeyboardInterrupt


def leave(code: int) -> NoReturn:
    """Ends the program. After an interruption without Python's own exit.

    That would tear down a compilation still in flight, and crash; all files are closed by now.
    """
    if code == 130:
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
