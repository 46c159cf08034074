"""Puts exported results back into a result store, so that --resume goes on from what is there.

The inverse of `experiments.export`. What the store has finished, or another program is training,
stays as it is.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments import commandline
from experiments.commandline import options
from experiments.commandline.options import counted
from experiments.store import HISTORIES, Store, StoreError, restoring, results

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = options.Parser(prog="experiments.restore", description=__doc__)
    p.add_argument("--results", type=Path, nargs="+", default=[Path("figures/thesis.csv")],
                   metavar="PATH", help="exported CSV files, with NAME-epochs and the like "
                   "beside NAME.csv if there are any, result folders or .sqlite files; a later "
                   "one's replicas replace an earlier one's [figures/thesis.csv]")
    p.add_argument("--out", type=Path, default=Path("results"),
                   help="folder of the result store, made if needed [results]")
    args = p.parse_args(arguments)
    try:
        finished = restoring.finished_in(args.results)  # all is checked before anything is made
        with Store(args.out) as store:
            added = restoring.restore(finished, store)
            there = store.finished(f.replica["id"] for f in finished) - added
    except (results.ResultsError, StoreError) as error:
        p.error(str(error))
    new = [f.histories for f in finished if f.replica["id"] in added]
    known = ", ".join(f"{sum(bool(h[table]) for h in new)} with {table}" for table in HISTORIES)
    taken = len(finished) - len(added) - len(there)
    others = f", being trained by another program: {taken}" if taken else ""
    print(f"{counted(len(added), 'replica')} added ({known}), "
          f"{len(there)} were there already{others}: {store.path}")
    return 0


if __name__ == "__main__":
    commandline.run(main)
