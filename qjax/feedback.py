"""Linear maps whose backward pass uses another matrix than the forward pass.

Backpropagation sends the error of a layer down through the transpose of its weights. Feedback
alignment (Lillicrap et al. 2016) sends it through a fixed random matrix B instead. Everything
else - the gradient of the weights and of the bias - is formed as usual from the error that arrives.
"""

from collections.abc import Callable
from functools import partial

import jax
from jax import Array

__all__ = ["linear", "matmul", "with_feedback"]


def matmul(x: Array, kernel: Array) -> Array:
    """[..., in] @ [in, out] -> [..., out]."""
    return x @ kernel


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
      feedback: like `kernel`. With ``feedback == kernel`` this is backpropagation. It receives a
        zero gradient: whoever wants to train it has its own rule for that.
    """
    del feedback
    return bilinear(x, kernel)


def _forward(bilinear, x, kernel, feedback):
    return bilinear(x, kernel), (x, kernel, feedback)


def _backward(bilinear, residual, error):
    x, kernel, feedback = residual
    (x_error,) = jax.linear_transpose(lambda v: bilinear(v, feedback), x)(error)
    (kernel_gradient,) = jax.linear_transpose(lambda v: bilinear(x, v), kernel)(error)
    return x_error, kernel_gradient, jax.numpy.zeros_like(feedback)


with_feedback.defvjp(_forward, _backward)


def linear(x: Array, kernel: Array, bias: Array, feedback: Array | None = None) -> Array:
    """``x @ kernel + bias``, with the error sent down through `feedback` if it is given.

    Args:
      x: [..., in].
      kernel: [in, out].
      bias: [out].
      feedback: [in, out] (the weight's shape, not its transpose), or None for backpropagation.
    """
    product = matmul(x, kernel) if feedback is None else with_feedback(matmul, x, kernel, feedback)
    return product + bias
