"""What a group of cells compiles to: its algorithm, its numbers, its data, its epochs.

Knows algorithms only through `qjax.algorithms.Algorithm` and their presets.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.cells import (
    USUAL,
    Cell,
    Preset,
    algorithm_of,
    held_program,
    memory_of,
    preset_of,
    settings_of,
)
from experiments.data import Dataset
from experiments.sweep import devices
from qjax import algorithms, memories, training
from qjax.replicas import replicate
from qjax.saved import Inputs

__all__ = ["Program"]


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.asarray(leaves, np.float32), *trees)


@dataclass(frozen=True)
class _Kind:
    """What a compiled program depends on: programs of one kind are traced and compiled once."""

    cell: Cell  # its `program`, with a memory
    dataset: Dataset
    mesh: Mesh | None

    @property
    def preset(self) -> Preset:
        return preset_of(self.cell.algorithm)

    @property
    def cache(self) -> int | None:
        """Bytes of fast memory that replicas which train at once may fill, see `make_epoch`.

        Two fifths of what there is, as other programs use it too: 24 networks of 784-100-100-100-10
        then take 0.86 (backprop), 0.89 (fa) and 0.90 (dni) of the time. All of it where random
        numbers are drawn, once for the replicas of a seed: with hidden bits 1.2 times as long else.
        """
        fast = devices.cache()
        draws = memories.draws(memory_of(self.cell, self.cell))
        return fast if fast is None or draws else fast * 2 // 5

    @functools.cached_property
    def inputs(self) -> Inputs:
        how, data = self.cell.normalize, self.dataset
        if how == "none":
            return Inputs(data.image_shape)
        if how == "unit" or (how == USUAL and not self.preset.normalize):
            return Inputs(data.image_shape, data.low, data.high)
        mean, deviation = data.usual if how == USUAL else data.measured
        return Inputs(data.image_shape, data.low, data.high, *(
            tuple(number.tolist()) if number.ndim else float(number)
            for number in (mean, deviation)))


# Enough for the largest algorithm: a few chunks in a row are of one kind.
_remember = functools.lru_cache(maxsize=8)


@_remember
def _algorithm(kind: _Kind) -> algorithms.Algorithm:
    return algorithm_of(kind.cell, kind.dataset.outputs)


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
        preprocess=kind.inputs,
        mesh=kind.mesh,
        cache=kind.cache,
    )


@_remember
def _wait(kind: _Kind) -> Callable:
    return training.make_wait(kind.mesh)


@_remember
def _evaluation(kind: _Kind, phase: int) -> Callable:
    return training.make_evaluation(
        _algorithm(kind).phases[phase], preprocess=kind.inputs, mesh=kind.mesh)


@dataclass(frozen=True)
class Program:
    """What a group of cells compiles to.

    Attributes:
      cells: of one group (equal `Cell.program`).
      dataset: loaded.
      mesh: devices, axes "seeds" and "configs".
    """

    cells: tuple[Cell, ...]
    dataset: Dataset
    mesh: Mesh | None

    @cached_property
    def kind(self) -> _Kind:
        """What the compiled functions depend on: not the numbers of the cells."""
        return _Kind(held_program(*self.cells), self.dataset, self.mesh)

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

        numbers = [settings_of(cell, self.kind.cell, phase) for cell in self.cells]
        return jax.device_put(_stack(numbers), self.everywhere)

    @property
    def epochs(self) -> tuple[int, ...]:
        """Epochs of each phase."""
        return (self.cells[0].epochs, self.cells[0].readout_epochs)[: len(self.algorithm.phases)]

    @property
    def inputs(self) -> Inputs:
        """Raw images to the inputs of the network."""
        return self.kind.inputs

    @property
    def cache(self) -> int | None:
        """Bytes of fast memory that replicas which train at once may fill; None: all train."""
        return self.kind.cache

    def weights(self, states: algorithms.TrainState) -> Any:
        """Weights of every block as the network sees them, [seeds, configs]."""
        last = len(self.algorithm.phases) - 1
        show = self.algorithm.phases[last].show
        return jax.jit(replicate(show, ".r", "rr"))(self.settings(last), states)

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
        d: Any = self.dataset  # NumPy's arrays, which become jax's
        data = training.Data(
            algorithms.Batch(d.train_images, d.train_labels),
            algorithms.Batch(d.test_images, d.test_labels),
        )
        return jax.device_put(data, self.everywhere)

    def init(self) -> Callable:
        """(keys [seeds], settings [configs]) -> states."""
        return _init(self.kind)

    def begin(self, phase: int) -> Callable:
        """(settings, states) -> states ready for a phase."""
        return _begin(self.kind, phase)

    def epoch(self, phase: int, evaluate: bool = True, diagnose: bool = False) -> Callable:
        """The compiled epoch of a phase, with or without its evaluations and diagnostics."""
        return _epoch(self.kind, phase, evaluate, diagnose)

    def waited(
        self, seeds: Sequence[int], states: algorithms.TrainState, data: training.Data
    ) -> tuple[training.Score, training.Score] | None:
        """Scores after the training, once the cells' time has gone by; None: no cell waits."""
        seconds = np.asarray([cell.wait for cell in self.cells], np.float32)
        if not seconds.any():
            return None
        last = len(self.algorithm.phases) - 1
        settings = self.settings(last)
        keys = self.keys(seeds, 1 + len(self.algorithm.phases))
        seconds = jax.device_put(seconds, self.everywhere)
        later = _wait(self.kind)(keys, seconds, settings, states)
        return _evaluation(self.kind, last)(settings, later, data)
