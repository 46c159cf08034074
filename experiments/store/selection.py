"""Which replicas of a store or file: conditions from the command line."""

import argparse
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from experiments.cells import Cell, by_flag, kinds
from experiments.commandline import options
from experiments.store import results

__all__ = ["Condition", "add_only", "matching", "meet", "nobody"]

_LISTED = 6  # values of a column that a message names
_COLUMNS = (*(f.name for f in fields(Cell)), "seed", "status")


class Condition(NamedTuple):
    """A column must have one of some values, written as on the command line."""

    column: str
    values: frozenset[str]

    def __str__(self) -> str:
        """As on the command line: the longest text has all others in it."""
        return f"{self.column}={max(self.values, key=len)}"

    def holds(self, value: Any) -> bool:
        """Is it one of them? Numbers are compared as numbers: 60 is 60.0."""
        told = options.spell(value, self.column)
        return told in self.values or _number(told) in map(_number, self.values)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _condition(text: str) -> Condition:
    column, equals, values = text.partition("=")
    if not equals or not values:
        raise argparse.ArgumentTypeError(
            f"expected COLUMN=VALUE or COLUMN=VALUE,VALUE like n_bits=2,float; got {text!r}"
        )
    column = by_flag(column)
    if column not in _COLUMNS:
        options.one_of([*_COLUMNS, *map(results.number_column, kinds.all_numbers())])(column)
    # A table of steps in a memory's name has commas itself.
    return Condition(column, frozenset([values, *values.split(",")]))


def meet(arguments: Sequence[str] | None, *flags: str) -> None:
    """Enters memories of one's own that results have: their numbers are words from then on.

    Results that cannot be read are refused where they are wanted.

    Args:
      arguments: of a command line.
      flags: that say which results [--results]; "results" if none is there.
    """
    p = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    p.add_argument(*(flags or ["--results"]), dest="sources", nargs="+", type=Path,
                   default=[Path("results")])
    with contextlib.suppress(argparse.ArgumentError, results.ResultsError):
        for path in p.parse_known_args(arguments)[0].sources:
            kinds.meet(results.memories(path))


def add_only(p: options.Parser) -> None:
    """Adds the flag --only, also spelled --where: a list of conditions, all of which must hold."""
    p.add_argument(
        "--only", "--where", dest="only", nargs="+", action="extend", type=_condition, default=[],
        metavar="COLUMN=VALUE[,VALUE]",
        help="only replicas with these values, like dataset=mnist n_bits=2,float seed=0, or with "
        "these numbers of their memory, like dw_min=0.001 [all]",
    )


def matching(
    rows: Iterable[Mapping[str, Any]], conditions: Sequence[Condition]
) -> list[Mapping[str, Any]]:
    """Rows that meet all conditions."""
    return [row for row in rows
            if all(c.holds(_value(row, c.column)) for c in conditions)]


def nobody(
    rows: Iterable[Mapping[str, Any]], conditions: Sequence[Condition], kind: str = "replica"
) -> str:
    """What to say where no row meets all conditions: them, and what there is of one that none does.

    Args:
      rows, conditions: as for `matching`.
      kind: of rows.
    """
    rows = list(rows)
    told = []
    for condition in conditions:
        known = {options.spell(value, condition.column): value
                 for value in (_value(row, condition.column) for row in rows)}
        if any(map(condition.holds, known.values())):  # not for lack of this one
            told.append(str(condition))
            continue
        listed = sorted(known, key=lambda text: (isinstance(_number(text), str), _number(text)))
        more = ", ..." if len(known) > _LISTED else ""
        told.append(f"{condition} (there is {', '.join(listed[:_LISTED])}{more})")
    return f"no {kind} has {' and '.join(told)}" if told and rows else f"no {kind}"


def _value(row: Mapping[str, Any], column: str) -> Any:
    return row[column] if column in row else results.number_in(row, column)
