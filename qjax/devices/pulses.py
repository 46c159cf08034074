"""Pulses: how weights in a device move, one pulse at a time or many at once."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from qjax.devices.device import Device, Points

__all__ = ["bound", "jump", "many", "pulse", "train"]


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


def jump(
    device: Device, points: Points, weights: Array, ups: Array, downs: Array,
    key: Array | None = None, *, spread: bool = False
) -> Array:
    """Many pulses up and down at once, in no order: one round, whatever their numbers.

    The step is taken where the weight is half way: exact for one pulse, and for two where steps are
    linear in the weight; beyond that an error of the second order in the change of the step.

    Args:
      device, points, weights: see `pulse`.
      ups, downs: pulses each way, like the weights, at least 0; or their means, see `spread`.
      key: consumed; None: no noise.
      spread: numbers are the means of Poisson distributions, whose deviation is part of the noise.

    Returns:
      Weights after them, within the bounds.
    """
    total = ups + downs
    first = device.moves(points, weights)
    # From the first pulse to the middle of all.
    share = jnp.where(total > 1, 0.5 - 0.5 / jnp.where(total > 1, total, 1.0), 0.0)
    middle = bound(points, weights + share * (ups * first.up - downs * first.down))
    there = device.moves(points, middle)
    step = ups * there.up - downs * there.down
    if key is not None:
        variance = ups * there.up_std**2 + downs * there.down_std**2
        if spread:
            variance = variance + ups * there.up**2 + downs * there.down**2
        step = step + jnp.sqrt(variance) * jax.random.normal(key, weights.shape, weights.dtype)
    return bound(points, weights + step)
