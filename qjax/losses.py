"""Losses: what the output of a network is compared with, the error that starts from there, a score.

All take outputs [batch, k] and labels of the same batch: integers [batch], classes from 0 to k - 1,
or floats [batch, k] (or [batch], where k is 1). Algorithms know a loss only through `Loss`, so a
loss of your own is one more of these.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike

from qjax.metrics import at_least_float32

__all__ = [
    "LOSSES", "Loss", "check_labels", "cross_entropy", "output_error", "sigmoid",
    "squared_error", "targets",
]


class Loss(NamedTuple):
    """A loss and what goes with it; outputs and losses are float32 or wider here.

    Attributes:
      each: (outputs, labels) -> loss of every example [batch].
      softening: (outputs, targets, smoothing) -> what smoothing the targets adds to the mean loss.
      hits: (outputs, labels) -> [batch]: what the score sums up.
      score: (sum of all hits, all labels) -> scalar, 1 for a perfect network.
      classes: must labels be integers?
    """

    each: Callable[[Array, Array], Array]
    softening: Callable[[Array, Array, ArrayLike], Array]
    hits: Callable[[Array, Array], Array]
    score: Callable[[Array, Array], Array]
    classes: bool = False


def _are_classes(labels: Array) -> bool:
    return jnp.issubdtype(jnp.result_type(labels), jnp.integer)


def check_labels(loss: Loss, labels: Array, outputs: int) -> None:
    """Refuses labels that do not fit a network with so many outputs.

    Values inside of `jax.jit` cannot be looked at: there a class that does not exist makes the
    cross-entropy nan.

    Raises:
      TypeError: not integers, where the loss is for classes.
      ValueError: a class out of range, or labels of another shape.
    """
    if not _are_classes(labels):
        if loss.classes:
            raise TypeError(f"labels must be integers, got {jnp.result_type(labels)}")
        if jnp.shape(labels)[1:] != (outputs,) and not (jnp.ndim(labels) == 1 == outputs):
            raise ValueError(
                f"labels of shape {jnp.shape(labels)}, where the network has {outputs} outputs: "
                f"expected [n, {outputs}] floats or [n] integers"
            )
        return
    if jnp.ndim(labels) != 1:
        raise ValueError(
            f"integer labels of shape {jnp.shape(labels)}: expected [n], a class each; several "
            f"targets an example are floats [n, {outputs}]"
        )
    try:
        values = np.asarray(labels)
    except jax.errors.TracerArrayConversionError:
        return
    if values.size and (values.min() < 0 or values.max() >= outputs):
        raise ValueError(
            f"labels from {values.min()} to {values.max()}, where the network has {outputs} "
            f"outputs: expected 0 to {outputs - 1}"
        )


def targets(labels: Array, outputs: int, dtype=jnp.float32) -> Array:
    """Labels as the outputs [batch, outputs] of a perfect network: classes one-hot."""
    if _are_classes(labels):
        return jax.nn.one_hot(labels, outputs, dtype=dtype)
    return jnp.reshape(labels, (len(labels), outputs)).astype(dtype)


def output_error(
    loss: Loss, outputs: Array, labels: Array, smoothing: ArrayLike = 0.0
) -> tuple[Array, Array]:
    """Batch-mean loss of outputs [batch, k], and its gradient there.

    With label smoothing (Szegedy et al. 2016, "Rethinking the inception architecture for computer
    vision") the target of a class is ``(1 - smoothing) one_hot + smoothing / k``; of a sigmoid,
    which has two answers, ``(1 - smoothing) target + smoothing / 2``.
    """
    labels = jnp.asarray(labels)
    if jnp.ndim(outputs) != 2:
        raise ValueError(
            f"the network gives outputs of shape {jnp.shape(outputs)}, expected [batch, outputs]: "
            "its first block gets inputs as they are, which qjax.networks.Dense flattens and "
            "Flax's Dense does not"
        )
    check_labels(loss, labels, outputs.shape[-1])
    if len(labels) != len(outputs):
        raise ValueError(f"{len(labels)} labels for {len(outputs)} outputs: expected as many")

    def mean(outputs):
        return jnp.mean(loss.each(at_least_float32(outputs), labels))

    plain, error = jax.value_and_grad(mean)(outputs)
    # Apart, so that without smoothing nothing changes, to the last bit.
    wide = at_least_float32(outputs)
    wanted = targets(labels, outputs.shape[-1], wide.dtype)
    softer, more = jax.value_and_grad(loss.softening)(wide, wanted, smoothing)
    return (
        (plain + jnp.where(smoothing > 0, softer, 0)).astype(plain.dtype),
        (error + more).astype(error.dtype),
    )


def _correct(outputs: Array, labels: Array) -> Array:
    return (jnp.argmax(outputs, axis=-1) == labels).astype(jnp.int32)


def _share(hits: Array, labels: Array) -> Array:
    return hits.astype(jnp.float32) / len(labels)


def _soft_cross_entropy(outputs, targets, smoothing):
    # Over all classes alike cross-entropy is ``logsumexp - mean``: as the label's, with another
    # output.
    softer = smoothing * (targets - 1 / outputs.shape[-1]) / len(outputs)
    return jnp.sum(softer * outputs)


# Classes: softmax and the negative logarithm of the right one's share; score: share of right ones.
cross_entropy = Loss(
    optax.softmax_cross_entropy_with_integer_labels, _soft_cross_entropy, _correct, _share,
    classes=True,
)


def _squares(outputs, labels):
    return jnp.sum((outputs - targets(labels, outputs.shape[-1], outputs.dtype)) ** 2, axis=-1)


def _soft_squares(outputs, targets, smoothing):
    moved = smoothing * (1 / outputs.shape[-1] - targets)
    return jnp.mean(jnp.sum(moved**2 - 2 * moved * (outputs - targets), axis=-1))


def _squares_or_correct(outputs, labels):
    return _correct(outputs, labels) if _are_classes(labels) else _squares(outputs, labels)


def _explained(hits, labels):
    if _are_classes(labels):
        return _share(hits, labels)
    wide = at_least_float32(labels)
    return 1 - hits / jnp.sum((wide - jnp.mean(wide, axis=0)) ** 2)


# Regression, or classes as one-hot vectors: the sum of squared differences over the outputs; score:
# share of the labels' variance that is explained (R^2), or share of right classes.
squared_error = Loss(_squares, _soft_squares, _squares_or_correct, _explained)


def _binary(outputs, labels):
    wanted = targets(labels, outputs.shape[-1], outputs.dtype)
    return jnp.mean(optax.sigmoid_binary_cross_entropy(outputs, wanted), axis=-1)


def _soft_binary(outputs, targets, smoothing):
    return jnp.mean(smoothing * (targets - 0.5) * outputs)


def _labels_right(outputs, labels):
    if _are_classes(labels):
        return _correct(outputs, labels)
    wanted = targets(labels, outputs.shape[-1], outputs.dtype)
    return jnp.mean(((outputs > 0) == (wanted > 0.5)).astype(outputs.dtype), axis=-1)


# Several labels an example, each there (1) or not (0): mean cross-entropy of a sigmoid each; score:
# share of right labels.
sigmoid = Loss(_binary, _soft_binary, _labels_right, _share)

LOSSES = {"cross_entropy": cross_entropy, "squared_error": squared_error, "sigmoid": sigmoid}
