"""What the study of few bits reports: points, with the settings that count, and tables of them.

Networks on held-out data decide which settings count, where there are several, and have no other
part in the report.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.cells import Cell, account_of, kinds, network_label, preset_of, weights_of
from experiments.commandline import options
from experiments.data import DATASETS, HOLDOUT
from experiments.report import (
    DIVERGED,
    INTERVALS,
    MEMORY,
    MEMORY_NOTE,
    WRITES_NOTE,
    Column,
    Rows,
    Table,
    choice,
    estimate,
    memory_in,
    panels,
    position,
    writes_of,
)
from experiments.store import results
from experiments.studies.lowbit.tuning import TUNING_SEED
from qjax.algorithms import ALGORITHMS
from qjax.memories import MEMORIES
from qjax.optimizers import OPTIMIZERS

__all__ = ["Point", "epochs_of", "front", "points", "table_of"]

TUNED = (
    "Learning rates, schedule, gain, batch size and threshold were chosen by the accuracy on the "
    "last sixth of the training data, held out for that, never on the test set."
)
UNTUNED = "Without results on held-out data, so not known to be tuned: "
FREE_BIASES = "Biases are floats."
BOUND_BIASES = "Biases are floats, but quantized like the weights in: "
FREE_SYNTHESIZERS = "Synthesizers are floats, with a learning rate of their own."
BOUND_SYNTHESIZERS = "Synthesizers are quantized, and trained, like the weights in: "
KILOBITS = "kbit"
KILOBITS_NOTE = "kbit: all that memory of the whole network, in 1000 bits."

_GRIDS = ("quantizer", "scope", "hidden_bits", "optimizer", "optimizer_bits", "numbers")
_POINT = ("dataset", "network", "n_layers", "hidden_width", "algorithm", "update", "n_bits",
          *_GRIDS)


class Point(NamedTuple):
    """What the report tells of one algorithm, update rule and width on one data set and network.

    Attributes:
      cell: the settings that count.
      members: replicas of it, one a seed.
      held_out: (epochs, accuracy in percent) by which they were chosen; None: no such results.
      others: how many cells of the point have other settings, and no other part in the report.
    """

    cell: Cell
    members: Rows
    held_out: tuple[int, float] | None
    others: int = 0

    @property
    def accuracies(self) -> list[float]:
        """Test accuracies in percent, of the seeds that have one."""
        return [m["test_accuracy"] for m in self.members if m["test_accuracy"] is not None]

    @property
    def accuracy(self) -> float | None:
        """Their mean; None without any."""
        return statistics.fmean(self.accuracies) if self.accuracies else None

    @property
    def memory(self) -> float | None:
        """Bits per weight while training, on the device and beside it; None: not known."""
        bits = account_of(self.cell)
        return None if bits is None else float(bits.total)

    @property
    def kilobits(self) -> float | None:
        """The same of the whole network, in 1000 bits; None: not known."""
        return None if self.memory is None else self.memory * weights_of(self.cell) / 1000

    @property
    def writes(self) -> float | None:
        """Programming events per weight in the whole training, mean over seeds; None: not known."""
        return writes_of(self.members)

    @property
    def network(self) -> str:
        """The network as the thesis writes it: (n_layers, hidden_width), others by name."""
        return network_label(*panels.architecture(vars(self.cell)))

    @property
    def label(self) -> str:
        """Network, algorithm, width and update rule, for notes."""
        cell = self.cell
        grid = kinds.held_label(cell.n_bits, cell.quantizer, cell.scope, cell.update)
        return f"{self.network} {cell.algorithm} {grid}"


def points(rows: Iterable[Mapping[str, Any]]) -> list[Point]:
    """All points of the full data sets, in the report's order.

    Of several settings of a point those with the best accuracy on held-out data count, of those
    that were tried there for the most epochs: shorter trials favour other settings. Settings
    without such results come last; of equal ones those trained for as many epochs as they were
    tried for, then those with more seeds, then more epochs.

    Args:
      rows: finished replicas, those on held-out data among them.
    """
    cells = results.by_cell(rows)
    # The study's seeds of their own decide, if it is one of `experiments.lowbit`.
    own = any(m["seed"] >= TUNING_SEED for cell, members in cells.items()
              if cell.dataset.endswith(HOLDOUT) for m in members)
    least = TUNING_SEED if own else 0
    held_out: dict[Cell, tuple[int, float]] = {}
    for cell, members in cells.items():
        if cell.dataset.endswith(HOLDOUT):
            # As for `tuning.chosen`: no accuracy counts as 0.
            tuned = [m["test_accuracy"] or 0.0 for m in members if m["seed"] >= least]
            key, length = choice.settings_of(cell), cell.epochs + cell.readout_epochs
            if tuned:
                held_out[key] = max((length, statistics.fmean(tuned)), held_out.get(key, (0, 0.0)))
    found: dict[tuple, list[Point]] = {}
    for cell, members in cells.items():
        if not cell.dataset.endswith(HOLDOUT):
            place = tuple(getattr(cell, name) for name in _POINT)
            found.setdefault(place, []).append(
                Point(cell, members, held_out.get(choice.settings_of(cell))))
    chosen = (max(several, key=_merit)._replace(others=len(several) - 1)
              for several in found.values())
    return sorted(chosen, key=_order)


def front(
    points: Iterable[Point], cost: Callable[[Point], float | None] = lambda point: point.memory
) -> list[Point]:
    """Those with a better accuracy than all others that cost as little, the cheapest first.

    Args:
      points: of one data set and network; those without an accuracy or cost are left out.
      cost: bits of memory, unless it is something else.
    """
    known = [p for p in points if p.accuracy is not None and cost(p) is not None]
    best: list[Point] = []
    for point in sorted(known, key=lambda p: (cost(p), -p.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def _merit(point: Point) -> tuple:
    """The greatest counts. No test accuracy in here!"""
    cell, members, held_out, _ = point
    length = cell.epochs + cell.readout_epochs
    as_tried = held_out is not None and held_out[0] == length
    return held_out is not None, held_out, as_tried, len(members), length


def _order(point: Point) -> tuple:
    cell = point.cell
    return (position(DATASETS, cell.dataset), cell.network != "mlp", cell.network, cell.n_layers,
            cell.hidden_width, position(ALGORITHMS, cell.algorithm), cell.n_bits is None,
            cell.n_bits, position(MEMORIES, cell.update), cell.quantizer, cell.scope,
            position(OPTIMIZERS, cell.optimizer), cell.hidden_bits or math.inf)


def epochs_of(cell: Cell) -> str:
    """'30', or '30 + 20' of a training in two phases."""
    return f"{cell.epochs} + {cell.readout_epochs}" if cell.readout_epochs else str(cell.epochs)


def _given(number: float | None) -> str | None:
    """A setting as it was given: tables round numbers."""
    return None if number is None else str(number)


def table_of(found: Iterable[Point], dataset: str) -> Table:
    """The points of a data set, one a row.

    Args:
      found: see `points`; those of other data sets are ignored.
      dataset: name of the data set.
    """
    found = [p for p in found if p.cell.dataset == dataset]
    quantized = [p.cell for p in found if p.cell.n_bits is not None]
    grids = [name for name in _GRIDS
             if len({getattr(cell, name) for cell in quantized}) > 1]
    thresholds = any(point.cell.threshold for point in found)
    counted = any(writes_of(point.members) is not None for point in found)
    widths = len({point.network for point in found}) > 1
    entries = []
    for point in found:
        cell, members = point.cell, point.members
        accuracy = estimate(m["test_accuracy"] for m in members)
        entries.append((
            point.network, cell.algorithm, options.spell(cell.n_bits),
            *(options.spell(getattr(cell, name), name) for name in grids), cell.update, accuracy,
            None if accuracy.mean is None else 100 - accuracy.mean, *memory_in(cell),
            *([point.kilobits] if widths else []),
            *([writes_of(members)] if counted else []), str(cell.lr),
            _given(cell.synthesizer_lr), *([str(cell.threshold)] if thresholds else []),
            cell.schedule, _given(cell.gain), str(cell.batch_size),
            epochs_of(cell), len(members),
            sum(m["status"] == "diverged" for m in members),
        ))
    names = ("network", "algorithm", "bits", *grids, "update", "accuracy", "error", *MEMORY,
             *([KILOBITS] if widths else []), *(["writes"] if counted else []), "lr",
             "synthesizer lr",
             *(["threshold"] if thresholds else []), "schedule", "gain",
             "batch", "epochs", "seeds", "diverged")
    notes = (*_notes(found), *([KILOBITS_NOTE] if widths else []),
             *([WRITES_NOTE] if counted else []))
    if not grids and quantized:
        notes += (f"All grids are {quantized[0].quantizer} {quantized[0].scope}.",)
    return Table(f"Test accuracy on {dataset} by bits per weight and update rule", notes,
                 tuple(map(Column, names)), tuple(entries))


def _notes(found: Sequence[Point]) -> tuple[str, ...]:
    """Notes above a table; none says more than these points bear out."""

    def named(some: Iterable[Point]) -> str:
        return f"{'; '.join(p.label for p in some)}."

    notes = [INTERVALS]
    untuned = [p for p in found if p.held_out is None]
    if len(untuned) < len(found):
        notes.append(TUNED)
    if untuned:
        notes.append(UNTUNED + named(untuned))
    optimizers = list(dict.fromkeys(p.cell.optimizer for p in found))
    if len(optimizers) == 1:
        notes.append(f"Trained by {optimizers[0]}.")
    notes.append(MEMORY_NOTE)
    quantized = [p for p in found if p.cell.n_bits is not None]
    bound = [p for p in quantized if p.cell.bias != "float"]
    notes.append(BOUND_BIASES + named(bound) if bound else FREE_BIASES)
    synthetic = [p for p in quantized if preset_of(p.cell.algorithm).synthesizers]
    bound = [p for p in synthetic if p.cell.synthesizer_lr is None]
    if synthetic:
        notes.append(BOUND_SYNTHESIZERS + named(bound) if bound else FREE_SYNTHESIZERS)
    others = sum(p.others for p in found)
    if others:
        notes.append(f"Left out: {others} cells of these points with other settings: those that "
                     "did worse on held-out data or have no results there; where none has, those "
                     "with fewer seeds or epochs, else all but the first.")
    return (*notes, DIVERGED)
