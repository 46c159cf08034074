"""What in its inputs a network looks at: integrated gradients of one output each."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data import Dataset
from qjax.attribution import integrated_gradients
from qjax.blocks import forward
from qjax.saved import Trained

__all__ = ["Attributed", "attribute", "baseline_of", "examples", "mean_sizes"]

_CHUNK = 50  # images at a time


class Attributed(NamedTuple):
    """Attributions of some examples.

    Attributes:
      values: [n, *shape], in units of the output.
      outputs: [n], of the network's output that was asked about.
      starts: [n], the same at the baseline; `values` add up to the difference.
    """

    values: np.ndarray
    outputs: np.ndarray
    starts: np.ndarray

    @property
    def gaps(self) -> np.ndarray:
        """[n]: what is missing of that, the error of the rule with so many steps."""
        axes = tuple(range(1, self.values.ndim))
        return self.values.sum(axes) - (self.outputs - self.starts)


def baseline_of(data: Dataset) -> np.ndarray:
    """An input that says nothing: a black image, or the mean of features in training."""
    if len(data.image_shape) == 3:
        return np.full(data.image_shape, data.low, np.float32)
    return data.train_images.mean(0, dtype=np.float64).astype(np.float32)


def attribute(
    trained: Trained, raw: np.ndarray, which: np.ndarray, baseline: np.ndarray, steps: int
) -> Attributed:
    """Integrated gradients of one output for each example, with exact products.

    (Converters round what goes into an array and what comes out: steps, which have no gradient.)

    Args:
      trained: the network.
      raw: inputs [n, *shape].
      which: number of the output, [n].
      baseline: a raw input, `shape`.
      steps: on the way from there.
    """

    @jax.jit
    def some(params, collections, raw, which):
        def output(number, x):
            outputs = forward(trained.network, params, collections, trained.inputs(x[None]))
            return outputs[0, number]

        def one(x, number):
            own = partial(output, number)
            start = jnp.asarray(baseline)
            return integrated_gradients(own, x, start, steps), own(x), own(start)

        return jax.vmap(one)(raw, which)

    count, parts = len(raw), []
    chunk = min(_CHUNK, count)
    for start in range(0, count, chunk):
        rows = np.arange(start, start + chunk) % count  # all of one size: compiled once
        parts.append(some(trained.params, trained.collections, raw[rows].astype(np.float32),
                          which[rows]))
    return Attributed(*(np.concatenate(list(map(np.asarray, each)))[:count]
                        for each in zip(*parts, strict=True)))


def examples(which: np.ndarray, most: int) -> np.ndarray:
    """Numbers of examples, one for every output in turn, until there are `most`.

    Args:
      which: of every example, the output that it is about.
      most: how many, at the most.
    """
    turn = np.zeros(len(which), np.int64)
    for output in np.unique(which):
        own = which == output
        turn[own] = np.arange(own.sum())
    return np.lexsort((which, turn))[:most]


def mean_sizes(values: np.ndarray, which: np.ndarray, outputs: int) -> np.ndarray:
    """Mean absolute attributions [outputs, *shape] of the examples about every output, nan: none.

    Args:
      values: [n, *shape].
      which: [n].
      outputs: how many there are.
    """
    found = np.full((outputs, *values.shape[1:]), np.nan, np.float32)
    for output in np.unique(which):
        found[output] = np.abs(values[which == output]).mean(0)
    return found
