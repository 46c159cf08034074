"""What stands on representations that were learned without an order of classes.

A hidden representation that tells classes apart, as the HSIC bottleneck makes one, has nothing that
says which unit is which class. `Assigned` finds that out by counting, without training; `Average`
joins the representations of several networks, which `Parallel` trains side by side.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax
from jax import Array

from qjax.blocks import Network, mode_of

__all__ = ["Assigned", "Average", "Parallel", "observed", "one_to_one", "side_by_side"]

MOMENTUM = 0.1


class Parallel(nn.Module):
    """Copies of a block with parameters of their own, on one input or on one each.

    Attributes:
      block: of any kind.
      copies: how many.
      split: has the input an axis for them, [batch, copies, ...]?
    """

    block: nn.Module
    copies: int
    split: bool = True

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        """[batch, ...] -> [batch, copies, ...]."""
        outputs = [
            self.block.clone(parent=self, name=f"copy_{number}")(
                x[:, number] if self.split else x, **mode_of(self.block, train))
            for number in range(self.copies)
        ]
        return jnp.stack(outputs, axis=1)


def side_by_side(network: Network, copies: int) -> Network:
    """As many networks of the same kind, on the same inputs: [batch, ...] -> [batch, copies, ...].

    Args:
      network: blocks; `qjax.blocks` says what they are.
      copies: how many.
    """
    return tuple(Parallel(block, copies, split=number > 0) for number, block in enumerate(network))


class Average(nn.Module):
    """The mean of what several networks give: [batch, copies, ...] -> [batch, ...]."""

    def __call__(self, x: Array) -> Array:
        """See above."""
        return jnp.mean(x, axis=1)


def one_to_one(means: Array) -> Array:
    """Which unit stands for which class, every one for another: the best sum of all.

    Args:
      means: [classes, units >= classes], a unit's mean activation on the examples of a class.

    Returns:
      [classes], numbers of units. (The optimum, by `optax.assignment`; the arg-max of every row,
      as hsicbt takes it, may name one unit twice.)
    """
    classes, units = optax.assignment.hungarian_algorithm(-means)
    return jnp.zeros(len(means), int).at[classes].set(units)


class Assigned(nn.Module):
    """Scores of classes out of units that were trained without an order: a unit for every class.

    Its collection "assignment" has what `observed` counts.
    """

    classes: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[batch, units] -> [batch, classes], the units of the classes in their order."""
        sums = self.variable("assignment", "sums", jnp.zeros, (self.classes, x.shape[-1]), x.dtype)
        counts = self.variable("assignment", "counts", jnp.zeros, self.classes, x.dtype)
        means = sums.value / jnp.maximum(counts.value, jnp.finfo(x.dtype).tiny)[:, None]
        return x[:, one_to_one(means)]


def observed(collection: Mapping[str, Any], x: Array, one_hot: Array) -> dict[str, Any]:
    """The collection of `Assigned` after another batch; older ones count ever less.

    Args:
      collection: of the block.
      x: [batch, units].
      one_hot: [batch, classes].
    """
    old = collection["assignment"]
    new = {"sums": one_hot.T @ x, "counts": jnp.sum(one_hot, axis=0)}
    return {**collection, "assignment": {
        name: ((1 - MOMENTUM) * old[name] + MOMENTUM * new[name]).astype(old[name].dtype)
        for name in new}}
