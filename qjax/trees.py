"""Leaves of parameter trees by path, the same path for Linen, NNX and plain dictionaries."""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta
from jax import Array
from jax.tree_util import keystr

__all__ = ["Where", "chosen", "is_floating", "nbytes", "paths_of", "turned"]

# Chooses leaves of a tree: (path such as "blocks/0/kernel", leaf) -> is it one of them?
Where = Callable[[str, Array], bool]


def _is_box(node: Any) -> bool:
    nnx = sys.modules.get("flax.nnx")  # a fifth of what importing qjax takes; who has none of its
    return isinstance(node, meta.AxisMetadata) or (  # variables need not wait for it
        nnx is not None and isinstance(node, nnx.Variable))


def paths_of(tree: Any) -> list[str]:
    """Every leaf's path in words, such as "blocks/0/kernel", in jax's order.

    Flax keeps some arrays in boxes (`nnx.Param`, Linen's `nn.Partitioned`), as an attribute: the
    path of such an array is its box's.
    """
    found = []
    for keys, node in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_box):
        inside = jax.tree_util.tree_leaves_with_path(node) if _is_box(node) else [((), node)]
        found += [keystr((*keys, *inner[1:]), simple=True, separator="/") for inner, _ in inside]
    return found


def nbytes(tree: Any) -> int:
    """Bytes of all arrays of a tree, abstract ones too."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def turned(tree: Any) -> Any:
    """All matrices transposed, [outputs, inputs] for [inputs, outputs]; other leaves stay.

    As memories hold those that they treat element by element (`qjax.memories.Held`), and whatever
    goes over all elements in a step should see them: the compiler does not move a transposition
    past it, and copies.
    """
    return jax.tree.map(lambda x: x.T if jnp.ndim(x) == 2 else x, tree)


def is_floating(leaf: Any) -> bool:
    """Is it an array (or a Python number) of real floating point, as weights are?

    Counters, ids, PRNG keys, words and complex numbers are not.
    """
    if isinstance(leaf, float):
        return True
    # Types of arrays only: an object that merely has a `dtype` may have none to compute with.
    known = isinstance(leaf, Array | np.ndarray | np.generic)
    return known and jnp.issubdtype(leaf.dtype, jnp.floating)


def chosen(tree: Any, where: Where | None) -> list[str | None]:
    """For every leaf of a tree, in jax's order: its path, or None if it is not to be touched.

    Args:
      tree: any pytree.
      where: asked about floating-point leaves only, all others are left alone; None: all of them.

    Raises:
      TypeError: `where` is no function.
      ValueError: `where` chooses nothing although there are leaves: a misspelt path, most likely.
    """
    if where is not None and not callable(where):
        raise TypeError(
            f"`where` must be a function (path, leaf) -> bool, got {where!r}; for instance "
            "lambda path, leaf: path.endswith('kernel')"
        )
    leaves, paths = jax.tree.leaves(tree), paths_of(tree)
    found = [
        path if is_floating(leaf) and (where is None or where(path, leaf)) else None
        for path, leaf in zip(paths, leaves, strict=True)
    ]
    if where is not None and leaves and not any(path is not None for path in found):
        numbers = [p for p, leaf in zip(paths, leaves, strict=True) if is_floating(leaf)]
        raise ValueError(
            "`where` chooses no leaf of this tree; its floating-point leaves are "
            + (", ".join(map(repr, numbers)) or "none at all")
        )
    return found
