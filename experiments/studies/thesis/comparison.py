"""Tables of how published accuracies, one run a cell, agree with ours over seeds."""

from collections.abc import Iterable, Mapping, Sequence

from experiments.commandline import options
from experiments.report import Column, Table
from experiments.studies.thesis.agreement import MARGIN, Comparison, summarize, worst
from experiments.studies.thesis.published import Key, Published

__all__ = ["cells_table", "notes_on", "short_table", "summary_table", "tables_of"]


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
        (*{**c.key._asdict(), "n_bits": options.spell(c.key.n_bits)}.values(),
         c.published.accuracy, c.mean,
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
    lost = sum(c.lost for c in comparisons)
    if lost:
        notes.append(f"{lost} more have no finite accuracy and are left out.")
    return notes
