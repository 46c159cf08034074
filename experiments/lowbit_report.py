"""Reports what `python -m experiments.lowbit` found: a table per data set, a figure per network.

Networks on held-out data decide which settings count, where there are several, and have no other
part in the report. Writes table-DATASET (Markdown, CSV, LaTeX), lowbit-DATASET-NETWORK (accuracy
against bits per weight), memory-DATASET-NETWORK (against all memory kept while training),
writes-DATASET-NETWORK (against writes to a device) and, of several widths, widths-DATASET-DEPTH
(against the memory of the whole network; PNG, PDF); prints the tables and the names of the files.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments import commandline

commandline.require("matplotlib", "experiments.lowbit_report")

from experiments.commandline import options
from experiments.report import FORMATS, in_file, look, markdown
from experiments.store import results
from experiments.studies.lowbit import costs, figure, points, table_of, widths
from experiments.studies.thesis import read_published

__all__ = ["main"]

FIGURES = ("lowbit", "memory", "writes", "widths")  # with what their names begin


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = options.Parser(prog="experiments.lowbit_report", description=__doc__)
    p.add_argument("--results", type=Path, nargs="+", default=[Path("figures/lowbit.csv")],
                   metavar="PATH", help="result folders, .sqlite files or exported CSV files; a "
                   "later one's replicas replace an earlier one's [figures/lowbit.csv]")
    p.add_argument("--published", type=Path, default=None, metavar="FILE",
                   help="published results, the best of which to mark with crosses; as for "
                   "experiments.compare")
    p.add_argument("--folder", type=Path, default=None,
                   help="folder to write to [that of the first results; lowbit, beside it, if that "
                   "is a file]")
    p.add_argument("--figures", nargs="+", choices=FIGURES, default=FIGURES, help="to draw [all]")
    args = p.parse_args(arguments)
    try:
        found = points(results.merge(args.results))
        published = read_published(args.published) if args.published else {}
    except results.ResultsError as error:
        p.error(str(error))
    if not found:
        p.error("these results have networks on held-out data only, nothing to report yet: finish "
                "the study with 'python -m experiments.lowbit' and its --resume")
    first = args.results[0]
    folder = args.folder or (first if first.is_dir() else first.parent / "lowbit")
    tables = {d: table_of(found, d) for d in dict.fromkeys(point.cell.dataset for point in found)}
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for dataset, table in tables.items():
            for ending, render in FORMATS.items():
                files.append(folder / in_file(f"table-{dataset}.{ending}"))
                files[-1].write_text(render(table), encoding="utf-8")
        for module in (figure, costs, widths):
            for stem, drawn in module.figures_of(found, published):
                if stem.split("-")[0] in args.figures:
                    files += look.save(drawn, folder, stem, ("png", "pdf"))
                else:
                    look.discard(drawn)
    except OSError as error:
        p.error(f"cannot write {error.filename or folder}: {error.strerror}. "
                "Choose another --folder")
    print("\n".join([*map(markdown, tables.values()), *map(str, files)]))
    return 0


if __name__ == "__main__":
    commandline.run(main)
