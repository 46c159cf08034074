"""Pulse trains: how a crossbar is updated by the outer product of two vectors, sample by sample.

Rows and columns of a crossbar get trains of random pulses; where two meet, the device moves by a
step (Gokmen and Vlasov 2016). How often a line fires is managed so that the update is right on
average with as few pulses as possible (Gokmen, Onen, Haensch 2017; Rasch, Gokmen, Haensch 2020).
Kernels are [in, out]: inputs `x` [in], errors `d` [out]; the update is ``-lr x d^T`` on average,
where a step is as large as the `granularity` by which pulses are counted.

This is exact, one sample after the other, as aihwkit does it: for conformance, and for small work.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from qjax import structs
from qjax.devices.device import Device, Points
from qjax.devices.pulses import many, pulse

__all__ = ["Lines", "Trains", "counts", "lines", "outer", "outer_batch"]


@structs.dataclass
class Trains:
    """How trains are made; aihwkit's names and defaults.

    Attributes:
      desired_bl: length of a train, at most where it is managed.
      fixed_bl: without management of the length: keep it, else longer ones for large rates.
      update_management: share the work between rows and columns by their largest entries.
      update_bl_management: trains no longer than needed; takes `update_management` with it.
      um_grad_scale: errors count by so much more for the two.
      resolution: probabilities are multiples of this; 0: any.
      implicit: whole numbers of pulses, rounded from the mean, and no chance ("deterministic
        implicit").
    """

    desired_bl: int = structs.field(pytree_node=False, default=31)
    fixed_bl: bool = structs.field(pytree_node=False, default=True)
    update_management: bool = structs.field(pytree_node=False, default=True)
    update_bl_management: bool = structs.field(pytree_node=False, default=True)
    um_grad_scale: ArrayLike = 1.0
    resolution: ArrayLike = 0.0
    implicit: bool = structs.field(pytree_node=False, default=False)


class Lines(NamedTuple):
    """Probabilities that a line fires in one slot of a train, and the number of slots.

    Attributes:
      inputs: [in].
      errors: [out].
      length: of the trains; 0: nothing happens.
    """

    inputs: Array
    errors: Array
    length: Array


def lines(x: Array, d: Array, rate: ArrayLike, granularity: ArrayLike, trains: Trains) -> Lines:
    """What one sample asks of its lines.

    Args:
      x: inputs [in].
      d: errors [out].
      rate: learning rate, at least 0.
      granularity: change of a weight that counts as one pulse.
      trains: how they are made.
    """
    x, d = jnp.abs(x), jnp.abs(d)
    top_x, top_d = jnp.max(x), trains.um_grad_scale * jnp.max(d)
    managed = trains.update_management or trains.update_bl_management
    # of a managed update: how many pulses the largest product asks for
    wanted = rate * top_x * top_d / granularity
    some = wanted > 0 if managed else rate > 0
    safe = jnp.where(some, wanted, 1.0)
    if trains.update_bl_management:
        length = jnp.minimum(jnp.ceil(safe), trains.desired_bl)
    elif trains.fixed_bl:
        length = jnp.full_like(safe, trains.desired_bl)
    else:
        longer = trains.desired_bl * granularity < rate
        length = jnp.where(longer, jnp.maximum(jnp.ceil(rate / granularity), 1.0),
                           trains.desired_bl)
    scale = jnp.sqrt(rate / (granularity * length))
    if not trains.update_bl_management and not trains.fixed_bl:
        scale = jnp.where(longer, 1.0, scale)
    on_x = on_d = scale
    if managed:
        capped = top_d * jnp.minimum(1.0, trains.desired_bl / safe)
        capped, top_x = jnp.where(some, capped, 1.0), jnp.where(some, top_x, 1.0)
        on_d, on_x = scale * jnp.sqrt(top_x / capped), scale * jnp.sqrt(capped / top_x)

    def probability(values):
        if isinstance(trains.resolution, (int, float)) and not trains.resolution:
            return jnp.minimum(values, 1.0)
        step = jnp.where(jnp.asarray(trains.resolution) > 0, trains.resolution, 1.0)
        rounded = jnp.where(jnp.asarray(trains.resolution) > 0, jnp.round(values / step) * step,
                            values)
        return jnp.minimum(rounded, 1.0)

    length = jnp.where(some, length, 0)
    return Lines(probability(on_x * x), probability(on_d * d), length)


def counts(found: Lines) -> Array:
    """Whole numbers of pulses [in, out], rounded from their means (half to even)."""
    return jnp.round(found.length * found.inputs[:, None] * found.errors).astype(jnp.int32)


def outer(
    key: Array, device: Device, points: Points, weights: Array, x: Array, d: Array,
    rate: ArrayLike, trains: Trains = Trains(), *, granularity: ArrayLike | None = None,
    noisy: bool = True
) -> Array:
    """Weights [in, out] after the update by one sample.

    Args:
      key: consumed; of trains and of the noise from cycle to cycle.
      device, points, weights: see `qjax.devices.pulse`.
      x: inputs [in].
      d: errors [out].
      rate: learning rate, of either sign.
      trains: how they are made.
      granularity: change that counts as one pulse; None: the device's.
      noisy: with noise from cycle to cycle.
    """
    unit = device.granularity if granularity is None else granularity
    found = lines(x, d, jnp.abs(rate), unit, trains)
    way = -jnp.sign(rate * x[:, None] * d)
    train_key, noise_key = jax.random.split(key)
    if trains.implicit:
        signed = (way * counts(found)).astype(jnp.int32)
        return many(device, points, weights, signed, noise_key if noisy else None)

    def slot(number, weights):
        x_key, d_key = jax.random.split(jax.random.fold_in(train_key, number))
        fires_x = jax.random.uniform(x_key, x.shape) < found.inputs
        fires_d = jax.random.uniform(d_key, d.shape) < found.errors
        direction = jnp.where(fires_x[:, None] & fires_d, way, 0)
        own = jax.random.fold_in(noise_key, number) if noisy else None
        return pulse(device, points, weights, direction, own)

    return jax.lax.fori_loop(0, found.length.astype(jnp.int32), slot, weights)


def outer_batch(
    key: Array, device: Device, points: Points, weights: Array, x: Array, d: Array,
    rate: ArrayLike, trains: Trains = Trains(), *, granularity: ArrayLike | None = None,
    noisy: bool = True
) -> Array:
    """`outer` for the samples of a batch, one after the other: x [batch, in], d [batch, out]."""

    def sample(weights, turn):
        number, one_x, one_d = turn
        own = jax.random.fold_in(key, number)
        return outer(own, device, points, weights, one_x, one_d, rate, trains,
                     granularity=granularity, noisy=noisy), None

    return jax.lax.scan(sample, weights, (jnp.arange(len(x)), x, d))[0]
