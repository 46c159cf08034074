"""Models of a device's step: how far a pulse moves a weight, by where the weight is.

Mathematics, names and defaults are those of aihwkit, version 1.1 (see `qjax.devices.device`); each
model's source is in its docstring. A model is a `Device` with a formula: `factors` gives the mean
step up and down in units of the crosspoint's own steps.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from qjax import structs
from qjax.devices.chance import normals
from qjax.devices.device import Device, Moves, Points
from qjax.numbers import number

__all__ = [
    "ConstantStep", "ExpStep", "LinearStep", "PiecewiseStep", "PowStep", "SoftBounds",
    "SoftBoundsReference", "soft_bounds_pmax",
]


def _normals(key: Array, count: int, like: Array) -> Array:
    return normals(jax.random.split(key, count), like.shape, like.dtype)


@structs.dataclass
class ConstantStep(Device):
    """The same step everywhere between the bounds (Gokmen and Vlasov 2016)."""

    def factors(self, points: Points, weights: Array) -> tuple[Any, Any]:
        """One, each way."""
        return jnp.ones_like(weights), jnp.ones_like(weights)


@structs.dataclass
class LinearStep(Device):
    """A step that falls linearly on the way to the bound: ``1 - gamma w / bound``.

    It may turn negative beyond ``bound / gamma``.
    """

    gamma_up: ArrayLike = number(0.0, "loss of a step up at the upper bound, as a share")
    gamma_down: ArrayLike = number(0.0, "loss of a step down at the lower bound, as a share")
    gamma_up_dtod: ArrayLike = number(0.05, "deviation of gamma_up between devices", 0)
    gamma_down_dtod: ArrayLike = number(0.05, "deviation of gamma_down between devices", 0)
    allow_increasing: ArrayLike = number(0, "1: gammas below zero, steps that grow", 0, 1)
    mean_bound_reference: ArrayLike = number(
        1, "1: gammas refer to the mean device's bounds, 0: to its own", 0, 1)
    mult_noise: ArrayLike = number(1, "1: noise of a step as a share of it, 0: of dw_min", 0, 1)

    def complete(self, key: Array, points: Points) -> Points:
        """Slopes: what a step loses per unit of the weight."""
        up, down = _normals(key, 2, points.up)
        gamma_up = self.gamma_up + self.gamma_up_dtod * up
        gamma_down = self.gamma_down + self.gamma_down_dtod * down
        free = jnp.asarray(self.allow_increasing) > 0
        mean = jnp.asarray(self.mean_bound_reference) > 0
        return replace(points, own={
            "slope_up": jnp.where(free, gamma_up, jnp.abs(gamma_up))
            / _nonzero(jnp.where(mean, self.w_max, points.high)),
            "slope_down": jnp.where(free, gamma_down, jnp.abs(gamma_down))
            / _nonzero(jnp.where(mean, self.w_min, points.low)),
        })

    def factors(self, points: Points, weights: Array) -> tuple[Any, Any]:
        """A straight line each way."""
        return (1 - points.own["slope_up"] * weights), (1 - points.own["slope_down"] * weights)

    def moves(self, points: Points, weights: Array) -> Moves:
        """With noise that is a share of the step, or of the step at zero."""
        return _moves(self, points, weights)


def _moves(device: Any, points: Points, weights: Array) -> Moves:
    """Of a device with `mult_noise`."""
    up, down = device.factors(points, weights)
    share = jnp.asarray(device.mult_noise) > 0
    up_noise, down_noise = (
        device.dw_min_std * jnp.abs(a) * jnp.where(share, jnp.abs(factor), 1.0)
        for a, factor in ((points.up, up), (points.down, down)))
    return Moves(points.up * up, points.down * down, up_noise, down_noise)


@structs.dataclass
class SoftBounds(Device):
    """A step that falls linearly to nothing at the bound (Frascaroli et al. 2018)."""

    mult_noise: ArrayLike = number(1, "1: noise of a step as a share of it, 0: of dw_min", 0, 1)
    reverse_up: ArrayLike = number(0, "1: steps up grow towards the upper bound", 0, 1)
    reverse_down: ArrayLike = number(0, "1: steps down grow towards the lower bound", 0, 1)
    reverse_offset: ArrayLike = number(0.01, "how far beyond the other bound they vanish")

    def factors(self, points: Points, weights: Array) -> tuple[Any, Any]:
        """A straight line each way, zero at the bound, or shortly beyond the other one."""
        top = jnp.where(jnp.asarray(self.reverse_up) > 0, points.low - self.reverse_offset,
                        points.high)
        bottom = jnp.where(jnp.asarray(self.reverse_down) > 0, points.high + self.reverse_offset,
                           points.low)
        return _towards(weights, top), _towards(weights, bottom)

    def moves(self, points: Points, weights: Array) -> Moves:
        """With noise that is a share of the step, or of the step at zero."""
        return _moves(self, points, weights)


def _towards(weights: Array, bound: Array) -> Array:
    """1 at zero, 0 at the bound; a device that is stuck at zero has no step."""
    return 1 - weights / _nonzero(bound)


def _nonzero(bound: Array) -> Array:
    """A bound to divide by; one at zero, where weights that are within it have nothing to lose."""
    return jnp.where(bound == 0, 1.0, bound)


def soft_bounds_pmax(
    p_max: float = 1000, alpha: float = 0.0005, range_min: float = -1.0, range_max: float = 1.0,
    **numbers: ArrayLike
) -> SoftBounds:
    """`SoftBounds` by pulses and a range, with the numbers that aihwkit's SoftBoundsPmax has.

    Meant to go from `range_min` to `range_max` in `p_max` pulses, with steps that fall by a factor
    e in 1 / `alpha`; as `up_down` makes steps smaller one way alone, it goes further.

    Args:
      p_max: pulses.
      alpha: how fast steps fall.
      range_min, range_max: weights before and after.
      numbers: others of `SoftBounds`.
    """
    scale = (range_max - range_min) / -jnp.expm1(-p_max * alpha)
    return SoftBounds(w_min=range_min, w_max=range_min + scale, dw_min=scale * alpha,
                      up_down=1 + 2 * range_min / scale, **numbers)


@structs.dataclass
class SoftBoundsReference(Device):
    """`SoftBounds` whose weight is the difference to a reference device (Gong et al. 2022)."""

    mult_noise: ArrayLike = number(0, "1: noise of a step as a share of it, 0: of dw_min", 0, 1)
    slope_up_dtod: ArrayLike = number(0.0, "deviation of the slope up between devices, as a share",
                                      0)
    slope_down_dtod: ArrayLike = number(
        0.0, "deviation of the slope down between devices, as a share", 0)
    reference_mean: ArrayLike = number(0.0, "mean of the reference, in units of the weights")
    reference_std: ArrayLike = number(0.0, "deviation of the reference between devices", 0)
    subtract_symmetry_point: ArrayLike = number(
        0, "1: the reference is at the device's symmetry point, up to that", 0, 1)

    def complete(self, key: Array, points: Points) -> Points:
        """References; bounds are those of the weight from there."""
        up, down, reference = _normals(key, 3, points.up)
        high = points.high / jnp.abs(1 + self.slope_up_dtod * up)
        low = points.low / jnp.abs(1 + self.slope_down_dtod * down)
        reference = self.reference_mean + self.reference_std * reference
        symmetric = (points.up - points.down) / (points.up / high - points.down / low)
        reference = reference + jnp.where(
            jnp.asarray(self.subtract_symmetry_point) > 0, symmetric, 0.0)
        # Stuck devices have no bounds to speak of: slopes are of the time before.
        return replace(points, low=low - reference, high=high - reference, own={
            "reference": reference, "top": high, "bottom": low})

    def factors(self, points: Points, weights: Array) -> tuple[Any, Any]:
        """Those of the device itself."""
        itself = weights + points.own["reference"]
        return _towards(itself, points.own["top"]), _towards(itself, points.own["bottom"])

    def moves(self, points: Points, weights: Array) -> Moves:
        """With noise that is a share of the step, or of the step at zero."""
        return _moves(self, points, weights)


@structs.dataclass
class ExpStep(Device):
    """A step that falls exponentially on the way to the bound (Gong et al. 2018)."""

    A_up: ArrayLike = number(0.00081, "how much steps up fall")
    A_down: ArrayLike = number(0.36833, "how much steps down fall")
    gamma_up: ArrayLike = number(12.44625, "how fast steps up fall")
    gamma_down: ArrayLike = number(12.78785, "how fast steps down fall")
    a: ArrayLike = number(0.244, "the weight, as a share of the range, counts by twice this")
    b: ArrayLike = number(0.2425, "and from here")
    dw_min_std_add: ArrayLike = number(0.0, "noise from cycle to cycle beside that of steps", 0)
    dw_min_std_slope: ArrayLike = number(0.0, "noise from cycle to cycle per unit of weight", 0)

    def factors(self, points: Points, weights: Array) -> tuple[Any, Any]:
        """One minus an exponential, never below zero."""
        width = points.high - points.low
        place = 2 * self.a * weights / jnp.where(width > 0, width, 1.0) + self.b
        up = jnp.maximum(1 - self.A_up * jnp.exp(self.gamma_up * place), 0.0)
        down = jnp.maximum(1 - self.A_down * jnp.exp(-self.gamma_down * place), 0.0)
        moving = width > 0
        return jnp.where(moving, up, 0.0), jnp.where(moving, down, 0.0)

    def moves(self, points: Points, weights: Array) -> Moves:
        """With noise beside that of the step."""
        up, down = self.factors(points, weights)
        up, down = points.up * up, points.down * down
        more = self.dw_min_std_add + self.dw_min_std_slope * jnp.abs(weights)
        more = jnp.where(points.high > points.low, more, 0.0)
        return Moves(up, down, self.dw_min_std * (jnp.abs(up) + more),
                     self.dw_min_std * (jnp.abs(down) + more))

    @property
    def granularity(self) -> ArrayLike:
        """The mean step down at zero, as aihwkit counts (its steps up are others); else dw_min."""
        factor = jnp.maximum(1 - self.A_down * jnp.exp(-self.gamma_down * jnp.asarray(self.b)), 0.0)
        step = self.dw_min * (1 - jnp.maximum(self.up_down, 0.0)) * factor
        return jnp.where(step > 0, step, self.dw_min)


@structs.dataclass
class PowStep(Device):
    """A step in proportion to a power of the distance to the bound (Fusi and Abbott 2007)."""

    pow_gamma: ArrayLike = number(1.0, "the power")
    pow_gamma_dtod: ArrayLike = number(0.1, "its deviation between devices, as a share", 0)
    pow_up_down: ArrayLike = number(0.0, "share by which the power down (negative: up) is smaller")
    pow_up_down_dtod: ArrayLike = number(0.0, "its deviation between devices", 0)

    def complete(self, key: Array, points: Points) -> Points:
        """The two powers."""
        both, way = _normals(key, 2, points.up)
        both, way = 1 + self.pow_gamma_dtod * both, self.pow_up_down_dtod * way
        return replace(points, own={
            "up": jnp.abs(self.pow_gamma * (both + jnp.minimum(self.pow_up_down, 0) + way)),
            "down": jnp.abs(self.pow_gamma * (both - jnp.maximum(self.pow_up_down, 0) - way)),
        })

    def factors(self, points: Points, weights: Array) -> tuple[Any, Any]:
        """Powers of the share of the range that is left."""
        width = points.high - points.low
        free = width > 0  # stuck devices stay, whatever their step; so its derivative is finite
        share = jnp.clip((points.high - weights) / jnp.where(free, width, 1.0), 0, 1)
        share = jnp.where(free, share, 0.5)
        return share ** points.own["up"], (1 - share) ** points.own["down"]

    @property
    def granularity(self) -> ArrayLike:
        """The mean step in the middle of the range."""
        return self.dw_min * 0.5 ** jnp.asarray(self.pow_gamma)


@structs.dataclass
class PiecewiseStep(Device):
    """Steps out of a table, such as somebody's own measurement.

    Attributes:
      piecewise_up, piecewise_down: steps [n] in units of dw_min, at n equally spaced weights from
        the lower to the upper bound; straight lines between them. A single one is for all weights.
    """

    piecewise_up: ArrayLike = structs.field(default_factory=lambda: np.ones(1, np.float32))
    piecewise_down: ArrayLike = structs.field(default_factory=lambda: np.ones(1, np.float32))

    def factors(self, points: Points, weights: Array) -> tuple[Any, Any]:
        """Interpolated between the table's entries."""
        width = points.high - points.low
        share = jnp.clip((weights - points.low) / jnp.where(width > 0, width, 1.0), 0, 1)
        return _interpolated(self.piecewise_up, share), _interpolated(self.piecewise_down, share)

    @property
    def granularity(self) -> ArrayLike:
        """The step up of entry n // 2, as in aihwkit; dw_min where that is 0."""
        table = jnp.asarray(self.piecewise_up)
        step = table[..., table.shape[-1] // 2]
        return self.dw_min * jnp.where(step > 0, step, 1.0)


def _interpolated(table: ArrayLike, share: Array) -> Array:
    """Of a table [n] over [0, 1] the values at some shares: a sum of few hats, no gathering."""
    table = jnp.asarray(table)
    if table.ndim != 1 or not table.size:
        raise ValueError(f"expected a table [n] of steps, got one of shape {table.shape}")
    place = share * (table.size - 1)
    return sum(table[k] * jnp.clip(1 - jnp.abs(place - k), 0, 1) for k in range(table.size))


