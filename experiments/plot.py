"""Draws results, as PNG and PDF files.

overview-DATASET: test accuracy against bits, a panel for every algorithm and network.
bits-ALGORITHM-NETWORK: the same for one of them, a panel per quantizer.
epochs-DATASET-NETWORK: accuracy and loss along the training.
ranges-ALGORITHM-DATASET-NETWORK: smallest and largest weights along the training.
diagnostics-ALGORITHM-DATASET-NETWORK: what went on inside, of runs with --diagnostics.

Of a CSV file, NAME.csv, the last three need NAME-epochs.csv and so on beside it (or .csv.gz).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import commandline

commandline.require("matplotlib", "experiments.plot")

from experiments.commandline import options
from experiments.report import gallery, look
from experiments.store import results, selection
from experiments.studies import thesis

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = options.Parser(prog="experiments.plot", description=__doc__,
                       formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--results", type=Path, nargs="+", default=[Path("results")], metavar="PATH",
                   help="result folders, .sqlite files or exported CSV files; a later one's "
                   "replicas replace an earlier one's [results]")
    p.add_argument("--figures", type=Path, default=None,
                   help="folder to write to [that of the first results]")
    p.add_argument("--published", type=Path, default=None, metavar="FILE",
                   help="published results to mark with crosses; as for experiments.compare")
    p.add_argument("--kind", nargs="+", type=options.one_of(gallery.FIGURES),
                   default=gallery.FIGURES,
                   help=f"which figures: {' '.join(gallery.FIGURES)} [all]")
    p.add_argument("--format", nargs="+", type=options.one_of(["png", "pdf", "svg"]),
                   default=["png", "pdf"], help="of the files [png pdf]")
    selection.add_only(p)
    args = p.parse_args(arguments)
    first, written = args.results[0], []
    folder = args.figures or (first if first.is_dir() else first.parent)
    try:
        rows = selection.matching(results.merge(args.results), args.only)
        published = thesis.read_published(args.published) if args.published else {}
        if not rows:
            p.error("no finished replica has all the values of --only")
        unfinished = results.unfinished(
            selection.matching(results.everything(args.results), args.only))
        folder.mkdir(parents=True, exist_ok=True)
        study = thesis.with_published(published)
        for stem, figure in gallery.drawn(rows, args.results, study, dict.fromkeys(args.kind)):
            if unfinished:
                look.remark(figure, unfinished)
            files = look.save(figure, folder, stem, dict.fromkeys(args.format))
            print(" ".join(map(str, files)), flush=True)
            written += files
        if unfinished:
            print(unfinished, file=sys.stderr)
        for said in gallery.left_out(rows):
            print(f"left out: {said}", file=sys.stderr)
    except results.ResultsError as error:
        p.error(str(error))
    except BrokenPipeError:  # nobody reads the names of the files any more
        raise
    except OSError as error:
        p.error(f"cannot write figures: {error}")
    if not written:
        p.error("nothing to draw: these results have no accuracies (overview, bits), or no rows "
                "per epoch (epochs, ranges; diagnostics of runs with --diagnostics)")
    return 0


if __name__ == "__main__":
    commandline.run(main)
