"""Figures of accuracy against what training costs: all memory kept, writes to a device."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from experiments.cells import account_of
from experiments.report import look, panels
from experiments.studies import thesis
from experiments.studies.lowbit.figure import scale_errors
from experiments.studies.lowbit.report import Point, epochs_of, front

__all__ = ["COSTS", "Cost", "Known", "figures_of", "plot_cost", "published_by_memory"]

_MARKERS = {1: "s", 2: "o", 3: "^", 4: "D", None: "*"}
_OTHER = "p"  # more bits than the study has
_FRONT = "no other that costs as little does better"
_MEMORY_TICKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


class Cost(NamedTuple):
    """What networks are drawn against.

    Attributes:
      stem: begins the file's name.
      words: for the title.
      label: of the axis.
      of: point -> its cost; None where that is not known.
      ticks: to label; none: powers of ten.
    """

    stem: str
    words: str
    label: str
    of: Callable[[Point], float | None]
    ticks: Sequence[float] = ()


COSTS = (
    Cost("memory", "all memory kept while training",
         "bits of memory per weight while training, on the device and beside it (log scale)",
         lambda point: point.memory, _MEMORY_TICKS),
    Cost("writes", "writes to a weight",
         "writes per weight of the kernels in the whole training, to another level (log scale)",
         # A float is written at every step: that says nothing about devices.
         lambda point: None if point.cell.n_bits is None else point.writes),
)


class Known(NamedTuple):
    """A published network: bits of memory per weight, accuracy in percent, bits of its weights."""

    memory: float
    accuracy: float
    n_bits: int | None


def published_by_memory(
    published: Mapping[thesis.Key, thesis.Published], dataset: str
) -> list[Known]:
    """The best published network of every width, with what the thesis's optimizer keeps counted."""
    accounts = {
        thesis.Key(*(getattr(cell, name) for name in thesis.Key._fields)): account_of(cell)
        for cell in thesis.cells()
    }
    best: dict[int | None, Known] = {}
    for key, value in published.items():
        if key.dataset == dataset and key in accounts:
            known = Known(accounts[key].total, value.accuracy, key.n_bits)
            if key.n_bits not in best or best[key.n_bits].accuracy < known.accuracy:
                best[key.n_bits] = known
    return list(best.values())


def figures_of(
    found: Iterable[Point], published: Mapping[thesis.Key, thesis.Published]
) -> Iterator[tuple[str, Figure]]:
    """A figure for every data set, network and cost, with its file's stem.

    Args:
      found: see `points`.
      published: to be marked; may be empty.
    """
    parts: dict[tuple, list[Point]] = {}
    for point in found:
        cell = point.cell
        key = (cell.dataset, cell.network, cell.n_layers, cell.hidden_width)
        parts.setdefault(key, []).append(point)
    for (dataset, network, *shape), points in parts.items():
        for cost in COSTS:
            costly = [p for p in points if p.accuracy is not None and cost.of(p) is not None]
            if all(point.cell.n_bits is None for point in costly):
                continue
            rows = [row for point in costly for row in point.members]
            epochs = dict.fromkeys(epochs_of(point.cell) for point in costly)
            title = (f"Test accuracy on {dataset} against {cost.words}, "
                     f"{panels.layers_of(network, *shape)}\n{panels.seeds_of(rows)}, "
                     f"{' or '.join(epochs)} epochs; bars: ±1 standard deviation")
            stem = "-".join((cost.stem, dataset, panels.stem_of(network, *shape)))
            ours = cost is COSTS[0] and network == "mlp"
            known = published_by_memory(published, dataset) if ours else ()
            yield stem, plot_cost(costly, cost, title, known)


def plot_cost(
    points: Sequence[Point], cost: Cost, title: str, known: Sequence[Known] = ()
) -> Figure:
    """Test accuracy against a cost, a colour per algorithm.

    A line per algorithm connects its networks that none of its own beats that costs as little;
    those that no network of any algorithm beats are ringed. Both axes are logarithmic, the
    accuracy's in the error.

    Args:
      points: of one data set and network, with an accuracy and a cost.
      cost: which.
      title: of the figure.
      known: published networks to mark with crosses.
    """
    figure, ((axis,),) = look.grid(1, 1, (8.0, 5.2))
    best = {id(point) for point in front(points, cost.of)}
    by_algorithm: dict[str, list[Point]] = {}
    for point in points:
        by_algorithm.setdefault(point.cell.algorithm, []).append(point)
    colors = look.algorithm_colors(by_algorithm)
    for name, own in sorted(by_algorithm.items(), key=lambda item: look.algorithm_place(item[0])):
        _draw(axis, name, own, cost, best, colors[name])
    if known:
        axis.plot([k.memory for k in known], [k.accuracy for k in known], color="black",
                  linestyle="", marker="x", markersize=8, markeredgewidth=1.8, zorder=4,
                  label="thesis, the best of all its networks by bits")
    scale_errors([axis], [*(a for p in points for a in look.deviation(p.accuracies)),
                          *(k.accuracy for k in known)])
    if min(map(cost.of, points)) > 0:
        axis.set_xscale("log")
    else:
        axis.set_xscale("symlog", linthresh=1.0)
    if cost.ticks:
        axis.xaxis.set_major_locator(FixedLocator(cost.ticks))
        axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel(cost.label)
    axis.set_ylabel("test accuracy (%), log scale of error")
    widths = sorted({p.cell.n_bits for p in points}, key=lambda b: (b is None, b))
    for bits in widths:
        text = "float weights" if bits is None else f"{bits} bit{'' if bits == 1 else 's'} shown"
        axis.add_artist(Line2D([], [], color="#555555", linestyle="", label=text,
                               marker=_MARKERS.get(bits, _OTHER)))
    axis.plot([], [], color="black", linestyle="", marker="o", markersize=11, fillstyle="none",
              label=_FRONT)
    look.title(figure, title)
    look.legend(figure)
    return figure


def _draw(
    axis: Axes, name: str, points: Sequence[Point], cost: Cost, best: set[int], color: str
) -> None:
    line = front(points, cost.of)
    axis.plot([cost.of(p) for p in line], [p.accuracy for p in line], color=color, linewidth=1.6,
              alpha=0.8, label=name)
    for point in points:
        x, (low, middle, high) = cost.of(point), look.deviation(point.accuracies)
        axis.plot([x], [middle], color=color, linestyle="", markersize=5.5,
                  marker=_MARKERS.get(point.cell.n_bits, _OTHER))
        axis.vlines(x, low, high, color=color, linewidth=1.2)
        if id(point) in best:
            axis.plot([x], [middle], color="black", linestyle="", marker="o", markersize=11,
                      fillstyle="none")
