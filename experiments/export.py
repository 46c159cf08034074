"""Writes a result store as CSV, one row per replica (or per epoch, or per tensor or block)."""

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import commandline
from experiments.commandline import options
from experiments.store import Store, StoreError, exporting, selection

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    selection.meet(arguments, "--results", "--out")
    p = options.Parser(prog="experiments.export", description=__doc__)
    p.add_argument("--results", "--out", dest="out", metavar="FOLDER", type=Path,
                   default=Path("results"), help="of the result store [results]")
    p.add_argument("--csv", type=Path, default=None,
                   help="file to write, compressed if it ends in .gz (default: print)")
    p.add_argument("--table", type=options.one_of(exporting.TABLES), default="replicas",
                   help=f"what a row is: {', '.join(exporting.TABLES)} [replicas]")
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
                exporting.export(store, args.table, sys.stdout, args.only, args.digits)
                return 0
            with exporting.writing(args.csv) as file:
                count = exporting.export(store, args.table, file, args.only, args.digits)
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
