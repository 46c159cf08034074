"""Cells, replicas and groups: what a sweep consists of.

A cell is one point of the grid, a replica a cell with a seed. Replicas whose program is the same
form a group and run together; what differs inside a group is only numbers.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import NamedTuple

from experiments.presets import preset_of

__all__ = [
    "DEFAULTS", "NONE", "Cell", "Chunk", "Replica", "chunks_of", "group", "halves", "product",
]

NONE = "none"  # quantizer, scope and update of a network that is not quantized


@dataclass(frozen=True)
class Cell:
    """Full configuration of a training run except its seed.

    `n_bits` None: not quantized; `gain` None: no gain, weights scaled by fan-in as usual, and
    `gain_rule` says nothing; `synthesizer_lr` None: synthesizers, if there are any, are quantized
    and trained like the network's weights, else floats with that learning rate. A new axis goes
    last, with the value that all older results have as its default.
    """

    algorithm: str
    dataset: str
    n_layers: int
    hidden_width: int
    n_bits: int | None
    quantizer: str
    scope: str
    update: str
    optimizer: str
    lr: float
    gamma: float
    weight_decay: float
    gradient_bits: int | None
    batch_size: int
    epochs: int
    readout_epochs: int
    schedule: str = "exponential"
    gain: float | None = None
    bias: str = "quantized"
    network: str = "mlp"
    gain_rule: str = "fixed"
    synthesizer_lr: float | None = None

    @property
    def program(self) -> "Cell":
        """The cell with all that is only a number blanked: equal programs share a group."""
        return replace(
            self,
            n_bits=None,
            quantizer=NONE,
            scope=NONE,
            lr=1.0,
            gamma=0.0,
            weight_decay=0.0,
            gradient_bits=None if self.gradient_bits is None else 1,
            schedule=DEFAULTS["schedule"],
            gain=None if self.gain is None else 1.0,
            synthesizer_lr=None if self.synthesizer_lr is None else 1.0,
        )

    @property
    def label(self) -> str:
        """Algorithm, data set and network in few words, for tables and progress bars."""
        shape = f"({self.n_layers},{self.hidden_width})" if self.network == "mlp" else self.network
        return f"{self.algorithm} {self.dataset} {shape}"


# Of the axes that came later.
DEFAULTS = {f.name: f.default for f in fields(Cell) if f.default is not MISSING}


class Replica(NamedTuple):
    """One training run."""

    cell: Cell
    seed: int

    @property
    def id(self) -> str:
        """Hash of the configuration: the same replica has the same id in every sweep.

        An axis at its default does not enter, so ids outlive the coming of new axes.
        """
        cell = {name: value for name, value in asdict(self.cell).items()
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


def product(axes: dict[str, Sequence]) -> list[Cell]:
    """All combinations of the axes' values, one cell each, in order, without repeats.

    Args:
      axes: a sequence of values for every field of `Cell`.

    Unquantized networks have no quantizer, scope or update rule, nor biases to quantize:
    combinations that differ only in these are one cell. So are those that differ in gamma alone
    where the schedule has none, in the rule of a gain where there is none, in the shape of an MLP
    where the network is another, or in the learning rate of synthesizers where there are none.
    """
    names = [f.name for f in fields(Cell)]
    cells = {}
    for values in itertools.product(*(axes[name] for name in names)):
        cell = Cell(**dict(zip(names, values, strict=True)))
        if cell.n_bits is None:
            cell = replace(cell, quantizer=NONE, scope=NONE, update=NONE, bias=DEFAULTS["bias"])
        if cell.gain is None:
            cell = replace(cell, gain_rule=DEFAULTS["gain_rule"])
        if cell.network != "mlp":
            cell = replace(cell, n_layers=0, hidden_width=0)
        if cell.schedule != "exponential":
            cell = replace(cell, gamma=1.0)
        if not preset_of(cell.algorithm).synthesizers:
            cell = replace(cell, synthesizer_lr=None)
        cells[cell] = None
    return list(cells)


def group(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells by program. Unquantized cells join any group that differs only in how it updates."""
    groups: dict[Cell, list[Cell]] = {}
    floats = []
    for cell in cells:
        if cell.n_bits is None:
            floats.append(cell)
        else:
            groups.setdefault(cell.program, []).append(cell)
    for cell in floats:
        fits = (p for p in groups
                if replace(p, update=NONE, bias=DEFAULTS["bias"]) == cell.program)
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
    for seeds, cells in rectangles.items():
        for some_cells in _batched(cells, max(limit, 1)):
            at_once = max(1, limit // len(some_cells))
            for some_seeds in _batched(seeds, at_once):
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
