"""The figures: accuracy against bits, curves along the training, ranges, insides, one overview.

Each takes finished replicas as `results.load` gives them, and returns a matplotlib figure. Bands
of accuracies are one standard deviation over seeds; a diverged replica counts with its last finite
accuracy.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.cells import network_label
from experiments.report import look, panels
from experiments.report.estimates import mean_and_deviation
from experiments.report.panels import Rows, split
from experiments.report.scores import scored
from experiments.report.study import NO_STUDY, Study

__all__ = ["plot_bits", "plot_diagnostics", "plot_epochs", "plot_overview", "plot_ranges"]

# Figures of `qjax.diagnostics.Diagnosis` as the axes name them.
_DIAGNOSTICS = {
    "gradient_angle": "gradient: angle to\nthe true one (°)",
    "feedback_angle": "feedback: angle to\nthe weights (°)",
    "feedback_ratio": "feedback: norm\n(norms of weights)",
    "write_noise": "noise of a write,\nin sizes of the step",
    "sqnr": "new weights: signal\nto rounding noise (dB)",
    "at_ends": "weights at an end\nof the range (share)",
    "changed": "weights that changed\n(share an epoch)",
    "nhsic_x": "nHSIC(X, Z)",
    "nhsic_y": "nHSIC(Y, Z)",
}

# Published values, of one run each, by scope.
_CROSSES = {"global": "+", "local": "x"}


def _line(axis: Axes, rows: Rows, study: Study, **style) -> None:
    """Mean accuracy and band at every width, and the published values."""
    widths = dict(sorted(split(rows, "n_bits").items()))
    spreads = [look.deviation([r["test_accuracy"] for r in members])
               for members in widths.values()]
    look.band(axis, [bits for (bits,) in widths], spreads, markersize=4, **style)
    published = {bits: study.published(members[0]) for (bits,), members in widths.items()}
    points = {bits: accuracy for bits, accuracy in published.items() if accuracy is not None}
    if points:
        scope = rows[0]["scope"]
        cross = {"linestyle": "", "marker": _CROSSES.get(scope, "1"), "markersize": 7,
                 "markeredgewidth": 1.5}
        axis.plot(points.keys(), points.values(), color=style["color"], label="_published", **cross)
        axis.plot([], [], color="#777777", label=f"published, {scope}", **cross)


def _bits_axis(axis: Axes, rows: Rows, title: str) -> None:
    widths = sorted({r["n_bits"] for r in rows if r["n_bits"] is not None})
    axis.set_xticks(widths)
    if len(widths) == 1:
        # Else there are ticks of halves of a bit on either side.
        axis.set_xlim(widths[0] - 1, widths[0] + 1)
    axis.set(ylim=(0, 100))
    look.heading(axis, title, 2.9)


def _known(rows: Rows) -> list[Mapping[str, Any]]:
    return [r for r in rows if r["test_accuracy"] is not None]


def plot_overview(rows: Rows, title: str, study: Study = NO_STUDY) -> Figure:
    """Test accuracy against bits of one data set: a panel per algorithm and network.

    A line per quantizer and scope, the unquantized network as a horizontal line, what the study
    has published as crosses.
    """
    variants = panels.variants(_known(rows), study)
    shapes = panels.architectures(rows, study)
    names = list(variants)
    if len(shapes) > 1:
        places = [[(name, shape) for shape in shapes] for name in names]
    else:
        places = [[(name, shapes[0]) for name in names[i : i + 4]] for i in range(0, len(names), 4)]
    figure, axes = look.grid(len(places), len(places[0]), (2.9, 2.5))
    for row, line in zip(places, axes, strict=True):
        for axis, place in zip(line, (*row, *[None] * (len(line) - len(row))), strict=True):
            members = [] if place is None else [
                r for r in variants[place[0]] if panels.architecture(r) == place[1]
            ]
            axis.set_visible(bool(members))
            if members:
                name, shape = place
                heading = f"{name} {network_label(*shape)}" if len(shapes) > 1 else name
                if "shortened" in (epochs := panels.trained(members, study)):
                    heading += f"\n{epochs}"
                _overview_panel(axis, members, study)
                _bits_axis(axis, members, heading)
        line[0].set_ylabel(scored(rows).title("test accuracy (%)"))
    for axis in axes[-1]:
        axis.set_xlabel("bits per weight")
    look.title(figure, title)
    look.legend(figure)
    return figure


def _overview_panel(axis: Axes, rows: Rows, study: Study) -> None:
    floats = [r["test_accuracy"] for r in rows if r["n_bits"] is None]
    if floats:
        look.level(axis, floats, look.FLOAT, "float")
    quantized = [r for r in rows if r["n_bits"] is not None]
    lines = dict(sorted(split(quantized, "quantizer", "scope").items()))
    for grid, style in look.looks(lines).items():
        _line(axis, lines[grid], study, label=" ".join(grid), **style)


def plot_bits(rows: Rows, title: str, study: Study = NO_STUDY) -> Figure:
    """Test accuracy against bits of one variant on one network: a panel per quantizer.

    A line per scope and data set, the unquantized networks as horizontal lines, what the study has
    published as crosses.
    """
    rows = _known(rows)
    quantized = [r for r in rows if r["n_bits"] is not None]
    kinds = sorted({r["quantizer"] for r in quantized})
    colors = look.series_colors(dict.fromkeys(r["dataset"] for r in rows))
    figure, axes = look.grid(1, len(kinds), (4.0, 3.2))
    for axis, kind in zip(axes[0], kinds, strict=True):
        for dataset, color in colors.items():
            here = [r for r in rows if r["dataset"] == dataset]
            floats = [r["test_accuracy"] for r in here if r["n_bits"] is None]
            if floats:
                look.level(axis, floats, color, f"{dataset} float")
            lines = split((r for r in here if r["quantizer"] == kind), "scope")
            for (scope,), line in sorted(lines.items()):
                _line(axis, line, study, color=color, marker=look.marker_of(kind),
                      linestyle=look.line_of(scope), label=f"{dataset} {scope}")
        _bits_axis(axis, rows, kind)
        axis.set_xlabel("bits per weight")
    axes[0][0].set_ylabel(scored(rows).title("test accuracy (%)"))
    look.title(figure, title)
    look.legend(figure)
    return figure


def _best(rows: Rows) -> tuple[str, list[Mapping[str, Any]]]:
    """The quantizer and scope with the best mean accuracy, named, and its replicas with others."""
    quantized = split((r for r in rows if r["n_bits"] is not None), "quantizer", "scope")
    others = [r for r in rows if r["n_bits"] is None]
    if not quantized:
        return "", others
    best, chosen = max(
        quantized.items(),
        key=lambda item: mean_and_deviation(r["test_accuracy"] or 0 for r in item[1])[0],
    )
    of = f", best of {len(quantized)} grids" if len(quantized) > 1 else ""
    return " ".join(best) + of, chosen + others


def _holder_label(held: int | str) -> str:
    """'3 bits', 'ecram', 'float', of what `panels.held_by` gives."""
    return held if isinstance(held, str) else f"{held} bit{'' if held == 1 else 's'}"


def plot_epochs(
    rows: Rows, epochs: Sequence[Mapping[str, Any]], title: str, study: Study = NO_STUDY
) -> Figure:
    """Accuracy and loss after every epoch: a column per algorithm (and setting), a line per width.

    Of devices, which have no number of bits, the line has their name.

    Shows the quantizer and scope with the best mean accuracy in each panel (named in its title),
    solid for the test set, dotted for the training set. Bands: one standard deviation of the
    accuracy, the extent of the loss over seeds (whose line is the median).

    Args:
      rows: of one data set and network.
      epochs: rows of the store's table `epochs`; replicas without any are left out.
      title: of the figure.
      study: whose order the columns have.
    """
    curves = split((e for e in epochs if e["test_accuracy"] is not None), "replica")
    variants = panels.variants([r for r in rows if (r["id"],) in curves], study)
    columns = max(1, min(len(variants), 4))
    figure, axes = look.grid(2 * -(-len(variants) // columns) or 2, columns)
    # Rows of axes come in pairs: accuracies above their losses.
    pairs = [pair for top in range(0, len(axes), 2) for pair in zip(*axes[top : top + 2],
                                                                    strict=True)]
    for unused in pairs[len(variants) :]:
        for axis in unused:
            axis.set_visible(False)
    colors = look.by_holder(panels.held_by(r) for members in variants.values() for r in members)
    for pair, (name, members) in zip(pairs, variants.items(), strict=False):
        best, chosen = _best(members)
        for held, color in colors.items():
            runs = [curves[(r["id"],)] for r in chosen if panels.held_by(r) == held]
            for axis, metric, spread in zip(
                pair, ("accuracy", "loss"), (look.deviation, look.extent), strict=True
            ):
                for part, line in (("test", "-"), ("train", ":")):
                    label = _holder_label(held)
                    _curve(axis, runs, f"{part}_{metric}", spread, color=color, linestyle=line,
                           linewidth=1.3, label=label if part == "test" else f"_{label}")
        look.heading(pair[0], f"{name}\n{best}")
        pair[0].set(ylim=(0, 100))
        pair[1].set(xlabel="epoch")
        look.log_scale(pair[1])
        for axis in pair:
            look.whole_numbers(axis)
    for top in range(0, len(axes), 2):
        axes[top][0].set_ylabel(scored(rows).title("accuracy (%)"))
        axes[top + 1][0].set_ylabel(_loss_label(rows))
    look.title(
        figure, f"{title}\n(solid: {scored(rows).on}, dotted: training; bands: ±1 standard "
        "deviation of accuracy, extent of loss)"
    )
    look.legend(figure)
    return figure


def _loss_label(rows: Rows) -> str:
    losses = {row["loss"] for row in rows}
    known = {"cross_entropy": "cross-entropy (nats)", "squared_error": "squared error"}
    return known.get(losses.pop(), "loss") if len(losses) == 1 else "loss"


def _curve(axis: Axes, runs: Sequence[Rows], metric: str, spread, **style) -> None:
    """Replicas' finite values of a metric at every epoch that one of them has."""
    values: dict[int, list[float]] = {}
    for row in (row for run in runs for row in run):
        if row[metric] is not None and math.isfinite(row[metric]):
            values.setdefault(row["epoch"] + 1, []).append(row[metric])
    if values:
        x = sorted(values)
        look.band(axis, x, [spread(values[epoch]) for epoch in x], **style)


def _with(history: Iterable[Mapping[str, Any]], rows: Rows) -> list[Mapping[str, Any]]:
    """The replicas of which there is a history."""
    known = {r["replica"] for r in history}
    return [r for r in rows if r["id"] in known]


def plot_ranges(rows: Rows, ranges: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Smallest and largest value of every block's tensors along the training of one variant.

    A column per block, kernels above biases, a colour per bit width, or a device's, for the
    quantizer and scope with the best mean accuracy. Bands are the extent over seeds.

    Args:
      rows: of one variant, data set and network.
      ranges: rows of the store's table `ranges`; replicas without any are left out.
      title: of the figure.
    """
    best, chosen = _best(_with(ranges, rows))
    known = split((r for r in ranges if r["tensor"].startswith("blocks/")), "tensor")
    names: dict[str, list[str]] = {}  # of every block's tensors: kernels above biases
    tensors = sorted((tensor for (tensor,) in known), reverse=True)
    for tensor in sorted(tensors, key=lambda tensor: tensor.rpartition("/")[0]):
        _, block, name = tensor.split("/", 2)
        names.setdefault(block, []).append(name)
    blocks = sorted(names, key=int)
    most = max(map(len, names.values()))
    holder = {r["id"]: panels.held_by(r) for r in chosen}
    colors = look.by_holder(holder.values())
    figure, axes = look.grid(most, len(blocks), (2.8, 2.4))
    for place, line in enumerate(axes):
        beyond = False
        for block, axis in zip(blocks, line, strict=True):
            if place >= len(names[block]):
                axis.set_visible(False)
                continue
            name = names[block][place]
            here = known[f"blocks/{block}/{name}",]
            for held, color in colors.items():
                runs = [[r for r in here if holder.get(r["replica"]) == held]]
                for end in ("low", "high"):
                    label = _holder_label(held)
                    _curve(axis, runs, end, look.extent, color=color, linewidth=1.2,
                           label=label if end == "low" else f"_{label}")
            look.whole_numbers(axis)
            beyond |= look.symmetric_log_scale(axis)  # linear in the range of the scope "global"
            axis.set_title(f"block {int(block) + 1}, {name}", fontsize="medium")
        line[0].set_ylabel("smallest and largest value"
                           + ("\n(logarithmic beyond ±1)" if beyond else ""))
    for block, column in zip(blocks, zip(*axes, strict=True), strict=True):
        column[len(names[block]) - 1].set_xlabel("epoch")
    look.title(figure, f"{title}{', ' if best else ''}{best}")
    look.legend(figure)
    return figure


def plot_diagnostics(rows: Rows, diagnostics: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """What went on inside along the training of one variant: a row per figure, a column per block.

    A colour per bit width, or a device's, for the quantizer and scope with the best mean accuracy;
    lines are medians over seeds, bands their extent. Figures that no block has are left out.

    Args:
      rows: of one variant, data set and network.
      diagnostics: rows of the store's table `diagnostics`; replicas without any are left out.
      title: of the figure.
    """
    best, chosen = _best(_with(diagnostics, rows))
    holder = {r["id"]: panels.held_by(r) for r in chosen}
    here = [r for r in diagnostics if r["replica"] in holder]
    by_block = split(here, "block")
    names = [name for name in _DIAGNOSTICS
             if any(r[name] is not None and math.isfinite(r[name]) for r in here)]
    colors = look.by_holder(holder.values())
    figure, axes = look.grid(len(names), len(by_block), (2.6, 1.7))
    for name, line in zip(names, axes, strict=True):
        for (block,), axis in zip(sorted(by_block), line, strict=True):
            if axis is not line[0]:
                axis.sharey(line[0])
            for held, color in colors.items():
                runs = [[r for r in by_block[block,] if holder[r["replica"]] == held]]
                _curve(axis, runs, name, look.extent, color=color, linewidth=1.2,
                       label=_holder_label(held))
            look.whole_numbers(axis)
            if not axis.has_data():
                axis.set_visible(False)
        line[0].set_ylabel(_DIAGNOSTICS[name], fontsize="small")
    for (block,), top, bottom in zip(sorted(by_block), axes[0], axes[-1], strict=True):
        top.set_title(f"block {block + 1}", fontsize="medium")
        bottom.set_xlabel("epoch")
    look.title(figure, f"{title}{', ' if best else ''}{best}")
    look.legend(figure)
    return figure
