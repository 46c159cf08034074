"""Linear maps whose backward pass uses another matrix than the forward pass.

Backpropagation sends the error of a layer down through the transpose of its weights. Feedback
alignment (Lillicrap et al. 2016) sends it through a fixed random matrix B instead. Everything
else - the gradient of the weights and of the bias - is formed as usual from the error that arrives.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["convolve", "linear", "matmul", "with_feedback"]


def matmul(x: Array, kernel: Array) -> Array:
    """[..., in] @ [in, out] -> [..., out]."""
    return x @ kernel


def convolve(x: Array, kernel: Array) -> Array:
    """Two-dimensional convolution (cross-correlation), stride 1, no padding.

    As one matrix product with all patches of `x`: batched over replicas, whose kernels differ, that
    stays a matrix product, where a convolution becomes one of many groups.

    Args:
      x: [batch, height, width, in].
      kernel: [rows, columns, in, out].

    Returns:
      [batch, height - rows + 1, width - columns + 1, out].
    """
    rows, columns, _, out = kernel.shape
    height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    patches = [
        x[:, i : i + height, j : j + width] for i in range(rows) for j in range(columns)
    ]
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, out)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def with_feedback(
    bilinear: Callable[[Array, Array], Array], x: Array, kernel: Array, feedback: Array
) -> Array:
    """``bilinear(x, kernel)``, differentiated as if its input had met `feedback`.

    Works for any map that is linear in `x` and linear in `kernel`: a matrix product, a convolution.

    Args:
      bilinear: (x, kernel) -> output.
      x: the layer's input.
      kernel: the weights.
      feedback: like `kernel`, whose type it takes on. With ``feedback == kernel`` this is
        backpropagation. It receives a zero gradient: whoever wants to train it has its own rule for
        that.
    """
    del feedback
    return bilinear(x, kernel)


def _forward(bilinear, x, kernel, feedback):
    return bilinear(x, kernel), (x, kernel, feedback)


def _backward(bilinear, residual, error):
    x, kernel, feedback = residual
    down = feedback.astype(kernel.dtype)
    (x_error,) = jax.linear_transpose(lambda v: bilinear(v, down), x)(error)
    (kernel_gradient,) = jax.linear_transpose(lambda v: bilinear(x, v), kernel)(error)
    return x_error, kernel_gradient, jnp.zeros_like(feedback)


with_feedback.defvjp(_forward, _backward)


def linear(
    x: Array,
    kernel: Array,
    bias: Array,
    feedback: Array | None = None,
    bilinear: Callable[[Array, Array], Array] = matmul,
) -> Array:
    """``bilinear(x, kernel) + bias``, with the error sent down through `feedback` if it is given.

    Args:
      x: [..., in].
      kernel: [in, out].
      bias: [out].
      feedback: [in, out] (the weight's shape, not its transpose), or None for backpropagation.
      bilinear: `matmul`, or another map like `convolve` with kernels of its own shape.
    """
    if feedback is None:
        return bilinear(x, kernel) + bias
    return with_feedback(bilinear, x, kernel, feedback) + bias
