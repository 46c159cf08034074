"""The figures of the study of few bits: test accuracy against bits per weight, by update rule."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from experiments.cells import NONE, kinds
from experiments.report import Rows, look, panels, split
from experiments.store import results
from experiments.studies.lowbit.report import Point, epochs_of
from experiments.studies.thesis import Key, Published
from qjax.algorithms import ALGORITHMS
from qjax.memories import MEMORIES

__all__ = ["STYLES", "THESIS", "best_published", "error_scale", "figures_of", "plot_lowbit",
           "scale_errors"]

THESIS = "thesis, the best of all its networks"

# Okabe and Ito's colours, markers that differ too; by position, so that a rule looks the same in
# every figure, whichever others are there.
_COLORS = look.PALETTE
_MARKERS = ("v", "o", "s", "D", "^", "P", "X", "<", ">", "p", "h")
STYLES: Mapping[str, tuple[str, str]] = {
    name: (_COLORS[place % len(_COLORS)], _MARKERS[place % len(_MARKERS)])
    for place, name in enumerate(filter(kinds.has_levels, MEMORIES))
}
_UNKNOWN = ("#777777", "*")  # rules of another version of qjax

# Grids are lines of their own, where there are several, with a stroke for each.
_GRID = ("quantizer", "scope", "numbers")
_MEMORY = ("update", "hidden")
_STROKES = ("-", "--", ":", "-.")

_COLUMNS = 3
_LEAST_ERROR = 0.01  # one of MNIST's 10000 images; less, which has no logarithm, is drawn there
# Accuracies to label, roundest first: the next ones only where those before are too few.
_TICKS: Sequence[Sequence[float]] = (
    (50, 90, 95, 98, 99, 10, 80, 97, 70, 99.5, 99.8, 99.9, 100),
    (*range(10, 90, 10), *range(90, 100)),
    range(100),
    [n / 10 for n in range(1000)],
)


def figures_of(
    found: Iterable[Point], published: Mapping[Key, Published]
) -> Iterator[tuple[str, Figure]]:
    """A figure for every data set, network and optimizer with quantized weights, and its stem.

    Args:
      found: see `points`.
      published: to be marked; may be empty.
    """
    rows = [row for point in found for row in point.members if row["test_accuracy"] is not None]
    of_network = ("dataset", "network", "n_layers", "hidden_width")
    for key, members in split(rows, *of_network, "optimizer").items():
        if any(r["n_bits"] is not None for r in members):
            *network_key, optimizer = key
            dataset, network, *shape = network_key
            peers = split(rows, *of_network)[tuple(network_key)]
            several = len(split((r for r in peers if r["n_bits"] is not None), "optimizer")) > 1
            epochs = dict.fromkeys(epochs_of(cell) for cell in results.by_cell(members))
            layers = panels.layers_of(network, *shape)
            title = (f"Test accuracy on {dataset}, {layers}\n{panels.seeds_of(members)}, "
                     f"{' or '.join(epochs)} epochs, {optimizer}; "
                     "bands: ±1 standard deviation")
            stem = "-".join(("lowbit", dataset, panels.stem_of(network, *shape),
                             *([optimizer] if several else ())))
            yield stem, plot_lowbit(members, title, best_published(published, dataset))


def best_published(published: Mapping[Key, Published], dataset: str) -> dict[int, float]:
    """The best published accuracy at every bit width, over all quantized networks of a data set."""
    best: dict[int, float] = {}
    for key, value in published.items():
        if key.dataset == dataset and key.n_bits is not None:
            best[key.n_bits] = max(value.accuracy, best.get(key.n_bits, 0.0))
    return dict(sorted(best.items()))


def error_scale(accuracy: ArrayLike) -> NDArray:
    """-log10 of the error in percent: from 95 to 97.5 is as far as from 50 to 75."""
    return -np.log10(np.maximum(100.0 - np.asarray(accuracy, float), _LEAST_ERROR))


def _accuracy(scaled: ArrayLike) -> NDArray:
    """The inverse of `error_scale`."""
    return 100.0 - 10.0 ** -np.asarray(scaled, float)


def plot_lowbit(rows: Rows, title: str, best: Mapping[int, float]) -> Figure:
    """Test accuracy against bits per weight: a panel per algorithm, a line per memory.

    Bands are one standard deviation over seeds, the unquantized networks a horizontal line. The
    accuracy's axis is logarithmic in the error.

    Args:
      rows: finished replicas of one data set and network, at least one of them quantized and with
        an accuracy; all those of an algorithm, width, update rule and grid are taken for seeds.
      title: of the figure.
      best: accuracy by bit width to mark with crosses; see `best_published`.
    """
    rows = [{**r, "hidden": hidden_beyond(r)} for r in rows if r["test_accuracy"] is not None]
    widths = sorted({r["n_bits"] for r in rows} - {None})
    crosses = {bits: best[bits] for bits in widths if bits in best}
    quantized = [r for r in rows if r["n_bits"] is not None]
    # One bit has no symmetric grid: widths with a grid each are one line all the same.
    several = any(len(split(part, *_GRID)) > 1
                  for part in split(quantized, "algorithm", "n_bits", *_MEMORY).values())
    grids = sorted(split(quantized, *_GRID)) if several else []
    parts = split(rows, "algorithm")
    known = [(name,) for name in ALGORITHMS if (name,) in parts]
    shown = {key: parts[key] for key in (*known, *parts)}
    columns = min(len(shown), _COLUMNS)
    figure, axes = look.grid(-(-len(shown) // columns), columns, (3.2, 3.1))
    places = [axis for line in axes for axis in line]
    for axis in places[len(shown) :]:
        axis.set_visible(False)
    colors = _colors(quantized)
    for axis, ((algorithm,), members) in zip(places, shown.items(), strict=False):
        _panel(axis, members, crosses, grids, colors)
        axis.set_xlabel("bits per weight")
        axis.set_xticks(widths)
        axis.set_xlim(widths[0] - 0.3, widths[-1] + 0.3)
        axis.set_title(algorithm, fontsize="medium")
    values = [value for part in split(rows, "algorithm", "n_bits", *_MEMORY, *_GRID).values()
              for value in _extent([r["test_accuracy"] for r in part])]
    scale_errors(places[: len(shown)], [*values, *crosses.values()])
    for line in axes:
        line[0].set_ylabel("test accuracy (%), log scale of error")
    look.title(figure, title)
    look.legend(figure)
    return figure


def hidden_beyond(row: Mapping[str, Any]) -> str:
    """How many bits of a weight are hidden, '+2' or 'float'; nothing where the memory has none."""
    if row["n_bits"] is None or not kinds.has_hidden(row["update"]):
        return ""
    return "float" if row["hidden_bits"] is None else f"+{row['hidden_bits'] - row['n_bits']}"


def _order(memory: tuple[str, str]) -> tuple:
    update, hidden = memory
    known = list(MEMORIES)
    return (known.index(update) if update in known else len(known), update,
            float(hidden or 0) if hidden != "float" else math.inf)


def _colors(quantized: Rows) -> dict[tuple[str, str], str]:
    """A colour for each memory: its own, but where several differ in their hidden bits alone."""
    memories = sorted(split(quantized, *_MEMORY), key=_order)
    colors = {}
    for update, hidden in memories:
        peers = [m for m in memories if m[0] == update]
        own = STYLES.get(update, _UNKNOWN)[0]
        colors[update, hidden] = own if len(peers) == 1 else (
            _COLORS[peers.index((update, hidden)) % len(_COLORS)])
    return colors


def _panel(
    axis: Axes, rows: Rows, crosses: Mapping[int, float], grids: Sequence[tuple[str, ...]],
    colors: Mapping[tuple[str, str], str],
) -> None:
    columns = (*_MEMORY, *_GRID) if grids else _MEMORY
    lines = split((r for r in rows if r["n_bits"] is not None), *columns)
    for line in sorted(lines, key=lambda key: (_order(key[:2]), key)):
        update, hidden, *grid = line
        color, marker = colors[update, hidden], STYLES.get(update, _UNKNOWN)[1]
        points = sorted(split(lines[line], "n_bits").items())
        spreads = [look.deviation([r["test_accuracy"] for r in seeds]) for _, seeds in points]
        look.band(axis, [bits for (bits,), _ in points], spreads, color=color, marker=marker,
                     markersize=5.5, linewidth=1.5,
                     linestyle=_STROKES[grids.index(tuple(grid)) % len(_STROKES) if grid else 0],
                     label=" ".join(filter(None, line)))
    floats = [r["test_accuracy"] for r in rows if r["update"] == NONE]
    if floats:
        look.level(axis, floats, look.FLOAT, "float")
    if crosses:
        axis.plot(crosses.keys(), crosses.values(), color="black", linestyle="", marker="x",
                  markersize=8, markeredgewidth=1.8, zorder=3, label=THESIS)


def _extent(values: Sequence[float]) -> tuple[float, float]:
    """The part of a band that the axis has to show.

    A band that comes near to 100 % would reach far up an axis like this one: no further than half
    the error of its mean.
    """
    low, mean, high = look.deviation(values)
    return max(low, 0.0), min(high, (100.0 + mean) / 2)


def scale_errors(axes: Iterable[Axes], values: Sequence[float]) -> None:
    """Accuracy up, on a logarithmic scale of the error: the same, with limits and ticks, for all.

    Args:
      axes: to scale.
      values: accuracies in percent that have to be on them.
    """
    scaled = error_scale(values)
    margin = max(0.06 * np.ptp(scaled), 0.02)
    low, high = scaled.min() - margin, scaled.max() + margin
    ticks = _ticks(low, high)
    for axis in axes:
        axis.set_yscale("function", functions=(error_scale, _accuracy))
        axis.set_ylim(_accuracy(low), _accuracy(high))
        axis.yaxis.set_major_locator(FixedLocator(ticks))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_locator(NullLocator())


def _ticks(low: float, high: float) -> list[float]:
    """Accuracies to label between two scaled ones, none so near to another that they overlap."""
    chosen: list[float] = []
    for candidates in _TICKS:
        for tick in candidates:
            place = error_scale(tick)
            apart = all(abs(place - error_scale(t)) >= 0.085 * (high - low) for t in chosen)
            if low <= place <= high and apart:
                chosen.append(tick)
        if len(chosen) >= 4:
            break
    return sorted(chosen)
