"""Networks of dense and convolutional blocks; what a block is, is said in `qjax.blocks`.

The blocks here may have a gain, for a device whose weights fill a fixed range, [-1, 1], whatever
the width. Gains are one of `GAINS`: "none"; "fixed", a constant of each block (in the collection
``device``); "learned", that constant times the exponential of a parameter, ``log_gain``, which
starts at zero and belongs to the amplifier at the output: `is_log_gain` and `is_bias` choose what
no array of devices holds, for `qjax.memories.by_leaf`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from qjax import convolution
from qjax import feedback as feedback_rules
from qjax.blocks import Network

__all__ = [
    "GAINS",
    "BatchNorm",
    "Conv",
    "Dense",
    "Network",
    "Recurrent",
    "Residual",
    "Stretch",
    "floating_type",
    "identity",
    "is_bias",
    "is_log_gain",
    "lenet",
    "mlp",
    "recurrent",
    "residual",
    "uniform_fan_in",
    "uniform_range",
]

GAINS = ("none", "fixed", "learned")


def is_log_gain(path: str, leaf: Any = None) -> bool:
    """Is the leaf at this path a learned gain?"""
    del leaf
    return path.endswith("log_gain")


def is_bias(path: str, leaf: Any = None) -> bool:
    """Is the leaf at this path a bias?"""
    del leaf
    return path.endswith("bias")


def floating_type(x: Array) -> jnp.dtype:
    """The type of the parameters of a block with this input: its own, float32 for integers."""
    return x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.dtype(jnp.float32)


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
    axis: int = -1

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """[batch, ..., features] -> same shape, normalized per feature, which lie along `axis`."""
        features = x.shape[self.axis]
        mean = self.variable("batch_stats", "mean", jnp.zeros, features, x.dtype)
        variance = self.variable("batch_stats", "variance", jnp.ones, features, x.dtype)

        def normalized(mean, variance):
            mean, variance = (feedback_rules.along(v, x, self.axis) for v in (mean, variance))
            return (x - mean) * jax.lax.rsqrt(variance + self.epsilon)

        if not train:
            return normalized(mean.value, variance.value)
        axes = tuple(own for own in range(x.ndim) if own != self.axis % x.ndim)
        batch_mean, batch_variance = jnp.mean(x, axes), jnp.var(x, axes)
        if not self.is_initializing():
            count = x.size // features
            unbiased = batch_variance * (count / max(count - 1, 1))
            mean.value += self.momentum * (batch_mean - mean.value)
            variance.value += self.momentum * (unbiased - variance.value)
        return normalized(batch_mean, batch_variance)


class _Weighted(nn.Module):
    """What a block with a kernel does: product + bias [+ batch normalization] + activation.

    The activation is a function of every element by itself.

    With a `gain` other than "none" the weights start uniform in [-1, 1], and the product is
    multiplied by ``gain / sqrt(fan_in)``, a constant of the "device" collection (1 / sqrt(fan_in)
    at first): weights of one fixed range, which is what a device offers, then serve layers of any
    width. "learned" multiplies by ``exp(log_gain)`` besides.
    """

    features: int
    activation: Callable[[Array], Array] = nn.relu
    normalize: bool = False
    gain: str = "none"

    def respond(self, x: Array, shape: Sequence[int], bilinear: Callable, train: bool,
                time: ArrayLike | None = None, axes: tuple[int, int] = (0, -1)) -> Array:
        """``activation(bilinear(x, kernel) + bias)`` with a kernel of `shape`, output axis last.

        `time` numbers the uses of one kernel on one batch, which meet other noise; may be traced.
        `axes` of input and output are those of examples and of features.
        """
        if self.gain not in GAINS:
            raise ValueError(f"unknown gain {self.gain!r}: expected one of {GAINS}")
        fan_in, dtype = math.prod(shape[:-1]), floating_type(x)
        init = uniform_fan_in(fan_in)
        kernel = self.param("kernel", init if self.gain == "none" else uniform_range, shape, dtype)
        bias = self.param("bias", init, (self.features,), dtype)
        kept: list[Any] = [self.get_variable(c, "kernel")
                           for c in ("feedback", "activity", "crossbar")]
        feedback, activity, crossbar = kept
        if time is not None and crossbar is not None and crossbar.key is not None:
            # 0 to 2 are the product's, the error's and dfa's.
            crossbar = replace(crossbar, key=jax.random.fold_in(crossbar.key, 3 + time))
        rest = (activity, crossbar, axes)
        if self.gain == "none":
            z = feedback_rules.linear(x, kernel, bias, feedback, bilinear, *rest)
        else:
            gain = self.variable("device", "gain", lambda: jnp.asarray(fan_in**-0.5, dtype)).value
            if self.gain == "learned":
                gain *= jnp.exp(self.param("log_gain", nn.initializers.zeros, (), dtype))
            z = gain * feedback_rules.linear(x, kernel, 0.0, feedback, bilinear, *rest)
            z = feedback_rules.biased(z, bias, axes[1])
        if self.normalize:
            z = BatchNorm(axis=axes[1])(z, train)
        return self.activation(z)


class Dense(_Weighted):
    """Fully connected block; inputs of more than two axes are flattened to [batch, features]."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        """[batch, ...] -> [batch, features]."""
        x = x.reshape(len(x), -1)
        return self.respond(x, (x.shape[-1], self.features), feedback_rules.matmul, train)


class Conv(_Weighted):
    """Convolutional block: zero padding, square kernel, stride 1, then 2x2 max pooling if `pool`.

    Batch normalization is per channel; the activation comes before the pooling, which leaves out a
    last odd row or column.
    """

    size: int = 5
    padding: int = 0
    pool: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        """[batch, height, width, channels] -> the same with `features` channels, smaller."""
        sides = (self.padding, self.padding)
        self._check(x)
        planes = jnp.pad(convolution.to_planes(x), (sides, (0, 0), sides, (0, 0)))
        shape = (self.size, self.size, x.shape[-1], self.features)
        y = self.respond(planes, shape, convolution.convolve_planes, train, axes=(3, 1))
        return convolution.from_planes(convolution.pool_planes(y) if self.pool else y)

    def _check(self, x: Array) -> None:
        if x.ndim != 4:
            raise ValueError(
                f"a convolutional block needs images [batch, height, width, channels], got shape "
                f"{x.shape}"
            )
        left = [side + 2 * self.padding - self.size + 1 for side in x.shape[1:3]]
        if min(left) < (2 if self.pool else 1):
            raise ValueError(
                f"images of {x.shape[1]}x{x.shape[2]} are too small for a kernel of "
                f"{self.size}x{self.size} with padding {self.padding}"
                f"{', pooled 2x2' if self.pool else ''}: larger images, more padding or a smaller "
                "kernel"
            )


class Residual(nn.Module):
    """Two convolutions of 3x3 around which the input goes, too (He et al. 2016).

    Where the number of channels changes the input goes through a convolution of 1x1. The activation
    comes after the sum, then 2x2 max pooling if `pool`.
    """

    features: int
    activation: Callable[[Array], Array] = nn.relu
    normalize: bool = False
    gain: str = "none"
    pool: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        """[batch, height, width, channels] -> the same with `features` channels."""
        def conv(size, activation):
            return Conv(self.features, activation, self.normalize, self.gain, size, size // 2)

        y = conv(3, self.activation)(x, train)
        y = conv(3, identity)(y, train)
        around = x if x.shape[-1] == self.features else conv(1, identity)(x, train)
        out = self.activation(around + y)
        return _pooled(out) if self.pool else out


class Stretch(NamedTuple):
    """Some steps of a sequence, for a recurrent block that goes on from a state.

    Attributes:
      steps: [batch, time, features].
      state: [batch, units], before the first of them.
      start: number of the first.
    """

    steps: Array
    state: Array
    start: int = 0


class _Step(_Weighted):
    """A dense layer that is used once a step."""

    @nn.compact
    def __call__(self, x: Array, time: ArrayLike) -> Array:
        return self.respond(x, (x.shape[-1], self.features), feedback_rules.matmul, True, time)


class Recurrent(nn.Module):
    """A plain recurrent layer (Elman 1990), h_t = tanh(x_t W + b + h_{t-1} U + c), and its last h.

    It reads images row by row, vectors one number a step.

    Attributes:
      features: units.
      activation: in place of tanh.
      gain: as of all blocks.
      truncation: steps after which algorithms that cut sequences (`tbptt`, `dni_time`) cut this
        one, counted from its end; for all others, and None, it is whole.
    """

    features: int
    activation: Callable[[Array], Array] = jnp.tanh
    gain: str = "none"
    truncation: int | None = None

    def sequence(self, x: Array) -> Array:
        """[batch, ...] -> [batch, time, features]: rows of images, [batch, n] one number a step."""
        x = x[..., None] if x.ndim == 2 else x
        return x.reshape(*x.shape[:2], -1)

    def start(self, steps: Array) -> Array:
        """The state before the first step: zeros, [batch, units]."""
        return jnp.zeros((len(steps), self.features), floating_type(steps))

    @nn.compact
    def __call__(self, x: Array | Stretch, train: bool = True) -> Array:
        """[batch, time, ...], or a `Stretch` -> the last state, [batch, units]."""
        if not isinstance(x, Stretch):
            steps = self.sequence(x)
            x = Stretch(steps, self.start(steps))
        rows = x.steps.reshape(-1, x.steps.shape[-1])
        # All steps' inputs are one product; `start` tells their noise from that of others.
        into = _Step(self.features, identity, gain=self.gain, name="input")(rows, x.start)
        into = into.reshape(*x.steps.shape[:2], -1)
        again = _Step(self.features, identity, gain=self.gain, name="recurrent")

        def step(layer, state, here):
            time, given = here
            return self.activation(given + layer(state, time)), None

        # Compiled once, however long the sequence is.
        along = nn.scan(step, variable_broadcast=True, split_rngs={"params": False})
        times = x.start + jnp.arange(x.steps.shape[1])
        state, _ = along(again, x.state, (times, jnp.moveaxis(into, 1, 0)))
        return state


def _pooled(y: Array) -> Array:
    """Of images; see `convolution.pool_planes`."""
    return convolution.from_planes(convolution.pool_planes(convolution.to_planes(y)))


def mlp(hidden: Sequence[int], classes: int, gain: str = "none") -> Network:
    """Hidden ReLU layers of the given widths and a linear output layer; `gain` as in `Dense`.

    ``mlp([100, 100, 100], 10)`` on MNIST is 784-100-100-100-10.
    """
    hidden_blocks = (Dense(width, gain=gain) for width in hidden)
    return (*hidden_blocks, Dense(classes, activation=identity, gain=gain))


def recurrent(
    units: int, classes: int, gain: str = "none", truncation: int | None = None
) -> Network:
    """A plain recurrent layer and a linear output layer on its last state, see `Recurrent`.

    ``recurrent(100, 10)`` on MNIST, rows being steps, is 28-100-10 with 13,800 weights.
    """
    return (Recurrent(units, gain=gain, truncation=truncation),
            Dense(classes, activation=identity, gain=gain))


def lenet(classes: int, gain: str = "none") -> Network:
    """LeNet-5 (LeCun et al. 1998) for 28x28 images, as today: ReLU and max pooling.

    Convolutions of 6, 16 and 120 features of 5x5, the first on the image padded to 32x32, the first
    two pooled; 84 units; the output.
    """
    return (
        Conv(6, padding=2, pool=True, gain=gain),
        Conv(16, pool=True, gain=gain),
        Conv(120, gain=gain),
        Dense(84, gain=gain),
        Dense(classes, activation=identity, gain=gain),
    )


def residual(classes: int, gain: str = "none") -> Network:
    """A small residual network for colour images of 32x32: 87,000 weights, 7 convolutions deep.

    A convolution of 16 features of 3x3; residual blocks of 16, 32 and 64; pooled 2x2 after the
    first, third and fourth; the output.
    """
    return (
        Conv(16, size=3, padding=1, pool=True, gain=gain),
        Residual(16, gain=gain),
        Residual(32, pool=True, gain=gain),
        Residual(64, pool=True, gain=gain),
        Dense(classes, activation=identity, gain=gain),
    )
