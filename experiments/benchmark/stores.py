"""How long a store of very many networks takes: results that nobody trained."""

import contextlib
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.cells import Cell, Replica
from experiments.store import Store, exporting

__all__ = ["CHUNK", "fill"]

CHUNK, EPOCHS = 32, 2  # networks of a transaction; epochs of each
_ORIGIN = {"device": "none", "jax": "", "jaxlib": "", "qjax": "", "git_commit": ""}


def _cells() -> list[Cell]:
    """200: two algorithms, five widths, twenty learning rates."""
    cell = Cell("backprop", "digits", 1, 50, 8, "symm", "global", "nearest", "sgd", 0.1, 1.0, 0.0,
                None, 64, EPOCHS, 0)
    return [replace(cell, algorithm=algorithm, n_bits=bits, lr=lr / 100)
            for algorithm in ("backprop", "fa") for bits in range(2, 7) for lr in range(1, 21)]


def fill(folder: Path, networks: int) -> dict[str, float]:
    """Fills a new store with made-up results of two epochs, six tensors each, and exports it.

    Args:
      folder: without a store.
      networks: about how many: the same number of seeds of 200 cells.

    Returns:
      "networks", how many it became; seconds: "ids", "claims", "records", "ends", "export"; "MiB"
      of the store's file.
    """
    cells = _cells()
    replicas = [Replica(cell, seed) for cell in cells
                for seed in range(math.ceil(networks / len(cells)))]
    seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def timed(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - start

    with Store(folder) as store:
        with timed("ids"):
            ids = [replica.id for replica in replicas]
        chunks = [slice(at, at + CHUNK) for at in range(0, len(ids), CHUNK)]
        with timed("claims"):
            for own in chunks:
                store.claim(replicas[own], _ORIGIN)
        with timed("records"):
            for epoch, own in itertools.product(range(EPOCHS), chunks):
                store.record(*_made_up(ids[own], epoch))
        with timed("ends"):
            for own in chunks:
                store.finish(ids[own], 1.0)
        with timed("export"), exporting.writing(folder / "all.csv") as file:
            exporting.export(store, "replicas", file)
    # Closed, the file has all that SQLite keeps beside it till then.
    return {"networks": len(ids)} | seconds | {"MiB": store.path.stat().st_size / 2**20}


def _made_up(ids: Sequence[str], epoch: int) -> tuple[list[dict[str, Any]], list[tuple]]:
    """Rows of an epoch, accuracies that differ, and the ranges of six tensors."""
    rows = [{
        "replica": i, "epoch": epoch, "phase": "train", "objective": 1.0, "train_loss": 1.0,
        "train_accuracy": 50.0, "test_loss": 1.0, "test_accuracy": 50.0 + int(i[:2], 16) / 8,
        "finite": 1, "writes": 1.0} for i in ids]
    tensors = [f"blocks/{block}/{name}" for block in range(3) for name in ("kernel", "bias")]
    return rows, [(i, epoch, tensor, -1.0, 1.0) for i in ids for tensor in tensors]
