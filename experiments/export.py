"""Writes a result store as CSV, one row per replica (or per epoch, or per tensor or block)."""

import contextlib
import csv
import gzip
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from experiments import commandline
from experiments.commandline import options
from experiments.store import HISTORIES, Store, StoreError, selection

__all__ = ["export", "main"]

TABLES = ("replicas", *HISTORIES)
# First what identifies a replica and what it reached, then the rest as the store has it.
_LEADING = (
    "replica", "epoch", "tensor", "block", "phase", "algorithm", "dataset", "n_layers",
    "hidden_width", "n_bits", "quantizer", "scope", "update", "seed", "epochs", "status",
    "test_accuracy", "test_loss", "train_accuracy", "train_loss", "seconds",
)


def export(
    store: Store,
    table: str,
    file: TextIO,
    only: Sequence[selection.Condition] = (),
    digits: int | None = None,
) -> int:
    """Writes a table of the store to an open text file; returns the number of rows.

    Args:
      table: "replicas", or a history, whose rows carry the replica's id.
      file: open for writing, with newline="".
      only: conditions on the replicas.
      digits: significant digits of numbers with a fraction; None for all.
    """
    replicas = selection.matching(store.replicas(), only)
    if table == "replicas":
        rows = [row | {"n_bits": options.spell(row["n_bits"])} for row in replicas]
    else:
        rows = store.history(table, [row["id"] for row in replicas])
    known = store.columns(table)
    leading = [c for c in _LEADING if c in known]
    columns = leading + [c for c in known if c not in leading]
    writer = csv.writer(file)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_rounded(row[c], digits) for c in columns])
    return len(rows)


def _rounded(value: Any, digits: int | None) -> Any:
    return f"{value:.{digits}g}" if digits and isinstance(value, float) else value


@contextlib.contextmanager
def _open(path: Path) -> Iterator[TextIO]:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = options.Parser(prog="experiments.export", description=__doc__)
    p.add_argument("--out", type=Path, default=Path("results"), help="folder of the result store")
    p.add_argument("--csv", type=Path, default=None,
                   help="file to write, compressed if it ends in .gz (default: print)")
    p.add_argument("--table", type=options.one_of(TABLES), default="replicas", help="what a row is")
    p.add_argument("--digits", type=options.whole(1, 17), default=None,
                   help="significant digits of numbers with a fraction [all]")
    selection.add_only(p)
    args = p.parse_args(arguments)
    try:
        with Store(args.out, create=False) as store:
            if not store.columns(args.table):
                p.error(f"{store.path} has no table {args.table}: it is of an older version, which "
                        "had none")
            if args.csv is None:
                export(store, args.table, sys.stdout, args.only, args.digits)
                return 0
            with _open(args.csv) as file:
                count = export(store, args.table, file, args.only, args.digits)
    except StoreError as error:
        p.error(str(error))
    except BrokenPipeError:
        return 0
    except OSError as error:
        p.error(f"cannot write {args.csv}: {error.strerror}")
    print(f"{count} rows in {args.csv}")
    return 0


if __name__ == "__main__":
    commandline.run(main)
