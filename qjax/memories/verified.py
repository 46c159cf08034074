"""Write and verify: a device is programmed to a target, read, and programmed again if it missed."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from qjax import structs
from qjax.memories.interface import Bits
from qjax.numbers import number

__all__ = ["WriteVerify"]


@structs.dataclass
class WriteVerify:
    """Programs a device to its new weight, again and again until it is near enough.

    A device that is not asked to change is not written; one that is gets up to `tries` attempts,
    each of which misses by a normal error of its own. What the last attempt gave is the weight, and
    what the next change is added to. Nothing is kept beside it.
    """

    write_std: ArrayLike = number(0.05, "deviation of an attempt, in units of the weights", 0)
    tolerance: ArrayLike = number(0.02, "an attempt that misses by less is good", 0)
    tries: ArrayLike = number(5, "attempts at most", 1)
    w_max: ArrayLike = number(1.0, "upper bound of a weight", 0)
    w_min: ArrayLike = number(-1.0, "lower bound of a weight", high=0)

    def init(self, key: Array, weights: Array) -> Array:
        """Programs every device."""
        return self._programmed(key, weights)

    def _programmed(self, key: Array, targets: Array) -> Array:
        targets = jnp.clip(targets, self.w_min, self.w_max)

        def attempt(number, carry):
            weights, good = carry
            noise = jax.random.normal(jax.random.fold_in(key, number), targets.shape, targets.dtype)
            tried = jnp.clip(targets + self.write_std * noise, self.w_min, self.w_max)
            weights = jnp.where(good, weights, tried).astype(targets.dtype)
            return weights, jnp.abs(weights - targets) <= self.tolerance

        start = (targets, jnp.zeros(targets.shape, bool))
        rounds = jnp.maximum(jnp.round(jnp.asarray(self.tries)), 1).astype(jnp.int32)
        return jax.lax.fori_loop(0, rounds, attempt, start)[0]

    def read(self, held: Array) -> Array:
        """What is held."""
        return held

    def write(self, key: Array, held: Array, change: Array) -> Array:
        """Programs the devices that shall change."""
        return jnp.where(change == 0, held, self._programmed(key, held + change))

    def account(self) -> Bits:
        """The logarithm of the weights that can be told apart, two deviations from each other."""
        apart = 2 * jnp.maximum(jnp.asarray(self.write_std, jnp.float32), 1e-6)
        return Bits(jnp.log2(jnp.maximum((self.w_max - self.w_min) / apart, 2.0)), 0)
