"""Pictures of a trained network: confusion, mistakes, weights on their levels, attributions.

All take arrays, as `numbers` and `attributions` give them, and return a matplotlib figure. Images
of one channel are grey, of three in colour, of another number the mean of their channels; features
are bars, or a line where there are many.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from experiments.inside.numbers import shares
from experiments.report import look

__all__ = [
    "draw_attributions", "draw_confusion", "draw_examples", "draw_first", "draw_targets",
    "draw_weights",
]

_COLOR, _UP, _DOWN = "#0072B2", "#D55E00", "#0072B2"
_SIGNED = "RdBu_r"  # white at zero
_WRITTEN = 20  # classes whose counts one can still read
_BARS = 60  # features that are bars
_TICKS = 16  # levels that are named
_PANELS = 6  # of targets


def draw_confusion(counts: np.ndarray, title: str) -> Figure:
    """Counts [classes, classes] of true (rows) and predicted classes; colours: percent of a row.

    The colours are spread where the shares are small: mistakes are what one looks for.
    """
    classes = len(counts)
    rows = np.maximum(counts.sum(1, keepdims=True), 1)
    percent = 100 * counts / rows
    side = float(np.clip(0.56 * classes, 4.6, 9.0))
    figure, ((axis,),) = look.grid(1, 1, (side + 0.6, side))
    image = axis.imshow(percent, cmap="cividis", norm=PowerNorm(0.4, 0, 100))
    if classes <= _WRITTEN:
        for (true, predicted), count in np.ndenumerate(counts):
            if count:
                share = percent[true, predicted]
                # Light on the dark half of the colours, which ends at 18 percent.
                axis.text(predicted, true, f"{count}\n{share:.{0 if share >= 9.95 else 1}f}",
                          ha="center", va="center", fontsize=7,
                          color="white" if share < 18 else "black")
    ticks = range(0, classes, math.ceil(classes / _WRITTEN))
    axis.set_xticks(ticks)
    axis.set_yticks(ticks)
    axis.grid(False)
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    bar = figure.colorbar(image, ax=axis, shrink=0.85,
                          label="percent of the true class (colours spread where it is small)")
    bar.set_ticks([0, 1, 5, 20, 50, 100])
    look.title(figure, f"{title}\ncounts, and percent of the true class")
    return figure


def draw_examples(
    images: np.ndarray, captions: Sequence[str], limits: tuple[float, float], title: str
) -> Figure:
    """Inputs [n, *shape], each with a caption."""
    flat = images.ndim == 2
    columns = _columns(len(images), 3 if flat else 6)
    size = (3.0, 1.6) if flat else (1.45, 1.6)
    figure, axes = look.grid(math.ceil(len(images) / columns), columns, size)
    panels = [axis for row in axes for axis in row]
    for axis, image, caption in zip(panels, images, captions, strict=False):
        _input(axis, image, limits)
        axis.set_title(caption, fontsize=8)
    _hide(panels[len(images):])
    look.title(figure, title)
    return figure


def draw_targets(predicted: np.ndarray, targets: np.ndarray, title: str) -> Figure:
    """Predictions against targets, both [n, k], a panel for each of the first few."""
    count = min(targets.shape[1], _PANELS)
    columns = _columns(count, 3)
    figure, axes = look.grid(math.ceil(count / columns), columns, (3.6, 3.4))
    panels = [axis for row in axes for axis in row]
    for number, axis in enumerate(panels[:count]):
        own, true = predicted[:, number], targets[:, number]
        axis.plot(true, own, linewidth=0, marker=".", markersize=4, alpha=0.4, color=_COLOR)
        axis.axline((true.min(), true.min()), slope=1, color="black", linewidth=0.8)
        axis.set_xlabel("target")
        axis.set_ylabel("prediction")
        look.heading(axis, f"target {number}: root mean square error "
                     f"{np.sqrt(np.mean((own - true) ** 2)):.3g}")
    _hide(panels[count:])
    look.title(figure, title)
    return figure


def draw_weights(
    kernels: Mapping[str, np.ndarray], codes: Mapping[str, tuple[np.ndarray, np.ndarray]],
    title: str,
) -> Figure:
    """For every kernel the share of the weights on each level, or a histogram of floats."""
    columns = _columns(len(kernels), 4)
    rows = math.ceil(len(kernels) / columns)
    figure, axes = look.grid(rows, columns, (3.2, 2.6))
    panels = [axis for row in axes for axis in row]
    for axis, (path, kernel) in zip(panels, kernels.items(), strict=False):
        if path in codes:
            _levels(axis, *codes[path])
        else:
            axis.hist(kernel.ravel(), bins=int(np.clip(kernel.size**0.5, 8, 61)), color=_COLOR,
                      weights=np.full(kernel.size, 100 / kernel.size))
        shape = "x".join(map(str, kernel.shape))
        look.heading(axis, f"{path}: {shape}" + (
            f", {len(codes[path][1])} levels" if path in codes else ", floats"))
    for row in axes:
        row[0].set_ylabel("weights in percent")
    _hide(panels[len(kernels):])
    for axis in panels[:len(kernels)]:
        axis.set_xlabel("weight")
    look.title(figure, title)
    return figure


def _levels(axis: Axes, codes: np.ndarray, levels: np.ndarray) -> None:
    percent = 100 * shares(codes, levels)
    span = np.ptp(levels) or 1.0
    gaps = np.diff(levels) if len(levels) > 1 else np.ones(1)
    narrow = np.minimum(np.r_[gaps[0], gaps], np.r_[gaps, gaps[-1]])[: len(levels)]
    widths = (0.7 if len(levels) <= 2 * _TICKS else 1.0) * narrow
    if gaps.max() > 1.01 * gaps.min():  # else wide bars would look like many weights
        widths = np.clip(widths, 0.004 * span, 0.03 * span)
    axis.bar(levels, percent, widths, color=_COLOR)
    axis.grid(False, axis="x")
    if len(levels) > _TICKS or narrow.min() < 0.03 * span:
        return
    axis.set_xticks(levels, [f"{level:.2g}" for level in levels],
                    rotation=45 if len(levels) > 8 else 0, fontsize="small")
    axis.set_ylim(0, 1.12 * percent.max())
    for level, share in zip(levels, percent, strict=True):
        axis.annotate(f"{share:.{0 if share >= 9.95 or not share else 1}f}", (level, share),
                      (0, 2), textcoords="offset points", ha="center", fontsize=7)


def draw_first(path: str, images: np.ndarray, most: int, title: str) -> Figure:
    """A kernel's first units, images [units, height, width, channels], zero white (or grey)."""
    some = images[:most]
    columns = _columns(len(some), 10)
    figure, axes = look.grid(math.ceil(len(some) / columns), columns, (1.15, 1.2))
    limit = float(np.abs(images).max()) or 1.0
    colour = images.shape[-1] == 3
    shown: Any = None
    panels = [axis for row in axes for axis in row]
    for number, (axis, image) in enumerate(zip(panels, some, strict=False)):
        if colour:
            axis.imshow(np.clip(0.5 + image / (2 * limit), 0, 1))
        else:
            shown = axis.imshow(image.mean(-1), cmap=_SIGNED, vmin=-limit, vmax=limit)
        axis.set_title(number, fontsize=7, pad=2)
        _bare(axis)
    _hide(panels[len(some):])
    if shown is not None:
        figure.colorbar(shown, ax=panels, shrink=min(1.0, 3 / len(axes)), aspect=30,
                        label="weight")
    told = f"all {len(images)}" if len(some) == len(images) else f"{len(some)} of {len(images)}"
    look.title(figure, f"{title}\n{path}: {told} units" + (
        "; grey: zero, colours: weights of red, green, blue" if colour else ""))
    return figure


def draw_attributions(
    images: np.ndarray, values: np.ndarray, captions: Sequence[str], means: np.ndarray,
    names: Sequence[str], limits: tuple[float, float], title: str,
) -> Figure:
    """Inputs beside their attributions, and below what every output looks at on average.

    Args:
      images, values: [n, *shape], attributions of the same inputs; channels are summed.
      captions: of the examples.
      means: [m, *shape], mean absolute attributions.
      names: of these m.
      limits: of the inputs.
      title: of the figure.
    """
    flat = images.ndim == 2
    pairs = _columns(len(images), 2 if flat else 5)
    across = _columns(len(means), 4 if flat else 2 * pairs)
    rows = math.ceil(len(images) / pairs), math.ceil(len(means) / across)
    size = (2.6, 1.6) if flat else (1.45, 1.4)
    width = size[0] * 2 * pairs + 1.2
    figure = Figure((width, 2.3 + size[1] * sum(rows)), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=rows)
    signed = values if flat else values.sum(-1)
    limit = float(np.quantile(np.abs(signed), 1 if flat else 0.998)) or 1.0
    panels = above.subplots(rows[0], 2 * pairs, squeeze=False).ravel()
    shown: Any = None
    for number, caption in enumerate(captions):
        left, right = panels[2 * number], panels[2 * number + 1]
        _input(left, images[number], limits)
        left.set_title(caption, fontsize=8)
        if flat:
            _bars(right, signed[number])
            right.set_title("attribution", fontsize=8)
        else:
            shown = right.imshow(signed[number], cmap=_SIGNED, vmin=-limit, vmax=limit)
            _bare(right)
    _hide(panels[2 * len(images):])
    if shown is not None:
        above.colorbar(shown, ax=list(panels), shrink=0.8, aspect=30, extend="both",
                       label="against / for the prediction")
    sizes = means if flat else means.sum(-1)
    panels = below.subplots(rows[1], across, squeeze=False).ravel()
    for axis, own, name in zip(panels, sizes, names, strict=False):
        if flat:
            _bars(axis, own)
        else:
            axis.imshow(own, cmap="cividis", vmin=0)
            _bare(axis)
        axis.set_title(name, fontsize=8)
    _hide(panels[len(means):])
    below.suptitle("mean absolute attribution (of so many examples), each on its own scale",
                   fontsize="medium")
    look.title(figure, title)
    return figure


def _columns(count: int, most: int) -> int:
    """Of panels, so that the last row is as full as can be."""
    return math.ceil(count / math.ceil(count / most))


def _input(axis: Axes, example: np.ndarray, limits: tuple[float, float]) -> None:
    """One input; images are black at the lower limit."""
    if example.ndim == 1:
        _bars(axis, example)
        return
    low, high = limits
    if example.shape[-1] == 3:
        axis.imshow(np.clip((example.astype(np.float32) - low) / (high - low), 0, 1))
    else:
        axis.imshow(example.mean(-1), cmap="gray", vmin=low, vmax=high)
    _bare(axis)


def _bars(axis: Axes, values: np.ndarray) -> None:
    place = np.arange(len(values))
    if len(values) > _BARS:
        axis.plot(place, values, color=_COLOR, linewidth=0.8)
    else:
        axis.bar(place, values, color=np.where(values >= 0, _UP, _DOWN))
    axis.axhline(0, color="black", linewidth=0.6)
    axis.tick_params(labelsize=6)
    axis.grid(False, axis="x")
    axis.xaxis.get_major_locator().set_params(integer=True)


def _bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)
    for side in ("top", "right", "bottom", "left"):
        axis.spines[side].set_visible(False)


def _hide(axes: Sequence[Axes]) -> None:
    for axis in axes:
        axis.set_visible(False)
