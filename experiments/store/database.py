"""Results in one SQLite file: a row per replica, per epoch, per tensor and per block and epoch.

Written in short transactions, so that a killed run leaves what it had finished, by several programs
at once if need be, and read by as many as like. `pandas.read_sql`, `sqlite3` or
`python -m experiments.export` open it.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from experiments.cells import DEFAULTS, Cell, Replica
from experiments.store.endings import ending
from experiments.store.locks import Claimant, alive_in
from experiments.store.schema import (
    APPLICATION_ID,
    CAME_LATER,
    CELL,
    DATASETS,
    DIAGNOSTICS,
    FILE_NAME,
    HISTORIES,
    OLDER,
    SCHEMA,
    TYPES,
    VERSION,
)
from qjax.diagnostics import Diagnosis

__all__ = ["NoStoreError", "Store", "StoreError"]


class StoreError(Exception):
    """The result store cannot be used; the message says why and what to do."""


class NoStoreError(StoreError):
    """There is no store yet, or another program is making it at this moment."""


_NONE = "no results at {}: give the --out of an earlier 'python -m experiments.run'"


class Store:
    """An open result store. Use as a context manager."""

    def __init__(self, folder: Path, *, create: bool = True):
        """Opens `folder`/results.sqlite.

        Args:
          folder: made if needed, when `create`.
          create: False refuses a folder without a store, and only reads.

        Raises:
          StoreError: not writable, not a store of ours, of another version; `NoStoreError`: none.
        """
        self.path = Path(folder) / FILE_NAME
        if not create and not self.path.is_file():
            raise NoStoreError(_NONE.format(self.path))
        try:
            if create:
                Path(folder).mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=60)
            self._db.row_factory = sqlite3.Row
            try:
                self._open(create)
            except BaseException:
                self._db.close()
                raise
            self._claimant = Claimant(folder) if create else None
        except (OSError, sqlite3.OperationalError) as error:
            if not create:
                raise StoreError(f"cannot read results from {self.path}: {error}") from error
            raise StoreError(
                f"cannot write results to {self.path}: {error}. Choose another folder with --out"
            ) from error
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{self.path} is not a result store of qjax ({error}): "
                "move it away or choose another folder with --out"
            ) from error

    def _open(self, create: bool) -> None:
        if self._is_empty():
            if not create:
                raise NoStoreError(_NONE.format(self.path))
            self._use_write_ahead_log()
            with self._transaction():
                if self._is_empty():  # another process may have been faster
                    for statement in SCHEMA.split(";"):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA application_id={APPLICATION_ID}")
                    self._db.execute(f"PRAGMA user_version={VERSION}")
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            raise sqlite3.DatabaseError("it is another program's SQLite file")
        if create and version in OLDER:
            self._modernize()
        elif version not in (VERSION, *OLDER):
            raise StoreError(
                f"{self.path} has store version {version}, this qjax reads version {VERSION}: "
                "export it with the qjax that wrote it, or choose another folder with --out"
            )
        if create:
            # Fails now, not after an hour of training, if the file may only be read.
            self._db.execute(f"PRAGMA user_version={VERSION}")

    def _modernize(self) -> None:
        """Adds the columns of new axes, with the values that older results have there."""
        with self._transaction():
            self._db.execute(DIAGNOSTICS)
            for table, later in CAME_LATER.items():
                for column in set(later) - set(self.columns(table)):
                    self._db.execute(f"ALTER TABLE {table} ADD {column} REAL")
            known = self.columns("replicas")
            for f in fields(Cell):
                if f.name not in known:
                    default = "NULL" if f.default is None else f"'{f.default}'"
                    self._db.execute(
                        f'ALTER TABLE replicas ADD "{f.name}" {TYPES[f.type]} DEFAULT {default}'
                    )
            self._db.execute(f"PRAGMA user_version={VERSION}")

    def _use_write_ahead_log(self) -> None:
        """SQLite does not wait for its turn here as it does elsewhere: another may be doing it."""
        for _ in range(100):
            with contextlib.suppress(sqlite3.OperationalError):
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            time.sleep(0.05)
        self._db.execute("PRAGMA journal_mode=WAL")

    def _is_empty(self) -> bool:
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return not application and not tables

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exception) -> None:
        self._db.close()
        if self._claimant:
            self._claimant.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing. Raises StoreError where the file cannot be written (any more)."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise StoreError(
                    f"cannot write results to {self.path} any more: {error}. What it holds is "
                    "intact; mend the cause, then go on with the same command and --resume"
                ) from error
            raise

    def check_data(self, name: str, fingerprint: str) -> None:
        """Remembers what a data set of that name is here.

        Raises:
          StoreError: it was another when replicas were trained on it.
        """
        with self._transaction() as db:
            db.execute(DATASETS)
            db.execute("INSERT OR IGNORE INTO datasets VALUES (?, ?)", [name, fingerprint])
            known = db.execute("SELECT fingerprint FROM datasets WHERE name = ?", [name])
            if known.fetchone()[0] != fingerprint:
                raise StoreError(
                    f"{name} has changed since networks were trained on it in {self.path}: choose "
                    "another folder with --out, or give the new data another name")

    def best(self, ids: Iterable[str]) -> dict[str, float]:
        """The best test accuracy of replicas, over what they have recorded."""
        found = {}
        for i in ids:
            row = self._db.execute("SELECT max(test_accuracy) FROM epochs WHERE replica = ?", [i])
            accuracy = row.fetchone()[0]
            if accuracy is not None:
                found[i] = accuracy
        return found

    def finished(self, ids: Iterable[str]) -> set[str]:
        """Those of `ids` that need not run again."""
        return {row["id"] for row in self._rows_of(ids) if row["status"] in ("done", "diverged")}

    def taken(self, ids: Iterable[str]) -> set[str]:
        """Those of `ids` that another program is training at this moment."""
        claimants = {row["id"]: row["claimant"] for row in self._rows_of(ids)
                     if row["status"] == "running"}
        alive = {c for c in set(claimants.values()) if self._claimant.is_other_alive(c)}
        return {i for i, c in claimants.items() if c in alive}

    def _rows_of(self, ids: Iterable[str]) -> Iterator[sqlite3.Row]:
        """Id, status and claimant of those that are here, looked up one by one: not all are read.

        A chunk is asked for in a store of many.
        """
        for i in ids:
            yield from self._db.execute(
                "SELECT id, status, claimant FROM replicas WHERE id = ?", [i])

    def plan(self, replicas: Iterable[Replica]) -> None:
        """Enters what is to be trained here, waiting, so that one can see how much is left.

        What waits here from earlier plans is forgotten, unless other programs are at work.
        """
        columns = ["id", *CELL, "seed", "status"]
        names, marks = ", ".join(f'"{c}"' for c in columns), ", ".join("?" * len(columns))
        with self._transaction() as db:
            if not alive_in(self.path.parent) - {self._claimant.name}:
                db.execute("DELETE FROM replicas WHERE status = 'running' AND claimant IS NULL")
            db.executemany(
                f"INSERT OR IGNORE INTO replicas ({names}) VALUES ({marks})",
                ([r.id, *(getattr(r.cell, name) for name in CELL), r.seed, "running"]
                 for r in replicas))

    def claim(self, replicas: Sequence[Replica], origin: Mapping[str, Any]) -> bool:
        """Enters replicas as running here; False, and nothing done, if any is not free.

        A replica is free until it is finished, unless another running program has claimed it. One
        whose program has ended is free again, its epochs kept: see `rewind`.

        Args:
          origin: values of the columns from "device" on.
        """
        columns = ["id", *CELL, "seed", "status", "claimant", *origin]
        names = ", ".join(f'"{c}"' for c in columns)
        marks = ", ".join("?" * len(columns))
        ids = [replica.id for replica in replicas]
        with self._transaction() as db:
            if self.finished(ids) or self.taken(ids):
                return False
            for replica in replicas:
                cell = [getattr(replica.cell, name) for name in CELL]
                status = ["running", self._claimant.name]
                db.execute(
                    f"INSERT OR REPLACE INTO replicas ({names}) VALUES ({marks})",
                    [replica.id, *cell, replica.seed, *status, *origin.values()],
                )
        return True

    def rewind(self, ids: Iterable[str], epoch: int = 0) -> None:
        """Drops what replicas recorded from `epoch` on."""
        ids = list(ids)
        with self._transaction() as db:
            for table in HISTORIES:
                db.executemany(
                    f"DELETE FROM {table} WHERE replica = ? AND epoch >= ?",
                    [(i, epoch) for i in ids],
                )

    def record(
        self, epochs: Iterable[Mapping[str, Any]], ranges: Iterable[Sequence],
        diagnostics: Iterable[Sequence] = (),
    ) -> None:
        """Adds one epoch of some replicas.

        Args:
          epochs: mappings with the columns of the table `epochs`.
          ranges: (replica, epoch, tensor, low, high).
          diagnostics: (replica, epoch, block, the fields of a `Diagnosis`).
        """
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO epochs VALUES (:replica, :epoch, :phase, :objective, "
                ":train_loss, :train_accuracy, :test_loss, :test_accuracy, :finite, :writes)",
                epochs,
            )
            db.executemany("INSERT OR REPLACE INTO ranges VALUES (?, ?, ?, ?, ?)", ranges)
            marks = ", ".join("?" * (3 + len(Diagnosis._fields)))
            db.executemany(f"INSERT OR REPLACE INTO diagnostics VALUES ({marks})", diagnostics)

    def finish(self, ids: Iterable[str], seconds: float) -> None:
        """Closes replicas: done or diverged, with their last finite metrics and all writes."""
        with self._transaction() as db:
            for replica in ids:
                epochs = db.execute(
                    "SELECT * FROM epochs WHERE replica = ? ORDER BY epoch", [replica]
                ).fetchall()
                ended = {**ending(epochs), "seconds": seconds}
                assignments = ", ".join(f"{name} = ?" for name in ended)
                db.execute(f"UPDATE replicas SET {assignments} WHERE id = ?",
                           [*ended.values(), replica])

    def fail(self, ids: Iterable[str]) -> None:
        """Marks replicas whose program could not run to its end."""
        with self._transaction() as db:
            db.executemany("UPDATE replicas SET status = 'failed' WHERE id = ?", [[i] for i in ids])

    def adopt(
        self,
        replicas: Sequence[Mapping[str, Any]],
        histories: Mapping[str, Iterable[Mapping[str, Any]]],
    ) -> set[str]:
        """Enters replicas that were finished elsewhere; returns the ids of those that were free.

        The others stay as they are, as in `claim`. What a free one had recorded here is replaced.

        Args:
          replicas: rows as `replicas` gives them, done or diverged. Columns that the table does not
            know are left out; those that a row lacks get their default, or nothing.
          histories: by table, one of `HISTORIES`, rows of these replicas as `history` gives them.
        """
        ids = {row["id"] for row in replicas}
        tables = {"replicas": [{**DEFAULTS, **row} for row in replicas], **histories}
        with self._transaction() as db:
            free = ids - self.finished(ids) - self.taken(ids)
            for table, rows in tables.items():
                key = "id" if table == "replicas" else "replica"
                db.executemany(f"DELETE FROM {table} WHERE {key} = ?", [[i] for i in free])
                columns = self.columns(table)
                names = ", ".join(f'"{c}"' for c in columns)
                marks = ", ".join("?" * len(columns))
                db.executemany(
                    f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})",
                    ([row.get(c) for c in columns] for row in rows if row[key] in free),
                )
        return free

    def columns(self, table: str) -> list[str]:
        """Names of a table's columns."""
        return [row["name"] for row in self._db.execute(f"PRAGMA table_info({table})")]

    def replicas(self) -> list[dict[str, Any]]:
        """All replicas as mappings, in a fixed order.

        One that is not finished and did not fail is "running", "interrupted" if the program that
        trained it has ended, or "waiting" for its turn.
        """
        known = self.columns("replicas")
        order = ", ".join(f'"{name}"' for name in [*CELL, "seed"] if name in known)
        rows = [dict.fromkeys(CAME_LATER["replicas"]) | DEFAULTS | dict(row)
                for row in self._db.execute(f"SELECT * FROM replicas ORDER BY {order}")]
        alive = alive_in(self.path.parent) | alive_in(self.path.resolve().parent)
        for row in (row for row in rows if row["status"] == "running"):
            if row["claimant"] not in alive:
                row["status"] = "waiting" if row["claimant"] is None else "interrupted"
        return rows

    def memories(self) -> list[str]:
        """The words for memories that replicas have."""
        return [row[0] for row in self._db.execute('SELECT DISTINCT "update" FROM replicas')]

    def history(self, table: str, replicas: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """Rows of one of `HISTORIES`, of all replicas or of those with these ids, in order."""
        if not self.columns(table):  # an older store, opened for reading
            return []
        if replicas is None:
            replicas = [row["id"] for row in self._db.execute("SELECT id FROM replicas")]
        query = f"SELECT * FROM {table} WHERE replica = ? ORDER BY {', '.join(HISTORIES[table])}"
        lacking = dict.fromkeys(CAME_LATER.get(table, ()))
        return [lacking | dict(r) for i in sorted(replicas)
                for r in self._db.execute(query, [i])]

    def having(self, table: str) -> set[str]:
        """Ids of the replicas of which one of `HISTORIES` has rows."""
        if not self.columns(table):
            return set()
        return {row["replica"] for row in self._db.execute(f"SELECT DISTINCT replica FROM {table}")}
