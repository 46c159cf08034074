"""What goes on inside a network while it trains, block by block.

`diagnose` compares, on one batch, what an algorithm sends where with what backpropagation would
send, and the weights as they are with the weights as they were. All figures are scalars per block;
nan where a block has no such figure (no feedback matrix, no grid, not trained in this phase).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from qjax.blocks import kernels_of
from qjax.hsic import dependence, normalized_kernel
from qjax.metrics import at_least_float32
from qjax.quantize import Quantizer, encode, make_grid
from qjax.rounding import moved

__all__ = [
    "Diagnosis", "Probe", "angle", "diagnose", "norm_ratio", "share_at_ends", "share_changed",
    "share_written", "sqnr",
]


class Probe(NamedTuple):
    """What a phase would do with a batch; a tuple entry per block, None where it does nothing.

    Attributes:
      gradients: what the algorithm gives the block's parameters.
      true_gradients: derivative of the phase's loss, by backpropagation through the weights.
      feedback: tree like `kernels_of` the block's params, of what stands in on the way down.
      wanted: the block's parameters after the proposed update, before any rounding.
      written: its weights after the update as the device then shows them.
      outputs: the block's output [batch, ...].
      changes: what the optimizer proposes to add to the parameters.
      kept: the parameters after the update as their memory then knows them.
      targets: the batch's labels as outputs [batch, k] (one-hot), not per block.
    """

    gradients: tuple
    true_gradients: tuple
    feedback: tuple
    wanted: tuple
    written: tuple
    outputs: tuple
    changes: tuple
    kept: tuple
    targets: Array


class Diagnosis(NamedTuple):
    """One scalar (or an array over blocks) each.

    Attributes:
      gradient_angle: between the algorithm's gradient and the true one, degrees.
      feedback_angle: between the feedback and the kernels it stands in for, degrees.
      feedback_ratio: norm of the feedback, in norms of the kernels.
      sqnr: power of the wanted kernels over that of their error on the grid, decibels.
      at_ends: share of the kernels' weights at either end of their range.
      changed: share of the kernels' weights on another level than before.
      nhsic_x: nHSIC(X, Z), what the output tells about the inputs.
      nhsic_y: nHSIC(Y, Z), what it tells about the labels.
      write_noise: norm of what a write makes of the proposed change of the kernels and was not
        proposed, in norms of the change: 1 where nothing arrives, more where chance rules.
    """

    gradient_angle: Array
    feedback_angle: Array
    feedback_ratio: Array
    sqnr: Array
    at_ends: Array
    changed: Array
    nhsic_x: Array
    nhsic_y: Array
    write_noise: Array


def _flat(tree: Any) -> Array:
    return jnp.concatenate([at_least_float32(jnp.ravel(leaf)) for leaf in jax.tree.leaves(tree)])


def _norm(tree: Any) -> Array:
    leaves = [at_least_float32(leaf) for leaf in jax.tree.leaves(tree)]
    return jnp.linalg.norm(leaves[0] if len(leaves) == 1 else _flat(leaves))


def angle(a: Any, b: Any) -> Array:
    """Angle in degrees, 0 to 180, between two trees of equal structure, as vectors.

    nan if one of them is zero. By Kahan's formula, which resolves small angles.
    """
    a, b = (v / jnp.linalg.norm(v) for v in map(_flat, (a, b)))
    return jnp.degrees(2 * jnp.arctan2(jnp.linalg.norm(a - b), jnp.linalg.norm(a + b)))


def norm_ratio(a: Any, b: Any) -> Array:
    """|a| / |b| of two trees, as vectors; inf or nan if b is zero."""
    return jnp.linalg.norm(_flat(a)) / jnp.linalg.norm(_flat(b))


def sqnr(signal: Any, quantized: Any) -> Array:
    """Signal to quantization noise, ``10 log10(|x|^2 / |x - q|^2)``, in decibels; inf if exact.

    Of two trees, as vectors, or of two arrays.
    """
    noise = jax.tree.map(lambda x, q: at_least_float32(x) - at_least_float32(q), signal, quantized)
    return 20 * jnp.log10(_norm(signal) / _norm(noise))


def share_at_ends(x: Array, quantizer: Quantizer) -> Array:
    """Share (0 to 1) of the elements at the lowest or highest level; nan without a grid."""
    grid = make_grid(x, quantizer)
    # A symmetric grid has one level fewer than the range of its integers: both ends are levels.
    codes = encode(x, grid)
    low = encode(jnp.full_like(x, grid.low), grid)
    high = encode(jnp.full_like(x, grid.end), grid)
    at_end = ((codes <= low) | (codes >= high)) & ~jnp.isnan(x)  # nan has no code
    return jnp.where(grid.codes > 0, jnp.mean(at_end), jnp.nan)


def share_changed(before: Array, after: Array, quantizer: Quantizer) -> Array:
    """Share (0 to 1) of the elements that `moved`; both tensors are on their grids already."""
    then, now = (make_grid(x, quantizer) for x in (before, after))
    return jnp.mean(moved(before, then, after, now).astype(jnp.float32))


def share_written(
    before: tuple, after: tuple, quantizers: Sequence[Quantizer],
    programmed: Sequence[Any] | None = None
) -> Array:
    """Share (0 to 1) of a network's weights whose level is another; nan without kernels.

    Args:
      before, after: weights of every block, as the device showed them then and as it shows them
        now.
      quantizers: of every block's weights, scalars; of 0 bits where these have no levels.
      programmed: of every block a tree like its kernels, of the shares that are known better, see
        `qjax.memories.programmed`; None where they are not.
    """
    kernels = [[jax.tree.leaves(kernels_of(b)) for b in blocks] for blocks in (before, after)]
    grids = [q for q, leaves in zip(quantizers, kernels[1], strict=True) for _ in leaves]
    old, new = (jax.tree.leaves(leaves) for leaves in kernels)
    known = [None] * len(new) if programmed is None else jax.tree.leaves(
        list(programmed), is_leaf=lambda node: node is None)
    return _weighted([
        (share_changed(*each) if share is None else share, each[1].size)
        for share, *each in zip(known, old, new, grids, strict=True)])


def diagnose(
    probe: Probe, before: tuple, after: tuple, quantizers: Sequence[Quantizer], inputs: Array
) -> Diagnosis:
    """Figures for every block of a network.

    Args:
      probe: of the network as it is now, on the batch.
      before, after: weights of every block as the device showed them then and as it shows them
        now. Of a block without kernels there are no such figures.
      quantizers: of every block's weights, scalars; of 0 bits where these have no levels.
      inputs: the batch [m, ...] that was probed.

    Returns:
      A `Diagnosis` of arrays [blocks].
    """
    of_inputs, of_labels = _normalized(inputs), _normalized(probe.targets)
    *per_block, _ = probe
    blocks = []
    for (gradient, true, feedback, wanted, written, output, change, kept, old, new,
         quantizer) in zip(*per_block, before, after, quantizers, strict=True):
        kernels = kernels_of(new)
        old, wanted, written, change, kept = (
            t and kernels_of(t) for t in (old, wanted, written, change, kept))
        error = kept and jax.tree.map(jnp.subtract, kept, wanted)
        z = None if output is None else _normalized(output)
        blocks.append(Diagnosis(
            gradient_angle=_or_nan(angle, gradient, true),
            feedback_angle=_or_nan(angle, feedback, kernels),
            feedback_ratio=_or_nan(norm_ratio, feedback, kernels),
            sqnr=_or_nan(sqnr, wanted, written),
            at_ends=_mean(lambda x, q=quantizer: share_at_ends(x, q), kernels),
            changed=_mean(lambda a, b, q=quantizer: share_changed(a, b, q), old, kernels),
            nhsic_x=_or_nan(dependence, z, of_inputs),
            nhsic_y=_or_nan(dependence, z, of_labels),
            write_noise=_or_nan(norm_ratio, error, change),
        ))
    return jax.tree.map(lambda *values: jnp.stack(values), *blocks)


def _is_quantizer(node: Any) -> bool:
    return isinstance(node, Quantizer)


def _normalized(x: Array) -> Array:
    return normalized_kernel(x.reshape(len(x), -1))


def _or_nan(function: Callable[[Any, Any], Array], a: Any, b: Any) -> Array:
    missing = a is None or b is None or not (jax.tree.leaves(a) and jax.tree.leaves(b))
    return jnp.asarray(jnp.nan) if missing else function(a, b)


def _mean(function: Callable[..., Array], *trees: Any) -> Array:
    """Mean of a share over all weights of some trees; nan of none."""
    leaves = [jax.tree.leaves(tree, is_leaf=_is_quantizer) for tree in trees]
    return _weighted([(function(*each), each[0].size) for each in zip(*leaves, strict=True)])


def _weighted(shares: Sequence[tuple[Array, int]]) -> Array:
    """Mean of (share, size); nan of none."""
    if len(shares) < 2:
        return shares[0][0] if shares else jnp.asarray(jnp.nan)
    total = sum((share * size for share, size in shares), jnp.zeros(()))
    return total / sum(size for _, size in shares)
