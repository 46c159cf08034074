"""Tables of results: the unquantized networks of a data set, and every cell of an algorithm on it.

Numbers are means over seeds with 95 % confidence intervals (Student's t).
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from experiments.cells import (
    AXES,
    DEFAULTS,
    NONE,
    UNQUANTIZED,
    Cell,
    account_of,
    network_label,
    preset_of,
)
from experiments.commandline import options
from experiments.data import label_of
from experiments.report.estimates import estimate, paired_differences
from experiments.report.formats import Column, Table
from experiments.report.panels import datasets, place
from experiments.report.scores import scored
from experiments.report.study import NO_STUDY, Study, position
from experiments.store import results

__all__ = [
    "DIVERGED", "INTERVALS", "MEMORY", "MEMORY_NOTE", "WRITES_NOTE", "bits_in", "cell_table",
    "float_of", "float_table", "memory_in", "tables_of", "writes_of",
]

INTERVALS = (
    "Mean ± half width of the 95 % confidence interval over seeds (Student's t; fewer than three "
    "show none), of the test metrics after the last epoch; accuracies in percent."
)
SHORTENED = "Shortened runs: 'n of m' epochs are n where {study} had m."
DIVERGED = "A diverged replica counts with its last finite metrics, if it has any."
# Columns of every table with a cell a row, and what they are.
MEMORY = ("device bits", "bits beside")
MEMORY_NOTE = (
    "Device bits, bits beside: memory per weight while training, on the devices that multiply and "
    "beside them: hidden bits, what the optimizer keeps, biases, and feedback matrices or "
    "synthesizers where the algorithm has them."
)
WRITES_NOTE = (
    "Writes: how often a weight of the network's kernels was programmed to another level (of its "
    "range at the time) in the whole training, on average; feedback and synthesizers are not in it."
)
DIFFERENCE = (
    "Difference: accuracy minus that of the unquantized network with the same settings, paired by "
    "seed."
)

# Which network it is, and what makes a row of a table by itself.
_SHAPE = ("algorithm", "dataset", "network", "n_layers", "hidden_width")
_ROW = (*_SHAPE, "n_bits", "quantizer", "scope", "epochs", "readout_epochs")
# What makes variants of a cell, besides its epochs.
_SETTINGS = tuple(name for name in AXES if name not in _ROW)
# What an unquantized network must have in common with the cells that it is compared with.
_OF_FLOAT = (*_SHAPE, *(name for name in _SETTINGS
                        if name != "batch_size" and name not in UNQUANTIZED))


def float_of(cell: Cell, floats: Iterable[Cell], study: Study = NO_STUDY) -> Cell | None:
    """The unquantized network to compare a cell with.

    It has the cell's network, data set and settings, and the batch size that goes with the cell's.
    Of several the one with the study's epochs, else the one trained longest.
    """
    preset = preset_of(cell.algorithm)
    batch_sizes = {cell.batch_size}
    if cell.batch_size == preset.batch_size:
        batch_sizes = {preset.float_batch_size}
    fits = [
        f for f in floats
        if all(getattr(f, name) == getattr(cell, name) for name in _OF_FLOAT)
        and f.batch_size in batch_sizes
    ]
    length = {f: f.epochs + f.readout_epochs for f in fits}
    return max(fits, key=lambda f: (length[f] == sum(study.full(f)), length[f]), default=None)


def _architecture(cell: Cell) -> tuple[str, int, int]:
    return cell.network, cell.n_layers, cell.hidden_width


def _notes(cells: Mapping[Cell, list], study: Study, *more: str) -> tuple[str, ...]:
    """The notes above a table of these cells."""
    notes = [INTERVALS, *more]
    if any(map(study.shortened, cells)):
        notes.append(SHORTENED.format(study=study.name))
    if any(_diverged(members) for members in cells.values()):
        notes.append(DIVERGED)
    return tuple(notes)


def _diverged(members: Iterable[Mapping]) -> int:
    return sum(m["status"] == "diverged" for m in members)


def _variant(cell: Cell) -> str:
    """The algorithm, and in brackets where a float cell's settings are not its preset's."""
    preset = preset_of(cell.algorithm)
    usual = {**DEFAULTS, "gradient_bits": None, "batch_size": preset.float_batch_size}
    own = []
    for name in _SETTINGS:
        value = getattr(cell, name)
        if name != "update" and value != usual.get(name, getattr(preset.phases[0], name, None)):
            own.append(f"{name} {options.spell(value, name)}")
    return f"{cell.algorithm} ({', '.join(own)})" if own else cell.algorithm


def float_table(
    rows: Iterable[Mapping[str, Any]], dataset: str, study: Study = NO_STUDY
) -> Table:
    """Test accuracy of the unquantized networks: algorithm x architecture.

    Args:
      rows: finished replicas; those of other data sets and quantized ones are ignored.
      dataset: name of the data set.
      study: whose order the table has, and against which runs are short.
    """
    cells = {c: members for c, members in results.by_cell(rows).items()
             if c.dataset == dataset and c.update == NONE}
    architectures = sorted({_architecture(c) for c in cells}, key=lambda a: place(a, study))
    lines: dict[tuple[str, str], dict] = {}
    ordered = sorted(cells, key=lambda c: (
        position(study.algorithms, c.algorithm), _variant(c), -c.epochs, -c.readout_epochs))
    for cell in ordered:
        line = lines.setdefault((_variant(cell), study.epochs_label(cell)), {})
        line[_architecture(cell)] = cells[cell]
    entries = []
    for (variant, epochs), line in lines.items():
        counts = sorted({len(members) for members in line.values()})
        seeds = counts[0] if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
        accuracies = (estimate(m["test_accuracy"] for m in line.get(a, ()))
                      for a in architectures)
        diverged = sum(_diverged(members) for members in line.values())
        entries.append((variant, *accuracies, seeds, diverged, epochs))
    networks = (network_label(*a) for a in architectures)
    names = ("algorithm", *networks, "seeds", "diverged", "epochs")
    what = scored(row for members in cells.values() for row in members).title("Test accuracy")
    return Table(
        f"{what} of the unquantized networks on {label_of(dataset)}", _notes(cells, study),
        tuple(map(Column, names)), tuple(entries),
    )


def bits_in(cell: Cell) -> str:
    """In words; a memory without levels has none."""
    return "-" if cell.n_bits is None and cell.update != NONE else options.spell(cell.n_bits)


@functools.lru_cache(maxsize=100_000)  # a figure asks for every point, a page again and again
def memory_in(cell: Cell) -> tuple[float | None, float | None]:
    """The entries of a cell under `MEMORY`."""
    return account_of(cell) or (None, None)


def writes_of(members: Iterable[Mapping]) -> float | None:
    """Mean over seeds of the programming events per weight in the whole training, if known."""
    known = [m["writes"] for m in members if m.get("writes") is not None]
    return sum(known) / len(known) if known else None


def _differing(cells: Iterable[Cell]) -> list[str]:
    """Settings that tell quantized cells apart, or unquantized ones."""
    halves = [[c for c in cells if (c.n_bits is None) == floats] for floats in (False, True)]
    return [name for name in _SETTINGS
            if any(len({getattr(c, name) for c in half}) > 1 for half in halves)]


def cell_table(
    rows: Iterable[Mapping[str, Any]], dataset: str, algorithm: str, study: Study = NO_STUDY
) -> Table:
    """Accuracy, loss and difference to the unquantized network of every cell, one a row.

    Args:
      rows: finished replicas; those of other data sets and algorithms are ignored.
      dataset, algorithm: which cells.
      study: as for `float_table`.
    """
    cells = {c: members for c, members in results.by_cell(rows).items()
             if (c.dataset, c.algorithm) == (dataset, algorithm)}
    floats = [c for c in cells if c.update == NONE]
    differing = _differing(cells)
    counted = any(writes_of(members) is not None for members in cells.values())
    entries = []
    for cell in sorted(cells, key=lambda c: _order(c, study)):
        members = cells[cell]
        accuracy, loss = (estimate(m[metric] for m in members)
                          for metric in ("test_accuracy", "test_loss"))
        other = None if cell.update == NONE else float_of(cell, floats, study)
        difference = estimate(
            paired_differences(members, cells.get(other, ()), "test_accuracy")
        )
        entries.append((
            network_label(*_architecture(cell)), bits_in(cell), cell.quantizer,
            cell.scope, *(options.spell(getattr(cell, name), name) for name in differing),
            accuracy, difference, loss, *memory_in(cell),
            *([writes_of(members)] if counted else []), len(members), _diverged(members),
            study.epochs_label(cell),
        ))
    names = ("architecture", "bits", "quantizer", "scope", *differing)
    columns = (*map(Column, names), Column("accuracy"), Column("difference"), Column("loss", 3),
               *map(Column, (*MEMORY, *(["writes"] if counted else []), "seeds", "diverged",
                             "epochs")))
    more = [WRITES_NOTE] if counted else []
    notes = _notes(cells, study, DIFFERENCE, MEMORY_NOTE, *more, _settings(cells, differing))
    return Table(f"{algorithm} on {label_of(dataset)}, every cell", notes, columns, tuple(entries))


def _settings(cells: Iterable[Cell], but: Iterable[str]) -> str:
    """A note on the settings that are the same for all; unquantized networks may have their own.

    Of axes that came after the first results only those that are not as usual are told.
    """
    cells = sorted(cells, key=lambda c: c.n_bits is None)
    texts = []
    for name in _SETTINGS:
        here, there = (options.spell(getattr(c, name), name) for c in (cells[0], cells[-1]))
        if name not in but and here not in (NONE, "") and not all(
                _usual(c, name) for c in (cells[0], cells[-1])):
            own = f" (float networks: {there})" if there not in (here, NONE) else ""
            texts.append(f"{name} {here}{own}")
    return f"Settings: {', '.join(texts)}; all others as in a run that does not name them."


def _usual(cell: Cell, name: str) -> bool:
    """Is it of a later axis and what it is if nothing is said, or does it say nothing there?"""
    about, value = AXES[name], getattr(cell, name)
    if name not in DEFAULTS:
        return False
    return (about.only is not None and not about.only(cell)) or value in (about.given or ())


def _order(cell: Cell, study: Study) -> tuple:
    rest = tuple(str(getattr(cell, f.name)) for f in fields(Cell))
    return (*place(_architecture(cell), study), cell.n_bits is None,
            cell.n_bits or 0, cell.quantizer, cell.scope, rest)


def tables_of(rows: Sequence[Mapping[str, Any]], study: Study = NO_STUDY) -> dict[str, Table]:
    """All tables of finished replicas by the stem of their files' names."""
    pairs = sorted({(r["dataset"], r["algorithm"]) for r in rows}, key=lambda pair: (
        position(study.datasets, pair[0]), position(study.algorithms, pair[1])))
    floats = dict.fromkeys(r["dataset"] for r in rows if r["update"] == NONE)
    called = datasets(rows)
    tables = {f"float-{called[d]}": float_table(rows, d, study)
              for d in sorted(floats, key=lambda d: position(study.datasets, d))}
    return tables | {f"cells-{called[d]}-{a}": cell_table(rows, d, a, study) for d, a in pairs}
