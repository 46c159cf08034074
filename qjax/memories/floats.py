"""Floats: the ideal memory, for what no device has to hold."""

from jax import Array

from qjax import structs
from qjax.memories.interface import Bits

__all__ = ["Float"]


@structs.dataclass
class Float:
    """Floats as they are."""

    by_element = True
    draws = False

    def init(self, key: Array, weights: Array) -> Array:
        """The weights."""
        del key
        return weights

    def read(self, held: Array) -> Array:
        """What is held."""
        return held

    def write(self, key: Array, held: Array, change: Array) -> Array:
        """The sum."""
        del key
        return (held + change).astype(held.dtype)

    def account(self) -> Bits:
        """A float."""
        return Bits(32, 0)
