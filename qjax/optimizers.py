"""Optimizers without a step size, and the change that they propose to what holds the weights."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from qjax.metrics import at_least_float32
from qjax.trees import turned

__all__ = [
    "OPTIMIZERS", "begin", "in_float32", "propose", "scale_by_adadelta", "scale_by_layer",
    "scale_by_lines",
]


def scale_by_adadelta(rho: float = 0.9, eps: float = 1e-6) -> optax.GradientTransformation:
    """Adadelta's direction (Zeiler 2012): gradient * RMS(past steps) / RMS(past gradients).

    optax's transformation of this name with one square root for two: on a CPU the optimizer costs
    more than the matrix products, and this alone saved an eighth of a training step (0.303 for
    0.343 ms per replica, 28 replicas of 784-100-100-100-10).
    """

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdaDeltaState(e_g=zeros, e_x=zeros)

    def mean(old, new):
        return jax.tree.map(lambda o, n: rho * o + (1 - rho) * n * n, old, new)

    def update(gradients, state, params=None):
        del params
        e_g = mean(state.e_g, gradients)
        steps = jax.tree.map(
            lambda g, x, s: g * jnp.sqrt((x + eps) / (s + eps)), gradients, state.e_x, e_g
        )
        return steps, optax.ScaleByAdaDeltaState(e_g=e_g, e_x=mean(state.e_x, steps))

    return optax.GradientTransformation(init, update)


def in_float32(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """`optimizer` for parameters of any type: it computes in float32 where theirs is narrower.

    In float16 the constants that keep an optimizer from dividing by zero are themselves zero.
    Directions have the gradients' types.
    """

    def wide(tree):
        return jax.tree.map(at_least_float32, tree)

    def init(params):
        return optimizer.init(wide(params))

    def update(gradients, state, params=None):
        inner = None if params is None else wide(params)
        steps, state = optimizer.update(wide(gradients), state, inner)
        return jax.tree.map(lambda s, g: s.astype(g.dtype), steps, gradients), state

    return optax.GradientTransformation(init, update)


# Keeps a gradient of zero from being divided by zero.
_TINY = 1e-30


def scale_by_layer() -> optax.GradientTransformation:
    """The gradient divided by its root mean square over each tensor.

    Keeps nothing between steps: a sum of squares per tensor and step is all it takes, one number a
    layer, which a circuit adds up while the gradients pass.
    """

    return optax.stateless(lambda gradients, params: jax.tree.map(_over_rms, gradients))


def _over_rms(g):
    return g * jax.lax.rsqrt(jnp.mean(g * g) + _TINY)


def scale_by_lines(eps: float = 1e-6) -> optax.GradientTransformation:
    """The gradient divided by its size in its row and column.

    Entry ij of a matrix is divided by sqrt(r_i c_j / m), with r, c and m the mean squares of this
    gradient over row i, over column j and over all: Adafactor's second moment (Shazeer and Stern
    2018) of one step, so that nothing is kept between steps. All axes but the last are the rows: of
    a convolution, the whole fan-in. Vectors, and matrices of a single row or column, are divided by
    their root mean square.

    Args:
      eps: share of m that is added under the root, for rows and columns that are nearly zero.
    """

    def one(g):
        if g.ndim < 2 or 1 in (g.shape[-1], g.size // g.shape[-1]):
            return _over_rms(g)
        squares = g * g
        rows = jnp.mean(squares, -1, keepdims=True)
        columns = jnp.mean(squares, tuple(range(g.ndim - 1)), keepdims=True)
        mean = jnp.mean(rows)
        size = rows * (columns / (mean + _TINY)) + eps * mean + _TINY
        return g * jax.lax.rsqrt(size)

    return optax.stateless(lambda gradients, params: jax.tree.map(one, gradients))


# Added under Adam's root: changes a step's last bit now and then, and gives a derivative at zero.
_ROOT = 1e-32

# Directions only: the learning rate is a number of the replica, not of the program.
OPTIMIZERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adadelta": lambda: in_float32(scale_by_adadelta()),
    "adam": lambda: in_float32(optax.scale_by_adam(eps_root=_ROOT)),
    "momentum": lambda: in_float32(optax.trace(decay=0.9)),
    "normalized": lambda: in_float32(scale_by_layer()),
    "balanced": lambda: in_float32(scale_by_lines()),
    # Adafactor's second moments (Shazeer and Stern 2018): one number a row and a column.
    "factored": lambda: in_float32(optax.scale_by_factored_rms(min_dim_size_to_factor=2)),
    "sgd": optax.identity,
    "sign": optax.scale_by_sign,
}


def begin(optimizer: optax.GradientTransformation, weights: Any) -> Any:
    """The optimizer's first state, for `propose`: made for the transposed matrices."""
    return optimizer.init(turned(weights))


def propose(
    optimizer: optax.GradientTransformation,
    gradients: Any,
    opt_state: Any,
    weights: Any,
    learning_rate: ArrayLike,
    weight_decay: ArrayLike = 0.0,
    threshold: Any = 0.0,
) -> tuple[Any, Any]:
    """The change an optimizer proposes: ``-learning_rate * direction(gradient + decay * weight)``.

    Decay enters the gradient before the optimizer sees it, as in PyTorch's optimizers.

    Entries of a direction below the threshold count as zero; those of vectors (biases) stay. A
    write at random adds noise in proportion to the change that it makes right on average, so that
    small changes, which say little, cost more than they bring: where nothing is behind a weight of
    2 bits, the few largest train it better than all of them (figures/README.md, "What 2-bit
    training needs").

    Args:
      optimizer: a direction, e.g. from `OPTIMIZERS`.
      gradients, weights: trees of one structure; weights as their memory knows them.
      opt_state: of the optimizer, made by `begin` for the weights.
      learning_rate, weight_decay: scalars, may be traced.
      threshold: scalar likewise, or a tree of them that the gradients' begins with, in units of the
        direction: of the gradient's size, for optimizers that divide by it. With 0 the direction
        stays as it is, bit for bit.

    Returns:
      (updates, new opt_state), of the types of the gradients; nothing is applied yet.
    """

    def decayed(g, p):
        return (g + weight_decay * p).astype(g.dtype)  # a wider rate must not widen the state

    def change(least, d):
        kept = jnp.where(jnp.abs(d) < least, 0, d) if d.ndim > 1 else d  # nan stays
        return jnp.negative(learning_rate * kept).astype(d.dtype)

    weights = turned(weights)
    gradients = jax.tree.map(decayed, turned(gradients), weights)
    direction, opt_state = optimizer.update(gradients, opt_state, weights)
    least = jax.tree.broadcast(threshold, direction)
    return turned(jax.tree.map(change, least, direction)), opt_state
