"""A float behind every weight, of which the device shows the nearest level."""

import jax.numpy as jnp
from jax import Array

from qjax import structs
from qjax.grids import Quantizer, make_grid
from qjax.memories.interface import Bits
from qjax.rounding import quantize

__all__ = ["Latent"]


@structs.dataclass
class Latent:
    """A float behind each weight gathers the steps, its nearest level is shown.

    BinaryConnect (Courbariaux et al. 2015); gradients at the shown weights go straight through.
    """

    grid: Quantizer = Quantizer(bits=0)
    floats_without_bits = True
    by_element = True
    draws = False

    def init(self, key: Array, weights: Array) -> Array:
        """The floats."""
        del key
        return weights

    def read(self, held: Array) -> Array:
        """Their nearest levels."""
        return quantize(held, make_grid(held, self.grid))

    def behind(self, held: Array) -> Array:
        """The floats."""
        return held

    def write(self, key: Array, held: Array, change: Array) -> Array:
        """Adds to the floats."""
        del key
        return (held + change).astype(held.dtype)

    def account(self) -> Bits:
        """The levels on the device, a whole float beside it: levels do not tell its upper bits."""
        quantized = jnp.asarray(self.grid.bits) > 0
        return Bits(jnp.where(quantized, self.grid.bits, 32), jnp.where(quantized, 32, 0))
