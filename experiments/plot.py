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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from experiments import commandline

commandline.require("matplotlib", "experiments.plot")

from matplotlib.figure import Figure

from experiments.commandline import options
from experiments.report import figures, panels
from experiments.report import look as drawing
from experiments.report.panels import Rows, split
from experiments.store import results, selection
from experiments.store.histories import histories
from experiments.studies.thesis.protocol import in_study
from experiments.studies.thesis.published import Key, Published, read_published

__all__ = ["FIGURES", "drawn", "main"]

FIGURES = ("overview", "bits", "epochs", "ranges", "diagnostics")
_DEVIATION = "; bands: ±1 standard deviation"
# Drawn from the store's tables of these names.
_PER_BLOCK = {"ranges": figures.plot_ranges, "diagnostics": figures.plot_diagnostics}


def _words(name: str) -> str:
    """A variant's name in a file's name."""
    return "-".join(name.replace(",", " ").replace("/", " ").split())


def drawn(
    rows: Rows,
    sources: Sequence[Path],
    published: Mapping[Key, Published],
    kinds: Iterable[str] = FIGURES,
) -> Iterator[tuple[str, Figure]]:
    """All figures of finished replicas, each with the stem of its file's name.

    Args:
      rows: replicas.
      sources: where they come from, for what happened along the training.
      published: to be marked; may be empty.
      kinds: which of `FIGURES`.
    """
    # In this order: a cell whose longest training left no accuracy has none.
    accurate = [r for r in panels.longest(rows) if r["test_accuracy"] is not None]
    drawable = any(r["n_bits"] is not None for r in accurate)
    for kind in kinds:
        if kind == "overview" and drawable:
            for (dataset,), members in split(accurate, "dataset").items():
                study = all(map(in_study, results.by_cell(members)))
                epochs = "the thesis's number of epochs unless noted" if study else (
                    panels.trained(members))
                title = (f"Test accuracy on {dataset}, {panels.seeds_of(members)}; {epochs}"
                         f"{_DEVIATION}")
                yield f"overview-{dataset}", figures.plot_overview(members, title, published)
        elif kind == "bits" and drawable:
            for network, name, members in _variants(accurate):
                if any(r["n_bits"] is not None for r in members):
                    title = f"{name}, {panels.layers_of(*network)}, {_about(members)}{_DEVIATION}"
                    stem = "-".join(("bits", _words(name), *_in_file(network)))
                    yield stem, figures.plot_bits(members, title, published)
        elif kind == "epochs":
            for key, members in split(rows, "dataset", *panels.NETWORK).items():
                epochs = histories(sources, "epochs", {r["id"] for r in members})
                if epochs:
                    title = f"{key[0]}, {panels.layers_of(*key[1:])}, {_about(members)}"
                    stem = "-".join(("epochs", key[0], *_in_file(key[1:])))
                    yield stem, figures.plot_epochs(members, epochs, title)
        elif kind in _PER_BLOCK:
            for (dataset,), here in split(rows, "dataset").items():
                for network, name, members in _variants(here):
                    history = histories(sources, kind, {r["id"] for r in members})
                    if history:
                        title = (f"{name}, {dataset}, {panels.layers_of(*network)}, "
                                 f"{_about(members)}; bands: extent over seeds")
                        stem = "-".join((kind, _words(name), dataset, *_in_file(network)))
                        yield stem, _PER_BLOCK[kind](members, history, title)


def _in_file(network: tuple[str, int, int]) -> tuple[str, ...]:
    """A network in a file's name."""
    name, *shape = network
    return tuple(map(str, shape)) if name == "mlp" else (name,)


def _variants(rows: Rows) -> Iterator[tuple[tuple[str, int, int], str, Rows]]:
    for name, variant in panels.variants(rows).items():
        for network, members in split(variant, *panels.NETWORK).items():
            yield network, name, members


def _left_out(rows: Rows) -> list[str]:
    """What the figures do not show, in words."""
    blank = sum(r["test_accuracy"] is None for r in panels.longest(rows))
    said = [f"{blank} replicas without an accuracy, in overview and bits"] if blank else []
    return panels.left_out(rows) + said


def _about(rows: Rows) -> str:
    # The unquantized networks are in several variants.
    members = list({r["id"]: r for variant in panels.variants(rows).values() for r in variant}
                   .values())
    return f"{panels.trained(members)}, {panels.seeds_of(members)}"


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
    p.add_argument("--kind", nargs="+", type=options.one_of(FIGURES), default=FIGURES,
                   help=f"which figures: {' '.join(FIGURES)} [all]")
    p.add_argument("--format", nargs="+", type=options.one_of(["png", "pdf", "svg"]),
                   default=["png", "pdf"], help="of the files [png pdf]")
    selection.add_only(p)
    args = p.parse_args(arguments)
    first, written = args.results[0], []
    folder = args.figures or (first if first.is_dir() else first.parent)
    try:
        rows = selection.matching(results.merge(args.results), args.only)
        published = read_published(args.published) if args.published else {}
        if not rows:
            p.error("no finished replica has all the values of --only")
        folder.mkdir(parents=True, exist_ok=True)
        for stem, figure in drawn(rows, args.results, published, dict.fromkeys(args.kind)):
            files = drawing.save(figure, folder, stem, dict.fromkeys(args.format))
            print(" ".join(map(str, files)), flush=True)
            written += files
        for said in _left_out(rows):
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
