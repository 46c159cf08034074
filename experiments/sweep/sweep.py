"""Trains replicas: plans chunks, claims them, runs them, survives what goes wrong."""

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from experiments import cells as grid
from experiments.commandline.options import counted
from experiments.data import Dataset
from experiments.report import scores
from experiments.store import NoStoreError, Store, StoreError
from experiments.sweep import devices, processes
from experiments.sweep.checkpoint import CheckpointError, remove, unfinished
from experiments.sweep.chunk import run_chunk
from experiments.sweep.events import Events
from experiments.sweep.footprint import available, footprint, is_exhausted
from experiments.sweep.forecast import Forecast, spell
from experiments.sweep.interrupts import Interrupts
from experiments.sweep.networks import NOTHING, Save, file_of
from experiments.sweep.origin import origin

__all__ = ["Sweep", "Tell"]

_SILENCE = 60.0  # seconds without a word, at most, where there is no terminal with a bar
# Prints what there is to say of finished replicas (rows of the store), when all is done.
Tell = Callable[[Sequence[Mapping[str, Any]], Console], None]


@dataclass(frozen=True)
class Sweep:
    """Where and how replicas are trained.

    Attributes:
      datasets: loaded, by name.
      out: result folder.
      console: for the plan, messages and progress.
      tell: of what is finished, when nothing is left.
      memory_limit: bytes a device may use; None for what it has.
      resume, checkpoint_every, save, diagnose: see `chunk.run_chunk`.
      tensorboard: write event files for it.
    """

    datasets: dict[str, Dataset]
    out: Path
    console: Console
    tell: Tell
    memory_limit: int | None = None
    resume: bool = False
    checkpoint_every: int = 1
    save: Save = NOTHING
    diagnose: bool = False
    tensorboard: bool = False

    def plan(self, replicas: Iterable[grid.Replica]) -> tuple[list[grid.Chunk], Table]:
        """Chunks of what is to be trained, and a table that tells about them."""
        table = Table(title="Plan")
        for column in ("group", "update", "cells", "replicas", "chunks", "memory a device"):
            table.add_column(column, justify="left" if column in ("group", "update") else "right")
        limit = available() if self.memory_limit is None else self.memory_limit
        chunks: list[grid.Chunk] = []
        seeds_of: dict[grid.Cell, list[int]] = {}
        for cell, seed in replicas:
            seeds_of.setdefault(cell, []).append(seed)
        for group in grid.group(seeds_of):
            members = [grid.Replica(cell, seed) for cell in group for seed in seeds_of[cell]]
            needs = footprint(group, self.datasets[group[0].dataset], self.diagnose)
            most = needs.fitting(limit)
            if needs.of(1) > limit:
                self._say(f"{_label(grid.Chunk((group[0],), (0,)))}: one network alone takes about "
                          f"{_megabytes(needs.of(1))}, and a device may use {_megabytes(limit)} "
                          "(--memory-limit): it may not fit.")
            pieces = list(grid.chunks_of(members, most * len(jax.devices())))
            largest = max(devices.load(len(p.seeds), len(p.cells)) for p in pieces)
            held = next((c for c in group if c.update != grid.NONE), group[0])
            # Kinds of equal distances share a program; others have one each.
            kind = held.program.quantizer.partition(":")[0]
            update = held.update if kind == grid.NONE else f"{held.update}, {kind}"
            table.add_row(
                group[0].label, update, str(len(group)), str(len(members)), str(len(pieces)),
                _megabytes(needs.of(largest)),
            )
            chunks += pieces
        return chunks, table

    def show(self, wanted: Sequence[grid.Replica]) -> None:
        """Prints the plan for all of `wanted`, as if nothing had been trained."""
        chunks, table = self.plan(wanted)
        cells = {replica.cell for replica in wanted}
        self.console.print(table)
        self.console.print(
            f"{counted(len(cells), 'cell')} x {counted(len(wanted) // len(cells), 'seed')} = "
            f"{counted(len(wanted), 'replica')} in {counted(len(grid.group(cells)), 'group')}, "
            f"{counted(len(chunks), 'chunk')}; nothing was run."
        )
        with contextlib.suppress(NoStoreError), Store(self.out, create=False) as store:
            have = store.finished(replica.id for replica in wanted)
            self._say(f"In {store.path} already: {len(have)} of "
                      f"{counted(len(wanted), 'replica')}.")

    def run(self, wanted: Sequence[grid.Replica], store: Store | None) -> int:
        """Trains what is missing and prints a summary; returns the exit code.

        Args:
          store: open for writing; None in all processes but the first.
        """
        ids = [replica.id for replica in wanted]
        try:
            with Interrupts() as interrupts:
                failed = self._train(wanted, store, interrupts)
        except KeyboardInterrupt:
            if store:
                self._say(f"Interrupted: {len(store.finished(ids))} of "
                          f"{counted(len(wanted), 'replica')} finished and kept in {store.path}. "
                          "The same command with --resume goes on.")
            return 130
        except (StoreError, CheckpointError) as error:
            self._say(f"error: {error}")
            return 1
        if store:
            self._summarize(store, set(ids))
        if failed:
            self.console.print(
                f"[red]{counted(failed, 'replica')} failed[/red]; the same command tries them "
                "again."
            )
        return 1 if failed else 0

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True, highlight=False)

    def _summarize(self, store: Store, ids: set[str]) -> None:
        rows = [r for r in store.replicas() if r["id"] in ids]
        rows = [r for r in rows if r["status"] in ("done", "diverged")]
        if rows:
            self.tell(rows, self.console)
        taken = store.taken(ids)
        if taken:
            self._say("Being trained by another run on this folder: "
                      f"{counted(len(taken), 'replica')}.")
        self._say(f"Results: {store.path}")

    def _train(self, wanted, store, interrupts) -> int:
        """Works until nothing is left that this program may do; returns how many failed."""
        failed: set[str] = set()
        fresh = True
        while True:
            left = processes.shared(self._left(wanted, failed, store, fresh) if store else None)
            if store and fresh:
                store.plan(left)
            if not left:
                return len(failed)
            begun = processes.shared(self._begun(left)) if fresh else []
            members = {replica for chunk in begun for replica in chunk.replicas}
            if begun and not self.resume:
                self._say(f"Checkpoints of {counted(len(members), 'replica')} are here, which "
                          "start over now; --resume goes on from them.")
                begun, members = [], set()
            chunks, table = self.plan(r for r in left if r not in members)
            if fresh and chunks:
                self.console.print(table)
            if begun:
                names = ", ".join(dict.fromkeys(map(_label, begun)))
                self._say(f"From their checkpoints: {counted(len(members), 'replica')}, {names}.")
            failed |= self._work([*begun, *chunks], store, interrupts)
            fresh = False  # what is left now belonged to others when its turn came

    def _left(self, wanted, failed, store, tell) -> list[grid.Replica]:
        """Those of `wanted` that are neither finished, nor failed here, nor another's."""
        ids = [replica.id for replica in wanted]
        have = store.finished(ids)
        if have and tell:
            self._say(f"In {store.path} already: {len(have)} of "
                      f"{counted(len(wanted), 'replica')}.")
            if self.save.is_asked:
                bare = [i for i in have if not file_of(self.out, i).exists()]
                if bare:
                    self._say(f"{len(bare)} of them were not saved: to train them once more, "
                              "choose another folder with --out.")
            if self.diagnose:
                blind = have - store.having("diagnostics")
                if blind:
                    self._say(f"{len(blind)} of them have no diagnostics: to train "
                              "them once more, choose another folder with --out.")
        gone = have | store.taken(ids) | failed
        return [replica for replica in wanted if replica.id not in gone]

    def _begun(self, left: Sequence[grid.Replica]) -> list[grid.Chunk]:
        """The chunks of an earlier run that have a checkpoint, of replicas that are left."""
        by_id = {replica.id: replica for replica in left}
        chunks = []
        for members in unfinished(self.out / "checkpoints"):
            if by_id.keys() >= set(members):
                replicas = [by_id.pop(i) for i in members]
                cells = dict.fromkeys(replica.cell for replica in replicas)
                seeds = dict.fromkeys(replica.seed for replica in replicas)
                chunks.append(grid.Chunk(tuple(cells), tuple(seeds)))
        return chunks

    def _work(self, chunks, store, interrupts) -> set[str]:
        """Runs what can be claimed of some chunks; returns the ids of those that failed."""
        failed: set[str] = set()
        columns = (
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"),
            TextColumn("{task.fields[left]}"), TextColumn("{task.fields[accuracy]}"),
        )
        shown = self.console.is_terminal and processes.is_first()
        forecast = Forecast(sum(sum(self._costs(chunk)) for chunk in chunks))
        with Progress(*columns, console=self.console, disable=not shown) as progress:
            task = progress.add_task("", total=1.0, left="", accuracy="")
            update = functools.partial(progress.update, task)
            queue = list(chunks)
            while queue:
                chunk = queue.pop(0)
                claimed = store.claim(chunk.replicas, origin()) if store else None
                if not processes.shared(claimed):
                    forecast.skip(sum(self._costs(chunk)))
                    continue
                error = self._run(chunk, store, interrupts, forecast, update)
                if error is None:
                    continue
                if is_exhausted(error) and len(chunk.replicas) > 1:
                    self._say(f"{_label(chunk)}: out of memory with "
                              f"{len(chunk.replicas)} replicas at once, going on with half of them")
                    queue = _halved(chunk, [chunk, *queue])
                    if store:  # of this one alone: others may be another run's by now
                        remove(self.out / "checkpoints" / chunk.id)
                    forecast.skip(-sum(self._costs(chunk)))
                    continue
                ids = [replica.id for replica in chunk.replicas]
                failed.update(ids)
                if store:
                    store.fail(ids)
                reason = str(error).partition("\n")[0]
                self._say(f"failed: {_label(chunk)}, "
                          f"{counted(len(ids), 'replica')}: {reason}")
        return failed

    def _costs(self, chunk: grid.Chunk) -> list[float]:
        """What each epoch of a chunk costs, in bytes moved."""
        cell, size = chunk.cells[0], len(chunk.replicas)
        moved = footprint(chunk.cells, self.datasets[cell.dataset], self.diagnose).moved
        counts = (cell.epochs, cell.readout_epochs)
        return [size * each for each, count in zip(moved, counts, strict=False)
                for _ in range(count)]

    def _run(self, chunk, store, interrupts, forecast, update) -> Exception | None:
        """Runs a chunk to its end; returns what the device reported if it could not."""
        size, label, text = len(chunk.replicas), _label(chunk), ""
        costs, seen = self._costs(chunk), 0
        update(description=label)
        spoken = time.monotonic()
        what = scores.scored([vars(chunk.cells[0])]).title("test accuracy")
        events = self.tensorboard and processes.is_first()
        try:
            with Events(self.out, chunk) if events else contextlib.nullcontext() as board:
                for epoch in run_chunk(
                    chunk, self.datasets[chunk.cells[0].dataset], store, self.out,
                    resume=self.resume, checkpoint_every=self.checkpoint_every,
                    save=self.save, diagnose=self.diagnose, warn=self._say,
                ):
                    if board:
                        board.record(epoch)
                    if epoch.accuracies:
                        low, high = min(epoch.accuracies), max(epoch.accuracies)
                        text = f"{what} {low:.1f}-{high:.1f} %"
                    forecast.skip(sum(costs[seen:epoch.epoch]))  # which an earlier run had trained
                    forecast.finish(costs[epoch.epoch])
                    seen = epoch.epoch + 1
                    update(
                        completed=forecast.share, left=spell(forecast.seconds_left), accuracy=text,
                        description=f"{label} {epoch.phase} {seen}/{chunk.epochs}",
                    )
                    if not self.console.is_terminal and time.monotonic() - spoken > _SILENCE:
                        known = f", {text}" if text else ""  # a bottleneck has no accuracy
                        self._say(f"{label}: {epoch.phase} {seen}/{chunk.epochs}{known}; "
                                  f"{_progress(forecast)}")
                        spoken = time.monotonic()
                    interrupts.check()
        except jax.errors.JaxRuntimeError as error:
            forecast.skip(sum(costs[seen:]))
            return error.with_traceback(None)  # whose frames hold the arrays
        forecast.skip(sum(costs[seen:]))  # of a checkpoint after the last epoch
        if not self.console.is_terminal:
            told = [counted(size, "replica"), counted(chunk.epochs, "epoch"), *filter(None, [text])]
            self._say(f"{label}: {', '.join(told)}; {_progress(forecast)}")
        return None


def _megabytes(size: int) -> str:
    return f"{max(size / 2**20, 1):.0f} MiB"


def _progress(forecast: Forecast) -> str:
    return ", ".join(filter(None, [f"{forecast.share:.0%} done", spell(forecast.seconds_left)]))


def _label(chunk: grid.Chunk) -> str:
    """Its group, and what holds the weights of those that are no floats."""
    held = (c.update for c in chunk.cells if c.update != grid.NONE)
    return " ".join([chunk.cells[0].label, *itertools.islice(held, 1)])


def _halved(chunk: grid.Chunk, queue: Iterable[grid.Chunk]) -> list[grid.Chunk]:
    """A queue in which all chunks of the same program and at least that size are cut in two."""
    pieces: list[grid.Chunk] = []
    for other in queue:
        alike = other.cells[0].program == chunk.cells[0].program
        large = len(other.replicas) >= len(chunk.replicas)
        pieces += grid.halves(other) if alike and large else [other]
    return pieces
