"""Structs: frozen dataclasses that are pytrees, of numbers that may be traced and of words.

Those of `flax.struct`, but that two classes are never the same to jax. jaxlib (0.10.2) compares
dataclasses in trees by the names and constants of their fields and not by their class. So a
function under `jax.jit` that is called with a `Nearest` and later with a `Pulse`, whose fields are
the same, may run the program of the first on the second: with one hash in 128, without a word.
"""

import dataclasses
import inspect
from typing import Any, TypeVar, dataclass_transform

from flax import struct
from flax.struct import field

__all__ = ["CLASS", "dataclass", "field"]

CLASS = "_class"  # the field of that constant

T = TypeVar("T")


@dataclass_transform(field_specifiers=(field,), frozen_default=True)
def dataclass(cls: type[T]) -> type[T]:
    """`flax.struct.dataclass` with one more constant, its class.

    Use `field` with ``pytree_node=False`` for what is part of the program.
    """
    made: Any = cls
    made.__annotations__ = {**inspect.get_annotations(cls), CLASS: type}
    setattr(made, CLASS, dataclasses.field(
        default=cls, repr=False, compare=False, kw_only=True, metadata={"pytree_node": False}))
    return struct.dataclass(made)
