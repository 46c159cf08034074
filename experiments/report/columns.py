"""What there is to say of a replica, by name: its axes, numbers of its memory, what was measured.

An axis has a number or a word; None is a word: "float" bits, no gain ("none").
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from experiments.cells import AXES, NONE, Cell, by_flag, kinds
from experiments.commandline import options
from experiments.data import label_of
from experiments.report.scores import Scored
from experiments.report.tables import memory_in
from experiments.store import results

__all__ = [
    "ALONG_TRAINING", "ANALOG", "EPOCH", "LOSSES", "MEASURED", "OF_MEMORY", "SEED", "differing",
    "enough", "grouping", "label", "measured", "order", "speaks", "spell", "told", "value_of",
    "word",
]

EPOCH, SEED = "epoch", "seed"
# Titles of what is measured of a replica, and at every epoch of its training.
MEASURED: Mapping[str, str] = {
    "test_accuracy": "test accuracy (%)", "train_accuracy": "train accuracy (%)",
    "test_loss": "test loss", "train_loss": "train loss",
    "seconds": "seconds a network", "writes": "writes / weight",
}
ALONG_TRAINING: Mapping[str, str] = {
    **{name: MEASURED[name] for name in ("test_accuracy", "train_accuracy", "test_loss",
                                         "train_loss")},
    "objective": "objective", "writes": "writes / weight, in an epoch",
}
# Which differ by orders of magnitude between seeds: a mean would be that of one of them.
LOSSES = ("test_loss", "train_loss", "objective")
# What follows from a configuration.
OF_MEMORY: Mapping[str, str] = {
    "device_bits": "device bits / weight", "beside_bits": "bits beside / weight",
    "total_bits": "bits / weight, of devices and beside them",
}
_TITLES = {**MEASURED, **OF_MEMORY, "objective": ALONG_TRAINING["objective"],
           "n_bits": "bits per weight", "lr": "learning rate"}
ANALOG = "devices"  # for a number of bits: no levels, and no floats either


def grouping() -> list[str]:
    """Columns that replicas can be told apart by; tables of memories grow."""
    return [*AXES, *map(results.number_column, kinds.all_numbers()), SEED, *OF_MEMORY]


def word(words: Collection[str]) -> Callable[[str], str]:
    """Argument type: one of some columns, an axis also as its flag is spelled."""
    parse = options.one_of(words)
    return lambda text: parse(text if text in words else by_flag(text))


def label(name: str, of: Scored | None = None) -> str:
    """A column's name on an axis."""
    title = _TITLES.get(name, name)
    return of.title(title) if of and name in MEASURED else title


def value_of(row: Mapping[str, Any], name: str) -> float | str | None:
    """A column of a replica; None where a measurement is not known."""
    if name in OF_MEMORY:
        device, beside = memory_in(results.cell_of(row))
        both = {"device_bits": device, "beside_bits": beside,
                "total_bits": None if device is None else device + beside}
        return both[name]
    if name in MEASURED or name == SEED:
        return row.get(name)  # an export need not have all
    value = row[name] if name in AXES else results.number_in(row, name)
    if name == "n_bits" and value is None and row["update"] != NONE:
        return ANALOG
    return options.spell(value, name) if value is None else value


def measured(row: Mapping[str, Any], name: str) -> float | None:
    """What `value_of` gives, if it is a finite number."""
    value = row[name] if name in row else value_of(row, name)
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def spell(value: float | str) -> str:
    """A column's value in words."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def told(name: str, value: float | str) -> str:
    """A column's value where nothing else says of what: 'mnist', but 'n_bits 3'."""
    if name == "dataset":
        return label_of(str(value))
    alone = name in ("algorithm", "network", "update", "quantizer") and value != NONE
    return spell(value) if alone else f"{name} {spell(value)}"


def order(name: str, values: Iterable[float | str]) -> list[float | str]:
    """Numbers by size, then words: as the command line lists them, "float" and "none" last."""
    known = list(AXES[name].words) if name in AXES else []

    def place(value):
        if not isinstance(value, str):
            return (0, value, "")
        return (1, known.index(value), "") if value in known else (2, 0, value)

    return sorted(set(values), key=place)


def differing(
    rows: Iterable[Mapping[str, Any]], fixed: Collection[str] = ()
) -> dict[str, list[float | str]]:
    """In what configurations differ: column -> values, in order.

    Where an axis says nothing of a cell, as the quantizer of an unquantized network, it does not
    count, unless only that tells cells apart.

    Args:
      rows: one a cell.
      fixed: columns that are not asked for.
    """
    rows = list(rows)
    numbers = {results.number_column(name) for row in rows for name in results.numbers_of(row)}
    known = [{name: value_of(row, name) for name in (*AXES, *sorted(numbers)) if name != "numbers"}
             for row in rows]
    apart = [name for name in (known[0] if known else ()) if len({own[name] for own in known}) > 1]
    cells = [results.cell_of(row) for row in rows]
    speaking = {name: {own[name] for own, cell in zip(known, cells, strict=True)
                       if speaks(name, cell)} for name in apart}
    chosen = [name for name in apart if len(speaking[name]) > 1]
    if "numbers" in fixed:
        fixed = {*fixed, *numbers}
    return {name: order(name, speaking[name] if name in chosen else {own[name] for own in known})
            for name in enough(chosen, apart, known) if name not in fixed}


def speaks(name: str, cell: Cell) -> bool:
    """Does an axis, or a number of memories, say anything of a cell?"""
    if name not in AXES:
        number = name.removeprefix("numbers.")
        return kinds.number_of(cell.update, cell.numbers, number) is not None
    return name == "n_bits" or AXES[name].only is None or AXES[name].only(cell)


def enough(
    chosen: Iterable[str], columns: Iterable[str], known: Iterable[Mapping[str, Any]],
    beside: Iterable[str] = ()
) -> list[str]:
    """Some columns, and as many more as it takes to tell cells apart as all of them would.

    (A network that is held by devices from one that is not, say: of floats the axis is silent.)

    Args:
      chosen: the columns that are wanted anyway.
      columns: all, in the order of the answer.
      known: of every cell the values.
      beside: columns that are seen elsewhere.
    """
    found, columns, known, beside = list(chosen), list(columns), list(known), list(beside)

    def count(names: Iterable[str]) -> int:
        return len({tuple(own[name] for name in (*beside, *names)) for own in known})

    told, every = count(found), count(columns)
    for column in columns:
        if told < every and (more := count([*found, column])) > told:
            found.append(column)
            told = more
    return [column for column in columns if column in found]
