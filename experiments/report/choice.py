"""The best of some cells: by held-out accuracy where there is one, else by that on the test set.

A choice by the test set is optimistic: what was lucky there is what is chosen. A cell was held out
if it was trained on NAME_holdout; that counts for the same cell on NAME, for however long either
was trained. A replica without an accuracy counts as 0.
"""

import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from experiments.cells import Cell
from experiments.data import HOLDOUT
from experiments.report import columns
from experiments.report.panels import Rows
from experiments.report.scores import is_held_out
from experiments.store import results

__all__ = [
    "GROUPS", "Choice", "Ranked", "Trained", "any_of", "best_of", "groups_in", "ranked",
    "settings_of", "whole",
]

# What there is a best cell for each of, as far as it differs.
GROUPS = ("algorithm", "dataset", "network", "n_bits", "update")


def whole(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with the name of the whole data set."""
    return {**row, "dataset": row["dataset"].removesuffix(HOLDOUT)}


def _accuracy(rows: Rows) -> float:
    return statistics.fmean(row["test_accuracy"] or 0.0 for row in rows)


def settings_of(cell: Cell) -> Cell:
    """What a cell on held-out data and those on all data that it decides on have in common."""
    return replace(cell, dataset=cell.dataset.removesuffix(HOLDOUT), epochs=0, readout_epochs=0)


class Trained:
    """Replicas to be looked up by cell, whatever part of the data and number of epochs it says."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]):
        self._known: dict[Cell, dict[tuple[int, int], Rows]] = {}
        for cell, members in results.by_cell(rows).items():
            lengths = self._known.setdefault(settings_of(cell), {})
            lengths[cell.epochs, cell.readout_epochs] = members

    def of(self, cell: Cell) -> Rows:
        """Those with its epochs, else those trained longest; [] where there are none."""
        lengths = self._known.get(settings_of(cell), {})
        own = (cell.epochs, cell.readout_epochs)
        return lengths[own if own in lengths else max(lengths)] if lengths else []


class Choice(NamedTuple):
    """A cell that was chosen.

    Attributes:
      cell: which.
      held_out: by held-out accuracy?
      without: cells that were none to choose from, as they have no such accuracy.
    """

    cell: Cell
    held_out: bool
    without: int


def best_of(cells: Mapping[Cell, Rows], trials: Trained) -> Choice:
    """The best of some cells with their replicas; `trials`: on held-out data."""
    tried = {cell: _accuracy(rows) for cell in cells if (rows := trials.of(cell))}
    known = tried or {cell: _accuracy(rows) for cell, rows in cells.items()}
    best = max(known, key=known.__getitem__)
    return Choice(best, bool(tried), len(cells) - len(tried) if tried else 0)


class Ranked(NamedTuple):
    """A cell among others of its group.

    Attributes:
      cell: on the whole data set.
      held_out: its replicas on held-out data, by which it has its place; [] of a group that has
        none, where those on the whole data set decide.
      tested: its replicas on the whole data set, or those of its longest training.
    """

    cell: Cell
    held_out: Rows
    tested: Rows


def any_of(own: Ranked) -> Mapping[str, Any]:
    """A replica of it, of those that it was chosen by."""
    return (own.held_out or own.tested)[0]


def groups_in(rows: Rows) -> list[str]:
    """Those of `GROUPS` that differ."""
    return [name for name in GROUPS
            if len({columns.value_of(whole(row), name) for row in rows}) > 1]


def ranked(
    rows: Rows, by: Collection[str], everything: Rows
) -> dict[tuple, list[Ranked]]:
    """The cells of every group, the best first; of equal ones the first that there is.

    Args:
      rows: finished replicas to choose from, on held-out data or not.
      by: columns; a group has the same values there.
      everything: replicas among which those of a chosen cell on the whole data set are sought.
    """
    groups: dict[tuple, list] = {}
    for row in rows:
        groups.setdefault(tuple(columns.value_of(whole(row), c) for c in by), []).append(row)
    tested = Trained(row for row in everything if not is_held_out(row))
    found = {}
    for key, members in groups.items():
        held = [row for row in members if is_held_out(row)]
        cells = sorted(results.by_cell(held or members).items(),
                       key=lambda item: _accuracy(item[1]), reverse=True)
        found[key] = [
            Ranked(results.cell_of(whole(own[0])), own if held else [],
                   tested.of(cell) if held else own) for cell, own in cells]
    for place in reversed(range(len(by))):
        of = columns.order(list(by)[place], (key[place] for key in found))
        found = dict(sorted(found.items(), key=lambda item: of.index(item[0][place])))
    return found
