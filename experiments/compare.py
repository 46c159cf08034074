"""Compares published accuracies, one run a cell, with ours over seeds.

Of our results only those with the thesis's settings count; where a cell was trained for several
numbers of epochs, the longest.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from experiments import commandline
from experiments.commandline import options
from experiments.report.formats import Column, Table, as_csv, markdown, terminal
from experiments.store import results
from experiments.studies.thesis.agreement import (
    MARGIN,
    Comparison,
    compare,
    select,
    summarize,
    worst,
)
from experiments.studies.thesis.published import OPTIONAL, REQUIRED, Key, Published, read_published

__all__ = ["cells_table", "main", "notes_on", "short_table", "summary_table", "tables_of"]


def _by(comparisons: Iterable[Comparison], *names: str) -> dict[tuple, list[Comparison]]:
    groups: dict[tuple, list[Comparison]] = {}
    for c in comparisons:
        groups.setdefault(tuple(getattr(c.key, name) for name in names), []).append(c)
    return groups


def summary_table(comparisons: Sequence[Comparison], title: str, *names: str) -> Table:
    """A summary for all combinations of the key's columns `names`, and one of all."""
    groups = _by(comparisons, *names)
    if len(groups) > 1:
        groups[("all", *[""] * (len(names) - 1))] = list(comparisons)
    columns = (
        *map(Column, names), Column("cells"), Column("mean difference"),
        Column("mean absolute difference"), Column("rank correlation", 3), Column("inside, %", 1),
        Column("shortened"),
    )
    rows = tuple(
        (*group, *summarize(members), sum(c.shortened for c in members))
        for group, members in groups.items()
    )
    return Table(title, (), columns, rows)


def cells_table(comparisons: Iterable[Comparison], title: str) -> Table:
    """A row for every comparison, with all that is known."""
    names = (*Key._fields, "published", "mean", "std", "min", "max", "seeds", "difference",
             "inside", "epochs", "shortened", "diverged", "loss", "published_loss")
    rows = tuple(
        (*c.key._replace(n_bits=options.spell(c.key.n_bits)), c.published.accuracy, c.mean,
         c.deviation, c.low, c.high, c.count, c.difference, _yes(c.inside), c.epochs,
         _yes(c.shortened), c.diverged, c.loss, c.published.loss)
        for c in comparisons
    )
    return Table(title, (), tuple(map(Column, names)), rows)


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


def short_table(comparisons: Iterable[Comparison], title: str) -> Table:
    """A row for every comparison, for reading: narrower than `cells_table`."""
    names = ("cell", "published", "mean", "std", "min", "max", "seeds", "difference", "inside",
             "diverged", "epochs")
    rows = tuple(
        (c.key.label, c.published.accuracy, c.mean, c.deviation, c.low, c.high, c.count,
         c.difference, _yes(c.inside), c.diverged, c.epochs)
        for c in comparisons
    )
    return Table(title, (), tuple(map(Column, names)), rows)


def tables_of(comparisons: Sequence[Comparison], count: int = 10) -> list[Table]:
    """What the command prints: summaries, the worst cells of each algorithm, float networks."""
    quantized = [c for c in comparisons if c.key.n_bits is not None]
    floats = [c for c in comparisons if c.key.n_bits is None]
    tables = []
    if quantized:
        listed = [c for members in _by(quantized, "algorithm").values()
                  for c in worst(members, count)]
        tables += [
            summary_table(quantized, "Quantized networks by algorithm", "algorithm"),
            summary_table(quantized, "By algorithm, quantizer and scope", "algorithm", "quantizer",
                          "scope"),
            short_table(listed, f"The {count} largest differences of each algorithm"),
        ]
    if floats:
        tables += [
            summary_table(floats, "Unquantized networks by algorithm", "algorithm"),
            short_table(floats, "Unquantized networks"),
        ]
    return tables


def notes_on(published: Mapping[Key, Published], comparisons: Sequence[Comparison]) -> list[str]:
    """What to know before reading the tables."""
    notes = [
        f"{len(comparisons)} of {len(published)} published test accuracies have results of ours "
        "beside them. Differences are ours (mean over seeds) minus published, in percentage "
        f"points; inside: the published value is in our range over seeds, widened by {MARGIN:g} "
        "points on each side; rank correlation: Spearman's, over cells."
    ]
    short = sum(c.shortened for c in comparisons)
    if short:
        notes.append(f"{short} of ours are shortened: 'n of m' epochs are n where the thesis "
                     "had m.")
    diverged = sum(c.diverged for c in comparisons)
    if diverged:
        notes.append(f"{diverged} of our replicas diverged and count with their last finite "
                     "metrics.")
    return notes


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = options.Parser(prog="experiments.compare", description=__doc__)
    p.add_argument("--published", type=Path, required=True, metavar="FILE",
                   help="CSV file of published results; columns: "
                   f"{', '.join(REQUIRED)}; optional: {', '.join(OPTIONAL)}")
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
        published = read_published(args.published)
        rows = results.merge(args.results)
    except results.ResultsError as error:
        p.error(str(error))
    comparisons = compare(published, select(rows, args.gradient_bits))
    if not comparisons:
        p.error(f"none of the {len(rows)} finished replicas is of a cell in {args.published} with "
                f"the thesis's settings: expected for example {next(iter(published)).label}")
    notes, tables = notes_on(published, comparisons), tables_of(comparisons, args.worst)
    texts = {
        args.csv: as_csv(cells_table(comparisons, "")),
        args.markdown: "\n".join([*(f"{note}\n" for note in notes), *map(markdown, tables)]),
    }
    files = [path for path in texts if path is not None]
    try:
        for path in files:
            path.write_text(texts[path], encoding="utf-8")
    except OSError as error:
        p.error(f"cannot write {path}: {error.strerror}")
    console = Console(width=None if sys.stdout.isatty() else 160)
    for part in (*notes, *map(terminal, tables)):
        console.print(part, markup=False)
    for path in files:
        print(path)
    return 0


if __name__ == "__main__":
    commandline.run(main)
