"""What to watch while weights of few levels train."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["Ranges", "all_finite", "at_least_float32", "empty_ranges", "wide_type", "widen"]


def at_least_float32(x: Array) -> Array:
    """`x`, in float32 if its type is narrower: means and kernels need the digits."""
    return x.astype(wide_type(x.dtype))


def wide_type(dtype: Any) -> jnp.dtype:
    """float32 for narrower floating-point types (also for those of 8 bits), others as they are."""
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else jnp.dtype(dtype)


class Ranges(NamedTuple):
    """Smallest and largest value that each tensor of a tree has taken; trees of scalars."""

    low: Any
    high: Any


def empty_ranges(tree: Any) -> Ranges:
    """The ranges of tensors that have not been seen yet: [inf, -inf]."""
    return Ranges(
        jax.tree.map(lambda x: jnp.array(jnp.inf, x.dtype), tree),
        jax.tree.map(lambda x: jnp.array(-jnp.inf, x.dtype), tree),
    )


def widen(ranges: Ranges, tree: Any) -> Ranges:
    """`ranges` widened to hold every tensor of `tree`; a nan makes both ends nan."""
    return Ranges(
        jax.tree.map(lambda low, x: jnp.minimum(low, jnp.min(x)), ranges.low, tree),
        jax.tree.map(lambda high, x: jnp.maximum(high, jnp.max(x)), ranges.high, tree),
    )


def all_finite(tree: Any) -> Array:
    """Scalar bool: no tensor of the tree holds inf or nan."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))
