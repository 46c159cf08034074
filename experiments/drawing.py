"""How figures look: colours, bands, legends, files."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only: needs no screen

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.report import mean_and_deviation

__all__ = [
    "FLOAT", "KINDS", "LINES", "MARKERS", "band", "by_bits", "deviation", "extent", "grid",
    "legend", "level", "save", "series_colors",
]

# Okabe and Ito's palette: told apart with any colour vision.
KINDS: Mapping[tuple[str, str], str] = {
    ("asymm", "global"): "#E69F00",
    ("asymm", "local"): "#D55E00",
    ("symm", "global"): "#56B4E9",
    ("symm", "local"): "#0072B2",
}
_SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MARKERS = {"asymm": "s", "symm": "o"}
LINES = {"global": "--", "local": "-"}
FLOAT = "#333333"

plt.rcParams.update(
    {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
     "figure.dpi": 110, "legend.frameon": False}
)


def series_colors(names: Iterable[str]) -> dict[str, str]:
    """A colour for each of a few names."""
    return {name: _SERIES[i % len(_SERIES)] for i, name in enumerate(names)}


def by_bits(widths: Iterable[int | None]) -> dict[int | None, tuple]:
    """A colour for each width, dark to light; `FLOAT` for None, which comes last."""
    ordered = sorted(set(widths), key=lambda b: (b is None, b))
    colors, last = plt.get_cmap("viridis"), max(len(ordered) - 1, 1)
    return {b: FLOAT if b is None else colors(i / last) for i, b in enumerate(ordered)}


def grid(rows: int, columns: int, size: tuple[float, float] = (3.3, 3.0)) -> tuple[Figure, list]:
    """A figure and its axes, a list per row; `size` of each in inches."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.2 + size[0] * columns, 1.2 + size[1] * rows),
        squeeze=False, layout="constrained",
    )
    return figure, axes.tolist()


def deviation(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and one standard deviation to either side: for accuracies."""
    mean, width = mean_and_deviation(values)
    return mean - width, mean, mean + width


def extent(values: Sequence[float]) -> tuple[float, float, float]:
    """Median and full extent: for losses, which differ by orders of magnitude between seeds."""
    return min(values), statistics.median(values), max(values)


def band(axis: Axes, x: Sequence, spreads: Iterable[tuple[float, float, float]], **style) -> None:
    """A line with a band around it; `spreads` are (low, middle, high) at each x."""
    low, middle, high = zip(*spreads, strict=True)
    axis.plot(x, middle, **style)
    axis.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)


def level(axis: Axes, values: Sequence[float], color: str, label: str) -> None:
    """A horizontal line at the mean of some values, with a band of one deviation."""
    low, middle, high = deviation(values)
    axis.axhline(middle, color=color, linewidth=1.2, linestyle=":", label=label)
    axis.axhspan(low, high, color=color, alpha=0.12, lw=0)


def legend(figure: Figure) -> None:
    """One legend for all axes, below them."""
    entries = {}
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        entries.update(zip(labels, handles, strict=True))
    columns = min(len(entries), max(2, int(figure.get_figwidth() / 1.4)))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns)


def save(figure: Figure, folder: Path, stem: str, formats: Iterable[str]) -> list[Path]:
    """Writes a figure in several formats and closes it; returns the files."""
    files = [folder / f"{stem}.{ending}" for ending in formats]
    for path in files:
        # No date in it: the same results give the same file.
        figure.savefig(path, metadata={"CreationDate": None} if path.suffix == ".pdf" else None)
    plt.close(figure)
    return files
