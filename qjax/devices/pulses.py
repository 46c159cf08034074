"""Pulses: how weights in a device move, one pulse at a time or many at once."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from qjax.devices.device import Device, Points

__all__ = ["bound", "many", "pulse", "train"]


def bound(points: Points, weights: Array) -> Array:
    """Weights within the bounds of each device."""
    return jnp.clip(weights, points.low, points.high)


def pulse(
    device: Device, points: Points, weights: Array, direction: ArrayLike, key: Array | None = None
) -> Array:
    """One pulse at every device, or none.

    Args:
      device: a model with its numbers.
      points: from `device.draw`.
      weights: of the shape of the points.
      direction: 1 for up, -1 for down, 0 for none; like the weights, or a scalar.
      key: consumed; None: no noise from cycle to cycle.

    Returns:
      Weights after it, within the bounds.
    """
    way = jnp.sign(jnp.asarray(direction, weights.dtype))
    moves = device.moves(points, weights)
    step = way * jnp.where(way > 0, moves.up, moves.down)
    if key is not None:
        std = jnp.where(way > 0, moves.up_std, moves.down_std)
        noise = jax.random.normal(key, weights.shape, weights.dtype)
        step = step + jnp.abs(way) * std * noise
    return bound(points, weights + step)


def train(
    device: Device, points: Points, weights: Array, directions: Array, key: Array | None = None
) -> Array:
    """A sequence of pulses, with every weight after each.

    Args:
      device, points, weights: see `pulse`.
      directions: [pulses, ...] each as for `pulse`.
      key: as there.

    Returns:
      [pulses, ...] weights.
    """
    def step(weights, turn):
        number, direction = turn
        own = None if key is None else jax.random.fold_in(key, number)
        weights = pulse(device, points, weights, direction, own)
        return weights, weights

    return jax.lax.scan(step, weights, (jnp.arange(len(directions)), directions))[1]


def many(
    device: Device, points: Points, weights: Array, counts: Array, key: Array | None = None
) -> Array:
    """Whole numbers of pulses at every device, one after the other: exact, in as many rounds.

    Args:
      device, points, weights: see `pulse`.
      counts: like the weights; above zero up, below zero down.
      key: as there.
    """
    def step(number, weights):
        own = None if key is None else jax.random.fold_in(key, number)
        way = jnp.where(jnp.abs(counts) > number, jnp.sign(counts), 0)
        return pulse(device, points, weights, way, own)

    rounds = jnp.max(jnp.abs(counts), initial=0).astype(jnp.int32)
    return jax.lax.fori_loop(0, rounds, step, weights)
