"""The tables of a result store, and what marks its file and its age."""

from dataclasses import fields
from typing import Any

from experiments.cells import DEFAULTS, Cell
from qjax.diagnostics import Diagnosis

__all__ = [
    "APPLICATION_ID", "CAME_LATER", "CELL", "DATASETS", "DIAGNOSTICS", "FILE_NAME", "HISTORIES",
    "OLDER", "SCHEMA", "SCORES", "TYPES", "VERSION", "WRITES",
]

FILE_NAME = "results.sqlite"
# Marks the file as ours (ASCII "qjax") and says which tables to expect.
APPLICATION_ID = 0x716A6178
# Counts the columns that have come: axes, see `cells.DEFAULTS`, and writes. An older qjax refuses
# those that it does not know. Older stores lack only these, and the table of diagnostics: they are
# read as they are, and get what they lack when they are next written to.
VERSION = len(DEFAULTS)
OLDER = range(2, VERSION)

TYPES: dict[Any, str] = {
    int: "INTEGER", int | None: "INTEGER", float: "REAL", float | None: "REAL", str: "TEXT"}
CELL = [f.name for f in fields(Cell)]
SCORES = ["test_accuracy", "test_loss", "train_accuracy", "train_loss"]
# Programming events per weight of the network's kernels: of an epoch, and of all.
WRITES = "writes"
# Columns that an older store or export lacks, besides axes, by table.
CAME_LATER = {"replicas": (WRITES,), "epochs": (WRITES,), "diagnostics": ("write_noise",)}
# Tables of what happened along the training, with the columns that order a replica's rows.
HISTORIES = {"epochs": ("epoch",), "ranges": ("epoch", "tensor"), "diagnostics": ("epoch", "block")}

DIAGNOSTICS = f"""
CREATE TABLE IF NOT EXISTS diagnostics (
    replica TEXT NOT NULL REFERENCES replicas(id),
    epoch INTEGER NOT NULL,
    block INTEGER NOT NULL,
    {", ".join(f"{name} REAL" for name in Diagnosis._fields)},
    PRIMARY KEY (replica, epoch, block)
) WITHOUT ROWID
"""

# Data of one's own, which can change under the same name; made when the first come.
DATASETS = "CREATE TABLE IF NOT EXISTS datasets (name TEXT PRIMARY KEY, fingerprint TEXT NOT NULL)"

# A replica that is planned and waits for its turn is 'running' without a claimant.
SCHEMA = f"""
CREATE TABLE replicas (
    id TEXT PRIMARY KEY,
    {", ".join(f'"{f.name}" {TYPES[f.type]}' for f in fields(Cell))},
    seed INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'done', 'diverged', 'failed')),
    {", ".join(f"{name} REAL" for name in SCORES)},
    diverged_epoch INTEGER,
    claimant TEXT,
    seconds REAL, device TEXT, jax TEXT, jaxlib TEXT, qjax TEXT, git_commit TEXT,
    {WRITES} REAL
);
CREATE TABLE epochs (
    replica TEXT NOT NULL REFERENCES replicas(id),
    epoch INTEGER NOT NULL,
    phase TEXT NOT NULL,
    objective REAL, train_loss REAL, train_accuracy REAL, test_loss REAL, test_accuracy REAL,
    finite INTEGER NOT NULL,
    {WRITES} REAL,
    PRIMARY KEY (replica, epoch)
) WITHOUT ROWID;
CREATE TABLE ranges (
    replica TEXT NOT NULL REFERENCES replicas(id),
    epoch INTEGER NOT NULL,
    tensor TEXT NOT NULL,
    low REAL, high REAL,
    PRIMARY KEY (replica, epoch, tensor)
) WITHOUT ROWID;
{DIAGNOSTICS};
"""
