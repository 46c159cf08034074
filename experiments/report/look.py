"""How figures look: colours, bands, legends, files."""

import math
import re
import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only: needs no screen

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator, NullLocator

from experiments.report.estimates import mean_and_deviation
from experiments.report.formats import in_file
from qjax.algorithms import ALGORITHMS

__all__ = [
    "FLOAT", "KINDS", "MARKERS", "PALETTE", "algorithm_colors", "algorithm_place", "band",
    "by_holder", "by_size", "deviation", "discard", "extent", "fields", "grid", "heading",
    "legend", "level", "line_of", "log_scale", "log_ticks", "looks", "marker_of", "remark", "save",
    "series_colors", "symmetric_log_scale", "title", "whole_numbers", "write",
]

# Okabe and Ito's palette: told apart with any colour vision.
KINDS: Mapping[tuple[str, str], str] = {
    ("asymm", "global"): "#E69F00",
    ("asymm", "local"): "#D55E00",
    ("symm", "global"): "#56B4E9",
    ("symm", "local"): "#0072B2",
}
_SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
# Of grids that the thesis did not have, in order of appearance.
_OTHERS = ("#009E73", "#CC79A7", "#000000", "#8C564B")
_MARKERS = {"asymm": "s", "symm": "o"}
_LINES = {"global": "--", "local": "-"}
FLOAT = "#333333"
_LIGHTEST = 0.8  # of the colour map, whose end is yellow
# The whole palette, and markers, for lines that have no look of their own, by position.
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# By position, so that an algorithm looks the same everywhere.
_ALGORITHM_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
                     "#8C564B", "#7F7F7F", "#B8A200")
_FIRST = ("backprop", "fa", "dfa", "usf", "hsic", "dni_linear", "kp")
_COLOR = {name: _ALGORITHM_COLORS[place % len(_ALGORITHM_COLORS)]
          for place, name in enumerate(dict.fromkeys((*_FIRST, *ALGORITHMS)))}

_BETWEEN, _NO_BREAK = re.compile(r"(?<=[,;:]) "), "\0"  # items of a list

_DATES = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}

plt.rcParams.update(
    {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
     "figure.dpi": 110, "legend.frameon": False, "svg.hashsalt": "qjax"}
)


def algorithm_colors(names: Iterable[str]) -> dict[str, str]:
    """A colour for each algorithm of a figure, its own where no other in the figure has it.

    There are more algorithms than colours that can be told apart; an unknown one gets one as well.
    """
    colors: dict[str, str] = {}
    for name in sorted(names, key=algorithm_place):
        left = [color for color in _ALGORITHM_COLORS if color not in colors.values()]
        usual = _COLOR.get(name)
        colors[name] = usual if usual in left else (left or ["#777777"])[-1]
    return colors


def algorithm_place(name: str) -> int:
    """Where an algorithm stands in a legend."""
    return list(_COLOR).index(name) if name in _COLOR else len(_COLOR)


def series_colors(names: Iterable[str]) -> dict[str, str]:
    """A colour for each of a few names."""
    return {name: _SERIES[i % len(_SERIES)] for i, name in enumerate(names)}


def marker_of(quantizer: str) -> str:
    """The marker of a kind of grid, also of one that this version does not know."""
    return _MARKERS.get(quantizer, "D")


def line_of(scope: str) -> str:
    """The style of a scope's lines, likewise."""
    return _LINES.get(scope, "-.")


def looks(grids: Iterable[tuple[str, str]]) -> dict[tuple[str, str], dict[str, str]]:
    """Colour, marker and line of every (quantizer, scope); unknown ones get what is left."""
    grids = list(dict.fromkeys(grids))
    unknown = [g for g in grids if g not in KINDS]
    colors = {**KINDS, **{g: _OTHERS[i % len(_OTHERS)] for i, g in enumerate(unknown)}}
    return {g: {"color": colors[g], "marker": marker_of(g[0]), "linestyle": line_of(g[1])}
            for g in grids}


def _wrapped(text: str, inches: float, points: float) -> str:
    """`text` in lines that fit a width: a character is about half as wide as its size.

    A line ends between items of a list, and within one only where that is too long for a line.
    """
    columns = max(12, int(inches * 72 / (0.56 * points)))

    def together(item: str) -> str:
        return item.replace(" ", _NO_BREAK) if len(item) <= columns else item

    lines = (" ".join(map(together, _BETWEEN.split(line))) for line in text.splitlines())
    return "\n".join(textwrap.fill(line, columns, break_on_hyphens=False)
                     for line in lines).replace(_NO_BREAK, " ")


def _shortened(text: str, most: int) -> str:
    """Of a name longer than that both ends: a measured device's is its whole table of steps."""
    return text if len(text) <= most else f"{text[: most - 12]} … {text[-9:]}"


def title(figure: Figure, text: str, points: float = 12.0) -> None:
    """The figure's title, in as many lines as it takes of letters of that size."""
    figure.suptitle(_wrapped(text, figure.get_figwidth() - 0.4, points), fontsize=points)


def remark(figure: Figure, text: str) -> None:
    """A line below the figure's title, on what one should know before one believes it."""
    title(figure, f"{figure.get_suptitle()}\n{text}", figure._suptitle.get_fontsize())


def heading(axis: Axes, text: str, inches: float = 3.3) -> None:
    """The title of one panel of that width, likewise."""
    axis.set_title(_wrapped(text, inches, 10.0), fontsize="medium")


def log_scale(axis: Axes) -> None:
    """A logarithmic axis of what is drawn, if that spans enough of one; labels are plain numbers.

    Within half a decade a logarithm has next to nothing to label: the axis stays linear.
    """
    low, high = axis.dataLim.intervaly
    if not 0 < low < high or high / low < 3:
        return
    axis.set_yscale("log")
    log_ticks(axis.yaxis, low, high)


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Plain numbers along a logarithmic axis of that extent, several within a decade too."""
    if high / low < 1e3:
        within = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if high / low < 10 else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=within))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def symmetric_log_scale(axis: Axes, linear: float = 1.0) -> bool:
    """Linear within +-`linear`, logarithmic beyond, where something is drawn there: is there?"""
    # Infinite where nothing is drawn, as of networks that diverged in their first epoch.
    beyond = linear < max(map(abs, axis.dataLim.intervaly)) < math.inf
    if beyond:
        axis.set_yscale("symlog", linthresh=linear)
        largest = max(map(abs, axis.dataLim.intervaly)) / linear
        decades = int(math.log10(largest))
        apart = -(-decades // 2)  # so that they do not run into the one at zero
        above = ([10.0**n for n in range(apart, decades + 1, apart)] if decades else
                 [n for n in (1.0, 2.0, 5.0) if n <= largest][-1:])
        axis.set_yticks([*(-linear * n for n in reversed(above)), 0.0,
                         *(linear * n for n in above)])
        axis.yaxis.set_major_formatter("{x:g}")
    return bool(beyond)


def whole_numbers(axis: Axes) -> None:
    """Whole numbers along x, also where there is a single one."""
    low, high = axis.dataLim.intervalx
    if low == high:
        axis.set_xticks([low])
    else:
        axis.xaxis.get_major_locator().set_params(integer=True)


def by_size(numbers: Iterable[float]) -> dict[float, tuple]:
    """A colour for each number, from dark to light, but none that is lost on white."""
    ordered = sorted(set(numbers))
    colors, last = plt.get_cmap("viridis"), max(len(ordered) - 1, 1)
    return {number: colors(_LIGHTEST * i / last) for i, number in enumerate(ordered)}


def by_holder(holders: Iterable[int | str]) -> dict[int | str, str | tuple]:
    """A colour for each number of bits, then for each device, then `FLOAT` for "float"."""
    known = dict.fromkeys(holders)
    devices = [held for held in known if isinstance(held, str) and held != "float"]
    colors: dict = {**by_size(held for held in known if not isinstance(held, str))}
    colors |= {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(devices)}
    return colors | ({"float": FLOAT} if "float" in known else {})


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
    """A line with a band around it; `spreads` are (low, middle, high) at each x.

    A single x has no line: a marker with an error bar.
    """
    low, middle, high = zip(*spreads, strict=True)
    if len(middle) == 1:
        axis.plot(x, middle, **{"marker": "o"} | style)
        axis.vlines(x, low, high, color=style["color"], linewidth=1.5)
        return
    axis.plot(x, middle, **style)
    axis.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)


def level(axis: Axes, values: Sequence[float], color: str, label: str) -> None:
    """A horizontal line at the mean of some values, with a band of one deviation."""
    low, middle, high = deviation(values)
    axis.axhline(middle, color=color, linewidth=1.2, linestyle=":", label=label)
    axis.axhspan(low, high, color=color, alpha=0.12, lw=0)


def fields(
    axis: Axes, values: np.ndarray, columns: Sequence[str], rows: Sequence[str],
    limits: tuple[float, float], scale: str = "linear",
) -> AxesImage:
    """A coloured field for every number in `values` [rows, columns], with the number in it.

    Fields of nan are blank. Colours go from the lower to the upper limit, on that scale.
    """
    image = axis.imshow(values, cmap="cividis", norm=scale, vmin=limits[0], vmax=limits[1],
                        aspect="auto")
    form = _form(limits)
    written = {place: f"{value:{form}}" for place, value in np.ndenumerate(values)
               if not np.isnan(value)}
    widest = max(map(len, written.values()), default=1)
    inches = axis.get_position().width * axis.figure.get_figwidth() / max(len(columns), 1)
    size = min(8.3, max(4.0, 0.9 * inches * 72 / (0.6 * widest)))
    for (line, place), text in written.items():
        axis.text(place, line, text, ha="center", va="center", fontsize=size,
                  color="white" if image.norm(values[line, place]) <= 0.5 else "black")
    slanted = max(map(len, columns), default=0) > 5
    axis.set_xticks(range(len(columns)), columns, rotation=35 if slanted else 0,
                    ha="right" if slanted else "center")
    axis.set_yticks(range(len(rows)), rows)
    axis.grid(False)
    return image


def _form(limits: tuple[float, float]) -> str:
    """How numbers within limits are written: as many digits for all, if they are of one size."""
    largest, smallest = max(map(abs, limits)), min(map(abs, limits))
    if largest >= 1e4 or 0 < smallest < largest / 1e3:
        return ".2g"
    return ".0f" if largest >= 1e3 else ".1f" if largest >= 10 else ".2f"


def legend(figure: Figure, heading: str | None = None) -> None:
    """One legend for all axes, below them."""
    entries: dict[str, Any] = {}
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        entries.update(zip(labels, handles, strict=True))
    widest = max(map(len, entries), default=0)  # in characters, beside a stretch of line
    columns = max(1, min(len(entries), int((figure.get_figwidth() - 0.3) / (0.75 + widest / 12))))
    if entries:
        most = int(12 * (figure.get_figwidth() - 1.2))
        labels = [_shortened(label, most) for label in entries]
        figure.legend(entries.values(), labels, loc="outside lower center", ncols=columns,
                      title=heading)


def discard(figure: Figure) -> None:
    """Frees what a figure holds that shall not be saved."""
    plt.close(figure)


def save(
    figure: Figure, folder: Path, stem: str, formats: Iterable[str]
) -> Sequence[Path]:
    """Writes a figure in several formats and closes it; returns the files."""
    return write(figure, [folder / f"{in_file(stem)}.{ending}" for ending in formats])


def write(figure: Figure, files: Sequence[Path]) -> Sequence[Path]:
    """Writes a figure to files, each in the format of its ending, and closes it; returns them."""
    for path in files:
        # No date in it: the same results give the same file.
        figure.savefig(path, metadata=_DATES.get(path.suffix))
    plt.close(figure)
    return files
