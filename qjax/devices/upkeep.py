"""What happens to a weight between pulses: it decays, diffuses, drifts, is reset.

How much, every device says for itself, once, like the constants of its pulses. aihwkit lets
weights diffuse, then decay, after every batch; drift and reset come on request.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from qjax import structs
from qjax.devices.chance import normals
from qjax.devices.device import Points
from qjax.devices.pulses import bound
from qjax.numbers import number

__all__ = ["Rates", "Upkeep", "decay", "diffuse", "drift", "reset"]


@structs.dataclass
class Rates:
    """Of every crosspoint; arrays of the shape of the weights.

    Attributes:
      kept: share of the way to `towards` that is left after a batch.
      diffusion: deviation that a batch adds.
      towards: weight after a reset, and where decay leads.
      nu: exponent of the drift.
    """

    kept: Array
    diffusion: Array
    towards: Array
    nu: Array


@structs.dataclass
class Upkeep:
    """Numbers of what happens between pulses; nothing by default.

    Without a `lifetime` weights are not made to decay, without a `diffusion` not to diffuse, in
    every batch: both cost time.
    """

    lifetime: ArrayLike | None = number(
        0.0, "batches in which a weight decays by a factor e; 0: never", 0, left_out=True)
    lifetime_dtod: ArrayLike = number(0.0, "its deviation between devices, as a share", 0)
    diffusion: ArrayLike | None = number(
        0.0, "deviation that a batch adds, in units of the weights", 0, left_out=True)
    diffusion_dtod: ArrayLike = number(0.0, "its deviation between devices, as a share", 0)
    reset: ArrayLike = number(0.0, "mean weight after a reset")
    reset_dtod: ArrayLike = number(0.0, "its deviation between devices, in units of the weights", 0)
    reset_std: ArrayLike = number(0.01, "its deviation from reset to reset, likewise", 0)
    nu: ArrayLike = number(0.0, "exponent of the drift: weights fall like time^-nu")
    nu_dtod: ArrayLike = number(0.0, "its deviation between devices, as a share", 0)
    nu_std: ArrayLike = number(0.0, "its deviation from look to look, as a share", 0)
    t_0: ArrayLike = number(1.0, "time from which on weights drift, in seconds", 0)

    def draw(self, key: Array, shape: tuple[int, ...]) -> Rates:
        """Rates of crosspoints of that shape; the key is consumed."""
        life, diffusion, towards, nu = normals(jax.random.split(key, 4), shape)
        lifetime, added = (0.0 if x is None else x for x in (self.lifetime, self.diffusion))
        batches = lifetime * (1 + self.lifetime_dtod * life)
        kept = jnp.where(batches > 1, 1 - 1 / jnp.where(batches > 1, batches, 2.0), 0.0)
        return Rates(
            kept=jnp.where(jnp.asarray(lifetime) > 0, kept, 1.0),
            diffusion=jnp.abs(added * (1 + self.diffusion_dtod * diffusion)),
            towards=self.reset + self.reset_dtod * towards,
            nu=self.nu * (1 + self.nu_dtod * nu),
        )


def decay(rates: Rates, points: Points, weights: Array) -> Array:
    """Weights after a batch's decay, within the bounds."""
    return bound(points, rates.towards + (weights - rates.towards) * rates.kept)


def diffuse(rates: Rates, points: Points, weights: Array, key: Array) -> Array:
    """Weights after a batch's diffusion, within the bounds; the key is consumed."""
    noise = jax.random.normal(key, weights.shape, weights.dtype)
    return bound(points, weights + rates.diffusion * noise)


def reset(upkeep: Upkeep, rates: Rates, points: Points, key: Array) -> Array:
    """Weights that have just been reset, within the bounds; the key is consumed."""
    noise = jax.random.normal(key, points.up.shape, points.up.dtype)
    return bound(points, rates.towards + upkeep.reset_std * noise)


def drift(
    upkeep: Upkeep, rates: Rates, points: Points, weights: Array, seconds: ArrayLike,
    key: Array | None = None
) -> Array:
    """Weights `seconds` after they were written last, within the bounds.

    Args:
      upkeep, rates, points: of these devices.
      weights: as they were written.
      seconds: since then.
      key: consumed; None: no deviation from look to look.
    """
    nu = rates.nu
    if key is not None:
        nu = nu * (1 + upkeep.nu_std * jax.random.normal(key, weights.shape, weights.dtype))
    # nothing drifts before t_0; nor at all with t_0 = 0, which would be for ever
    since = jnp.maximum(seconds / jnp.where(upkeep.t_0 == 0, jnp.inf, upkeep.t_0), 1.0)
    return bound(points, weights * since ** -nu)
