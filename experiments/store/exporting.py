"""Writes a result store as CSV, plain or compressed: the same bytes for the same results."""

import contextlib
import csv
import functools
import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from experiments.cells import account_of, kinds
from experiments.commandline import options
from experiments.store import results, selection
from experiments.store.database import Store
from experiments.store.schema import HISTORIES

__all__ = ["TABLES", "export", "writing"]

TABLES = ("replicas", *HISTORIES)
# First what identifies a replica and what it reached, then the rest as the store has it.
_LEADING = (
    "replica", "epoch", "tensor", "block", "phase", "algorithm", "dataset", "n_layers",
    "hidden_width", "n_bits", "quantizer", "scope", "update", "seed", "epochs", "status",
    "test_accuracy", "test_loss", "train_accuracy", "train_loss", "seconds", "writes",
)


def export(
    store: Store,
    table: str,
    file: TextIO,
    only: Sequence[selection.Condition] = (),
    digits: int | None = None,
) -> int:
    """Writes a table of the store to an open text file; returns the number of rows.

    Replicas have columns besides that follow from their configuration: numbers.NAME of memories, if
    some replica sets them, and the bits of memory per weight.

    Args:
      table: "replicas", or a history, whose rows carry the replica's id.
      file: open for writing, with newline="".
      only: conditions on the replicas.
      digits: significant digits of numbers with a fraction; None for all.
    """
    replicas = selection.matching(store.replicas(), only)
    known = store.columns(table)
    if table == "replicas":
        names, more = _derived(replicas)
        rows = [{**row, "n_bits": options.spell(row["n_bits"]),
                 **dict(zip(names, values, strict=True))}
                for row, values in zip(replicas, more, strict=True)]
        known = [*known, *names]
    else:
        rows = store.history(table, [row["id"] for row in replicas])
    leading = [c for c in _LEADING if c in known]
    columns = leading + [c for c in known if c not in leading]
    writer = csv.writer(file)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_rounded(row[c], digits) for c in columns])
    return len(rows)


def _derived(replicas: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[tuple]]:
    """Columns that follow from a configuration, and their values."""
    numbers = sorted({name for row in replicas for name in kinds.numbers(row["numbers"])})
    values, account = [], functools.cache(account_of)  # the same for all seeds
    for row in replicas:
        own = (kinds.number_of(row["update"], row["numbers"], name) for name in numbers)
        values.append((*own, *(account(results.cell_of(row)) or (None, None))))
    return [*(f"numbers.{name}" for name in numbers), *results.DERIVED], values


def _rounded(value: Any, digits: int | None) -> Any:
    return f"{value:.{digits}g}" if digits and isinstance(value, float) else value


@contextlib.contextmanager
def writing(path: Path) -> Iterator[TextIO]:
    """For writing; compressed where the name ends in .gz, the same bytes for the same text."""
    if path.suffix != ".gz":
        with path.open("w", newline="") as file:
            yield file
        return
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, newline="") as file,
    ):
        yield file
