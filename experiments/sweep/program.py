"""Runs chunks of replicas: builds the program, drives its epochs, hands results to the store.

Knows algorithms only through `qjax.algorithms.Algorithm` and `experiments.cells.presets`.
"""

import functools
import itertools
import math
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import qjax
from experiments.cells import AXES, NETWORKS, NONE, Cell, Chunk, Preset, numbers, preset_of
from experiments.data import Dataset
from experiments.store import Store
from experiments.sweep import processes
from experiments.sweep.checkpoint import Checkpoint, CheckpointError, remove
from experiments.sweep.devices import make_mesh
from qjax import algorithms, memories, networks, training
from qjax.memories import MEMORIES, ByLeaf, Float, by_leaf, has_grid
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import make_quantizer
from qjax.replicas import replicate
from qjax.schedules import SCHEDULES
from qjax.synthetic import is_synthesizer
from qjax.trees import Where, paths_of

__all__ = ["EpochReport", "Program", "origin", "run_chunk"]


def origin() -> dict[str, Any]:
    """Where results come from: devices, versions and the git commit of the code."""
    devices = jax.devices()
    return {
        "device": f"{len(devices)} x {devices[0].device_kind}",
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "qjax": qjax.__version__,
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """Commit of the checkout this file is tracked in, "-dirty" if it was changed since."""

    def git(*words):
        return subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )

    try:
        if git("ls-files", "--error-unmatch", __file__).returncode:
            return None  # installed somewhere inside another project's checkout
        return git("describe", "--always", "--dirty", "--abbrev=12").stdout.strip() or None
    except FileNotFoundError:
        return None


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.asarray(leaves, np.float32), *trees)


# Which weights are floats in which cells, whatever holds the others; the first line that fits.
_FLOATS: Sequence[tuple[Where, Callable[[Cell], bool]]] = (
    (networks.is_log_gain, lambda cell: True),
    (networks.is_bias, lambda cell: cell.bias == "float"),
    (is_synthesizer, lambda cell: cell.synthesizer_lr is not None),
)


def _memory(cell: Cell, kind: Cell) -> ByLeaf:
    """What holds the weights of a cell whose group has the program `kind`."""
    about = MEMORIES[kind.update]
    if cell.n_bits is None:  # with the spacing of the others, which is part of the program
        quantizer = make_quantizer(None, "symm" if kind.quantizer == NONE else kind.quantizer)
    else:
        quantizer = make_quantizer(cell.n_bits, cell.quantizer, cell.scope)
    floats = [(where, Float()) for where, applies in _FLOATS if applies(kind)]
    grid = {"grid": quantizer} if has_grid(about) else {}
    return by_leaf(*floats, about(**grid, **numbers(cell.numbers)))


# Axes that are settings of an algorithm under the same name.
_SAME = [f.name for f in fields(algorithms.Settings) if f.name in AXES]


@dataclass(frozen=True)
class _Kind:
    """What a compiled program depends on: programs of one kind are traced and compiled once."""

    cell: Cell  # its `program`, with an update rule
    dataset: Dataset
    mesh: Mesh | None

    @property
    def preset(self) -> Preset:
        return preset_of(self.cell.algorithm)

    @property
    def optimizers(self) -> list[str]:
        """Name of each phase's optimizer: the cell's for the first, the preset's for the others."""
        return [self.cell.optimizer, *(p.optimizer for p in self.preset.phases[1:])]

    def preprocess(self, images: jax.Array) -> jax.Array:
        scaled = images.astype(jnp.float32) / self.dataset.pixel_max
        if not self.preset.normalize:
            return scaled
        return (scaled - self.dataset.mean) / self.dataset.std


# Enough for the largest algorithm: a few chunks in a row are of one kind.
_remember = functools.lru_cache(maxsize=8)


@_remember
def _algorithm(kind: _Kind) -> algorithms.Algorithm:
    quantize_gradients = kind.cell.gradient_bits is not None
    rules = [
        algorithms.Rules(OPTIMIZERS[name](), quantize_gradients) for name in kind.optimizers
    ]
    network = NETWORKS[kind.cell.network](kind.cell, kind.dataset.n_classes)
    return algorithms.ALGORITHMS[kind.cell.algorithm](network, *rules)


@_remember
def _init(kind: _Kind) -> Callable:
    shape = (kind.cell.batch_size, *kind.dataset.image_shape)
    return training.make_init(_algorithm(kind), shape, kind.mesh)


@_remember
def _begin(kind: _Kind, phase: int) -> Callable:
    return training.make_begin(_algorithm(kind).phases[phase], kind.mesh)


@_remember
def _epoch(kind: _Kind, phase: int, evaluate: bool, diagnose: bool) -> Callable:
    return training.make_epoch(
        _algorithm(kind).phases[phase],
        evaluate_after=evaluate,
        diagnose_after=diagnose,
        batch_size=kind.cell.batch_size,
        shuffle=kind.preset.shuffle,
        preprocess=kind.preprocess,
        mesh=kind.mesh,
    )


@dataclass(frozen=True)
class Program:
    """What a group of cells compiles to.

    Attributes:
      cells: of one group (equal `Cell.program`).
      dataset: loaded.
      mesh: devices, axes "seeds" and "cells".
    """

    cells: tuple[Cell, ...]
    dataset: Dataset
    mesh: Mesh | None

    @cached_property
    def kind(self) -> _Kind:
        """What the compiled functions depend on: not the numbers of the cells."""
        programs = [c.program for c in self.cells]
        quantized = (program for program in programs if program.update != NONE)
        program = next(quantized, replace(programs[0], update="nearest"))
        return _Kind(program, self.dataset, self.mesh)

    @property
    def algorithm(self) -> algorithms.Algorithm:
        """The algorithm on its network."""
        return _algorithm(self.kind)

    @property
    def preset(self) -> Preset:
        """How the algorithm's data arrive, and the settings of its later phases."""
        return preset_of(self.cells[0].algorithm)

    def settings(self, phase: int) -> algorithms.Settings:
        """Numbers of all cells in a phase, stacked along a leading axis."""

        def of(cell):
            own = cell if phase == 0 else self.preset.phases[phase]
            plain = {name: getattr(own, name, getattr(cell, name)) for name in _SAME}
            return algorithms.Settings(**plain | {
                "learning_rate": own.lr,
                "schedule": SCHEDULES[cell.schedule if phase == 0 else "exponential"],
                "epochs": (cell.epochs, cell.readout_epochs)[phase],
                "memory": _memory(cell, self.kind.cell),
                "gradient_quantizer": make_quantizer(cell.gradient_bits, "asymm", "local"),
                "gain": 1.0 if cell.gain is None else cell.gain,
                "beside_rate": (cell.synthesizer_lr or cell.lr) / cell.lr,
            })

        return jax.device_put(_stack([of(cell) for cell in self.cells]), self.everywhere)

    @property
    def epochs(self) -> tuple[int, ...]:
        """Epochs of each phase."""
        return (self.cells[0].epochs, self.cells[0].readout_epochs)[: len(self.algorithm.phases)]

    def preprocess(self, images: jax.Array) -> jax.Array:
        """Raw images to the inputs of the network, as the algorithm's preset has them."""
        return self.kind.preprocess(images)

    def weights(self, states: algorithms.TrainState) -> Any:
        """All trained weights as their memory knows them, [seeds, cells]."""

        def of(settings, state):
            return memories.behind(settings.memory, state.held)

        settings = self.settings(len(self.algorithm.phases) - 1)
        return jax.jit(replicate(of, ".r", "rr"))(settings, states)

    @property
    def everywhere(self) -> NamedSharding | None:
        """Whole arrays on all devices of the mesh, also on those of other processes."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec())

    def keys(self, seeds: Sequence[int], purpose: int) -> jax.Array:
        """Independent keys [seeds]: purpose 0 for the initial state, 1, 2, ... for the phases."""

        def key(seed):
            return jax.random.fold_in(jax.random.key(seed), purpose)

        make = jax.jit(jax.vmap(key), out_shardings=self.everywhere)
        return make(np.asarray(seeds, np.uint32))

    @property
    def data(self) -> training.Data:
        """Raw images and labels on all devices of the mesh."""
        d = self.dataset
        data = training.Data(
            algorithms.Batch(d.train_images, d.train_labels),
            algorithms.Batch(d.test_images, d.test_labels),
        )
        return jax.device_put(data, self.everywhere)

    def init(self) -> Callable:
        """(keys [seeds], settings [cells]) -> states."""
        return _init(self.kind)

    def begin(self, phase: int) -> Callable:
        """(settings, states) -> states ready for a phase."""
        return _begin(self.kind, phase)

    def epoch(self, phase: int, evaluate: bool = True, diagnose: bool = False) -> Callable:
        """The compiled epoch of a phase, with or without its evaluations and diagnostics."""
        return _epoch(self.kind, phase, evaluate, diagnose)


class EpochReport(NamedTuple):
    """An epoch that a chunk has finished.

    Attributes:
      phase, epoch: name of the phase; epochs before this one, over all phases.
      rows: one mapping per replica for the store's table `epochs`; accuracies in percent.
      ranges: rows for the store's table `ranges`.
      diagnostics: rows for the store's table `diagnostics`; none where they were not asked for.
    """

    phase: str
    epoch: int
    rows: list[dict[str, Any]]
    ranges: list[tuple]
    diagnostics: list[tuple]

    @property
    def accuracies(self) -> list[float]:
        """Test accuracies in percent; empty in a phase that does not classify."""
        values = (row["test_accuracy"] for row in self.rows)
        return [value for value in values if value is not None]


def _paths(tree: Any) -> dict[str, np.ndarray]:
    return dict(zip(paths_of(tree), jax.tree.leaves(tree), strict=True))


def _report(chunk: Chunk, phase: str, epoch: int, metrics: training.EpochMetrics) -> EpochReport:
    """Host arrays [seeds, cells] (with fill) as rows."""
    places = list(itertools.product(range(len(chunk.seeds)), range(len(chunk.cells))))

    def score(score, place):
        if score is None:
            return None, None
        return float(score.loss[place]), 100 * float(score.accuracy[place])

    rows, ranges, diagnostics = [], [], []
    lows, highs = _paths(metrics.ranges.low), _paths(metrics.ranges.high)
    for replica, place in zip(chunk.replicas, places, strict=True):
        train_loss, train_accuracy = score(metrics.train, place)
        test_loss, test_accuracy = score(metrics.test, place)
        rows.append(
            {
                "replica": replica.id,
                "epoch": epoch,
                "phase": phase,
                "objective": float(metrics.objective[place]),
                "train_loss": train_loss,
                "train_accuracy": train_accuracy,
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
                "finite": bool(metrics.finite[place]),
            }
        )
        ranges += [
            (replica.id, epoch, name, float(low[place]), float(highs[name][place]))
            for name, low in lows.items()
        ]
        if metrics.diagnosis is not None:
            per_block = np.stack([figure[place] for figure in metrics.diagnosis], axis=-1)
            diagnostics += [
                (replica.id, epoch, block, *map(float, figures))
                for block, figures in enumerate(per_block)
            ]
    return EpochReport(phase, epoch, rows, ranges, diagnostics)


def _save_params(folder: Path, chunk: Chunk, params: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _paths(params)
    places = itertools.product(range(len(chunk.seeds)), range(len(chunk.cells)))
    for replica, place in zip(chunk.replicas, places, strict=True):
        np.savez(folder / f"{replica.id}.npz", **{k: v[place] for k, v in tensors.items()})


def run_chunk(
    chunk: Chunk,
    dataset: Dataset,
    store: Store | None,
    folder: Path,
    *,
    resume: bool = False,
    checkpoint_every: int = 1,
    save_params: bool = False,
    diagnose: bool = False,
    warn: Callable[[str], None] = warnings.warn,
) -> Iterator[EpochReport]:
    """Trains a chunk that `store.claim` has granted, recording every epoch; yields after each.

    Args:
      chunk: what to run.
      dataset: loaded.
      store: open for writing; None in all processes but the first.
      folder: for checkpoints (in "checkpoints") and final parameters (in "params").
      resume: start from the chunk's checkpoint if there is one.
      checkpoint_every: epochs from one checkpoint to the next.
      save_params: write the final parameters, a file per replica.
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
    program = Program(_fill(chunk.cells, mesh.shape["cells"]), dataset, mesh)

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
                report = _report(chunk, phase.name, done + epoch, processes.collect(metrics))
                if store:
                    store.record(report.rows, report.ranges, report.diagnostics)
                if (done + epoch + 1) % checkpoint_every == 0:
                    seconds = before + time.perf_counter() - started
                    checkpoint.save(done + epoch + 1, seconds, states)
                yield report
            done += epochs
    params = processes.collect(program.weights(states)) if save_params else None
    if store:
        if save_params:
            _save_params(folder / "params", chunk, params)
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
