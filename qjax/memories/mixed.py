"""A digital accumulator beside each device: whole pulses go to the device, the rest stays.

Nandakumar et al. 2020, "Mixed-precision deep learning based on computational memory". With few
bits in the accumulator this is what hidden bits (`qjax.memories.hidden`) are on a real device.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from qjax import structs
from qjax.memories.interface import Bits
from qjax.memories.pulsed import Pulsed
from qjax.memories.several import OneSided, Several
from qjax.numbers import number

__all__ = ["MixedPrecision"]


@structs.dataclass
class MixedPrecision:
    """Changes gather in a digital accumulator, whole pulses go to the device.

    Attributes:
      device: what holds the weights; or pairs, or the mean of several.
      accumulator_bits: 1-16, of which one is the sign, the others parts of a pulse, rounded to at
        random; 0: a float.
    """

    device: Pulsed | OneSided | Several = Pulsed(most=31, saturation="output")
    transfer_lr: ArrayLike = number(1.0, "pulses for what is worth one", 0)
    transfer_every: ArrayLike = number(1.0, "writes from one transfer to the next", 1)
    accumulator_bits: ArrayLike = number(0, "bits of the accumulator; 0: a float", 0, 16)
    around = (OneSided, Several)  # what may be between it and the devices

    def init(self, key: Array, weights: Array) -> Any:
        """The devices, and nothing gathered."""
        return {"device": self.device.init(key, weights), "gathered": jnp.zeros_like(weights),
                "writes": jnp.zeros((), jnp.int32)}

    def read(self, held: Any) -> Array:
        """What the devices show."""
        return self.device.read(held["device"])

    def behind(self, held: Any) -> Array:
        """What the devices are."""
        return self.device.behind(held["device"])

    def write(self, key: Array, held: Any, change: Array) -> Any:
        """Adds; then, but for the very first time, whole pulses leave (as in aihwkit)."""
        round_key, device_key = jax.random.split(key)
        gathered = self._kept(round_key, held["gathered"] + change)
        since = held["writes"]
        due = (since > 0) & (jnp.mod(since, jnp.maximum(jnp.round(self.transfer_every), 1)) == 0)
        whole = jnp.where(due, jnp.trunc(gathered / self.device.unit), 0.0)
        pulses = (self.transfer_lr * whole * self.device.unit).astype(change.dtype)
        left = gathered - whole * self.device.unit
        # What few bits hold is a pulse at most.
        few = jnp.asarray(self.accumulator_bits) > 0
        left = jnp.where(few, jnp.clip(left, -self.device.unit, self.device.unit), left)
        left = left.astype(held["gathered"].dtype)
        return {"device": self.device.write(device_key, held["device"], pulses),
                "gathered": left, "writes": since + 1}

    def _kept(self, key: Array, gathered: Array) -> Array:
        """As the accumulator's bits hold it."""
        bits = jnp.asarray(self.accumulator_bits, gathered.dtype)
        part = self.device.unit / jnp.exp2(jnp.maximum(bits - 1, 0))
        chance = jax.random.uniform(key, gathered.shape, gathered.dtype)
        drawn = jnp.floor(gathered / part + chance) * part
        return jnp.where(bits > 0, drawn, gathered)

    def programmed(self, held: Any) -> Array:
        """Of the devices."""
        return self.device.programmed(held["device"])

    def wait(self, key: Array, held: Any, seconds: ArrayLike) -> Any:
        """The devices drift."""
        return {**held, "device": self.device.wait(key, held["device"], seconds)}

    def account(self) -> Bits:
        """The devices, and the accumulator."""
        device, beside = self.device.account()
        bits = jnp.asarray(self.accumulator_bits)
        return Bits(device, beside + jnp.where(bits > 0, bits, 32))
