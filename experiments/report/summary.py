"""Results as tables: one row a cell, mean and standard deviation over its seeds."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.cells import AXES, DEFAULTS, NONE, kinds
from experiments.commandline import options
from experiments.commandline.options import spell
from experiments.data import shape_of
from experiments.report.columns import enough, speaks
from experiments.report.estimates import mean_and_deviation
from experiments.report.panels import Rows, split, valued
from experiments.report.scores import scored
from experiments.store.results import cell_of

__all__ = ["FEW_BITS", "by_cell", "spread", "summary", "tell", "warnings"]

# A network that knows nothing has a loss of ln(classes), one that is sure and wrong of tens.
EXPLODED = 1e3
# Of the way from a guess to all right, and at most another guess: no further counts as not trained.
CHANCE = 1 / 9
_ANY_WIDTH = 10_000
_NAMED = 3  # cells that a warning names; it counts the others
_ALWAYS = ("algorithm", "dataset", "n_bits", "quantizer", "scope", "update")  # in their names
FEW_BITS = 5  # up to here the update rule nearest trains nothing, see docs/few-bits.md


def spread(values: Iterable[float], digits: int = 2) -> str:
    """'mean ± deviation' over seeds, the value alone of one, '-' where there is none."""
    values = [v for v in values if v is not None]
    if not values:
        return "-"
    mean, deviation = mean_and_deviation(values)
    more = f" {options.plus_minus()} {deviation:.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{more}"


def tell(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Prints what a run ends with: the summary of finished replicas, then what it does not show."""
    _tell_summary(rows, console)
    for line in warnings(rows, AXES):
        console.print(line, markup=False, soft_wrap=True, highlight=False)


def _tell_summary(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """In several tables, by algorithm and so on, where one is wider than there is room for."""
    title, table, below = summary(rows, AXES)
    whole = console.measure(table, options=console.options.update(max_width=_ANY_WIDTH)).maximum
    if whole > console.width:
        for column in AXES:
            parts = split(rows, column) if column != "n_bits" else {}
            if len(parts) > 1:
                for part in parts.values():
                    _tell_summary(part, console)
                return
    for shown in (title, table, below):
        console.print(shown, soft_wrap=isinstance(shown, str))


def by_cell(rows: Iterable[Mapping[str, Any]], not_of_cell: Iterable[str]) -> dict[tuple, list]:
    """Rows grouped by all columns but those named, in order of first appearance."""
    left_out = set(not_of_cell)
    cells: dict[tuple, list] = {}
    for row in rows:
        key = tuple((k, v) for k, v in row.items() if k not in left_out)
        cells.setdefault(key, []).append(row)
    return cells


def summary(
    rows: Iterable[Mapping[str, Any]], cell_columns: Iterable[str]
) -> tuple[str, Table, str]:
    """What a run ends with: a column per bit width, a row for each setting of the rest.

    Args:
      rows: of the store's table `replicas`.
      cell_columns: names of the configuration's columns; those that differ are shown, those that
        are the same for all stand in the line below, but newer ones that are as usual.

    Returns:
      (line above, table, line below)
    """
    rows = list(rows)
    columns = [c for c in cell_columns if c != "n_bits"]
    results = {c for row in rows for c in row} - set(cell_columns)
    cells = list(by_cell(rows, results).values())
    firsts = [members[0] for members in cells]
    value, speaking = valued(firsts), _speaking(firsts, columns)
    differing = enough([c for c in columns if _differs(c, firsts, speaking[c])], columns,
                       [{c: value(row, c) for c in cell_columns} for row in firsts],
                       beside=("algorithm", "n_bits"))
    bits = sorted({row["n_bits"] for row in rows}, key=lambda b: (b is None, b))
    lines: dict[tuple, list] = {}
    for row in rows:
        lines.setdefault(tuple(value(row, c) for c in ("algorithm", *differing)), []).append(row)
    seeds = set(map(len, cells)) or {0}
    count = "-".join(str(n) for n in sorted({min(seeds), max(seeds)}))
    over = ", one seed" if count == "1" else f", mean ± standard deviation over {count} seeds"
    title = f"{scored(rows).title('Test accuracy')} in percent{over}"
    table = Table()
    for column in differing:
        table.add_column(column, no_wrap=True)
    for width in bits:
        table.add_column(_width(width, rows), justify="right", no_wrap=True)
    for members in lines.values():
        settings = (_spell(value(members[0], c), c, members[0]) for c in differing)
        table.add_row(*settings, *(_entry([m for m in members if m["n_bits"] == width])
                                   for width in bits))
    lines_below, by_algorithm = [], []
    for column in (c for c in columns if c not in differing):
        values = {value(r, column) for r in speaking[column]}
        if len(values) == 1 and values != {""} and _is_told(column, speaking[column][0]):
            lines_below.append(f"{column} {spell(values.pop(), column)}")
        elif len(values) > 1:
            by_algorithm.append(_by_algorithm(column, speaking[column], value))
    return title, table, "\n".join(["All: " + ", ".join(lines_below), *by_algorithm])


def _speaking(rows: Rows, columns: Iterable[str]) -> dict[str, Rows]:
    """Of every axis the rows of whose cells it says something."""
    cells = [(row, cell_of(row)) for row in rows]
    return {column: [row for row, cell in cells if speaks(column, cell)] for column in columns}


def _spell(value: Any, column: str, row: Mapping[str, Any]) -> str:
    """A value in a row of the table; '-' where the axis says nothing of its cells."""
    silent = value != NONE and not speaks(column, cell_of(row))
    return "-" if silent else spell(value, column) or "usual"


def _by_algorithm(
    column: str, rows: Rows, value: Callable[[Mapping[str, Any], str], Any]
) -> str:
    """'By algorithm: gain 1.5 (backprop, usf), 1.0 (fa)'."""
    of: dict[Any, dict[str, None]] = {}
    for row in rows:
        of.setdefault(value(row, column), {})[row["algorithm"]] = None
    return f"By algorithm: {column} " + ", ".join(
        f"{spell(own, column) or 'usual'} ({', '.join(names)})" for own, names in of.items())


def _is_told(column: str, row: Mapping[str, Any]) -> bool:
    """Has an axis that came later another value than cells have without it, by flag or at all?"""
    if column not in DEFAULTS or row[column] != DEFAULTS[column]:
        return True
    about = AXES[column]
    usual = about.given is None or row[column] in about.given
    return not usual and (about.only is None or about.only(cell_of(row)))


def _width(n_bits: int | None, rows: Iterable[Mapping[str, Any]]) -> str:
    """The name of a column: some memories have no levels, and are no floats either."""
    if n_bits is not None:
        return f"{n_bits} bits"
    floats = {row["update"] == NONE for row in rows if row["n_bits"] is None}
    return {True: "float", False: "devices"}[floats.pop()] if len(floats) == 1 else (
        "float, devices")


def _differs(column: str, rows: Rows, speaking: Rows) -> bool:
    """Does a column tell rows apart that the algorithm (whose presets set it) does not?"""
    if column == "algorithm":
        return len({row["algorithm"] for row in rows}) > 1
    values: dict[str, set] = {}
    value = valued(rows)
    for row in rows if column in ("quantizer", "scope") else speaking:
        values.setdefault(row["algorithm"], set()).add(value(row, column))
    return any(len(of_algorithm) > 1 for of_algorithm in values.values()) or (
        column in ("dataset", "n_layers", "hidden_width")
        and len({row[column] for row in rows}) > 1
    )


def _entry(members: list[Mapping[str, Any]]) -> str:
    text = spread((m["test_accuracy"] for m in members), 1) if members else ""
    diverged = sum(m["status"] == "diverged" for m in members)
    return f"{text} ({diverged} diverged)" if diverged else text


def warnings(rows: Iterable[Mapping[str, Any]], cell_columns: Iterable[str]) -> list[str]:
    """What the table does not show: cells that exploded or learned nothing, and what to type.

    Args:
      rows, cell_columns: as for `summary`.
    """
    rows, cell_columns = list(rows), list(cell_columns)
    exploded, guessing = [], []
    cells = list(by_cell(rows, {c for row in rows for c in row} - set(cell_columns)).values())
    firsts = [members[0] for members in cells]
    speaking = _speaking(firsts, cell_columns)
    named = functools.partial(_named, also=[c for c in cell_columns if c not in _ALWAYS
                                            and _differs(c, firsts, speaking[c])])
    for members in cells:
        if any(_exploded(row) for row in members):
            exploded.append(members)
        elif all(row["test_accuracy"] is not None for row in members):
            accuracy, _ = mean_and_deviation(row["test_accuracy"] for row in members)
            if accuracy <= _guessed(members[0]):
                guessing.append(members)
    lines = []
    if exploded:
        losses = [r["test_loss"] or 0.0 for members in exploded for r in members]
        losses = [loss for loss in losses if loss > EXPLODED]
        worst = f" (test loss up to {max(losses):.0e})" if losses else ""
        lines.append(f"Exploded{worst}: {named(exploded)}.")
    if guessing:
        lines.append(f"No better than guessing: {named(guessing)}.")
    troubled = [members[0] for members in exploded + guessing]
    few = [r for r in troubled if r["update"] == "nearest" and r["n_bits"] <= FEW_BITS]
    if few:
        lines.append(
            f"{len(few)} of these have few levels and --memory nearest, which loses every step "
            "below half a level. What trains there: --recipe few-bits."
        )
    if any(members[0] not in few for members in guessing):
        lines.append("Others may want another --lr, or more --epochs: choose them on "
                     "--dataset NAME_holdout.")
    if any(members[0] not in few for members in exploded):
        lines.append("Against explosions: a smaller --lr, or one that falls to zero (--schedule "
                     "linear).")
    return lines


def _guessed(row: Mapping[str, Any]) -> float:
    """Accuracy up to which a network has learned nothing; -inf where we cannot say."""
    shape = shape_of(row["dataset"]) if row["loss"] == "cross_entropy" else None
    if not shape:
        return -math.inf
    guess = 100 / shape[1]
    return guess + min(guess, CHANCE * (100 - guess))


def _exploded(row: Mapping[str, Any]) -> bool:
    return row["status"] == "diverged" or (row["test_loss"] or 0.0) > EXPLODED


def _named(cells: list[list[Mapping[str, Any]]], also: Iterable[str]) -> str:
    """'4 cells: backprop mnist 2 bits symm local nearest, ... (3 named)', with some columns."""
    names = []
    for row in (members[0] for members in cells[:_NAMED]):
        grid = kinds.held_label(*(row[c] for c in ("n_bits", "quantizer", "scope", "update")))
        more = "".join(f" {c} {spell(row[c], c)}" for c in also)
        names.append(f"{row['algorithm']} {row['dataset']} {grid}{more}")
    rest = f" and {len(cells) - _NAMED} more" if len(cells) > _NAMED else ""
    return f"{len(cells)} cell{'s' if len(cells) > 1 else ''}: {', '.join(names)}{rest}"
