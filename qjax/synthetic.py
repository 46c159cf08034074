"""Synthetic gradients: a small network that guesses the gradient arriving at a layer's output.

Jaderberg et al. 2017, "Decoupled neural interfaces using synthetic gradients". A synthesizer sees a
layer's activation and, in the conditional form (cDNI), the label; the layer below is trained on its
guess at once, and the synthesizer is trained later on the gradient that really arrives. Its
parameters are a tree of their own, beside the network's.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from qjax.networks import uniform_fan_in

__all__ = ["Synthesizer", "init_synthesizers", "synthesizer_gradient"]


class _Affine(nn.Module):
    """Linear map with bias, PyTorch's default initialization; `zero` starts the kernel at zero."""

    features: int
    zero: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        init = uniform_fan_in(x.shape[-1])
        kernel_init = nn.initializers.zeros if self.zero else init
        kernel = self.param("kernel", kernel_init, (x.shape[-1], self.features))
        return x @ kernel + self.param("bias", init, (self.features,))


class Synthesizer(nn.Module):
    """Predicts dLoss/dActivation from the activation and, if given, a context (one-hot label).

    With h the activation, y the context, one hidden layer:
    ``g(h, y) = A2 relu(A1 h + a1 + C y + c) + a2``, the form of the paper's appendix. The last
    kernel starts at zero, so the first predictions do not depend on the input.

    Attributes:
      hidden_layers: number of ReLU layers; 0 makes the prediction linear.
      width: units of the hidden layers; None for the size of the activation.
    """

    hidden_layers: int = 1
    width: int | None = None

    @nn.compact
    def __call__(self, activation: Array, context: Array | None = None) -> Array:
        """[batch, ...], [batch, classes] -> prediction of the activation's shape."""
        flat = activation.reshape(len(activation), -1)
        size = flat.shape[-1]
        hidden = (self.width or size,) * self.hidden_layers
        first, *rest = (*hidden, size)
        out = _Affine(first, zero=not rest, name="activation")(flat)
        if context is not None:
            out += _Affine(first, name="context")(context)
        for index, features in enumerate(rest):
            last = index == len(rest) - 1
            out = _Affine(features, zero=last, name=f"layer_{index}")(nn.relu(out))
        return out.reshape(activation.shape)


def init_synthesizers(
    key: Array, synthesizer: nn.Module, activations: Sequence[Array], context: Array | None
) -> tuple[Any, ...]:
    """One parameter tree per activation [batch, ...]; the key is consumed."""
    keys = jax.random.split(key, max(len(activations), 1))
    return tuple(
        synthesizer.init(k, h, context)["params"] for k, h in zip(keys, activations, strict=False)
    )


def synthesizer_gradient(
    synthesizer: nn.Module, params: Any, activation: Array, context: Array | None, target: Array
) -> Any:
    """Gradient of the squared prediction error for the synthesizer's parameters.

    The error is summed over units and averaged over the batch: its derivative with respect to
    the prediction is ``(2 / batch) (prediction - target)``.

    Args:
      params: the synthesizer's tree.
      activation: [batch, ...], constant to this gradient.
      context: [batch, classes] or None, as at initialization.
      target: like `activation`, the gradient of the batch-mean loss that arrived there.
    """

    def error(params):
        prediction = synthesizer.apply({"params": params}, activation, context)
        return jnp.sum((prediction - target) ** 2) / len(activation)

    return jax.grad(error)(params)
