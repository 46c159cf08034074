"""Figures of accuracy against the memory of a whole network: more bits, or more units?"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from experiments.report import look, panels
from experiments.studies.lowbit.figure import hidden_beyond, scale_errors
from experiments.studies.lowbit.report import Point, epochs_of
from experiments.studies.thesis import Key, Published

__all__ = ["figures_of", "plot_widths"]



def figures_of(
    found: Iterable[Point], published: Mapping[Key, Published]
) -> Iterator[tuple[str, Figure]]:
    """A figure for every data set, depth and algorithm trained at several widths, and its stem.

    Args:
      found: see `points`; of several optimizers at a width the one that did best on held-out data
        is drawn.
      published: not drawn: the thesis has one width for each depth.
    """
    parts: dict[tuple, list[Point]] = {}
    for point in found:
        cell = point.cell
        known = point.accuracy is not None and point.kilobits is not None
        if known and cell.network == "mlp" and cell.n_bits is not None:
            key = (cell.dataset, cell.n_layers, cell.algorithm)
            parts.setdefault(key, []).append(point)
    for (dataset, n_layers, algorithm), points in parts.items():
        if len({point.cell.hidden_width for point in points}) > 1:
            rows = [row for point in points for row in point.members]
            epochs = dict.fromkeys(epochs_of(point.cell) for point in points)
            count = n_layers + 1
            title = (f"Test accuracy on {dataset} against the memory of the whole network, "
                     f"{algorithm}\n{count} hidden layer{'' if count == 1 else 's'}, numbers: "
                     f"units in each\n{panels.seeds_of(rows)}, {' or '.join(epochs)} epochs; "
                     "bands: ±1 standard deviation")
            yield f"widths-{dataset}-{n_layers}-{algorithm}", plot_widths(points, title)


def plot_widths(points: Sequence[Point], title: str) -> Figure:
    """Test accuracy against kilobits: a line for every number of bits, a marker for every width.

    Args:
      points: of one data set, depth and algorithm, with an accuracy and `kilobits`.
      title: of the figure.
    """
    figure, ((axis,),) = look.grid(1, 1, (7.5, 5.0))
    lines: dict[tuple, dict[int, Point]] = {}
    for point in points:
        cell = point.cell
        hidden = hidden_beyond(vars(cell)).removesuffix("+0")
        best = lines.setdefault((cell.n_bits, hidden), {})
        other = best.get(cell.hidden_width)
        if other is None or (point.held_out or ()) > (other.held_out or ()):
            best[cell.hidden_width] = point
    shown = [point for line in lines.values() for point in line.values()]
    for place, ((bits, hidden), line) in enumerate(sorted(lines.items())):
        color = look.PALETTE[place % len(look.PALETTE)]
        drawn = [line[width] for width in sorted(line)]
        label = f"{bits} bit{'' if bits == 1 else 's'}"
        if hidden:
            label += f" and {hidden.removeprefix('+')} hidden"
        look.band(axis, [p.kilobits for p in drawn], [look.deviation(p.accuracies) for p in drawn],
                  color=color, marker=look.MARKERS[place % len(look.MARKERS)],
                  label=label, linewidth=1.6, markersize=6)
        for point in drawn:
            below = any(_just_above(other, point) for other in shown)
            axis.annotate(str(point.cell.hidden_width), (point.kilobits, point.accuracy),
                          xytext=(0, -7 if below else 7), textcoords="offset points", ha="center",
                          va="top" if below else "bottom", fontsize="small", color=color)
    scale_errors([axis], [a for p in shown for a in look.deviation(p.accuracies)])
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("memory of the whole network while training (kbit, log scale)")
    axis.set_ylabel("test accuracy (%), log scale of error")
    look.title(figure, title)
    look.legend(figure)
    return figure


def _just_above(other: Point, point: Point) -> bool:
    """Whether it lies where the number over a point would be written: by both scales' ratios."""
    errors = [100 - p.accuracy for p in (point, other)]
    return (errors[1] < errors[0] < 1.2 * errors[1]
            and 0.95 < other.kilobits / point.kilobits < 1.05)
