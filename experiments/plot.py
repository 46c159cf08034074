"""Draws results: figures that are always the same, or one that you say in words.

Without --x, as PNG and PDF files:

overview-DATASET: test accuracy against bits, a panel for every algorithm and network.
bits-ALGORITHM-NETWORK: the same for one of them, a panel per quantizer.
epochs-DATASET-NETWORK: accuracy and loss along the training.
ranges-ALGORITHM-DATASET-NETWORK: smallest and largest weights along the training.
diagnostics-ALGORITHM-DATASET-NETWORK: what went on inside, of runs with --diagnostics.

With --x, one figure of any results: lines of means with bands of one standard deviation, points
with error bars, or with --kind heatmap fields with numbers; of losses medians and their extent.
Words are the axes of experiments.run as they are in the store (lr, n_bits, update), numbers of a
memory (dw_min), seed, device_bits, beside_bits, total_bits; along x also epoch and what is
measured.
What differs and is none of them is aggregated over, and the figure says so.

  --x lr --hue update --panels algorithm --where dataset=mnist
  --x epoch --y train_loss --hue n_bits
  --x lr --hue gain --kind heatmap

Of a CSV file, NAME.csv, what is along the training needs NAME-epochs.csv and so on beside it (or
.csv.gz).
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments import commandline

commandline.require("matplotlib", "experiments.plot")

from matplotlib.figure import Figure

from experiments.commandline import options
from experiments.report import (
    Rows,
    choice,
    columns,
    gallery,
    graphs,
    look,
    panels,
    relation,
    scores,
)
from experiments.store import history_of, results, selection
from experiments.studies import thesis

__all__ = ["main"]

FORMATS = ("png", "pdf", "svg")


def parser() -> options.Parser:
    """The command line of `python -m experiments.plot`."""
    p = options.Parser(prog="experiments.plot", description=__doc__,
                       formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--results", type=Path, nargs="+", default=[Path("results")], metavar="PATH",
                   help="result folders, .sqlite files or exported CSV files; a later one's "
                   "replicas replace an earlier one's [results]")
    p.add_argument("--figures", type=Path, default=None,
                   help="folder to write to [that of the first results]")
    p.add_argument("--published", type=Path, default=None, metavar="FILE",
                   help="published results to mark with crosses; as for experiments.compare")
    p.add_argument("--kind", nargs="+", type=options.one_of([*gallery.FIGURES, *graphs.KINDS]),
                   default=[],
                   help=f"which figures: {' '.join(gallery.FIGURES)} [all]; with --x one of "
                   f"{' '.join(graphs.KINDS)} [lines]")
    p.add_argument("--format", nargs="+", type=options.one_of(FORMATS), default=["png", "pdf"],
                   help="of the files [png pdf]")
    selection.add_only(p)
    own = p.add_argument_group("one figure in words")
    grouping = columns.grouping()
    ys = dict.fromkeys([*columns.MEASURED, *columns.ALONG_TRAINING, *columns.OF_MEMORY])
    own.add_argument("--x", metavar="COLUMN", help="along x",
                     type=columns.word([columns.EPOCH, *grouping, *columns.MEASURED]))
    own.add_argument("--y", metavar="COLUMN", type=columns.word(ys),
                     help=f"along y: {', '.join(ys)} [test_accuracy]")
    own.add_argument("--hue", metavar="COLUMN", type=columns.word(grouping),
                     help="a line for each of its values; of a heatmap: down")
    own.add_argument("--panels", metavar="COLUMN", type=columns.word(grouping),
                     help="a panel for each of its values")
    own.add_argument("--best", action="store_true",
                     help="of what would be aggregated over only the best cell of each point "
                     "(along epoch: line), by held-out accuracy where there is one")
    own.add_argument("--title", help="of the figure [what is along its axes]")
    own.add_argument("--out", type=_file, metavar="FILE",
                     help=f"file to write, .{', .'.join(FORMATS)} [named from the words, in the "
                     "folder and formats of all figures]")
    return p


def _file(text: str) -> Path:
    path = Path(text)
    if path.suffix[1:] not in FORMATS:
        raise argparse.ArgumentTypeError(
            f"expected a name that ends in .{', .'.join(FORMATS)}, got {text!r}")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    selection.meet(arguments)
    p = parser()
    args = p.parse_args(arguments)
    words = _words(p, args)
    first = args.results[0]
    written: list[Path] = []
    folder = args.figures or (first if first.is_dir() else first.parent)
    try:
        everything = results.merge(args.results)
        rows = selection.matching(everything, args.only)
        published = thesis.read_published(args.published) if args.published else {}
        if not rows:
            p.error(selection.nobody(everything, args.only, "finished replica"))
        unfinished = results.unfinished(
            selection.matching(results.everything(args.results), args.only))
        if not args.out:
            folder.mkdir(parents=True, exist_ok=True)
        if words is None:
            study, kinds = thesis.with_published(published), args.kind or gallery.FIGURES
            drawn = gallery.drawn(rows, args.results, study, dict.fromkeys(kinds))
        else:
            drawn = _own(p, args, words, rows, everything)
        for stem, figure in drawn:
            if unfinished:
                look.remark(figure, unfinished)
            files = look.write(figure, [args.out]) if args.out else (
                look.save(figure, folder, stem, dict.fromkeys(args.format)))
            print(" ".join(map(str, files)), flush=True)
            written += files
        if unfinished:
            print(unfinished, file=sys.stderr)
        if words is None:
            for said in gallery.left_out(rows, args.kind or gallery.FIGURES):
                print(f"left out: {said}", file=sys.stderr)
    except results.ResultsError as error:
        p.error(str(error))
    except BrokenPipeError:  # nobody reads the names of the files any more
        raise
    except OSError as error:
        p.error(f"cannot write figures: {error}")
    if not written:
        if any(map(panels.is_device, rows)) and all(row["n_bits"] is None for row in rows):
            p.error("nothing to draw: these figures are by number of bits, which devices do not "
                    "have: say what is along x, such as --x epoch --hue update")
        p.error("nothing to draw: these results have no accuracies (overview, bits), or no rows "
                "per epoch (epochs, ranges; diagnostics of runs with --diagnostics)")
    return 0


def _words(p: options.Parser, args: argparse.Namespace) -> relation.Words | None:
    """What a figure of one's own is to show; None where none was asked for."""
    kinds = [kind for kind in args.kind if kind in graphs.KINDS]
    if args.x is None:
        flags = [f"--{name}" for name in ("y", "hue", "panels", "best", "title", "out")
                 if getattr(args, name)]
        if flags or kinds:
            p.error(f"{(flags or [f'--kind {kinds[0]}'])[0]} is of a figure in words: say what is "
                    "along x, such as --x lr")
        return None
    if len(args.kind) > 1 or kinds != args.kind:
        p.error(f"--kind {' '.join(args.kind)}: with --x expected one of {', '.join(graphs.KINDS)}")
    if kinds == ["heatmap"] and (args.hue is None or args.x in columns.MEASURED):
        p.error("--kind heatmap: expected --x and --hue, columns of the configuration like --x lr "
                "--hue gain")
    if args.published:
        p.error("--published marks the figures overview and bits: leave it out, or --x")
    words = relation.Words(args.x, args.y or "test_accuracy", args.hue, args.panels)
    try:
        relation.check(words, args.best)
    except ValueError as error:
        p.error(str(error))
    return words


def _own(
    p: options.Parser, args: argparse.Namespace, words: relation.Words, rows: Rows, everything: Rows
) -> Iterator[tuple[str, Figure]]:
    """The figure in words, with the stem of its file's name; says what one should know."""
    kind = (args.kind or ["lines"])[0]
    if "dataset" not in (*words, *(condition.column for condition in args.only)):
        kept = [row for row in rows if not scores.is_held_out(row)]
        if 0 < len(kept) < len(rows):
            print(f"left out: {len(rows) - len(kept)} networks on held-out data; --where "
                  "dataset=NAME_holdout shows them", file=sys.stderr)
            rows = kept
    epochs = []
    if words.x == columns.EPOCH:
        epochs = history_of(args.results, "epochs", {row["id"] for row in rows})
        if not epochs:
            p.error("--x epoch: these results have no rows per epoch; of a CSV file NAME.csv they "
                    "are expected beside it, in NAME-epochs.csv")
    trials = choice.Trained(filter(scores.is_held_out, everything)) if args.best else None
    found = relation.relate(rows, words, epochs, trials)
    if not found.panels:
        p.error(f"nothing to draw: no network has a finite {words.y}, or none along {words.x}")
    if len(found.panels) > graphs.MOST:
        p.error(f"--panels {words.panels}: expected at most {graphs.MOST} values, got "
                f"{len(found.panels)}; choose some with --where")
    for line in found.said:
        print(line, file=sys.stderr)
    parts = [words.y, *(word for word in (words.x, words.hue, words.panels) if word),
             *args.kind, *(["best"] if args.best else []), *map(str, args.only)]
    title = args.title or relation.title_of(rows, words)
    yield "-".join(parts), graphs.KINDS[kind](found, title)


if __name__ == "__main__":
    commandline.run(main)
