"""Synthetic gradients: a small network that guesses the gradient arriving at a layer's output.

Jaderberg et al. 2017, "Decoupled neural interfaces using synthetic gradients". A synthesizer sees a
layer's activation and, in the conditional form (cDNI), the label; the layer below is trained on its
guess at once, and the synthesizer is trained later on the gradient that really arrives. Its
parameters are a tree of their own, beside the network's.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from qjax.convolution import convolve_planes, from_planes, to_planes
from qjax.feedback import biased, matmul
from qjax.networks import floating_type, uniform_fan_in

__all__ = ["InputSynthesizer", "Synthesizer", "init_synthesizers", "is_synthesizer",
           "synthesizer_gradient"]


def is_synthesizer(path: str, leaf: Any = None) -> bool:
    """Is the leaf at this path of a train state a synthesizer's? For `qjax.memories.by_leaf`."""
    del leaf
    return path.startswith(("synthesizers/", "input_synthesizers/"))


class _Affine(nn.Module):
    """Linear map with bias, PyTorch's default initialization; `zero` starts the kernel at zero.

    With a `size` it is a convolution that keeps height and width; `quiet` starts the bias at zero.
    """

    features: int
    zero: bool = False
    size: int | None = None
    quiet: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        window = () if self.size is None else (self.size, self.size)
        shape = (*window, x.shape[-1], self.features)
        init, dtype = uniform_fan_in(math.prod(shape[:-1])), floating_type(x)
        nothing = nn.initializers.zeros
        kernel = self.param("kernel", nothing if self.zero else init, shape, dtype)
        bias = self.param("bias", nothing if self.quiet else init, (self.features,), dtype)
        if self.size is None:
            return biased(matmul(x, kernel), bias, -1)
        sides = ((self.size - 1) // 2, self.size // 2)
        planes = jnp.pad(to_planes(x), (sides, (0, 0), sides, (0, 0)))
        return from_planes(biased(convolve_planes(planes, kernel), bias, 1))


class Synthesizer(nn.Module):
    """Predicts dLoss/dActivation from the activation and, if given, a context (one-hot label).

    With h the activation, y the context, one hidden layer:
    ``g(h, y) = A2 relu(A1 h + a1 + C y + c) + a2``, the form of the paper's appendix. The last
    kernel starts at zero, so the first predictions do not depend on the input.

    Feature maps, [batch, height, width, channels], are flattened, or with a `size` convolved (if
    they have more than one place, where most of a kernel would see nothing but the border): then
    units are channels, and the context adds the same to a channel at all places (the paper appends
    the one-hot label to the channels, which differs at the borders only). For maps of 14x14 and 6
    channels that has 2 thousand weights in place of 2.8 million.

    Attributes:
      hidden_layers: number of ReLU layers; 0 makes the prediction linear.
      width: units of the hidden layers; None for as many as the activation has.
      size: height and width of the kernels by which feature maps are convolved; None: flatten them.
      quiet: the last bias starts at zero, too, so that the first predictions are zero as in the
        paper. (In the thesis's program it is random, and larger than most gradients: it takes
        hundreds of steps to unlearn.)
    """

    hidden_layers: int = 1
    width: int | None = None
    size: int | None = None
    quiet: bool = False

    @nn.compact
    def __call__(self, activation: Array, context: Array | None = None) -> Array:
        """[batch, ...], [batch, classes] -> prediction of the activation's shape."""
        maps = activation.ndim == 4 and max(activation.shape[1:3]) > 1
        size = self.size if maps else None
        x = activation.reshape(len(activation), -1) if size is None else activation
        units = x.shape[-1]
        first, *rest = (*(self.width or units,) * self.hidden_layers, units)
        quiet = self.quiet and not rest
        out = _Affine(first, not rest, size, quiet, name="activation")(x)
        if context is not None:
            shift = _Affine(first, quiet, None, quiet, name="context")(context.astype(x.dtype))
            out += shift if size is None else shift[:, None, None]
        for index, features in enumerate(rest):
            last = index == len(rest) - 1
            out = _Affine(features, last, size, self.quiet and last, name=f"layer_{index}")(
                nn.relu(out))
        return out.reshape(activation.shape)


class InputSynthesizer(nn.Module):
    """Predicts a block's input from the network's, so that no block waits for those below.

    ``A2 relu(A1 x + a1) + a2`` of the flattened input x (Jaderberg et al. 2017, section 2.3).

    Attributes:
      shape: of one predicted input.
      width: units of the hidden layer; None for as many as there are numbers to predict.
    """

    shape: tuple[int, ...]
    width: int | None = None

    @nn.compact
    def __call__(self, inputs: Array, context: None = None) -> Array:
        """[batch, ...] -> [batch, *shape]; there is no context: labels are not known so early."""
        del context
        units = math.prod(self.shape)
        hidden = _Affine(self.width or units, name="inputs")(inputs.reshape(len(inputs), -1))
        return _Affine(units, name="layer_0")(nn.relu(hidden)).reshape(-1, *self.shape)


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
    """Gradient of the squared prediction error for the parameters of either synthesizer.

    The error is summed over units and averaged over the batch: its derivative with respect to
    the prediction is ``(2 / batch) (prediction - target)``.

    Args:
      params: the synthesizer's tree.
      activation: [batch, ...], constant to this gradient.
      context: [batch, classes] or None, as at initialization.
      target: like the prediction: of gradients, that of the batch-mean loss that arrived there.
    """

    def error(params):
        prediction: Any = synthesizer.apply({"params": params}, activation, context)
        return jnp.sum((prediction - target) ** 2) / len(activation)

    return jax.grad(error)(params)
