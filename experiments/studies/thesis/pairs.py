"""Cells of the thesis's study as we trained them, and pairs that differ in one thing.

In a pair both were trained for equally many epochs, the most that both have been.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.cells import Cell
from experiments.report import estimate, paired_differences
from experiments.studies.thesis.agreement import MARGIN, lengths
from experiments.studies.thesis.published import Key

__all__ = ["LEARNS", "LEAST", "Cells", "Pair", "Trained", "length", "pair", "pairs_of", "trained"]

LEAST = 1.0  # points by which cells with several common seeds must differ, besides significance
LEARNS = 20.0  # percent: below it a network is hardly better than guessing among ten classes


class Trained(NamedTuple):
    """A cell, its replicas, and the mean test accuracy in percent of those that have one.

    `shorter`: the same trained for fewer epochs, longest first.
    """

    cell: Cell
    members: Sequence[Mapping[str, Any]]
    mean: float
    shorter: Sequence["Trained"] = ()


class Pair(NamedTuple):
    """Two cells: mean difference of accuracies in points, and what it is worth."""

    key: Key
    mean: float
    differs: bool
    learns: bool


Cells = Mapping[Key, Trained]


def trained(rows: Iterable[Mapping[str, Any]]) -> dict[Key, Trained]:
    """Cells with the thesis's settings, if the longest training left an accuracy."""
    found = {}
    for key, several in lengths(rows).items():
        means = [estimate(m["test_accuracy"] for m in ms).mean for _, ms in several]
        longest, *shorter = (Trained(*each, mean)
                             for each, mean in zip(several, means, strict=True))
        if longest.mean is not None:
            usable = tuple(each for each in shorter if each.mean is not None)
            found[key] = longest._replace(shorter=usable)
    return found


def pair(key: Key, ours: Trained, theirs: Trained) -> Pair | None:
    """`ours` minus `theirs`, paired by seed; None without common seeds of as many epochs."""
    # A cell trained for longer would win or lose by its training, not by what the claim is about.
    others = {length(other): other for other in (theirs, *theirs.shorter)}
    for own in (ours, *ours.shorter):
        if (other := others.get(length(own))) is None:
            continue
        differences = paired_differences(own.members, other.members, "test_accuracy")
        mean, half_width, _ = estimate(differences)
        if mean is not None:
            # A single seed gives no interval: the difference must be too large for a seed's luck.
            bound = MARGIN if half_width is None else max(half_width, LEAST)
            return Pair(key, mean, abs(mean) > bound, max(own.mean, other.mean) > LEARNS)
    return None


def length(found: Trained) -> tuple[int, int]:
    """Epochs of each phase."""
    return found.cell.epochs, found.cell.readout_epochs


def pairs_of(cells: Cells, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[Pair]:
    """Pairs of cells that have `ours` and `theirs` (fields of `Key`) and share everything else."""
    found = (
        pair(key, cell, cells[other]) for key, cell in cells.items()
        if key == key._replace(**ours) and (other := key._replace(**theirs)) in cells
    )
    return [p for p in found if p is not None]
