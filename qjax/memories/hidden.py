"""Hidden bits: a finer digital weight behind every visible level, updated at random.

With as many hidden bits as visible ones both memories here are `Stochastic`, with floats behind the
levels `Latent`, bit for bit; in between lies what a few bits of digital memory beside a device buy.

* `Hidden` keeps the weight on a finer grid of the same kind, and shows the nearest visible level. A
  grid of h bits has no levels in common with one of b, but for its ends: what is shown follows from
  the finer weight alone, which has to be kept whole, h bits beside the device's b.
* `Counter` divides every visible step into ``2**k`` parts: what the device shows is the upper part
  of the weight, a counter of k bits beside it the rest. A change is added to the counter; where
  that overflows, the device is stepped by a level, up or down, and never has to be read. Only k
  bits are kept beside it.
"""

from dataclasses import replace

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from qjax import structs
from qjax.grids import Grid, Quantizer, make_grid, scale_of
from qjax.memories.interface import Bits
from qjax.rounding import land, quantize
from qjax.spacings import Uniform

__all__ = ["Counter", "Hidden"]


def _check_distances(grid: Quantizer) -> None:
    """Raises ValueError where levels have no finer ones between them."""
    if not isinstance(grid.spacing, Uniform):
        raise ValueError(
            "hidden bits divide equal distances between levels: expected a grid of the kind asymm "
            f"or symm, got {type(grid.spacing).__name__}"
        )


def _bits(grid: Quantizer, hidden_bits: ArrayLike) -> tuple[Array, Array]:
    """(visible, hidden) bits, 32 for floats."""
    visible, hidden = jnp.asarray(grid.bits), jnp.asarray(hidden_bits)
    quantized = visible > 0
    return (jnp.where(quantized, visible, 32),
            jnp.where(quantized & (hidden > 0), hidden, 32))


@structs.dataclass
class Hidden:
    """A finer grid behind the visible one, written at random, of which the nearest level is shown.

    Attributes:
      grid: visible levels, at equal distances.
      hidden_bits: of the finer grid, 1-16; 0 for floats.
    """

    grid: Quantizer = Quantizer(bits=0)
    hidden_bits: ArrayLike = 4
    floats_without_bits = True
    by_element = True

    def _fine(self, weights: Array) -> Grid:
        _check_distances(self.grid)
        bits = jnp.where(jnp.asarray(self.grid.bits) > 0, self.hidden_bits, 0)
        return make_grid(weights, replace(self.grid, bits=bits))

    def init(self, key: Array, weights: Array) -> Array:
        """Rounds at random to the finer grid."""
        return quantize(weights, self._fine(weights), key)

    def read(self, held: Array) -> Array:
        """The nearest visible levels."""
        return quantize(held, make_grid(held, self.grid))

    def behind(self, held: Array) -> Array:
        """The finer weights."""
        return held

    def write(self, key: Array, held: Array, change: Array) -> Array:
        """Adds and rounds at random to the finer grid; beyond its ends to these."""
        return land(held, change, self._fine, key)

    def account(self) -> Bits:
        """The finer weight is kept whole, unless it is what is shown."""
        visible, hidden = _bits(self.grid, self.hidden_bits)
        return Bits(visible, jnp.where(hidden > visible, hidden, 0))


@structs.dataclass
class Counter:
    """A counter beside each device gathers steps, at random, and moves the device when it is full.

    Attributes:
      grid: visible levels, at equal distances.
      hidden_bits: of level and counter together, from the grid's bits to 16; 0 for floats.
    """

    grid: Quantizer = Quantizer(bits=0)
    hidden_bits: ArrayLike = 4
    floats_without_bits = True
    by_element = True

    def _fine(self, weights: Array) -> Grid:
        _check_distances(self.grid)
        visible = make_grid(weights, self.grid)
        parts = jnp.exp2(jnp.maximum(jnp.asarray(self.hidden_bits) - self.grid.bits, 0))
        return replace(visible, codes=jnp.where(self.hidden_bits > 0, visible.codes * parts, 0))

    def init(self, key: Array, weights: Array) -> Array:
        """Rounds at random to parts of a step."""
        return quantize(weights, self._fine(weights), key)

    def read(self, held: Array) -> Array:
        """The visible levels; half way between two of them the counter has not overflowed yet."""
        fine = self._fine(held)
        factor, scale = scale_of(fine)
        # A counter of k bits has 2^k states: ties must not go up here and down there.
        part = jnp.where(scale > 0, 1 / jnp.where(scale > 0, scale * factor, 1), 0)
        return quantize(held - (part / 4).astype(held.dtype), make_grid(held, self.grid))

    def behind(self, held: Array) -> Array:
        """Levels and counters together."""
        return held

    def write(self, key: Array, held: Array, change: Array) -> Array:
        """Adds to the counters at random, which move the levels; beyond the ends to these."""
        return land(held, change, self._fine, key)

    def account(self) -> Bits:
        """The levels, and what the counter adds to them."""
        visible, hidden = _bits(self.grid, self.hidden_bits)
        return Bits(visible, jnp.maximum(hidden - visible, 0))
