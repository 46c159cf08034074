"""Every bit of memory that training a cell needs, per weight of its network.

Computed from what the memories declare and from the shapes of what is kept: nothing is known here
of any algorithm, memory or optimizer by name.
"""

import functools
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.cells.building import algorithm_of, held_program, settings_of
from experiments.cells.cell import Cell
from experiments.data import DATASETS, HOLDOUT
from qjax import memories
from qjax.blocks import kernels_of

__all__ = ["Account", "account_of"]


class Account(NamedTuple):
    """Bits per weight, a weight being an element of a kernel of the network.

    Attributes:
      device: on the devices that multiply.
      beside: everything else that is kept from one step to the next: hidden bits, what the
        optimizer keeps, biases and gains, feedback matrices or synthesizers where the rule needs
        them.
    """

    device: float
    beside: float

    @property
    def total(self) -> float:
        """Both."""
        return self.device + self.beside


def account_of(cell: Cell) -> Account:
    """What training a cell needs; of several phases the one that needs most."""
    return _account(replace(cell, lr=1.0, epochs=1, readout_epochs=min(1, cell.readout_epochs)))


@functools.lru_cache(maxsize=4096)
def _account(cell: Cell) -> Account:
    spec, program = DATASETS[cell.dataset.removesuffix(HOLDOUT)], held_program(cell)
    algorithm = algorithm_of(program, spec.n_classes)
    settings = settings_of(cell, program, 0)
    inputs = jax.ShapeDtypeStruct((2, *spec.image_shape), jnp.float32)
    state = jax.eval_shape(algorithm.init, jax.random.key(0), settings, inputs)
    kept = 0.0
    for phase in algorithm.phases:
        opt_state = jax.eval_shape(phase.begin, settings, state).opt_state
        kept = max(kept, _numbers(opt_state) * float(cell.optimizer_bits or 32))
    kernels = [kernels_of(block) for block in state.held["blocks"]]
    weights = sum(leaf.size for leaf in jax.tree.leaves(_shown(settings.memory, kernels)))
    own = _bits(settings.memory, kernels)
    everything = _bits(settings.memory, (state.held, state.fixed))
    return Account(own.device / weights, (sum(everything) - own.device + kept) / weights)


def _shown(memory: Any, held: Any) -> Any:
    return jax.eval_shape(lambda tree: memories.read(memory, tree), held)


def _bits(memory: Any, held: Any) -> memories.Bits:
    """Of a whole tree, not per weight."""
    count = sum(leaf.size for leaf in jax.tree.leaves(_shown(memory, held)))
    return memories.Bits(*(float(bits) * count for bits in memories.account(memory, held)))


def _numbers(tree: Any) -> int:
    """Floating-point numbers in a tree; counters of steps are of the program, not of a weight."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype,
                                                                            jnp.floating))
