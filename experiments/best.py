"""The best cell of every group of some results, and the command that trains it.

Best by held-out accuracy, of networks trained on NAME_holdout; of a group that has none by that on
the test set, which is optimistic. Beside it is the test accuracy of the same cell on the whole data
set, if that was trained, with its epochs where they are others.
"""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from experiments import commandline
from experiments.cells import command_of
from experiments.commandline import options
from experiments.report import Column, Rows, Table, choice, columns, spread, terminal
from experiments.store import results, selection

__all__ = ["main"]

_TITLE = "Best cells: accuracy in percent, mean {} standard deviation over seeds"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    selection.meet(arguments)
    p = options.Parser(prog="experiments.best", description=__doc__)
    p.add_argument("--results", type=Path, nargs="+", default=[Path("results")], metavar="PATH",
                   help="result folders, .sqlite files or exported CSV files; a later one's "
                   "replicas replace an earlier one's [results]")
    p.add_argument("--by", nargs="+", type=columns.word(columns.grouping()), metavar="COLUMN",
                   help="a group has the same values of these columns "
                   f"[{' '.join(choice.GROUPS)}, as far as they differ]")
    p.add_argument("--top", type=options.whole(1), default=1, metavar="N",
                   help="cells of each group [1]")
    selection.add_only(p)
    args = p.parse_args(arguments)
    try:
        everything = results.merge(args.results)
        rows = _asked(everything, args.only)
        if not rows:
            p.error(selection.nobody(everything, args.only, "finished replica"))
        unfinished = results.unfinished(_asked(results.everything(args.results), args.only))
        by = list(dict.fromkeys(args.by or choice.groups_in(rows)))
        found = choice.ranked(rows, by, everything)
    except results.ResultsError as error:
        p.error(str(error))
    best = {key: cells[: args.top] for key, cells in found.items()}
    # Trained among these results, it has its test accuracy beside the held-out one.
    folders = [path for path in args.results if path.is_dir()]
    where = f" --out {shlex.quote(str(folders[-1]))}" if folders else ""
    console = Console(emoji=False, width=None if sys.stdout.isatty() else 200)
    console.print(terminal(_table(by, found, best)))
    for line in filter(None, [*_notes(found), unfinished]):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for key, cells in best.items():
        group = [columns.told(name, value) for name, value in zip(by, key, strict=True)]
        for rank, own in enumerate(cells, 1):
            place = [f"place {rank}"] if args.top > 1 else [] if group else ["best"]
            print(f"\n# {', '.join([*group, *place])}\n{command_of(own.cell)}{where}")
    return 0


def _asked(rows: Rows, conditions: Sequence[selection.Condition]) -> Rows:
    """Rows that meet the conditions, or would on the whole data set."""
    return [row for row in rows if selection.matching([row, choice.whole(row)], conditions)]


def _table(
    by: Sequence[str], found: Mapping[tuple, Sequence[choice.Ranked]],
    best: Mapping[tuple, Sequence[choice.Ranked]],
) -> Table:
    """A row for each cell: its group, what was chosen in some group, accuracies."""
    differing = {name for cells in found.values() for name in columns.differing(
        [choice.any_of(own) for own in cells], {*by, "dataset"})}
    chosen = [name for name in columns.grouping() if name in differing]
    held_out = any(own.held_out for cells in best.values() for own in cells)
    entries = []
    for key, cells in best.items():
        for own in cells:
            row = choice.any_of(own)
            entries.append((
                *map(columns.spell, key),
                *(columns.spell(columns.value_of(row, name)) for name in chosen),
                *([spread(r["test_accuracy"] for r in own.held_out), len(own.held_out) or None]
                  if held_out else []),
                _tested(own), len(own.tested) or None))
    names = (*by, *chosen, *(["held-out", "seeds"] if held_out else []), "test", "seeds")
    return Table(_TITLE.format(options.plus_minus()), (), tuple(map(Column, names)),
                 tuple(entries))


def _tested(own: choice.Ranked) -> str:
    text = spread(r["test_accuracy"] for r in own.tested)
    lengths = {(r["epochs"], r["readout_epochs"]) for r in own.tested}
    if lengths <= {(own.cell.epochs, own.cell.readout_epochs)}:
        return text
    return f"{text} ({' + '.join(str(n) for n in lengths.pop() if n)} epochs)"


def _notes(found: Mapping[tuple, Sequence[choice.Ranked]]) -> Iterator[str]:
    counts = [len(cells) for cells in found.values()]
    several = "-".join(str(n) for n in sorted({min(counts), max(counts)}))
    noun = "cell" if several == "1" else "cells"
    yield f"Chosen among {several} {noun}{'' if len(found) == 1 else ' each'}."
    chosen = [cells for cells in found.values() if len(cells) > 1]  # of a single one nothing was
    tested = sum(not cells[0].held_out for cells in chosen)
    if tested:
        which = "These are" if tested == len(found) else f"{tested} of {len(found)} groups are"
        yield (f"{which} without held-out results: chosen on the test set, which is optimistic. To "
               "choose on held-out data, train on --dataset NAME_holdout.")


if __name__ == "__main__":
    commandline.run(main)
