"""Linear maps whose backward pass uses another matrix than the forward pass.

Backpropagation sends the error of a layer down through the transpose of its weights. Feedback
alignment (Lillicrap et al. 2016) sends it through a fixed random matrix B instead. Everything
else - the gradient of the weights and of the bias - is formed as usual from the error that arrives.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from qjax.devices import Crossbar, product

__all__ = ["along", "biased", "linear", "matmul", "on_mesh", "with_feedback"]


def on_mesh(*arrays: Array) -> bool:
    """Whether types say how arrays lie on a mesh: explicit axes, varying in `jax.shard_map`.

    JAX's own derivatives follow such types; those that are written here for speed do not.
    """
    kinds = [jax.typeof(a) for a in arrays]
    plain = [jax.core.ShapedArray(k.shape, k.dtype, k.weak_type, sharding=k.sharding)
             for k in kinds]
    return kinds != plain or any(any(k.sharding.spec) for k in kinds)


def matmul(x: Array, kernel: Array) -> Array:
    """[..., in] @ [in, out] -> [..., out].

    Of a batch [batch, in] by transposed matrices: with kernels that are held so, and activations
    and errors that lie so from one layer to the next, no step copies a matrix to turn it. Its
    derivatives are those of reverse mode (`jax.grad`, also twice), not of forward mode, nor can it
    be transposed (`jax.linear_transpose`).
    """
    if x.ndim != 2 or on_mesh(x, kernel):
        return x @ kernel
    dtype = jnp.result_type(x, kernel)
    return _turned(x.astype(dtype), kernel.astype(dtype))


@jax.custom_vjp
def _turned(x, kernel):
    return (kernel.T @ x.T).T


def _turned_forward(x, kernel):
    return _turned(x, kernel), (x, kernel)


def _turned_backward(residual, error):
    x, kernel = residual
    # JAX's own rule gives the errors of inputs as [batch, in]. XLA keeps to this order of operands
    # and axes, but not to @'s. With `_shifted` a step of batches of 1,024 takes 0.79 of the time,
    # of 256 0.92, of 64 0.98.
    x_error = jax.lax.dot_general(kernel.T, error.T, (((0,), (0,)), ((), ())))
    gradient = jax.lax.dot_general(error.T, x.T, (((1,), (1,)), ((), ())))
    return x_error.T, gradient.T


_turned.defvjp(_turned_forward, _turned_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0, 6))
def with_feedback(
    bilinear: Callable[[Array, Array], Array], x: Array, kernel: Array, feedback: Array | None,
    activity: Array | None = None, crossbar: Crossbar | None = None, samples: int = 0,
) -> Array:
    """``bilinear(x, kernel)``, differentiated as if its input had met `feedback`.

    Works for any map that is linear in `x` and linear in `kernel`: a matrix product, a convolution.

    Args:
      bilinear: (x, kernel) -> output.
      x: the layer's input.
      kernel: the weights.
      feedback: like `kernel`, whose type it takes on. With ``feedback == kernel``, or None, this is
        backpropagation. It receives a zero gradient: whoever wants to train it has its own rule for
        that.
      activity: like `kernel`; its values do not matter. What it receives for its gradient are the
        sizes of what every example adds to that of the kernel, summed: all that is done to a device
        whose changes are sent example by example, whatever of it cancels.
      crossbar: converters that inputs and outputs pass, and errors on the way down; gradients go
        straight through them. What the kernel receives is the product of inputs and errors as they
        are outside of the array, as aihwkit updates it.
      samples: axis of input and output that counts examples, which converters manage one by one.
    """
    del feedback, activity
    if crossbar is None or crossbar.forward is None:
        return bilinear(x, kernel)
    key = None if crossbar.key is None else jax.random.fold_in(crossbar.key, 0)
    return product(key, crossbar.forward, x, kernel, bilinear, samples)


def _forward(bilinear, x, kernel, feedback, activity, crossbar, samples):
    out = with_feedback(bilinear, x, kernel, feedback, activity, crossbar, samples)
    return out, (x, kernel, feedback, activity, crossbar)


def _backward(bilinear, samples, residual, error):
    x, kernel, feedback, activity, crossbar = residual
    down = kernel if feedback is None else feedback.astype(kernel.dtype)

    def back(error, matrix):
        return jax.vjp(lambda v: bilinear(v, matrix), x)[1](error)[0]

    if crossbar is None or crossbar.backward is None:
        x_error = back(error, down)
    else:
        key = None if crossbar.key is None else jax.random.fold_in(crossbar.key, 1)
        x_error = product(key, crossbar.backward, error, down, back, samples)
    (kernel_gradient,) = jax.vjp(lambda v: bilinear(x, v), kernel)[1](error)
    sizes = activity
    if activity is not None:
        (sizes,) = jax.vjp(lambda v: bilinear(jnp.abs(x), v), kernel)[1](jnp.abs(error))
    nothing = jax.tree.map(_no_gradient, (feedback, crossbar))
    return x_error, kernel_gradient, nothing[0], sizes, nothing[1]


def _no_gradient(leaf):
    leaf = jnp.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


with_feedback.defvjp(_forward, _backward)


def linear(
    x: Array,
    kernel: Array,
    bias: ArrayLike,
    feedback: Array | None = None,
    bilinear: Callable[[Array, Array], Array] = matmul,
    activity: Array | None = None,
    crossbar: Crossbar | None = None,
    axes: tuple[int, int] = (0, -1),
) -> Array:
    """``bilinear(x, kernel) + bias``, with the error sent down through `feedback` if it is given.

    Args:
      x: [..., in].
      kernel: [in, out].
      bias: [out].
      feedback: [in, out] (the weight's shape, not its transpose), or None for backpropagation.
      bilinear: `matmul`, or another map like `convolve` with kernels of its own shape.
      activity, crossbar: see `with_feedback`.
      axes: of the result, those of examples and of features.
    """
    if feedback is None and activity is None and crossbar is None:
        y = bilinear(x, kernel)
    else:
        y = with_feedback(bilinear, x, kernel, feedback, activity, crossbar, axes[0])
    return biased(y, bias, axes[1])


def biased(y: Array, bias: ArrayLike, axis: int) -> Array:
    """`y` plus a bias of its features, or one number, which lie along `axis`.

    Of a matrix [batch, features] without derivatives in forward mode, as `matmul`.
    """
    if not (y.ndim == 2 and axis % 2 == 1 and jnp.shape(bias) == y.shape[1:]):
        return y + along(bias, y, axis)
    dtype = jnp.result_type(y, bias)
    bias = jnp.asarray(bias, dtype)
    return y + bias if on_mesh(y, bias) else _shifted(y.astype(dtype), bias)


@jax.custom_vjp
def _shifted(y, bias):
    return y + bias


def _shifted_forward(y, bias):
    return y + bias, None


def _shifted_backward(_, error):
    # Behind the barrier XLA sums the errors as they lie; else it copies them to turn them.
    return error, jax.lax.optimization_barrier(error.T).sum(1)


_shifted.defvjp(_shifted_forward, _shifted_backward)


def along(values: ArrayLike, like: Array, axis: int) -> Array:
    """[features] or one number -> to add to `like`, whose features lie along `axis`."""
    values = jnp.asarray(values)
    return values.reshape(*values.shape, *[1] * (like.ndim - 1 - axis % like.ndim))
