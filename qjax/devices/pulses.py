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
    return bound(points, weights + step).astype(weights.dtype)  # numbers may be wider


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

    From the mean step, and by what share it is smaller after one pulse, follow all others as a
    geometric series. That is exact for one pulse, and for any number one way of steps that are
    constant or linear in the weight; it never passes the point where the step vanishes. Steps that
    change otherwise are followed for a few pulses (of pcm, which fall fast at first and then
    slowly, 3 pulses go 6 % too short, 8 a third).

    Args:
      device: a model with its numbers.
      points, weights: see `pulse`.
      ups, downs: pulses each way, like the weights, at least 0; or their means, see `spread`.
      key: consumed; None: no noise.
      spread: numbers are the means of Poisson distributions, whose deviation is part of the noise.

    Returns:
      Weights after them, within the bounds.
    """
    total = ups + downs
    some = jnp.where(total > 0, total, 1.0)

    def mean(moves):
        return (ups * moves.up - downs * moves.down) / some

    first = device.moves(points, weights)
    step = mean(first)
    there = device.moves(points, bound(points, weights + step))
    moving = jnp.abs(step) > 1e-12
    ratio = jnp.clip(jnp.where(moving, mean(there) / jnp.where(moving, step, 1.0), 1.0), 0.0, 2.0)
    # 1 + ratio + ratio^2 + ... of so many terms; that many where steps hardly change.
    curved = (total > 1) & (jnp.abs(1 - ratio) > 1e-4)
    safe = jnp.where(curved, ratio, 0.5)
    power = jnp.exp(jnp.minimum(total * jnp.log(jnp.maximum(safe, 1e-30)), 80.0))
    steps = jnp.where(curved, (1 - power) / (1 - safe), total)
    change = step * steps
    if key is not None:

        def deviation(moves):
            variance = ups * moves.up_std**2 + downs * moves.down_std**2
            if spread:
                variance = variance + ups * moves.up**2 + downs * moves.down**2
            noisy = variance > 0  # where there is none the root has no derivative
            return jnp.where(noisy, jnp.sqrt(jnp.where(noisy, variance, 1.0)), 0.0)

        # From the first pulse half way to the last, in steps: there noise is that of the mean one.
        # (Deviations are followed there, not all four moves: training takes a sixth less time.)
        half = jnp.maximum(jnp.where(moving, steps, 1.0) - 1, 0.0) / 2
        begin = deviation(first)
        halfway = jnp.maximum(begin + half * (deviation(there) - begin), 0.0)
        noise = jax.random.normal(key, weights.shape, weights.dtype)
        change = change + halfway * noise
    return bound(points, weights + change)
