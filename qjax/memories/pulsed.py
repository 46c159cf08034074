"""Weights in pulsed devices (`qjax.devices`): a change becomes pulses, and every device makes of
them what it can."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from qjax import devices, structs
from qjax.devices import Device, Points, Upkeep, chance
from qjax.memories.interface import Bits
from qjax.numbers import number, optional

__all__ = ["Activity", "Pulsed"]

COUNTING = ("whole", "normal", "nearest")


class Activity(NamedTuple):
    """What the samples of a batch ask of the devices, one by one, of which the change is the sum.

    Attributes:
      total: like the change: sum over samples of the sizes of what each asks for; pulses up and
        down that cancel in the change are both in it. None: the change is programmed as it is.
      input, error: the largest of each, means over samples, whose product is the size of the
        largest change; None: not known.
    """

    total: Array | None = None
    input: ArrayLike | None = None
    error: ArrayLike | None = None


@structs.dataclass
class Pulsed:
    """Pulses, as many as the change asks for on average; steps are the device's own.

    A change of many samples is sent as the pulses of all of them, up and down, if it is known what
    they are (`Activity`); else it is programmed, by pulses in one direction. A weight is what its
    device is, plus the noise of its last write. Nothing is kept beside it; its bits on the device
    are counted as the logarithm of its states. Weights decay and diffuse with every write.

    Attributes:
      device: a model with its numbers.
      upkeep: what happens between pulses.
      most: pulses that a device gets at most in one write.
      granularity: change that counts as one pulse; None: the device's own.
      counting: how changes become numbers of pulses, part of the program. "whole": at random, whole
        numbers, right on average; "normal": of an `Activity` those that are not whole, normally
        distributed: enough for devices with many states, in 0.2 to 0.4 of the time on a CPU;
        "nearest": the nearest whole number, half to even, one pulse after the other and without
        noise: for comparisons.
      saturation: what is cut where `most` is exceeded, part of the program. "device": each by
        itself; "output": all weights of the output in proportion, as trains of one sample saturate.
    """

    device: Device = devices.SoftBounds()
    write_noise_std: ArrayLike | None = number(
        None, "deviation of what is shown, drawn anew with every pulse, in units of dw_min", 0)
    upkeep: Upkeep | None = optional(Upkeep)
    most: ArrayLike = 1e6
    granularity: ArrayLike | None = None
    counting: str = structs.field(pytree_node=False, default="whole")
    saturation: str = structs.field(pytree_node=False, default="device")
    takes_activity = True

    @property
    def by_element(self) -> bool:
        """Are all devices alike? Not where the pulses of an output are limited together."""
        return self.saturation == "device"

    @property
    def unit(self) -> ArrayLike:
        """The change that counts as one pulse."""
        return self.device.granularity if self.granularity is None else self.granularity

    def init(self, key: Array, weights: Array) -> Any:
        """Draws the devices and sets them to the weights, within their bounds."""
        points_key, rates_key, noise_key = jax.random.split(key, 3)
        shape, dtype = weights.shape, weights.dtype
        drawn: dict[str, Any] = {"points": self.device.draw(points_key, shape)}
        if self.upkeep is not None:
            drawn["rates"] = self.upkeep.draw(rates_key, shape)
        # Of numbers that all devices share arrays must be made, too.
        held = jax.tree.map(lambda x: jnp.broadcast_to(x, shape).astype(dtype), drawn)
        return self.set(noise_key, held, weights)

    def set(self, key: Array, held: Any, weights: Array) -> Any:
        """The same devices at other weights, within their bounds; the key is consumed."""
        held = {"programmed": jnp.zeros((), weights.dtype), **held,
                "weights": devices.bound(held["points"], weights)}
        if self.write_noise_std is not None:
            held["shown"] = self._shown(key, held["weights"])
        return held

    def _shown(self, key: Array, weights: Array) -> Array:
        noise = jax.random.normal(key, weights.shape, weights.dtype)
        return weights + (self.write_noise_std * self.device.dw_min * noise).astype(weights.dtype)

    def read(self, held: Any) -> Array:
        """What the devices show."""
        return held.get("shown", held["weights"])

    def behind(self, held: Any) -> Array:
        """What they are."""
        return held["weights"]

    def programmed(self, held: Any) -> Array:
        """The share of the devices that pulses moved; where numbers of them are means, of those
        that got one."""
        return held["programmed"]

    def write(
        self, key: Array, held: Any, change: Array, activity: Activity | None = None
    ) -> Any:
        """Pulses; then decay and diffusion, where there are any."""
        change = self.saturated(change)
        if self.counting not in COUNTING:
            raise ValueError(f"counting: expected one of {', '.join(COUNTING)}, got "
                             f"{self.counting!r}")
        total = None if activity is None else activity.total
        spread = False
        if self.counting == "nearest":
            counts = jnp.round(change / self.unit)
            ups, downs = jnp.maximum(counts, 0), jnp.maximum(-counts, 0)
        elif total is not None:
            total = jnp.maximum(total, jnp.abs(change))
            ups, downs = ((total + way * change) / (2 * self.unit) for way in (1, -1))
            spread = self.counting == "normal"
            if not spread:
                down_key, up_key = jax.random.split(jax.random.fold_in(key, 2))
                ups, downs = chance.poisson(up_key, ups), chance.poisson(down_key, downs)
        else:
            counts = chance.rounded(key, jnp.abs(change) / self.unit)
            ups, downs = (jnp.where(way * change > 0, counts, 0.0) for way in (1, -1))
        ups, downs = (jnp.minimum(n, self.most).astype(change.dtype) for n in (ups, downs))
        # What is no number must show: chance would make no pulses of it.
        weights = jnp.where(jnp.isnan(change), jnp.nan, held["weights"])
        held = {**held, "weights": weights.astype(held["weights"].dtype)}
        return self._kept(key, self.pulse(jax.random.fold_in(key, 1), held, ups, downs, spread))

    def saturated(self, change: Array) -> Array:
        """What of a change `most` pulses can make, if that is limited by output."""
        if self.saturation == "device":
            return change
        if self.saturation != "output":
            raise ValueError(
                f"saturation: expected 'device' or 'output', got {self.saturation!r}")
        axes = tuple(range(change.ndim - 1))
        wanted = jnp.max(jnp.abs(change), axis=axes, keepdims=True) / self.unit
        return change * jnp.minimum(1.0, self.most / jnp.where(wanted > 0, wanted, 1.0))

    def pulse(
        self, key: Array, held: Any, ups: Array, downs: Array, spread: bool = False
    ) -> Any:
        """Held after pulses each way; see `qjax.devices.jump`. The key is consumed.

        `ups` and `downs` count pulses, for every weight: numbers of at least 0, which need not be
        whole.
        """
        points: Points = held["points"]
        before = held["weights"]
        if self.counting == "nearest":
            weights = devices.many(self.device, points, before, ups - downs)
        else:
            weights = devices.jump(self.device, points, before, ups, downs,
                                   jax.random.fold_in(key, 0), spread=spread)
        weights = weights.astype(before.dtype)  # numbers may be wider
        # Where numbers are means some devices get no pulse.
        chance = -jnp.expm1(-(ups + downs)) if spread else weights != before
        held = {**held, "weights": weights,
                "programmed": jnp.mean(chance.astype(held["programmed"].dtype))}
        if self.write_noise_std is not None:
            shown = self._shown(jax.random.fold_in(key, 1), weights)
            pulsed = ups + downs > 0
            if spread:
                pulsed = jax.random.uniform(jax.random.fold_in(key, 2), ups.shape) < chance
            held["shown"] = jnp.where(pulsed | jnp.isnan(weights), shown, held["shown"])
        return held

    def _kept(self, key: Array, held: Any) -> Any:
        upkeep = self.upkeep
        if upkeep is None or (upkeep.lifetime is None and upkeep.diffusion is None):
            return held
        diffuse_key, show_key = jax.random.split(jax.random.fold_in(key, 3))
        rates, points, weights = held["rates"], held["points"], held["weights"]
        if upkeep.diffusion is not None:
            weights = devices.diffuse(rates, points, weights, diffuse_key)
        if upkeep.lifetime is not None:
            weights = devices.decay(rates, points, weights)
        return self._moved(show_key, held, weights)

    def wait(self, key: Array, held: Any, seconds: ArrayLike) -> Any:
        """Held after drifting for some time without being written; the key is consumed.

        What writes are off by is drawn anew where a weight has drifted, as in aihwkit.
        """
        if self.upkeep is None:
            return held
        drift_key, show_key = jax.random.split(key)
        drifted = devices.drift(self.upkeep, held["rates"], held["points"], held["weights"],
                                seconds, drift_key)
        return self._moved(show_key, held, drifted)

    def _moved(self, key: Array, held: Any, weights: Array) -> Any:
        """The same devices at weights to which they have come by themselves."""
        weights = weights.astype(held["weights"].dtype)
        after = self.set(key, held, weights)
        if self.write_noise_std is not None:
            moved = weights != held["weights"]
            after["shown"] = jnp.where(moved, after["shown"], held["shown"])
        return after

    def account(self) -> Bits:
        """The logarithm of the mean device's states; what devices differ in is physics."""
        return Bits(jnp.log2(jnp.maximum(jnp.asarray(self.device.states, jnp.float32), 2.0)), 0)
