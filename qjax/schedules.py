"""How the learning rate falls, as numbers: replicas with different schedules share a program."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

__all__ = ["SCHEDULES", "factor"]

# Numbers of the words, for `factor`.
SCHEDULES = {"constant": 0, "exponential": 1, "linear": 2, "cosine": 3}


def factor(
    schedule: ArrayLike, gamma: ArrayLike, epoch: ArrayLike, fraction: ArrayLike, epochs: ArrayLike
) -> Array:
    """What the learning rate is multiplied by.

    "constant": 1; "exponential": ``gamma ** epoch``, in steps of an epoch; "linear": ``1 - t`` and
    "cosine": ``(1 + cos(pi t)) / 2`` (Loshchilov and Hutter 2017), both at every step, with t the
    share of the training that is over.

    Args:
      schedule: a value of `SCHEDULES`.
      gamma: factor per epoch of "exponential".
      epoch: epochs that are over.
      fraction: share of the running epoch that is over, 0 to 1.
      epochs: epochs of the whole training.

    Returns:
      Scalar; all arguments may be traced and batched.
    """
    t = jnp.minimum((epoch + fraction) / epochs, 1.0)
    factors = (jnp.ones_like(t), gamma**epoch, 1 - t, 0.5 * (1 + jnp.cos(jnp.pi * t)))
    return jnp.select([jnp.equal(schedule, number) for number in range(4)], factors)
