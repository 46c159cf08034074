"""How the levels of a grid are spaced.

A grid's levels are numbered: by ``0 .. most`` from the lower end of its range to the upper one, or,
in a symmetric range, by ``-most .. most`` with zero for 0. A *spacing* says where level k lies: its
*place*, 0 at the origin and 1 at the upper end. That, and which code is near a place, is all that
rounding to the nearest level, stochastic rounding and pulses need (`qjax.rounding`), so a new
quantizer is a spacing and an entry in `qjax.kinds`.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["PowersOfTwo", "Spacing", "Table", "Uniform", "position"]


class Spacing(Protocol):
    """Hashable, compared by value (it is part of the program, not a number of the replica)."""

    @property
    def both_ways(self) -> bool:
        """Are codes of a symmetric range counted from its middle?"""

    @property
    def ends(self) -> tuple[float, float]:
        """Of a range that is given and not measured, in units of its bound."""

    def most(self, bits: Array, symmetric: Array) -> Array:
        """The largest code of a grid of so many bits; whole, at least 1 if there is a grid."""

    def place(self, code: Array, most: Array) -> Array:
        """Where level `code` lies: increasing, 1 at `most`; any number where `most` is 0.

        0 at code 0, and of both signs where codes are counted both ways. nan and inf stay so.
        """

    def code_near(self, place: Array, most: Array) -> Array:
        """Any function whose floor is the code of the level below `place`, or one next to it."""

    def digits(self, bits: float) -> float:
        """Significant binary digits that a float needs to tell neighbouring levels apart."""


@dataclass(frozen=True)
class Uniform:
    """Levels at equal distances: ``2^b`` of them or, in a symmetric range, ``2^b - 1``."""

    both_ways: bool = True
    ends: tuple[float, float] = (-1.0, 1.0)

    def most(self, bits, symmetric):
        """See `Spacing`."""
        # round() only undoes the last-bit error of a power computed through exp and log.
        return jnp.round(jnp.exp2(jnp.where(symmetric, bits - 1, bits))) - 1

    def place(self, code, most):
        """See `Spacing`."""
        most = jnp.where(most > 0, most, 1)

        def inexact(code, most):  # a GPU's division is a last bit off
            return jnp.where(jnp.abs(code) == most, jnp.sign(code), code / most)

        return jax.lax.platform_dependent(code, most, cpu=jnp.divide, default=inexact)

    def code_near(self, place, most):
        """See `Spacing`."""
        return place * most

    def digits(self, bits):
        """See `Spacing`."""
        return bits


@dataclass(frozen=True)
class PowersOfTwo:
    """Zero and plus and minus the end of the range halved again and again, ``2^b - 1`` levels.

    A product with such a weight is a shift (Miyashita, Lee and Murmann 2016, "Convolutional neural
    networks using logarithmic data representation"; Zhou et al. 2017, "Incremental network
    quantization", has the same levels). With 2 bits they are symm's.
    """

    both_ways: bool = True
    ends: tuple[float, float] = (-1.0, 1.0)

    def most(self, bits, symmetric):
        """See `Spacing`."""
        return Uniform().most(bits, symmetric)

    def place(self, code, most):
        """See `Spacing`."""
        power = jnp.ldexp(jnp.ones_like(code), self._exponent(code, most))
        return jnp.where(jnp.isfinite(code), jnp.sign(code) * power, code)

    def _exponent(self, code, most):
        return jnp.nan_to_num(jnp.minimum(jnp.abs(code) - most, 0)).astype(jnp.int32)

    def code_near(self, place, most):
        """See `Spacing`."""
        tiny = jnp.finfo(place.dtype).tiny
        size = most + jnp.floor(jnp.log2(jnp.maximum(jnp.abs(place), tiny)))
        # Below zero the level below has the larger size, but it is a neighbour all the same.
        return jnp.sign(place) * jnp.maximum(size, 0)

    def digits(self, bits):
        """See `Spacing`."""
        return 1.0


@dataclass(frozen=True)
class Table:
    """Levels from a list, such as somebody's measured ones.

    Attributes:
      places: increasing, the first 0 and the last 1.
      ends: the first and the last level, in units of the bound.
    """

    places: tuple[float, ...]
    ends: tuple[float, float] = (-1.0, 1.0)
    both_ways: bool = False

    def most(self, bits, symmetric):
        """See `Spacing`."""
        return jnp.full_like(bits, len(self.places) - 1)

    def place(self, code, most):
        """See `Spacing`."""
        last = len(self.places) - 1
        index = jnp.clip(jnp.nan_to_num(code, posinf=last), 0, last).astype(jnp.int32)
        return jnp.where(jnp.isfinite(code), jnp.asarray(self.places, code.dtype)[index], code)

    def code_near(self, place, most):
        """See `Spacing`."""
        if len(self.places) > 64:  # a comparison each takes long to compile
            known = jnp.asarray(self.places, place.dtype)
            return jnp.searchsorted(known, place, side="right").astype(place.dtype) - 1
        below = sum((place >= jnp.asarray(p, place.dtype)).astype(place.dtype)
                    for p in self.places[1:])
        return jnp.asarray(below, place.dtype)

    def digits(self, bits):
        """See `Spacing`."""
        steps = [b - a for a, b in zip(self.places, self.places[1:], strict=False)]
        return 1 - math.log2(min(steps))


def position(spacing: Spacing, place: Array, most: Array) -> tuple[Array, Array]:
    """Between which levels a place lies.

    Args:
      spacing: of the levels.
      place: any shape, within the grid.
      most: the grid's largest code; meaningless numbers result where it is 0.

    Returns:
      (code of the level below plus the share of the way to the next one, codes per unit of place
      there), both like `place`; not finite where it is not.
    """
    lowest = -most if spacing.both_ways else jnp.zeros_like(most)

    def within(code):
        return jnp.clip(code, lowest, jnp.maximum(most - 1, lowest))

    guess = within(jnp.floor(spacing.code_near(place, most)))
    above = (spacing.place(guess + 1, most) <= place).astype(place.dtype)
    below = (spacing.place(guess, most) > place).astype(place.dtype)
    code = within(guess + above - below)
    low, high = spacing.place(code, most), spacing.place(code + 1, most)
    step = jnp.where(high > low, high - low, 1)
    # A place that is not finite must stay so: guess and comparisons say nothing of it.
    return code + (place - low) / step, 1 / step
