"""Costs against what grows, on logarithmic axes."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from experiments.benchmark.growth import AXES, COSTS, exponents
from experiments.report import look

__all__ = ["plot_growth"]


def plot_growth(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """A column for what grows, a row for what it costs; numbers at the lines are exponents.

    Args:
      rows: see `growth.grown`.
      title: of the figure.
    """
    names = [name for name in AXES if any(row["axis"] == name for row in rows)]
    costs = {column: cost for column, cost in COSTS.items()
             if any(row[column] is not None for row in rows)}
    figure, axes = look.grid(len(costs), len(names), (4.0, 2.7))
    for line, (column, cost) in zip(axes, costs.items(), strict=True):
        for axis, name in zip(line, names, strict=True):
            points = sorted((row["value"], row) for row in rows
                            if row["axis"] == name and row[column] is not None)
            values = [value for value, _ in points]
            measured = [row[column] * cost.scale for _, row in points]
            axis.plot(values, measured, color=look.PALETTE[1], marker="o", markersize=5,
                      label="measured")
            if cost.least:
                axis.plot(values, [row[cost.least] * cost.scale for _, row in points],
                          color=look.FLOAT, linestyle=":", label="cannot be less")
            pairs = itertools.pairwise(zip(values, measured, strict=True))
            for ((a, low), (b, high)), power in zip(pairs, exponents(rows, name, column),
                                                    strict=True):
                axis.annotate(f"{power:z.1f}", ((a * b) ** 0.5, (low * high) ** 0.5),
                              xytext=(0, 5), textcoords="offset points", fontsize=8,
                              ha="right", color=look.PALETTE[1])
            axis.set_xscale("log")
            axis.set_xticks(values, list(map(str, values)))
            axis.set_xticks([], minor=True)
            if line is axes[-1]:
                axis.set_xlabel(AXES[name].label, fontsize="small")
            if axis is line[0]:
                axis.set_ylabel(cost.label)
        _one_scale(line)
    look.title(figure, title)
    look.legend(figure)
    return figure


def _one_scale(axes: Sequence[Axes]) -> None:
    """One logarithmic scale for a row of panels, of whole decades: slopes can be compared."""
    lows, highs = zip(*(axis.dataLim.intervaly for axis in axes), strict=True)
    for axis in axes:
        axis.set_yscale("log")
        axis.set_ylim(10 ** math.floor(math.log10(min(lows))),
                      10 ** math.ceil(math.log10(max(highs))))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
