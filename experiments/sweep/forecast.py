"""How far a sweep is, and how long the rest of it may take."""

import time
from collections.abc import Callable

__all__ = ["Forecast", "spell"]


class Forecast:
    """Work done and work left, in any one unit; time for the rest at the pace so far.

    What others have done, or what an earlier run had, is no work of ours: it is skipped.
    """

    def __init__(self, work: float, clock: Callable[[], float] = time.monotonic):
        """Starts the clock with so much `work` to do."""
        self.left, self.done = work, 0.0
        self._clock, self._start = clock, clock()

    def skip(self, work: float) -> None:
        """So much turned out to be no work for us."""
        self.left -= work

    def finish(self, work: float) -> None:
        """So much has been done just now."""
        self.left -= work
        self.done += work

    @property
    def share(self) -> float:
        """Part that is done, 0 to 1."""
        whole = self.done + self.left
        return self.done / whole if whole > 0 else 1.0

    @property
    def seconds_left(self) -> float | None:
        """None before anything is done."""
        if not self.done:
            return None
        return max(0.0, self.left) * (self._clock() - self._start) / self.done


def spell(seconds: float | None) -> str:
    """A time in two digits or so: 'about 40 s left', 'about 25 min left'; '' for None."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left"
