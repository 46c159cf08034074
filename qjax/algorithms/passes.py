"""Forward and backward passes block by block: what algorithms are made of."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from qjax import memories
from qjax.algorithms.interface import Settings
from qjax.blocks import Network, apply_block, init_network

__all__ = ["Forward", "activities", "chain", "init_blocks", "run_blocks", "true_chain"]


class Forward(NamedTuple):
    """A network's forward pass, block by block, ready to be pulled back.

    Attributes:
      outputs: output of every block.
      pullbacks: per block, error at its output -> (gradient of its params, error at its input).
      collections: per block, with running statistics after this batch.
    """

    outputs: tuple[Array, ...]
    pullbacks: tuple[Callable[[Array], tuple[Any, Array]], ...]
    collections: tuple


def run_blocks(network: Network, params: Any, collections: Any, inputs: Array) -> Forward:
    """Forward pass in training mode that keeps each block's vector-Jacobian product.

    Args:
      network: blocks.
      params: of every block, as the memory shows them.
      collections: of every block; one called "feedback" is the matrices by which errors go down.
      inputs: [batch, ...].
    """
    outputs, pullbacks, updated = [], [], []
    x = inputs
    for block, block_params, block_collections in zip(network, params, collections, strict=True):

        def apply(p, x, block=block, block_collections=block_collections):
            return apply_block(block, p, block_collections, x, train=True)

        x, pullback, new_collections = jax.vjp(apply, block_params, x, has_aux=True)
        outputs.append(x)
        pullbacks.append(pullback)
        updated.append(new_collections)
    return Forward(tuple(outputs), tuple(pullbacks), tuple(updated))


def chain(pullbacks: Sequence[Callable], error: Array) -> tuple[tuple, Array]:
    """Sends the error at the last output down through all blocks.

    Returns:
      (gradient of each block's params, error at the first block's input).
    """
    gradients = []
    for pullback in reversed(pullbacks):
        gradient, error = pullback(error)
        gradients.append(gradient)
    return tuple(reversed(gradients)), error


def true_chain(
    network: Network, params: Any, collections: Any, inputs: Array, error: Callable
) -> tuple[Forward, tuple]:
    """Forward pass and backpropagation through the weights themselves, whatever the feedback.

    Args:
      error: output of the last block -> gradient of the loss there.

    Returns:
      (forward pass, gradient of each block's params).
    """
    own = tuple({k: v for k, v in c.items() if k != "feedback"} for c in collections)
    run = run_blocks(network, params, own, inputs)
    gradients, _ = chain(run.pullbacks, error(run.outputs[-1]))
    return run, gradients


def init_blocks(
    key: Array, network: Network, settings: Settings, inputs: Array, first: int = 0
) -> tuple[tuple, tuple, tuple]:
    """A network's initial weights, put into memory.

    Args:
      key: consumed.
      network: blocks.
      settings: of the replica.
      inputs: [batch, ...], only its shape and dtype matter.
      first: number of the first block, where others lie below.

    Returns:
      (what is held per block, weights per block as the memory shows them, collections per block).
    """
    init_key, place_key = jax.random.split(key)
    params, collections = init_network(init_key, network, inputs)

    def scaled(gain):
        return (settings.gain * gain).astype(gain.dtype)

    collections = tuple(
        {**c, "device": jax.tree.map(scaled, c["device"])} if "device" in c else c
        for c in collections
    )
    numbered = {"blocks": (None,) * first + params}
    held = memories.hold(place_key, settings.memory, numbered)["blocks"][first:]
    return held, memories.read(settings.memory, held), collections


def activities(settings: Settings, sizes: Any, changes: Any) -> Any:
    """What examples ask of the memory (`qjax.memories.Activity`) under plain gradient descent.

    Args:
      settings: of the replica.
      sizes: what they add to the gradient, in a tree like `changes`; None where it is not known.
      changes: proposed; nothing is asked for where they are zero.
    """
    def of(change, size):
        return None if size is None else memories.Activity(
            jnp.where(change == 0, 0, settings.learning_rate * size))

    return jax.tree.map(of, changes, sizes)
