"""Every bit of memory that training a cell needs, per weight of its network.

Computed from what the memories declare and from the shapes of what is kept: nothing is known here
of any algorithm, memory or optimizer by name.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.cells.building import algorithm_of, held_program, settings_of
from experiments.cells.cell import Cell
from experiments.cells.kinds import NONE, numbers
from experiments.cells.memories import memory_of
from experiments.cells.networks import NETWORKS
from experiments.cells.own import ALGORITHM, MEMORY, NETWORK, OPTIMIZER, enter
from experiments.data import shape_of
from qjax.algorithms import ALGORITHMS
from qjax.blocks import kernels_of
from qjax.losses import LOSSES
from qjax.memories import Bits, ByLeaf, Float, is_held, is_memory, named, numbers_of
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import KINDS

__all__ = ["account_of", "weights_of"]

# Collections of blocks that training changes: running means and counts, in digital memory.
_COUNTED = ("batch_stats", "assignment")


def account_of(cell: Cell) -> Bits | None:
    """Bits that training a cell needs for each weight, that is, element of the network's kernels.

    On the device are those of the kernels; beside it is everything else that is kept from one step
    to the next: hidden bits, what the optimizer keeps, biases and gains, running means, feedback
    matrices or synthesizers where the rule needs them. Of several phases the one counts that needs
    most. None of a cell with words that this version does not know, or with data that are not at
    hand.
    """
    if not _is_known(cell):
        return None
    shape = _shape_of(cell)
    costs = [memory.account() for memory in memory_of(cell, held_program(cell)).memories]
    kernels = _bits(shape.kernels, costs)
    # What is never written needs nothing behind its levels.
    everything = (_bits(shape.held, costs).total + _bits(shape.fixed, costs).device
                  + shape.kept * float(cell.optimizer_bits or 32) + 32 * shape.counted)
    weights = sum(shape.kernels)
    return Bits(kernels.device / weights, (everything - kernels.device) / weights)


def weights_of(cell: Cell) -> int | None:
    """Elements of the network's kernels; None as for `account_of`."""
    return sum(_shape_of(cell).kernels) if _is_known(cell) else None


def _is_known(cell: Cell) -> bool:
    for table, word in ((ALGORITHM, cell.algorithm), (NETWORK, cell.network),
                        (OPTIMIZER, cell.optimizer), (MEMORY, cell.update)):
        enter(table, [word])
    known = (
        (cell.algorithm, ALGORITHMS), (cell.network, NETWORKS), (cell.optimizer, OPTIMIZERS),
        (cell.loss, LOSSES),
        (cell.quantizer.partition(":")[0], (*KINDS, NONE)),
    )
    if cell.update != NONE and not is_memory(cell.update):
        return False
    memory = Float if cell.update == NONE else named(cell.update)
    return all(word in words for word, words in known) and shape_of(cell.dataset) is not None and (
        numbers(cell.numbers).keys() <= numbers_of(memory).keys())


class _Shape(NamedTuple):
    """Elements by the number of their memory; numbers that optimizer and blocks keep."""

    kernels: tuple[int, ...]
    held: tuple[int, ...]
    fixed: tuple[int, ...]
    kept: int
    counted: int


def _shape_of(cell: Cell) -> _Shape:
    image, outputs = shape_of(cell.dataset)
    # Not of the settings that need no memory: cells share what is found out about their program.
    program = replace(held_program(cell), dataset="", batch_size=1, epochs=1,
                      readout_epochs=min(1, cell.readout_epochs))
    return _shape(program, image, outputs)


@functools.lru_cache(maxsize=1024)
def _shape(program: Cell, image: tuple[int, ...], outputs: int) -> _Shape:
    algorithm, settings = algorithm_of(program, outputs), settings_of(program, program, 0)
    # Sizes do not depend on what is done with the weights: floats are traced faster.
    where = settings.memory.where
    settings = replace(settings, memory=ByLeaf((Float(),) * len(where), where))
    inputs = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    state = jax.eval_shape(algorithm.init, jax.random.key(0), settings, inputs)
    kept = max(_numbers(jax.eval_shape(phase.begin, settings, state).opt_state)
               for phase in algorithm.phases)
    kernels = [kernels_of(block) for block in state.held["blocks"]]
    of_kernels, held, fixed = (
        _sizes(len(where), tree) for tree in (kernels, state.held, state.fixed))
    counted = _numbers([own.get(name) for own in state.collections for name in _COUNTED])
    return _Shape(of_kernels, held, fixed, kept, counted)


def _sizes(count: int, held: Any) -> tuple[int, ...]:
    sizes = [0] * count
    for node in jax.tree.leaves(held, is_leaf=is_held):
        if is_held(node):
            sizes[node.which] += node.state.size
    return tuple(sizes)


def _bits(sizes: Sequence[int], costs: Sequence[Bits]) -> Bits:
    return Bits(*(sum(size * float(cost[i]) for size, cost in zip(sizes, costs, strict=True))
                  for i in range(2)))


def _numbers(tree: Any) -> int:
    """Floating-point numbers in a tree; counters of steps are of the program, not of a weight."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree)
               if jnp.issubdtype(leaf.dtype, jnp.floating))
