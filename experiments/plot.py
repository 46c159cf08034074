"""Draws a result store: accuracy against bits, and accuracy and loss along the epochs.

One pair of figures for every data set and network shape in the store.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only: needs no screen

import matplotlib.pyplot as plt

from experiments import options
from experiments.report import mean_and_deviation
from experiments.store import Store, StoreError

__all__ = ["draw", "main", "plot_bits", "plot_epochs"]

# Okabe and Ito's palette: told apart with any colour vision.
COLORS = {
    ("asymm", "global"): "#E69F00",
    ("asymm", "local"): "#D55E00",
    ("symm", "global"): "#56B4E9",
    ("symm", "local"): "#0072B2",
}
MARKERS = {"asymm": "s", "symm": "o"}
LINES = {"global": "--", "local": "-"}
FLOAT_COLOR = "#333333"
# What must agree for two replicas to be points of one line, besides quantizer and scope.
_FIGURE = ("dataset", "n_layers", "hidden_width")
_PANEL = ("algorithm", "update", "optimizer", "lr", "gamma", "gradient_bits", "batch_size",
          "epochs", "readout_epochs")

plt.rcParams.update(
    {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
     "figure.dpi": 150, "legend.frameon": False}
)


def _split(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dict[tuple, list]:
    parts: dict[tuple, list] = {}
    for row in rows:
        parts.setdefault(tuple(row[c] for c in columns), []).append(row)
    return parts


def _panels(rows):
    """Rows by panel. The unquantized network joins all panels of its algorithm and optimizer:

    it has no update rule, and by the thesis's protocol its own batch size and epochs.
    """
    panels = _split([r for r in rows if r["n_bits"] is not None], _PANEL)
    own = ("algorithm", "optimizer", "lr", "gamma", "gradient_bits")
    for row in (r for r in rows if r["n_bits"] is None):
        fits = [members for members in panels.values()
                if all(members[0][c] == row[c] for c in own)]
        for members in fits or [panels.setdefault(tuple(row[c] for c in _PANEL), [])]:
            members.append(row)
    return dict(sorted(panels.items(), key=lambda item: str(item[0])))


def _titles(keys: Sequence[tuple]) -> list[str]:
    """The algorithm, and the other settings in which panels of one algorithm differ."""
    titles = []
    for key in keys:
        peers = [k for k in keys if k[0] == key[0]]
        differing = [
            f"{name} {value}" for i, (name, value) in enumerate(zip(_PANEL, key, strict=True))
            if i and len({k[i] for k in peers}) > 1
        ]
        titles.append("\n".join([key[0], ", ".join(differing)]) if differing else key[0])
    return titles


def _figure_title(key: tuple, rows) -> str:
    dataset, n_layers, width = key
    cell = ("n_bits", "quantizer", "scope", *_PANEL)
    counts = {len(members) for members in _split(rows, cell).values()}
    seeds = "-".join(str(n) for n in sorted({min(counts), max(counts)}))
    layers = "1 hidden layer" if n_layers == 0 else f"{1 + n_layers} hidden layers"
    return f"{dataset}, {layers} of {width}, {seeds} seed{'' if seeds == '1' else 's'}"


def _axes(count: int, rows: int = 1):
    columns = min(count, 4)
    lines = -(-count // columns)
    figure, axes = plt.subplots(
        rows * lines, columns, figsize=(1.2 + 3.3 * columns, 0.9 + 3.0 * rows * lines),
        squeeze=False, layout="constrained",
    )
    return figure, axes


def _band(axis, x, low, middle, high, **style):
    """A line with a band around it."""
    axis.plot(x, middle, **style)
    axis.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)


def _deviation(values):
    """Mean and one standard deviation to either side: for accuracies."""
    mean, deviation = mean_and_deviation(values)
    return mean - deviation, mean, mean + deviation


def _extent(values):
    """Median and full extent: for losses, which differ by orders of magnitude between seeds."""
    return min(values), statistics.median(values), max(values)


def _legend(figure, axes):
    entries = {}
    for axis in axes.flat:
        handles, labels = axis.get_legend_handles_labels()
        entries.update(zip(labels, handles, strict=True))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=5)


def plot_bits(rows: Sequence[Mapping[str, Any]], title: str):
    """Test accuracy against bits: a panel per algorithm, a line per quantizer and scope.

    Bands are one standard deviation over seeds; the unquantized network is a horizontal line.
    A diverged replica counts with its last finite accuracy.
    """
    panels = _panels([r for r in rows if r["test_accuracy"] is not None])
    figure, axes = _axes(len(panels))
    for axis, members, name in zip(
        axes.flat, panels.values(), _titles(list(panels)), strict=False
    ):
        floats = [r["test_accuracy"] for r in members if r["n_bits"] is None]
        if floats:
            mean, deviation = mean_and_deviation(floats)
            axis.axhline(mean, color=FLOAT_COLOR, linewidth=1.2, linestyle=":", label="float")
            axis.axhspan(mean - deviation, mean + deviation, color=FLOAT_COLOR, alpha=0.12, lw=0)
        quantized = [r for r in members if r["n_bits"] is not None]
        for (kind, scope), line in sorted(_split(quantized, ("quantizer", "scope")).items()):
            by_bits = dict(sorted(_split(line, ("n_bits",)).items()))
            spreads = [_deviation([r["test_accuracy"] for r in c]) for c in by_bits.values()]
            _band(
                axis, [b for (b,) in by_bits], *zip(*spreads, strict=True),
                color=COLORS[kind, scope], marker=MARKERS[kind], linestyle=LINES[scope],
                markersize=4, label=f"{kind} {scope}",
            )
        values = sorted({r["n_bits"] for r in quantized})
        if values:
            axis.set_xticks(values)
        axis.set(title=name, xlabel="bits per weight", ylim=(0, 100))
    for unused in axes.flat[len(panels) :]:
        unused.set_visible(False)
    for left in axes[:, 0]:
        left.set_ylabel("test accuracy (%)")
    figure.suptitle(title)
    _legend(figure, axes)
    return figure


def plot_epochs(rows, epochs, title: str):
    """Accuracy and loss after every epoch: a column per algorithm, a line per bit width.

    Shows the quantizer and scope with the best mean accuracy in each panel (named in its title),
    solid for the test set, dotted for the training set. Bands: one standard deviation of the
    accuracy, the extent of the loss over seeds (whose line is the median).
    """
    curves = _split([e for e in epochs if e["test_accuracy"] is not None], ("replica",))
    panels = _panels([r for r in rows if (r["id"],) in curves])
    figure, axes = _axes(len(panels), rows=2)
    colors = plt.get_cmap("viridis")
    # Rows of axes come in pairs: accuracies above their losses.
    pairs = [pair for top in range(0, len(axes), 2) for pair in axes[top : top + 2].T]
    for unused in pairs[len(panels) :]:
        for axis in unused:
            axis.set_visible(False)
    for pair, members, name in zip(pairs, panels.values(), _titles(list(panels)), strict=False):
        quantized = _split([r for r in members if r["n_bits"] is not None], ("quantizer", "scope"))
        best, chosen = "", []
        if quantized:
            best, chosen = max(
                quantized.items(),
                key=lambda item: mean_and_deviation(r["test_accuracy"] or 0 for r in item[1])[0],
            )
            best = " ".join(best)
        chosen = chosen + [r for r in members if r["n_bits"] is None]
        by_bits = _split(chosen, ("n_bits",))
        order = sorted(by_bits, key=lambda b: (b[0] is None, b))
        for index, bits in enumerate(order):
            runs = [curves[(r["id"],)] for r in by_bits[bits]]
            color = FLOAT_COLOR if bits[0] is None else colors(index / max(len(order) - 1, 1))
            label = options.spell(bits[0]) + ("" if bits[0] is None else " bits")
            x = [e["epoch"] + 1 for e in min(runs, key=len)]
            for axis, metric, spread in zip(
                pair, ("accuracy", "loss"), (_deviation, _extent), strict=True
            ):
                for part, line in (("test", "-"), ("train", ":")):
                    values = [
                        [run[i][f"{part}_{metric}"] for run in runs] for i in range(len(x))
                    ]
                    values = [[v for v in at if v is not None] for at in values]
                    known = [(i, at) for i, at in zip(x, values, strict=True) if at]
                    if not known:
                        continue
                    points, groups = zip(*known, strict=True)
                    _band(
                        axis, points, *zip(*(spread(g) for g in groups), strict=True),
                        color=color, linestyle=line, linewidth=1.3,
                        label=label if part == "test" else f"_{label}",
                    )
        pair[0].set(title=f"{name}\n{best}", ylim=(0, 100))
        pair[1].set(xlabel="epoch", yscale="log")
        for axis in pair:
            axis.xaxis.get_major_locator().set_params(integer=True)
    for top in range(0, len(axes), 2):
        axes[top, 0].set_ylabel("accuracy (%)")
        axes[top + 1, 0].set_ylabel("cross-entropy (nats)")
    figure.suptitle(
        f"{title} (solid: test, dotted: training; bands: ±1 standard deviation of accuracy, "
        "extent of loss)"
    )
    _legend(figure, axes)
    return figure


def draw(store: Store, folder: Path) -> list[Path]:
    """Writes all figures of a store as PNG files; returns their paths."""
    rows = [r for r in store.replicas() if r["status"] in ("done", "diverged")]
    epochs = store.epochs()
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for key, members in _split(rows, _FIGURE).items():
        title, stem = _figure_title(key, members), "-".join(str(part) for part in key)
        ids = {r["id"] for r in members}
        drawable = any(
            r["n_bits"] is not None and r["test_accuracy"] is not None for r in members
        )
        figures = {"bits": plot_bits(members, title)} if drawable else {}
        figures["epochs"] = plot_epochs(members, [e for e in epochs if e["replica"] in ids], title)
        for kind, figure in figures.items():
            files.append(folder / f"{kind}-{stem}.png")
            figure.savefig(files[-1])
            plt.close(figure)
    return files


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = options.Parser(prog="experiments.plot", description=__doc__)
    p.add_argument("--out", type=Path, default=Path("results"), help="folder of the result store")
    p.add_argument("--figures", type=Path, default=None, help="folder to write to (default: OUT)")
    args = p.parse_args(arguments)
    try:
        with Store(args.out, create=False) as store:
            files = draw(store, args.figures or args.out)
    except StoreError as error:
        p.error(str(error))
    except OSError as error:
        p.error(f"cannot write figures: {error}")
    if not files:
        p.error(f"no finished replica in {args.out}: run or resume the experiment first")
    print("\n".join(str(file) for file in files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
