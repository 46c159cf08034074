"""Trains one chunk of replicas: drives the epochs of its program, hands results to the store."""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.cells import Chunk
from experiments.data import Dataset
from experiments.store import Store
from experiments.sweep import processes
from experiments.sweep.checkpoint import Checkpoint, CheckpointError, remove
from experiments.sweep.devices import make_mesh
from experiments.sweep.networks import NOTHING, Keeper, Save, file_of
from experiments.sweep.program import Program
from experiments.sweep.reports import EpochReport, report

__all__ = ["run_chunk"]


def run_chunk(
    chunk: Chunk,
    dataset: Dataset,
    store: Store | None,
    folder: Path,
    *,
    resume: bool = False,
    checkpoint_every: int = 1,
    save: Save = NOTHING,
    diagnose: bool = False,
    warn: Callable[[str], None] = warnings.warn,
) -> Iterator[EpochReport]:
    """Trains a chunk that `store.claim` has granted, recording every epoch; yields after each.

    Args:
      chunk: what to run.
      dataset: loaded.
      store: open for writing; None in all processes but the first.
      folder: for checkpoints (in "checkpoints") and trained networks (in "networks").
      resume: start from the chunk's checkpoint if there is one.
      checkpoint_every: epochs from one checkpoint to the next.
      save: which networks are kept, a file per replica.
      diagnose: look inside after every epoch (`qjax.diagnostics`).
      warn: told of a checkpoint that is of no use.

    Raises:
      StoreError, CheckpointError: the disk is full, say.
    """
    started = time.perf_counter()
    ids = [r.id for r in chunk.replicas]
    mesh = make_mesh(len(chunk.seeds), len(chunk.cells))
    # Every device gets as many replicas as the others: the last are repeated to fill up.
    seeds = _fill(chunk.seeds, mesh.shape["seeds"])
    program = Program(_fill(chunk.cells, mesh.shape["configs"]), dataset, mesh)

    def start():
        return program.init()(program.keys(seeds, 0), program.settings(0))

    saves = folder / "checkpoints" / chunk.id
    with Checkpoint(saves, ids) as checkpoint:
        states = start()
        first, before = 0, 0.0
        if checkpoint.epoch and resume:
            try:
                states, first, before = _resumed(program, checkpoint, states)
            except CheckpointError as error:
                warn(f"{error}; its {len(ids)} replicas start anew")
                states = start()
        if checkpoint.epoch != first:
            checkpoint.forget()
        if store:
            store.rewind(ids, first)
        kept = [i for i in ids if file_of(folder, i).exists()]
        best = processes.shared(store.best(kept) if store else None)
        keeper = Keeper(folder, chunk, program, save, best, warn)

        data, done = program.data, 0
        for number, (phase, epochs) in enumerate(
            zip(program.algorithm.phases, program.epochs, strict=True)
        ):
            if done >= first:
                states = program.begin(number)(program.settings(number), states)
            settings = program.settings(number)
            run_epoch = program.epoch(number, diagnose=diagnose)
            keys = program.keys(seeds, 1 + number)
            for epoch in range(max(0, first - done), epochs):
                states, metrics = run_epoch(keys, epoch, settings, states, data)
                is_last = done + epoch + 1 == sum(program.epochs)
                if is_last:
                    scores = program.waited(seeds, states, data)
                    if scores:
                        metrics = metrics._replace(train=scores[0], test=scores[1])
                told = report(chunk, phase.name, done + epoch, processes.collect(metrics))
                if store:
                    store.record(told.rows, told.ranges, told.diagnostics)
                keeper.offer(told, states, is_last)
                if (done + epoch + 1) % checkpoint_every == 0:
                    seconds = before + time.perf_counter() - started
                    checkpoint.save(done + epoch + 1, seconds, states)
                yield told
            done += epochs
    if store:
        seconds = before + time.perf_counter() - started
        store.finish(ids, seconds / len(ids))
        remove(saves)


def _resumed(program: Program, checkpoint: Checkpoint, states: Any) -> tuple[Any, int, float]:
    """(states, epochs finished, seconds spent) of a checkpoint; `states` as `init` makes them."""
    done = 0
    for number, epochs in enumerate(program.epochs):
        states = program.begin(number)(program.settings(number), states)
        done += epochs
        if checkpoint.epoch <= done:
            return checkpoint.restore(states), checkpoint.epoch, checkpoint.seconds()
    raise CheckpointError(f"a checkpoint of epoch {checkpoint.epoch} in a training of {done}")


def _fill(items: Sequence, multiple: int) -> tuple:
    missing = math.ceil(len(items) / multiple) * multiple - len(items)
    return (*items, *[items[-1]] * missing)
