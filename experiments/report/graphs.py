"""A relation as a picture: lines with bands, points with error bars, or fields with numbers."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from experiments.report import columns, look, scales
from experiments.report.relation import Point, Relation, Words

__all__ = ["MOST", "KINDS", "draw_fields", "draw_lines"]

MOST = 48  # panels, beyond which a figure is none
_ABREAST = 4  # panels
_TOLD = 4  # columns that a title names
_SIZE = 10.0  # of the title's letters, in points


def draw_lines(found: Relation, title: str) -> Figure:
    """A panel for each panel, with a line of means and a band of one deviation for each hue.

    Of losses these are medians and their extent. Where x is a word, or follows from the cell,
    points are not joined: each has an error bar. What has no number among numbers, like "float"
    bits, has a place of its own at the end of the axis.
    """
    figure, axes = _grid(found)
    xs = columns.order(found.words.x, (p.x for line in _lines(found) for p in line))
    places = scales.places(xs)
    in_words = all(isinstance(x, str) for x in xs)
    joined = not in_words and found.words.x not in (*columns.MEASURED, *columns.OF_MEMORY)
    styles = _styles(found)
    for axis, lines in zip(axes, found.panels.values(), strict=True):
        for rank, (hue, style) in enumerate(styles.items()):
            # Side by side where there is room between words, or error bars hide each other.
            shift = 0.5 * ((rank + 0.5) / len(styles) - 0.5) if in_words else 0.0
            points = [(places[p.x] + shift, p) for p in lines.get(hue, ())]
            label = None if hue is None else columns.spell(hue)
            _line(axis, points, found.words, joined, style | {"label": label})
    for axis in axes:
        _divide(axis, found.words.x, xs, places)
    _fit(axes, found)
    of_losses = found.words.y in columns.LOSSES
    _finish(figure, axes, found, title, columns.label(found.words.y, found.scored),
            "median and extent" if of_losses else "mean ± standard deviation")
    look.legend(figure, found.words.hue and columns.label(found.words.hue))
    return figure


def _line(
    axis: Axes, points: Sequence[tuple[float, Point]], words: Words, joined: bool,
    style: Mapping[str, Any],
) -> None:
    """One hue: numbers along x are a line, if they are to be joined; all else are points."""
    spread = look.extent if words.y in columns.LOSSES else look.deviation
    numbers = [(x, p) for x, p in points if joined and not isinstance(p.x, str)]
    others = [(x, p) for x, p in points if not joined or isinstance(p.x, str)]
    if numbers:
        marker = {} if words.x == columns.EPOCH else {"marker": style["marker"]}
        look.band(axis, [x for x, _ in numbers], [spread(p.values) for _, p in numbers],
                  color=style["color"], markersize=4, linewidth=1.3, label=style["label"], **marker)
    if others:
        ends = np.array([spread(p.values) for _, p in others])
        own = {**style, "label": None} if numbers else style
        axis.errorbar([x for x, _ in others], ends[:, 1], np.diff(ends).T, linestyle="", capsize=2,
                      markersize=4.5, elinewidth=1.0, alpha=0.8, **own)


def draw_fields(found: Relation, title: str) -> Figure:
    """A map for each panel: x across, hue down, the mean in a field; blank is what is missing."""
    xs = columns.order(found.words.x, (p.x for line in _lines(found) for p in line))
    hues = _hues(found)
    size = (1.0 + max(3.0, 0.55 * len(xs)), max(2.2, 0.6 + 0.36 * len(hues)))
    figure, axes = _grid(found, size)
    y = found.words.y
    means = {panel: {(hue, p.x): p.middle(y) for hue, line in lines.items() for p in line}
             for panel, lines in found.panels.items()}
    known = [mean for own in means.values() for mean in own.values()]
    limits = (min(known), max(known))
    scale = "log" if y in columns.LOSSES and 0 < 10 * limits[0] < limits[1] else "linear"
    for axis, own in zip(axes, means.values(), strict=True):
        values = np.array([[own.get((hue, x), np.nan) for x in xs] for hue in hues])
        image = look.fields(axis, values, list(map(columns.spell, xs)),
                            list(map(columns.spell, hues)), limits, scale)
    _finish(figure, axes, found, title, columns.label(found.words.hue),
            "median" if y in columns.LOSSES else "mean")
    bar = figure.colorbar(image, ax=axes, label=columns.label(y, found.scored))
    if scale == "log":
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.ax.yaxis.set_minor_locator(NullLocator())
    return figure


KINDS = {"lines": draw_lines, "heatmap": draw_fields}


def _lines(found: Relation) -> Iterable[Sequence[Point]]:
    return (line for lines in found.panels.values() for line in lines.values())


def _hues(found: Relation) -> list:
    hues = dict.fromkeys(hue for lines in found.panels.values() for hue in lines)
    return list(hues) if found.words.hue is None else columns.order(found.words.hue, hues)


def _grid(found: Relation, size: tuple[float, float] | None = None) -> tuple[Figure, list[Axes]]:
    """A figure and as many axes as there are panels."""
    count = len(found.panels)
    most = _ABREAST if size is None or size[0] < 5 else 2
    abreast = -(-count // -(-count // most))  # as even as can be
    size = size or ((4.6, 3.4) if count == 1 else (3.1, 2.6))
    figure, rows = look.grid(-(-count // abreast), abreast, size)
    axes = [axis for row in rows for axis in row]
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def _finish(
    figure: Figure, axes: Sequence[Axes], found: Relation, title: str, down: str, shown: str
) -> None:
    abreast = axes[0].get_gridspec().ncols
    for place, (axis, panel) in enumerate(zip(axes, found.panels, strict=True)):
        if panel is not None:
            look.heading(axis, columns.told(found.words.panels, panel), 2.9)
        if place % abreast == 0:
            axis.set_ylabel(down)
        if place + abreast >= len(axes):
            axis.set_xlabel(columns.label(found.words.x, found.scored))
    values = f"{shown} {found.over}" if found.over else "one network each"
    if 0 < len(found.between) <= _TOLD:
        values += f"; some differ also in {', '.join(found.between)}"
    look.title(figure, f"{title}\n{values}" + (f"; {found.chosen}" if found.chosen else ""), _SIZE)


def _styles(found: Relation) -> Mapping[Any, dict[str, Any]]:
    """Colour and marker of every hue: numbers from dark to light, algorithms as everywhere."""
    hues = _hues(found)
    numbers = [hue for hue in hues if hue is not None and not isinstance(hue, str)]
    colors = dict(zip(hues, _cycled(look.PALETTE, len(hues)), strict=True))
    if numbers:
        colors |= look.by_size(numbers) | dict.fromkeys(set(hues) - set(numbers), look.FLOAT)
    elif found.words.hue == "algorithm":
        colors = look.algorithm_colors(hues)
    markers = _cycled(look.MARKERS, len(hues))
    return {hue: {"color": colors[hue], "marker": marker}
            for hue, marker in zip(hues, markers, strict=True)}


def _cycled(of: Sequence[str], count: int) -> list[str]:
    return [of[i % len(of)] for i in range(count)]


def _divide(axis: Axes, name: str, xs: Sequence, places: Mapping) -> None:
    """The x axis: its scale, and labels where values are, as many as there is room for."""
    if name == columns.EPOCH:
        look.whole_numbers(axis)
        return
    scale = scales.scale_of(xs)
    if scale == "symlog":
        axis.set_xscale("symlog", linthresh=min(x for x in xs if not isinstance(x, str) and x > 0))
    elif scale == "log":
        axis.set_xscale("log")
    if name in (*columns.MEASURED, *columns.OF_MEMORY):
        if scale == "log":
            look.log_ticks(axis.xaxis, *axis.dataLim.intervalx)
        else:
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter(NullFormatter())
        return
    transform = axis.xaxis.get_transform()
    along = dict(zip(xs, transform.transform(np.array([places[x] for x in xs])), strict=True))
    low, high = min(along.values()), max(along.values())
    in_words = all(isinstance(x, str) for x in xs)
    margin = 0.5 if in_words else 0.05 * (high - low) or 0.5 * abs(low) or 0.5
    axis.set_xlim(*transform.inverted().transform(np.array([low - margin, high + margin])))
    inch = (high - low + 2 * margin) / (0.85 * axis.figure.get_figwidth()
                                        / axis.get_gridspec().ncols)
    gap = inch * (0.09 * max(map(len, map(columns.spell, xs))) + 0.08)
    kept: list = []
    for x in sorted(xs, key=lambda x: not isinstance(x, str)):  # words have their labels first
        if isinstance(x, str) or all(abs(along[x] - along[k]) > gap for k in kept):
            kept.append(x)
    kept.sort(key=along.__getitem__)
    texts = list(map(columns.spell, kept))
    words = [along[x] for x in kept if isinstance(x, str)]
    tight = any(b - a < gap for a, b in pairwise(words))
    axis.set_xticks([places[x] for x in kept], texts, rotation=35 if tight else 0,
                    ha="right" if tight else "center")
    axis.set_xticks([places[x] for x in xs], minor=True, labels=[""] * len(xs))


def _fit(axes: Sequence[Axes], found: Relation) -> None:
    """The y axis, the same for all panels; of shares in percent not beyond what there can be."""
    ends = [axis.dataLim.intervaly for axis in axes]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    limits = low - margin, high + margin
    if found.words.y.endswith("accuracy"):
        if min(p.middle(found.words.y) for line in _lines(found) for p in line) >= 0:
            limits = max(limits[0], -1.0), min(limits[1], 101.0)
    elif 0 < low < high and high / low > 10:
        ratio = (high / low) ** 0.05
        limits = low / ratio, high * ratio
    for axis in axes:
        axis.dataLim.intervaly = low, high
        if not found.words.y.endswith("accuracy"):
            look.log_scale(axis)
        axis.set_ylim(limits)
