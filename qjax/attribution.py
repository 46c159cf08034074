"""What in its input a network's output comes from: attribution to pixels or features.

Everything here is for one example; `jax.vmap` makes a batch of it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

__all__ = ["integrated_gradients"]


def integrated_gradients(
    function: Callable[[Array], Array], inputs: Array, baseline: ArrayLike = 0.0, steps: int = 50
) -> Array:
    """Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks", equation 3.

    The gradient's mean along the straight line from a baseline b to the input x, times the way::

        a_i = (x_i - b_i) * 1/m sum_{k=1..m} df/dx_i (b + (k - 1/2)/m (x - b))

    by the midpoint rule. *Completeness*: the attributions add up to f(x) - f(b), but for the error
    of the rule, which is none where f is linear or quadratic along the line. They do not change
    with the units of the input, so raw pixels serve where f normalizes them.

    Args:
      function: f, one input [...] -> scalar.
      inputs: x, of floats.
      baseline: b, an input that says nothing, such as a black image; or a number for all of it.
      steps: m.

    Returns:
      [...] of x, in units of f.

    Raises:
      TypeError: the input is no floats, which have no gradient.
      ValueError: fewer than one step, or a baseline of another shape.
    """
    if not jnp.issubdtype(jnp.result_type(inputs), jnp.floating):
        raise TypeError(f"inputs of {jnp.result_type(inputs)} have no gradient: expected floats, "
                        "such as inputs.astype(jax.numpy.float32)")
    if steps < 1:
        raise ValueError(f"{steps} steps: expected at least 1")
    start = jnp.broadcast_to(jnp.asarray(baseline, inputs.dtype), jnp.shape(inputs))
    way = inputs - start
    gradient = jax.grad(function)

    def add(total, step):
        return total + gradient(start + (step + 0.5) / steps * way), None

    # One point after another: a network's activations at all of them would take much memory.
    total, _ = jax.lax.scan(add, jnp.zeros_like(inputs), jnp.arange(steps, dtype=inputs.dtype))
    return way * total / steps
