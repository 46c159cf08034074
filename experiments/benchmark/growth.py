"""How the cost of training grows: along widths, depths and numbers of replicas, one at a time."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.benchmark.breakdown import make_program, measure
from experiments.benchmark.reports import relate
from experiments.benchmark.shapes import Shape, product_flops

__all__ = ["AXES", "COSTS", "Axis", "Cost", "exponents", "grown"]

LEAST_STEPS, WORK = 3, 2e10  # of a timed epoch; floating-point operations it may take


class Axis(NamedTuple):
    """What grows.

    Attributes:
      label: of the axis.
      values: usual ones.
      point: value -> shape, replicas; all else stays as it is.
    """

    label: str
    values: Sequence[int]
    point: Callable[[int], tuple[Shape, int]]


AXES: Mapping[str, Axis] = {
    "width": Axis("units of each of 3 hidden layers (4 networks)",
                  (50, 100, 200, 500, 1000, 2000), lambda value: (Shape(2, value), 4)),
    "depth": Axis("hidden layers of 100 units (28 networks)",
                  (1, 2, 4, 6, 10), lambda value: (Shape(value - 1), 28)),
    "replicas": Axis("networks at once (3 hidden layers of 100 units)",
                     (1, 4, 16, 64, 250, 1000), lambda value: (Shape(), value)),
}


class Cost(NamedTuple):
    """What is paid: a column of `grown`, in words, in units of `scale`; `least`: of its floor."""

    label: str
    scale: float
    least: str | None = None


COSTS: Mapping[str, Cost] = {
    "ms_per_replica_step": Cost("ms per network and step", 1, "least_ms"),
    "memory_bytes_per_replica": Cost("MiB per network", 2**-20, "least_bytes"),
    "compile_s": Cost("seconds to compile an epoch", 1),
}


def grown(
    algorithm: str, values: Mapping[str, Sequence[int]], machine: Mapping[str, Any],
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Measures every point, the small ones first.

    Args:
      algorithm: to train by.
      values: by axis, one of `AXES`.
      machine: see `about_machine`.
      tell: is called with a line for people after every point.

    Returns:
      Rows of `measure` and `relate` with "axis" and "value", and what cannot be undercut: least_ms,
      products or bytes, whichever take longer, and least_bytes, of weights and optimizer state.
    """
    rows = []
    for name, own in values.items():
        for value in sorted(own):
            shape, replicas = AXES[name].point(value)
            # As many steps as take a second or so, some at least.
            steps = math.ceil(WORK / (product_flops(shape) * replicas))
            program = make_program(algorithm, shape, replicas, max(LEAST_STEPS, min(45, steps)))
            row = relate(measure(program, replicas, 3), machine, None)
            rows.append({
                **row, "axis": name, "value": value,
                "least_ms": row["ms_per_replica_step"] / row["floors"],
                "least_bytes": row["state_bytes_per_replica"],
            })
            tell(f"{name} {value}: {row['ms_per_replica_step']:.3g} ms per network and step, "
                 f"{row['floors']:.1f} x floor")
    return rows


def exponents(rows: Iterable[Mapping[str, Any]], axis: str, column: str) -> list[float]:
    """How a cost grows between neighbours: p of cost ~ value^p; nan where it was not measured."""
    points = sorted((row["value"], row[column]) for row in rows if row["axis"] == axis)
    return [math.nan if None in (low, high) else math.log(high / low) / math.log(b / a)
            for (a, low), (b, high) in itertools.pairwise(points)]
