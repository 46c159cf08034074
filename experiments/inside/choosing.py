"""Which trained network: its file, the beginning of its id, or conditions that leave one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from experiments.cells import Cell
from experiments.commandline import options
from experiments.store import Store, results, selection
from experiments.sweep import file_of

__all__ = ["ChoiceError", "chosen", "folder_of"]

_LISTED = 10
_COLUMNS = (*(f.name for f in fields(Cell)), "seed")


class ChoiceError(Exception):
    """No network, or more than one; the message says why and what to do."""


def chosen(
    run: str, folder: Path, conditions: Sequence[selection.Condition] = (), best: bool = False
) -> Path:
    """The file of a network.

    Args:
      run: the path of such a file, or the beginning of a replica's id; empty: of any.
      folder: of results.
      conditions: that its replica meets.
      best: of several, the one with the best test accuracy.

    Raises:
      ChoiceError: none, or several.
      StoreError: no results in the folder.
    """
    if run.endswith(".npz"):
        if conditions or best:
            raise ChoiceError(f"{run} is one network: --only and --best choose from a result "
                              "folder, without it")
        return Path(run)
    with Store(folder, create=False) as store:
        known = store.replicas()
    rows = [row for row in selection.matching(known, conditions) if row["id"].startswith(run)]
    kept = [row for row in rows if file_of(folder, row["id"]).is_file()]
    if not rows:
        asked = [f"an id that begins with {run}"] * bool(run) + list(map(str, conditions))
        raise ChoiceError(f"none of {len(known)} replicas in {folder} has {' and '.join(asked)}"
                          f"{_listed(known)}" if asked else f"no replica in {folder} yet")
    if not kept:
        begun = all(row["status"] not in results.FINISHED for row in rows)
        raise ChoiceError(
            f"{_count(len(rows))} in {folder} {'fits' if len(rows) == 1 else 'fit'}, of which " + (
                "none is trained to the end: the command that began it goes on with --resume"
                if begun else "no trained network was kept: train again with --save final, in "
                "another folder, --out"))
    if best:
        kept = [max(kept, key=lambda row: _accuracy(row, -math.inf))]
    if len(kept) > 1:
        raise ChoiceError(
            f"{_count(len(kept))} in {folder} fit, expected one: give more of the id, or "
            f"{_difference(kept)}, or --best for the best test accuracy{_listed(kept)}")
    return file_of(folder, kept[0]["id"])


def folder_of(file: Path, name: str) -> Path:
    """Where to write what is seen of a network: in the results that it is of, or beside it."""
    kept = len(file.parents) > 1 and file == file_of(file.parents[1], file.stem)
    above = file.parents[1] if kept else file.parent
    return above / "inspect" / name


def _count(count: int) -> str:
    return f"{count} replica{'s' * (count != 1)}"


def _accuracy(row: Mapping[str, Any], unknown: float) -> float:
    return unknown if row["test_accuracy"] is None else row["test_accuracy"]


def _difference(rows: Sequence[Mapping[str, Any]]) -> str:
    """A condition that would leave fewer of them, for every column in which they differ."""
    told = []
    for column in _COLUMNS:
        values = list(dict.fromkeys(options.spell(row[column], column) for row in rows))
        if len(values) > 1:
            told.append(f"{column}={'|'.join(values[:4])}{'|...' * (len(values) > 4)}")
    return f"--only with {' '.join(told[:6])}"


def _listed(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [""]
    for row in rows[:_LISTED]:
        accuracy = row["test_accuracy"]
        lines.append("  " + "  ".join((
            row["id"], row["algorithm"], row["dataset"], f"bits {options.spell(row['n_bits'])}",
            row["update"], f"seed {row['seed']}",
            "no accuracy" if accuracy is None else f"{accuracy:.1f} %")))
    if len(rows) > _LISTED:
        lines.append(f"  and {len(rows) - _LISTED} more")
    return "\n".join(lines)
