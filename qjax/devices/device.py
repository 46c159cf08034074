"""What all pulsed devices have in common: their numbers, and how no two of them are alike.

A device moves by a step, up or down, with every pulse. Its numbers say what the average device
does and how much others differ from it; `draw` makes the constants of every crosspoint from a key.
Names and defaults are those of the simulator aihwkit (Rasch et al. 2021, "A flexible and fast
PyTorch toolkit for simulating training and inference on analog crossbar arrays"), where it has
them. Weights, steps and bounds share one unit, without a dimension.

Of a deviation (``_dtod``) devices differ once, from the start; from cycle to cycle differs what
``dw_min_std`` says. Two differences to the simulator: there is no ``perfect_bias`` (biases are
leaves of their own, and may be floats), and random numbers are drawn anew, not out of a table.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from qjax import structs
from qjax.devices.chance import normals, uniforms
from qjax.numbers import number

__all__ = ["Device", "Moves", "Points"]


@structs.dataclass
class Points:
    """Constants of every crosspoint; arrays of the shape of the weights.

    Attributes:
      up, down: size of a step at the weight where the model's factor is 1.
      low, high: bounds.
      own: what only one model has, by name.
    """

    up: Array
    down: Array
    low: Array
    high: Array
    own: dict[str, Array] = structs.field(default_factory=dict)


class Moves(NamedTuple):
    """What a pulse does at given weights: mean size of the step each way, and its deviation.

    A size may be negative (the step then goes the other way). Shapes of the weights.
    """

    up: Array
    down: Array
    up_std: Array
    down_std: Array


@structs.dataclass
class Device:
    """The numbers of a pulsed device; the models of `qjax.devices.steps` add their own."""

    dw_min: ArrayLike = number(
        0.001, "scale of steps (of many models the mean one at zero), in units of the weights",
        1e-9, 1e9)
    dw_min_dtod: ArrayLike = number(0.3, "deviation of steps between devices, as a share", 0)
    dw_min_dtod_log_normal: ArrayLike = number(0, "1: steps differ by a factor e^normal", 0, 1)
    dw_min_std: ArrayLike = number(0.3, "deviation of a step from cycle to cycle, as a share", 0)
    up_down: ArrayLike = number(0.0, "share by which steps down (negative: up) are smaller")
    up_down_dtod: ArrayLike = number(0.01, "deviation of that between devices", 0)
    w_max: ArrayLike = number(0.6, "upper bound of a weight", 1e-9)
    w_min: ArrayLike = number(-0.6, "lower bound of a weight", high=0)
    w_max_dtod: ArrayLike = number(0.3, "deviation of the upper bound between devices, as a share",
                                   0)
    w_min_dtod: ArrayLike = number(0.3, "deviation of the lower bound between devices, as a share",
                                   0)
    enforce_consistency: ArrayLike = number(
        1, "1: steps and bounds of the wrong sign get the right one", 0, 1)
    corrupt_devices_prob: ArrayLike = number(0.0, "share of devices that are stuck", 0, 1)
    corrupt_devices_range: ArrayLike = number(0.1, "stuck weights lie between minus this and this",
                                              0)

    def draw(self, key: Array, shape: tuple[int, ...]) -> Points:
        """Constants of crosspoints of that shape; the key is consumed."""
        keys = jax.random.split(key, 7)
        high, low, gain, way = normals(keys[:4], shape)
        lot, place = uniforms(keys[4:6], shape)
        high = self.w_max * (1 + self.w_max_dtod * high)
        low = self.w_min * (1 + self.w_min_dtod * low)
        spread = self.dw_min_dtod * gain
        gain = jnp.where(jnp.asarray(self.dw_min_dtod_log_normal) > 0, jnp.exp(spread), 1 + spread)
        way = self.up_down_dtod * way
        up = self.dw_min * (gain + jnp.minimum(self.up_down, 0) + way)
        down = self.dw_min * (gain - jnp.maximum(self.up_down, 0) - way)
        consistent = jnp.asarray(self.enforce_consistency) > 0
        up, down = (jnp.where(consistent, jnp.abs(a), a) for a in (up, down))
        crossed, middle = low > high, (low + high) / 2
        swapped = jnp.where(crossed, low, high), jnp.where(crossed, high, low)
        high, low = (
            jnp.where(consistent, jnp.abs(swapped[0]), jnp.where(crossed, middle, high)),
            jnp.where(consistent, -jnp.abs(swapped[1]), jnp.where(crossed, middle, low)),
        )
        points = self.complete(keys[6], Points(up, down, low, high))
        reach = self.corrupt_devices_range
        least, most = jnp.maximum(points.low, -reach), jnp.minimum(points.high, reach)
        value = least + (most - least) * place
        stuck = lot < self.corrupt_devices_prob
        return replace(
            points,
            up=jnp.where(stuck, 0.0, points.up), down=jnp.where(stuck, 0.0, points.down),
            low=jnp.where(stuck, value, points.low), high=jnp.where(stuck, value, points.high))

    def complete(self, key: Array, points: Points) -> Points:
        """Adds what a model has of its own; the key is consumed."""
        del key
        return points

    def factors(self, points: Points, weights: Array) -> tuple[Any, Any]:
        """Steps up and down at these weights, in units of the points' own steps."""
        raise NotImplementedError

    def moves(self, points: Points, weights: Array) -> Moves:
        """What one pulse does at these weights."""
        up, down = self.factors(points, weights)
        up, down = points.up * up, points.down * down
        return Moves(up, down, self.dw_min_std * jnp.abs(up), self.dw_min_std * jnp.abs(down))

    @property
    def granularity(self) -> ArrayLike:
        """The mean step at zero by which pulses are counted, in units of the weights."""
        return self.dw_min

    @property
    def states(self) -> ArrayLike:
        """How many such steps the range of the mean device has."""
        return (self.w_max - self.w_min) / self.granularity
