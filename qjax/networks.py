"""Networks as sequences of blocks.

A block is a Flax module ``block(x, train)``; a network is a tuple of blocks. Every algorithm
decides only which signal arrives at each block's output, so blocks are applied one by one and each
keeps a parameter tree of its own. Besides ``params`` a block may have these Flax collections:

* ``feedback``: the matrix that carries errors down in place of the weights (see `qjax.feedback`);
* ``batch_stats``: the running statistics of its batch normalization;
* ``device``: the gain of a device whose weights fill a fixed range, [-1, 1], whatever the width.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from qjax import feedback as feedback_rules

__all__ = [
    "BatchNorm",
    "Dense",
    "Network",
    "apply_block",
    "forward",
    "identity",
    "init_network",
    "mlp",
    "uniform_fan_in",
    "uniform_range",
]

Network = tuple[nn.Module, ...]


def identity(x: Array) -> Array:
    """No activation function."""
    return x


def uniform_fan_in(fan_in: int) -> Callable[..., Array]:
    """Flax initializer: uniform in +-1/sqrt(fan_in), PyTorch's default for weights and biases."""
    limit = fan_in**-0.5

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def uniform_range(key: Array, shape: Sequence[int], dtype=jnp.float32) -> Array:
    """Flax initializer: uniform in [-1, 1], the range of a device with a gain."""
    return jax.random.uniform(key, shape, dtype, -1.0, 1.0)


class BatchNorm(nn.Module):
    """Batch normalization without scale and shift, with PyTorch's running statistics.

    (Flax's own keeps the biased running variance; PyTorch divides by m - 1.)
    """

    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """[batch, ..., features] -> same shape, normalized per feature."""
        features = x.shape[-1]
        mean = self.variable("batch_stats", "mean", jnp.zeros, features, x.dtype)
        variance = self.variable("batch_stats", "variance", jnp.ones, features, x.dtype)
        if not train:
            return (x - mean.value) * jax.lax.rsqrt(variance.value + self.epsilon)
        axes = tuple(range(x.ndim - 1))
        batch_mean, batch_variance = jnp.mean(x, axes), jnp.var(x, axes)
        if not self.is_initializing():
            count = x.size // features
            unbiased = batch_variance * (count / max(count - 1, 1))
            mean.value += self.momentum * (batch_mean - mean.value)
            variance.value += self.momentum * (unbiased - variance.value)
        return (x - batch_mean) * jax.lax.rsqrt(batch_variance + self.epsilon)


class Dense(nn.Module):
    """Fully connected block: linear + bias [+ batch normalization] + activation.

    Inputs of more than two axes are flattened to [batch, features]. With `gain` the weights start
    uniform in [-1, 1], and the product is multiplied by ``gain / sqrt(fan_in)``, a constant of the
    "device" collection (1 / sqrt(fan_in) at first): weights of one fixed range, which is what a
    device offers, then serve layers of any width.
    """

    features: int
    activation: Callable[[Array], Array] = nn.relu
    normalize: bool = False
    gain: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        """[batch, ...] -> [batch, features]."""
        x = x.reshape(len(x), -1)
        fan_in = x.shape[-1]
        init = uniform_fan_in(fan_in)
        kernel_init = uniform_range if self.gain else init
        kernel = self.param("kernel", kernel_init, (fan_in, self.features))
        bias = self.param("bias", init, (self.features,))
        feedback = self.get_variable("feedback", "kernel")
        if self.gain:
            gain = self.variable("device", "gain", lambda: jnp.asarray(fan_in**-0.5, x.dtype))
            z = gain.value * feedback_rules.linear(x, kernel, 0.0, feedback) + bias
        else:
            z = feedback_rules.linear(x, kernel, bias, feedback)
        if self.normalize:
            z = BatchNorm()(z, train)
        return self.activation(z)


def mlp(hidden: Sequence[int], classes: int, gain: bool = False) -> Network:
    """Hidden ReLU layers of the given widths and a linear output layer; `gain` as in `Dense`.

    ``mlp([100, 100, 100], 10)`` on MNIST is 784-100-100-100-10.
    """
    hidden_blocks = (Dense(width, gain=gain) for width in hidden)
    return (*hidden_blocks, Dense(classes, activation=identity, gain=gain))


def init_network(key: Array, network: Network, inputs: Array) -> tuple[tuple, tuple]:
    """Initial variables of every block.

    Args:
      key: PRNG key, consumed.
      network: blocks.
      inputs: [batch, ...], only its shape and dtype matter.

    Returns:
      (params, collections): tuples with one tree per block; `collections[l]` holds
      ``{"batch_stats": ...}`` or is empty.
    """
    params, collections = [], []
    for block, block_key in zip(network, jax.random.split(key, len(network)), strict=True):
        # Values flow through, but only shapes are used: XLA drops the arithmetic under jit.
        inputs, variables = block.init_with_output(block_key, inputs)
        params.append(variables.pop("params"))
        collections.append(variables)
    return tuple(params), tuple(collections)


def apply_block(
    block: nn.Module, params: Any, collections: Any, x: Array, train: bool
) -> tuple[Array, Any]:
    """One block on a batch: (output, collections with the running statistics after this batch)."""
    variables = {"params": params, **collections}
    if not train:
        return block.apply(variables, x, train=False), collections
    out, updated = block.apply(variables, x, train=True, mutable=["batch_stats"])
    return out, {**collections, **updated}


def forward(network: Network, params: Any, collections: Any, x: Array) -> Array:
    """The whole network in evaluation mode: [batch, ...] -> output of the last block."""
    for block, block_params, block_collections in zip(network, params, collections, strict=True):
        x, _ = apply_block(block, block_params, block_collections, x, train=False)
    return x
