"""Writes the thesis's tables as Markdown, CSV and LaTeX: float accuracies, and all cells.

Numbers are means over seeds with 95 % confidence intervals (Student's t). A file of float
accuracies per data set, a file of cells per data set and algorithm, each in the three formats.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import commandline
from experiments.commandline import options
from experiments.report import FORMATS, in_file, markdown, tables_of
from experiments.store import results
from experiments.studies.thesis import THESIS

__all__ = ["main"]

_SMALL = 20  # lines of a table of cells, up to which the terminal shows it too


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = options.Parser(prog="experiments.tables", description=__doc__)
    p.add_argument("--results", type=Path, nargs="+", default=[Path("figures/thesis.csv")],
                   metavar="PATH", help="result folders, .sqlite files or exported CSV files; a "
                   "later one's replicas replace an earlier one's [figures/thesis.csv]")
    p.add_argument("--folder", type=Path, default=None,
                   help="folder to write to [tables, beside the first of the results]")
    args = p.parse_args(arguments)
    try:
        tables = tables_of(results.merge(args.results), THESIS)
        unfinished = results.unfinished(results.everything(args.results))
    except results.ResultsError as error:
        p.error(str(error))
    if unfinished:
        tables = {stem: table._replace(notes=(f"{unfinished.capitalize()}.", *table.notes))
                  for stem, table in tables.items()}
    first = args.results[0]
    folder = args.folder or (first if first.is_dir() else first.parent) / "tables"
    files = {folder / in_file(f"{stem}.{ending}"): render(table)
             for stem, table in tables.items() for ending, render in FORMATS.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        p.error(f"cannot write {error.filename or folder}: {error.strerror}. "
                "Choose another --folder")
    for stem, table in tables.items():
        if stem.startswith("float-") or len(table.rows) <= _SMALL:
            print(markdown(table))
    print("\n".join(map(str, files)))
    if unfinished:
        print(unfinished, file=sys.stderr)
    return 0


if __name__ == "__main__":
    commandline.run(main)
