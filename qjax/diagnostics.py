"""What goes on inside a network while it trains, block by block.

`diagnose` compares, on one batch, what an algorithm sends where with what backpropagation would
send, and the weights as they are with the weights as they were. All figures are scalars per block;
nan where a block has no such figure (no feedback matrix, no grid, not trained in this phase).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from qjax.hsic import dependence, normalized_kernel
from qjax.metrics import at_least_float32
from qjax.quantize import Quantizer, encode, make_grid

__all__ = [
    "Diagnosis", "Probe", "angle", "diagnose", "norm_ratio", "share_at_ends", "share_changed",
    "sqnr",
]


class Probe(NamedTuple):
    """What a phase would do with a batch; a tuple entry per block, None where it does nothing.

    Attributes:
      gradients: what the algorithm gives the block's parameters.
      true_gradients: derivative of the phase's loss, by backpropagation through the weights.
      feedback: kernel that stands in for the block's own on the way down.
      wanted: the block's parameters after the proposed update, before any rounding.
      written: its weights after the update as the device then shows them.
      outputs: the block's output [batch, ...].
      one_hot: the batch's labels [batch, classes], not per block.
    """

    gradients: tuple
    true_gradients: tuple
    feedback: tuple
    wanted: tuple
    written: tuple
    outputs: tuple
    one_hot: Array


class Diagnosis(NamedTuple):
    """One scalar (or an array over blocks) each.

    Attributes:
      gradient_angle: between the algorithm's gradient and the true one, degrees.
      feedback_angle: between the feedback kernel and the kernel it stands in for, degrees.
      feedback_ratio: norm of the feedback kernel, in norms of the kernel.
      sqnr: power of the wanted kernel over that of its error on the grid, decibels.
      at_ends: share of the kernel's weights at either end of their range.
      changed: share of the kernel's weights on another level than before.
      nhsic_x: nHSIC(X, Z), what the output tells about the inputs.
      nhsic_y: nHSIC(Y, Z), what it tells about the labels.
    """

    gradient_angle: Array
    feedback_angle: Array
    feedback_ratio: Array
    sqnr: Array
    at_ends: Array
    changed: Array
    nhsic_x: Array
    nhsic_y: Array


def _flat(tree: Any) -> Array:
    return jnp.concatenate([at_least_float32(jnp.ravel(leaf)) for leaf in jax.tree.leaves(tree)])


def angle(a: Any, b: Any) -> Array:
    """Angle in degrees, 0 to 180, between two trees of equal structure, as vectors.

    nan if one of them is zero. By Kahan's formula, which resolves small angles.
    """
    a, b = (v / jnp.linalg.norm(v) for v in map(_flat, (a, b)))
    return jnp.degrees(2 * jnp.arctan2(jnp.linalg.norm(a - b), jnp.linalg.norm(a + b)))


def norm_ratio(a: Any, b: Any) -> Array:
    """|a| / |b| of two trees, as vectors; inf or nan if b is zero."""
    return jnp.linalg.norm(_flat(a)) / jnp.linalg.norm(_flat(b))


def sqnr(signal: Array, quantized: Array) -> Array:
    """Signal to quantization noise, ``10 log10(|x|^2 / |x - q|^2)``, in decibels; inf if exact."""
    signal, quantized = at_least_float32(signal), at_least_float32(quantized)
    return 20 * jnp.log10(jnp.linalg.norm(signal) / jnp.linalg.norm(signal - quantized))


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
    """Share (0 to 1) of the elements whose level, each on the grid of its time, is another.

    Without a grid: whose value is another.
    """
    then, now = (make_grid(x, quantizer) for x in (before, after))
    moved = encode(before, then) != encode(after, now)
    return jnp.mean(jnp.where((then.codes > 0) & (now.codes > 0), moved, before != after))


def diagnose(
    probe: Probe, before: tuple, after: tuple, quantizer: Quantizer, inputs: Array
) -> Diagnosis:
    """Figures for every block of a network.

    Args:
      probe: of the network as it is now, on the batch.
      before, after: weights (trees with a "kernel") of every block as the device showed them then
        and as it shows them now.
      quantizer: of the weights, scalars.
      inputs: the batch [m, ...] that was probed.

    Returns:
      A `Diagnosis` of arrays [blocks].
    """
    of_inputs, of_labels = _normalized(inputs), _normalized(probe.one_hot)
    *per_block, _ = probe
    blocks = []
    for gradient, true, feedback, wanted, written, output, old, new in zip(
        *per_block, before, after, strict=True
    ):
        kernel = new["kernel"]
        z = None if output is None else _normalized(output)
        blocks.append(Diagnosis(
            gradient_angle=_or_nan(angle, gradient, true),
            feedback_angle=_or_nan(angle, feedback, kernel),
            feedback_ratio=_or_nan(norm_ratio, feedback, kernel),
            sqnr=_or_nan(lambda w, q: sqnr(w["kernel"], q["kernel"]), wanted, written),
            at_ends=share_at_ends(kernel, quantizer),
            changed=share_changed(old["kernel"], kernel, quantizer),
            nhsic_x=_or_nan(dependence, z, of_inputs),
            nhsic_y=_or_nan(dependence, z, of_labels),
        ))
    return jax.tree.map(lambda *values: jnp.stack(values), *blocks)


def _normalized(x: Array) -> Array:
    return normalized_kernel(x.reshape(len(x), -1))


def _or_nan(function: Callable[[Any, Any], Array], a: Any, b: Any) -> Array:
    return jnp.asarray(jnp.nan) if a is None or b is None else function(a, b)
