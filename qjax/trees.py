"""Leaves of parameter trees by path, the same path for Linen, NNX and plain dictionaries."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import GetAttrKey, KeyEntry, keystr

__all__ = ["Where", "chosen", "is_floating", "path_of"]

# Chooses leaves of a tree: (path such as "blocks/0/kernel", leaf) -> is it one of them?
Where = Callable[[str, Array], bool]


def path_of(keys: Sequence[KeyEntry]) -> str:
    """A leaf's path in words, such as "blocks/0/kernel".

    Flax keeps some arrays in boxes (`nnx.Param`, Linen's `nn.Partitioned`), as their attribute
    `value`: the path is the box's.
    """
    boxed = len(keys) > 1 and isinstance(keys[-1], GetAttrKey) and keys[-1].name == "value"
    return keystr(tuple(keys[:-1] if boxed else keys), simple=True, separator="/")


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
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    paths = [path_of(keys) for keys, _ in leaves]
    found = [
        path if is_floating(leaf) and (where is None or where(path, leaf)) else None
        for path, (_, leaf) in zip(paths, leaves, strict=True)
    ]
    if where is not None and leaves and not any(path is not None for path in found):
        numbers = [p for p, (_, leaf) in zip(paths, leaves, strict=True) if is_floating(leaf)]
        raise ValueError(
            "`where` chooses no leaf of this tree; its floating-point leaves are "
            + (", ".join(map(repr, numbers)) or "none at all")
        )
    return found
