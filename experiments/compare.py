"""Compares published accuracies, one run a cell, with ours over seeds.

Of our results only those with the thesis's settings count; where a cell was trained for several
numbers of epochs, the longest.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments import commandline
from experiments.commandline import options
from experiments.report import as_csv, markdown, terminal
from experiments.store import results
from experiments.studies import thesis
from experiments.studies.thesis import comparison

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = options.Parser(prog="experiments.compare", description=__doc__)
    p.add_argument("--published", type=Path, required=True, metavar="FILE",
                   help="CSV file of published results; columns: "
                   f"{', '.join(thesis.REQUIRED)}; optional: {', '.join(thesis.OPTIONAL)}")
    p.add_argument("--results", type=Path, nargs="+", required=True, metavar="PATH",
                   help="result folders, .sqlite files or exported CSV files; a later one's "
                   "replicas replace an earlier one's")
    p.add_argument("--gradient-bits", type=options.bits, default=None,
                   help="compare dni networks trained with gradients of so many bits [float]")
    p.add_argument("--worst", type=options.whole(1), default=10,
                   help="cells to list for each algorithm [10]")
    p.add_argument("--csv", type=Path, metavar="FILE", help="write a row per cell")
    p.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    args = p.parse_args(arguments)
    try:
        published = thesis.read_published(args.published)
        rows = results.merge(args.results)
    except results.ResultsError as error:
        p.error(str(error))
    comparisons = thesis.compare(published, thesis.select(rows, args.gradient_bits))
    if not comparisons:
        p.error(f"none of the {len(rows)} finished replicas is of a cell in {args.published} with "
                f"the thesis's settings: expected for example {next(iter(published)).label}")
    notes = comparison.notes_on(published, comparisons)
    tables = comparison.tables_of(comparisons, args.worst)
    texts = {
        args.csv: as_csv(comparison.cells_table(comparisons, "")),
        args.markdown: "\n".join([*(f"{note}\n" for note in notes), *map(markdown, tables)]),
    }
    files = [path for path in texts if path is not None]
    try:
        for path in files:
            path.write_text(texts[path], encoding="utf-8")
    except OSError as error:
        p.error(f"cannot write {path}: {error.strerror}")
    console = Console(emoji=False, width=None if sys.stdout.isatty() else 160)
    for part in (*notes, *map(terminal, tables)):
        console.print(part, markup=False)
    for path in files:
        print(path)
    return 0


if __name__ == "__main__":
    commandline.run(main)
