"""Writes a result store as CSV, one row per replica (or per epoch, or per tensor and epoch)."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import options
from experiments.store import Store, StoreError

__all__ = ["export", "main"]

# First what identifies a replica and what it reached, then the rest as the store has it.
_LEADING = (
    "algorithm", "dataset", "n_layers", "hidden_width", "n_bits", "quantizer", "scope", "update",
    "seed", "epochs", "status", "test_accuracy", "test_loss", "train_accuracy", "train_loss",
    "seconds",
)


def export(store: Store, table: str, file) -> int:
    """Writes a table of the store to an open text file; returns the number of rows.

    Args:
      table: "replicas", "epochs" or "ranges"; the last two carry the replica's id.
      file: open for writing, with newline="".
    """
    rows = getattr(store, table)()
    if table == "replicas":
        rows = [row | {"n_bits": options.spell(row["n_bits"])} for row in rows]
    known = store.columns(table)
    leading = [c for c in _LEADING if c in known]
    columns = leading + [c for c in known if c not in leading]
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    writer.writerows(rows)
    return len(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = options.Parser(prog="experiments.export", description=__doc__)
    p.add_argument("--out", type=Path, default=Path("results"), help="folder of the result store")
    p.add_argument("--csv", type=Path, default=None, help="file to write (default: print)")
    p.add_argument(
        "--table", type=options.one_of(["replicas", "epochs", "ranges"]), default="replicas",
        help="what a row is",
    )
    args = p.parse_args(arguments)
    try:
        with Store(args.out, create=False) as store:
            if args.csv is None:
                export(store, args.table, sys.stdout)
                return 0
            with args.csv.open("w", newline="") as file:
                count = export(store, args.table, file)
    except StoreError as error:
        p.error(str(error))
    except BrokenPipeError:
        return 0
    except OSError as error:
        p.error(f"cannot write {args.csv}: {error.strerror}")
    print(f"{count} rows in {args.csv}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
