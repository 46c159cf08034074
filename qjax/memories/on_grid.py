"""Memories that are nothing but levels: a weight is one of them, and nothing is kept beside it.

They differ in how a change that is no whole number of levels reaches the grid. Tensors without a
grid (0 bits) are floats under each.
"""

import jax.numpy as jnp
from jax import Array

from qjax import structs
from qjax.grids import Quantizer, make_grid
from qjax.memories.interface import Bits
from qjax.rounding import land, pulse, quantize

__all__ = ["Nearest", "Pulse", "Stochastic"]


def _bits(grid: Quantizer) -> Bits:
    return Bits(jnp.where(jnp.asarray(grid.bits) > 0, grid.bits, 32), 0)


@structs.dataclass
class Nearest:
    """Take the step, then round to the nearest level: a step below half a level is lost.

    Needs nothing but the weight.
    """

    grid: Quantizer = Quantizer(bits=0)
    floats_without_bits = True
    by_element = True
    draws = False

    def init(self, key: Array, weights: Array) -> Array:
        """Rounds."""
        del key
        return quantize(weights, make_grid(weights, self.grid))

    def read(self, held: Array) -> Array:
        """What is held."""
        return held

    def write(self, key: Array, held: Array, change: Array) -> Array:
        """Adds and rounds."""
        del key
        return land(held, change, lambda w: make_grid(w, self.grid))

    def account(self) -> Bits:
        """The grid's bits."""
        return _bits(self.grid)


@structs.dataclass
class Stochastic:
    """Take the step, then round up or down at random, right on average: small steps survive.

    As probabilities (Gupta et al. 2015). Needs the weight and a random number.
    """

    grid: Quantizer = Quantizer(bits=0)
    floats_without_bits = True
    by_element = True

    def init(self, key: Array, weights: Array) -> Array:
        """Rounds at random."""
        return quantize(weights, make_grid(weights, self.grid), key)

    def read(self, held: Array) -> Array:
        """What is held."""
        return held

    def write(self, key: Array, held: Array, change: Array) -> Array:
        """Adds and rounds at random."""
        return land(held, change, lambda w: make_grid(w, self.grid), key)

    def account(self) -> Bits:
        """The grid's bits."""
        return _bits(self.grid)


@structs.dataclass
class Pulse:
    """One programming pulse, or none: one level at most, with a probability set by the step.

    Needs the weight and a random number, and the device never has to be written to a given level.
    Meant for the scope "global": a range taken from the tensor can only shrink, and every weight is
    then rounded to the new levels.
    """

    grid: Quantizer = Quantizer(bits=0)
    floats_without_bits = True
    by_element = True

    def init(self, key: Array, weights: Array) -> Array:
        """Rounds at random."""
        return quantize(weights, make_grid(weights, self.grid), key)

    def read(self, held: Array) -> Array:
        """What is held."""
        return held

    def write(self, key: Array, held: Array, change: Array) -> Array:
        """Moves some weights by a level."""
        moved = pulse(held, change, make_grid(held, self.grid), key)
        # A local range may have shrunk; else nothing changes.
        return quantize(moved, make_grid(moved, self.grid))

    def account(self) -> Bits:
        """The grid's bits."""
        return _bits(self.grid)
