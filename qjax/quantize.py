"""Quantizers for tensors and for whole trees of them: what other code imports.

The grid of one tensor is `qjax.grids`, how its levels are spaced `qjax.spacings`, what can be done
on it `qjax.rounding`; the names that other code needs are here too. This module lays grids over the
leaves of a parameter tree, once or after every step of an optimizer.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from qjax.grids import (
    SCOPES,
    Grid,
    Quantizer,
    check_quantizer,
    kept_axes,
    make_grid,
    make_quantizer,
)
from qjax.kinds import KINDS
from qjax.rounding import (
    as_stored,
    code_dtype,
    decode,
    encode,
    pulse,
    quantize,
    straight_through,
    wanted,
)
from qjax.trees import Where, chosen

__all__ = [
    "KINDS",
    "SCOPES",
    "Grid",
    "Quantizer",
    "Where",
    "code_dtype",
    "decode",
    "encode",
    "keep_on_grid",
    "make_grid",
    "make_quantizer",
    "pulse",
    "quantize",
    "quantize_tree",
    "straight_through",
    "wanted",
]


def quantize_tree(
    tree: Any,
    quantizer: Quantizer,
    *,
    where: Where | None = None,
    axis: int | tuple[int, ...] | None = None,
    key: Array | None = None,
) -> Any:
    """Quantizes the leaves of a parameter tree, each on its own grid.

    Leaves that are not floating point (counters, ids, PRNG keys, words, None) stay as they are.

    Args:
      tree: any pytree, e.g. Linen or NNX parameters, boxed or not, or an NNX module.
      quantizer: scalars.
      where: (path, leaf) -> bool chooses among the floating-point leaves; paths look like
        "blocks/0/kernel", boxed or not. None: all.
      axis: see `make_grid`. A leaf that has no such axis, or no other (the bias beside a kernel),
        gets one range for the whole leaf.
      key: None rounds to nearest, a PRNG key stochastically (a key of its own for each leaf).

    Returns:
      A tree of the same structure; leaves not chosen are returned as they are.

    Raises:
      ValueError: `where` chooses no leaf (the message lists the paths), no chosen leaf has that
        `axis`, or a leaf's type cannot tell the levels apart; the message names the leaf.
    """

    def one(leaf, quantizer, axis, leaf_key):
        return quantize(leaf, make_grid(leaf, quantizer, axis), leaf_key)

    return _on_leaves(one, quantizer, where, axis, key, tree)


def _on_leaves(function, quantizer, where, axis, key, tree, *rest):
    """`function(leaf, *others, quantizer, axis, key)` on the chosen leaves of `tree`.

    The others are the leaves of the trees `rest` at that place; an error names the leaf. Leaves of
    the last tree stand where nothing is chosen.
    """
    leaves, treedef = jax.tree_util.tree_flatten(tree)
    others = [treedef.flatten_up_to(r) for r in rest]
    paths = chosen(tree, where)
    keys = [None] * len(leaves) if key is None else jax.random.split(key, max(len(leaves), 1))
    axes = _axes_of([np.shape(leaf) for leaf in leaves], paths, axis)
    result = []
    for number, path in enumerate(paths):
        here = [leaves[number], *(other[number] for other in others)]
        if path is None:
            result.append(here[-1])
            continue
        try:
            result.append(function(*here, quantizer, axes[number], keys[number]))
        except (TypeError, ValueError) as error:
            raise type(error)(f"leaf {path!r}: {error}") from error
    return treedef.unflatten(result)


def _axes_of(shapes, paths, axis):
    """The axis for every leaf: None where the whole leaf gets one range."""
    if axis is None:
        return [None] * len(shapes)
    axes, refusals = [], []
    for shape, path in zip(shapes, paths, strict=True):
        try:
            kept = kept_axes(shape, axis)
            axes.append(axis if len(kept) < len(shape) else None)
        except ValueError as error:
            axes.append(None)
            refusals += [] if path is None else [f"leaf {path!r}: {error}"]
    # Leaves of fewer axes than others are usual; an axis that none has is a mistake.
    if refusals and len(refusals) == sum(path is not None for path in paths):
        raise ValueError("; ".join(refusals))
    return axes


class KeepOnGridState(NamedTuple):
    key: Array | None


def keep_on_grid(
    quantizer: Quantizer,
    *,
    where: Where | None = None,
    axis: int | tuple[int, ...] | None = None,
    key: Array | None = None,
) -> optax.GradientTransformation:
    """Keeps the parameters of any optax training loop on a grid. Put it last in the chain.

    The update is changed so that ``optax.apply_updates`` lands on the quantized parameters (up to
    the rounding of that one addition); those of float16 and bfloat16 leaves are float32 for that.
    Quantize the initial parameters with `quantize_tree`.

    Args:
      quantizer: scalars.
      where, axis: see `quantize_tree`; the updates of leaves not chosen are left as they are.
      key: a PRNG key makes the rounding stochastic; a new key is derived for every update.

    Returns:
      A transformation whose `update` needs `params` and raises ValueError without them, and where
      `quantize_tree` does.
    """

    check_quantizer(quantizer)

    def init(params):
        if params is not None:
            chosen(params, where)  # better refused here than in the first step
        # A copy: donated with the rest of the state, the caller's own key would be gone.
        return KeepOnGridState(None if key is None else jax.random.clone(key))

    def one(param, change, quantizer, axis, leaf_key):
        param, change = jnp.asarray(param), jnp.asarray(change)
        proposal = wanted(param, change, make_grid(param, quantizer, axis))
        target = quantize(proposal, make_grid(proposal, quantizer, axis), leaf_key)
        # As stored: a level of a narrow type is rounded, and so must the difference be.
        return as_stored(target, param.dtype) - param.astype(target.dtype)

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("keep_on_grid needs the parameters: update(updates, state, params)")
        now, later = (None, None) if state.key is None else jax.random.split(state.key)
        changes = _on_leaves(one, quantizer, where, axis, now, params, updates)
        return changes, KeepOnGridState(later)

    return optax.GradientTransformation(init, update)
