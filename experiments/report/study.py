"""What a study tells the tables and figures that are made of results, its own or others.

They know no study by name: without one every cell is as long as it was trained to be, and nothing
is published. `studies` has those that there are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.cells import Cell, preset_of

__all__ = ["NO_STUDY", "Study", "position"]


def _as_trained(cell: Cell) -> tuple[int, ...]:
    return (cell.epochs, cell.readout_epochs)[: len(preset_of(cell.algorithm).phases)]


@dataclass(frozen=True)
class Study:
    """A study's order of things, how long it trains, and what it has published.

    Attributes:
      name: in a sentence, like "the thesis".
      algorithms, datasets, architectures: in its order; an architecture is (n_layers,
        hidden_width).
      has: is a cell part of it, for however many epochs it was trained?
      full: epochs of each phase of a cell in full.
      published: accuracy in percent that it has for the cell of a row; None: none.
    """

    name: str = ""
    algorithms: Sequence[str] = ()
    datasets: Sequence[str] = ()
    architectures: Sequence[tuple[int, int]] = ()
    has: Callable[[Cell], bool] = lambda cell: False
    full: Callable[[Cell], tuple[int, ...]] = _as_trained
    published: Callable[[Mapping[str, Any]], float | None] = lambda row: None

    def shortened(self, cell: Cell) -> bool:
        """Is it a cell of the study, with some phase trained for fewer epochs than there?"""
        pairs = zip(_as_trained(cell), self.full(cell), strict=True)
        return any(ours < theirs for ours, theirs in pairs) and self.has(cell)

    def epochs_label(self, cell: Cell) -> str:
        """'30' or '30 + 20'; of shortened runs '10 of 30' or '10 + 5 of 30 + 20'."""
        trained, full = (" + ".join(map(str, counts))
                         for counts in (_as_trained(cell), self.full(cell)))
        return f"{trained} of {full}" if self.shortened(cell) else trained


NO_STUDY = Study()


def position(known: Iterable[Any], value: Any) -> tuple[int, str]:
    """Sorts by a known order, what is unknown last."""
    known = list(known)
    return (known.index(value), "") if value in known else (len(known), str(value))
