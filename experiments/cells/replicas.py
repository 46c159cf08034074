"""Replicas, cells with a seed, and the groups and chunks that they run in.

Replicas whose program is the same form a group and run together; what differs inside a group is
only numbers. A chunk is a part of a group that fits on the devices.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from experiments.cells.cell import DEFAULTS, UNQUANTIZED, Cell
from experiments.cells.kinds import NONE, takes_floats

__all__ = ["Chunk", "Replica", "chunks_of", "group", "halves"]


class Replica(NamedTuple):
    """One training run."""

    cell: Cell
    seed: int

    @property
    def id(self) -> str:
        """Hash of the configuration: the same replica has the same id in every sweep.

        An axis at its default does not enter, so ids outlive the coming of new axes.
        """
        cell = {name: value for name, value in vars(self.cell).items()
                if name not in DEFAULTS or value != DEFAULTS[name]}
        text = json.dumps([cell, self.seed], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


class Chunk(NamedTuple):
    """Replicas that run as one program: every one of `cells` with every one of `seeds`."""

    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]

    @property
    def replicas(self) -> list[Replica]:
        """In the order of the program's axes: seeds first."""
        return [Replica(cell, seed) for seed in self.seeds for cell in self.cells]

    @property
    def id(self) -> str:
        """Hash of the members: names a checkpoint."""
        return hashlib.sha256("".join(r.id for r in self.replicas).encode()).hexdigest()[:20]

    @property
    def epochs(self) -> int:
        """Epochs of all phases."""
        return self.cells[0].epochs + self.cells[0].readout_epochs


def group(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells by program. Unquantized cells join any group that differs only in how it updates."""
    groups: dict[Cell, list[Cell]] = {}
    floats = []
    for cell in cells:
        if cell.update == NONE:
            floats.append(cell)
        else:
            groups.setdefault(cell.program, []).append(cell)
    for cell in floats:
        fits = (p for p in groups if takes_floats(p.update)
                and replace(p, **UNQUANTIZED) == cell.program)
        groups.setdefault(next(fits, cell.program), []).append(cell)
    return list(groups.values())


def chunks_of(replicas: Sequence[Replica], limit: int) -> Iterator[Chunk]:
    """Cuts the replicas of one group into full rectangles of at most `limit`.

    Cells of a seed stay together as far as the limit lets them: they share their batches.
    """
    seeds_of: dict[Cell, list[int]] = {}
    for cell, seed in replicas:
        seeds_of.setdefault(cell, []).append(seed)
    rectangles: dict[tuple[int, ...], list[Cell]] = {}
    for cell, seeds in seeds_of.items():
        rectangles.setdefault(tuple(seeds), []).append(cell)
    for shared, cells in rectangles.items():
        for some_cells in _batched(cells, max(limit, 1)):
            at_once = max(1, limit // len(some_cells))
            for some_seeds in _batched(shared, at_once):
                yield Chunk(tuple(some_cells), tuple(some_seeds))


def halves(chunk: Chunk) -> list[Chunk]:
    """A chunk of several replicas in two parts, cells before seeds."""
    cells, seeds = chunk
    if len(cells) > 1:
        middle = -(-len(cells) // 2)
        return [Chunk(cells[:middle], seeds), Chunk(cells[middle:], seeds)]
    middle = -(-len(seeds) // 2)
    return [Chunk(cells, seeds[:middle]), Chunk(cells, seeds[middle:])]


def _batched(items: Sequence, size: int) -> Iterator[Sequence]:
    """`itertools.batched`, which Python 3.11 lacks."""
    return (items[i : i + size] for i in range(0, len(items), size))
