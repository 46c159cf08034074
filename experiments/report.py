"""Results as tables: one row a cell, mean and standard deviation over its seeds."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from experiments.cells import NONE
from experiments.options import spell

__all__ = ["by_cell", "mean_and_deviation", "spread", "summary"]


def mean_and_deviation(values: Iterable[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (0 for a single value, nan for none)."""
    values = list(values)
    if not values:
        return float("nan"), float("nan")
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def spread(values: Iterable[float], digits: int = 2) -> str:
    """'mean +- deviation', '-' where there are no values."""
    values = [v for v in values if v is not None]
    if not values:
        return "-"
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


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
        are the same for all stand in the line below.

    Returns:
      (line above, table, line below)
    """
    rows = list(rows)
    columns = [c for c in cell_columns if c != "n_bits"]
    differing = [c for c in columns if _differs(c, rows)]
    bits = sorted({row["n_bits"] for row in rows}, key=lambda b: (b is None, b))
    results = {c for row in rows for c in row} - set(cell_columns)
    lines = by_cell(rows, results | {"n_bits"})
    seeds = {len(cell) for cell in by_cell(rows, results).values()} or {0}
    count = "-".join(str(n) for n in sorted({min(seeds), max(seeds)}))
    title = (
        "Test accuracy in percent, mean ± standard deviation over "
        f"{count} seed{'' if count == '1' else 's'}"
    )
    table = Table()
    for column in differing:
        table.add_column(column, no_wrap=True)
    for value in bits:
        table.add_column("float" if value is None else f"{value} bits", justify="right",
                         no_wrap=True)
    for members in lines.values():
        cells = [[m for m in members if m["n_bits"] == value] for value in bits]
        settings = (spell(members[0][c], c) for c in differing)
        table.add_row(*settings, *(_entry(cell) for cell in cells))
    same = [c for c in columns if c not in differing and len({r[c] for r in rows}) == 1]
    return title, table, "All: " + ", ".join(f"{c} {spell(rows[0][c], c)}" for c in same)


def _differs(column: str, rows: list[Mapping[str, Any]]) -> bool:
    """Does a column tell rows apart that the algorithm (whose presets set it) does not?"""
    if column == "algorithm":
        return len({row["algorithm"] for row in rows}) > 1
    values: dict[str, set] = {}
    for row in rows:
        if row[column] != NONE or column in ("quantizer", "scope"):
            values.setdefault(row["algorithm"], set()).add(row[column])
    return any(len(of_algorithm) > 1 for of_algorithm in values.values()) or (
        column in ("dataset", "n_layers", "hidden_width")
        and len({row[column] for row in rows}) > 1
    )


def _entry(members: list[Mapping[str, Any]]) -> str:
    text = spread((m["test_accuracy"] for m in members), 1) if members else ""
    diverged = sum(m["status"] == "diverged" for m in members)
    return f"{text} ({diverged} diverged)" if diverged else text
