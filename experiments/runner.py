"""Runs chunks of replicas: builds the program, drives its epochs, hands results to the store.

Knows algorithms only through `qjax.algorithms.Algorithm` and `experiments.presets`.
"""

import itertools
import math
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import qjax
from experiments.cells import NONE, Cell, Chunk
from experiments.checkpoint import Checkpoints
from experiments.data import Dataset
from experiments.devices import make_mesh
from experiments.presets import Preset, preset_of
from experiments.store import Store
from qjax import algorithms, networks, training, updates
from qjax.quantize import Quantizer, make_quantizer

__all__ = ["EpochReport", "Program", "origin", "replica_bytes", "run_chunk"]


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
    return jax.tree.map(lambda *leaves: jnp.asarray(leaves, jnp.float32), *trees)


def _quantizer(cell: Cell) -> Quantizer:
    if cell.n_bits is None:
        return make_quantizer(None)
    return make_quantizer(cell.n_bits, cell.quantizer, cell.scope)


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
    def algorithm(self) -> algorithms.Algorithm:
        """The algorithm on its network."""
        cell = self.cells[0]
        network = networks.mlp([cell.hidden_width] * (cell.n_layers + 1), self.dataset.n_classes)
        quantized = [c.update for c in self.cells if c.update != NONE]
        rule = updates.UPDATE_RULES[quantized[0] if quantized else "nearest"]
        rules = [
            algorithms.Rules(updates.OPTIMIZERS[name](), rule, cell.gradient_bits is not None)
            for name in self.optimizers
        ]
        return algorithms.ALGORITHMS[cell.algorithm](network, *rules)

    @property
    def preset(self) -> Preset:
        """How the algorithm's data arrive, and the settings of its later phases."""
        return preset_of(self.cells[0].algorithm)

    @property
    def optimizers(self) -> list[str]:
        """Name of each phase's optimizer: the cell's for the first, the preset's for the others."""
        return [self.cells[0].optimizer, *(p.optimizer for p in self.preset.phases[1:])]

    def settings(self, phase: int) -> algorithms.Settings:
        """Numbers of all cells in a phase, stacked along a leading axis."""

        def of(cell):
            own = cell if phase == 0 else self.preset.phases[phase]
            return algorithms.Settings(
                own.lr,
                own.gamma,
                own.weight_decay,
                _quantizer(cell),
                make_quantizer(cell.gradient_bits, "asymm", "local"),
            )

        return _stack([of(cell) for cell in self.cells])

    @property
    def epochs(self) -> tuple[int, ...]:
        """Epochs of each phase."""
        return (self.cells[0].epochs, self.cells[0].readout_epochs)[: len(self.algorithm.phases)]

    def preprocess(self, images: jax.Array) -> jax.Array:
        """Raw images to the inputs of the network, as the algorithm's preset has them."""
        scaled = images.astype(jnp.float32) / self.dataset.pixel_max
        if not self.preset.normalize:
            return scaled
        return (scaled - self.dataset.mean) / self.dataset.std

    @property
    def data(self) -> training.Data:
        """Raw images and labels on all devices of the mesh."""
        d = self.dataset
        data = training.Data(
            algorithms.Batch(d.train_images, d.train_labels),
            algorithms.Batch(d.test_images, d.test_labels),
        )
        sharding = None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec())
        return jax.device_put(data, sharding)

    def init(self) -> Callable:
        """(keys [seeds], settings [cells]) -> states."""
        shape = (self.cells[0].batch_size, *self.dataset.image_shape)
        return training.make_init(self.algorithm, shape, self.mesh)

    def epoch(self, phase: int, evaluate: bool = True) -> Callable:
        """The compiled epoch of a phase, with or without its evaluations."""
        return training.make_epoch(
            self.algorithm.phases[phase],
            evaluate_after=evaluate,
            batch_size=self.cells[0].batch_size,
            shuffle=self.preset.shuffle,
            preprocess=self.preprocess,
            mesh=self.mesh,
        )


def replica_bytes(cells: Sequence[Cell], dataset: Dataset) -> int:
    """Estimated device memory of one replica: its state twice, gradients, evaluation."""
    program = Program(tuple(cells[:1]), dataset, None)
    keys = jax.eval_shape(lambda: jax.vmap(jax.random.key)(jnp.zeros(1, int)))
    state = jax.eval_shape(program.init(), keys, jax.eval_shape(lambda: program.settings(0)))
    state = jax.eval_shape(training.make_begin(program.algorithm.phases[0]), state)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    parameters = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.params))
    widest = max(cells[0].hidden_width, dataset.n_classes)
    return 2 * size + 2 * parameters + 8 * training.EVALUATION_CHUNK * widest


class EpochReport(NamedTuple):
    """An epoch that a chunk has finished.

    Attributes:
      phase, epoch: name of the phase; epochs before this one, over all phases.
      rows: one mapping per replica for the store's table `epochs`; accuracies in percent.
      ranges: rows for the store's table `ranges`.
    """

    phase: str
    epoch: int
    rows: list[dict[str, Any]]
    ranges: list[tuple]

    @property
    def accuracies(self) -> list[float]:
        """Test accuracies in percent; empty in a phase that does not classify."""
        values = (row["test_accuracy"] for row in self.rows)
        return [value for value in values if value is not None]


def _paths(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in leaves}


def _report(chunk: Chunk, phase: str, epoch: int, metrics: training.EpochMetrics) -> EpochReport:
    """Host arrays [seeds, cells] (with fill) as rows."""
    places = list(itertools.product(range(len(chunk.seeds)), range(len(chunk.cells))))

    def score(score, place):
        if score is None:
            return None, None
        return float(score.loss[place]), 100 * float(score.accuracy[place])

    rows, ranges = [], []
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
    return EpochReport(phase, epoch, rows, ranges)


def _save_params(folder: Path, chunk: Chunk, params: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _paths(params)
    places = itertools.product(range(len(chunk.seeds)), range(len(chunk.cells)))
    for replica, place in zip(chunk.replicas, places, strict=True):
        np.savez(folder / f"{replica.id}.npz", **{k: v[place] for k, v in tensors.items()})


def run_chunk(
    chunk: Chunk,
    dataset: Dataset,
    store: Store,
    checkpoints: Checkpoints,
    *,
    resume: bool = False,
    params_folder: Path | None = None,
) -> Iterator[EpochReport]:
    """Trains a chunk, recording every epoch; yields after each.

    Args:
      chunk: what to run.
      dataset: loaded.
      store: open for writing.
      checkpoints: where training states are kept between epochs.
      resume: start from the chunk's checkpoint if there is one.
      params_folder: where final parameters go, a file per replica; None for nowhere.
    """
    started = time.perf_counter()
    mesh = make_mesh(len(chunk.seeds), len(chunk.cells))
    # Every device gets as many replicas as the others: the last are repeated to fill up.
    seeds = _fill(chunk.seeds, mesh.shape["seeds"])
    program = Program(_fill(chunk.cells, mesh.shape["cells"]), dataset, mesh)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))

    def derive(purpose: int) -> jax.Array:
        """Independent keys per seed: 0 for the initial state, 1, 2, ... for the phases."""
        return jax.vmap(jax.random.fold_in, (0, None))(keys, purpose)

    first, before = (0, 0.0)
    if not resume:
        checkpoints.drop(chunk.id)
    saved = checkpoints.find(chunk.id)
    if saved:
        first, before = saved.epoch, saved.seconds
    store.start(chunk.replicas, origin(), epoch=first)

    data, done = program.data, 0
    states = program.init()(derive(0), program.settings(0))
    for number, (phase, epochs) in enumerate(
        zip(program.algorithm.phases, program.epochs, strict=True)
    ):
        settings, run_epoch = program.settings(number), program.epoch(number)
        phase_keys = derive(1 + number)
        states = training.make_begin(phase, mesh)(states)
        if saved and done < first <= done + epochs:
            states = saved.restore(states)
        for epoch in range(max(0, first - done), epochs):
            states, metrics = run_epoch(phase_keys, epoch, settings, states, data)
            report = _report(chunk, phase.name, done + epoch, jax.device_get(metrics))
            store.record(report.rows, report.ranges)
            seconds = before + time.perf_counter() - started
            checkpoints.save(chunk.id, done + epoch + 1, seconds, states)
            yield report
        done += epochs
    if params_folder is not None:
        _save_params(params_folder, chunk, jax.device_get(states.params))
    seconds = before + time.perf_counter() - started
    store.finish([r.id for r in chunk.replicas], seconds / len(chunk.replicas))
    checkpoints.drop(chunk.id)


def _fill(items: Sequence, multiple: int) -> tuple:
    missing = math.ceil(len(items) / multiple) * multiple - len(items)
    return (*items, *[items[-1]] * missing)
