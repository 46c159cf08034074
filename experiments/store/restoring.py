"""Puts finished replicas of any source into a result store, with all that is known of them.

What the store has finished, or another program is training, stays as it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from experiments.cells import Replica
from experiments.store import results
from experiments.store.database import Store
from experiments.store.histories import history_of
from experiments.store.schema import HISTORIES

__all__ = ["Finished", "finished_in", "restore"]

_AT_ONCE = 200  # replicas a transaction: a lock of moments, and few waits for the disk


class Finished(NamedTuple):
    """A finished replica and, by table, what is known of its training."""

    replica: Mapping[str, Any]
    histories: Mapping[str, Sequence[Mapping[str, Any]]]


def finished_in(paths: Iterable[Path]) -> list[Finished]:
    """The finished replicas of some sources with all that is known of their training.

    Args:
      paths: as `results.merge` takes them; of what several sources have, the last one's.

    Raises:
      ResultsError: a file cannot be read, or a replica has another one's id.
      StoreError: a store cannot be read.
    """
    replicas: dict[str, Mapping] = {}
    tables: dict[str, dict[str, list]] = {table: {} for table in HISTORIES}
    for path in paths:
        # Source by source: one that has a replica unfinished must not replace its history.
        here = {row["id"]: row for row in _checked(path)}
        replicas |= here
        for table, known in tables.items():
            rows = history_of([path], table, here)
            known |= dict.fromkeys(here, ())  # never two trainings' parts under one id
            known |= {i: list(group) for i, group in groupby(rows, itemgetter("replica"))}
    return [Finished(row, {table: known.get(i, ()) for table, known in tables.items()})
            for i, row in replicas.items()]


def _checked(path: Path) -> list[dict[str, Any]]:
    """`results.load`; refuses ids that are not the hash of the row, which --resume goes by."""
    rows = results.load(path)
    for row in rows:
        expected = Replica(results.cell_of(row), row["seed"]).id
        if row["id"] != expected:
            raise results.ResultsError(
                f"{path}: replica {row['id']} has a configuration whose id is {expected}; expected "
                "a file as it was written, by this version or an older one, not edited, and with "
                f"enough --digits for lr, gamma and the like: export it again with "
                f"'{results.EXPORT}', or take that line out"
            )
    return rows


def restore(finished: Sequence[Finished], store: Store) -> set[str]:
    """Adds replicas to an open store; returns the ids of those that it did not have finished.

    Raises:
      StoreError: the store cannot be written; it has whole replicas only, and may be gone on with.
    """
    added = set()
    for first in range(0, len(finished), _AT_ONCE):
        some = finished[first : first + _AT_ONCE]
        added |= store.adopt(
            [f.replica for f in some],
            {table: [row for f in some for row in f.histories[table]] for table in HISTORIES},
        )
    return added
