"""Several devices for each weight: pairs that only go up, and the mean of many."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from qjax import devices, structs
from qjax.devices import Upkeep
from qjax.memories.interface import Bits
from qjax.memories.pulsed import Pulsed
from qjax.numbers import number

__all__ = ["OneSided", "Several"]

_REFRESH = 31  # pulses by which a difference is written anew, at most; aihwkit's train


@structs.dataclass
class OneSided:
    """A pair of devices that get pulses up only; the weight is their difference.

    For devices that can only be stepped one way (phase change memory). Where both have come far,
    they are reset, and their difference is written anew.

    Attributes:
      device: of which there are two; its upkeep says where a reset leads.
    """

    device: Pulsed = Pulsed()
    refresh_every: ArrayLike = number(0, "writes from one refresh to the next; 0: never", 0)
    refresh_upper_thres: ArrayLike = number(
        0.75, "refreshed is where the larger one is above this share of w_max", 0)
    refresh_lower_thres: ArrayLike = number(0.25, "and the smaller one above this", 0)

    @property
    def unit(self) -> ArrayLike:
        """The change that counts as one pulse."""
        return self.device.unit

    @property
    def _upkeep(self) -> Upkeep:
        return Upkeep() if self.device.upkeep is None else self.device.upkeep

    def init(self, key: Array, weights: Array) -> Any:
        """The positive part of a weight in one device, the negative one in the other."""
        plus_key, minus_key, rates_key = jax.random.split(key, 3)
        return {
            "plus": self.device.init(plus_key, jnp.maximum(weights, 0)),
            "minus": self.device.init(minus_key, jnp.maximum(-weights, 0)),
            "rates": jax.tree.map(
                lambda x: x.astype(weights.dtype) + jnp.zeros((2, *weights.shape), weights.dtype),
                self._upkeep.draw(rates_key, (2, *weights.shape))),
            "writes": jnp.zeros((), jnp.int32),
        }

    def read(self, held: Any) -> Array:
        """The difference."""
        return self.device.read(held["plus"]) - self.device.read(held["minus"])

    def behind(self, held: Any) -> Array:
        """The difference of what they are."""
        return self.device.behind(held["plus"]) - self.device.behind(held["minus"])

    def write(self, key: Array, held: Any, change: Array) -> Any:
        """Pulses to the one or to the other device; then a refresh, if it is due."""
        plus_key, minus_key, refresh_key = jax.random.split(key, 3)
        change = self.device.saturated(change)  # both signs in proportion
        held = {
            **held, "writes": held["writes"] + 1,
            "plus": self.device.write(plus_key, held["plus"], jnp.maximum(change, 0)),
            "minus": self.device.write(minus_key, held["minus"], jnp.maximum(-change, 0)),
        }
        every = jnp.asarray(self.refresh_every)
        due = (every > 0) & (jnp.mod(held["writes"], jnp.maximum(jnp.round(every), 1)) == 0)
        # A loop of at most one round: batched, a `cond` would refresh in every write. The round has
        # a key of its own, or the compiler would draw before the loop: in every write, too.
        return jax.lax.while_loop(
            lambda state: state[0] > 0,
            lambda state: (state[0] - 1, self._refreshed(
                jax.random.fold_in(refresh_key, state[0]), state[1])),
            (due.astype(jnp.int32), held))[1]

    def _refreshed(self, key: Array, held: Any) -> Any:
        plus, minus = (self.device.read(held[name]) for name in ("plus", "minus"))
        top = self.device.device.w_max
        worn = (jnp.maximum(plus, minus) > self.refresh_upper_thres * top) & (
            jnp.minimum(plus, minus) > self.refresh_lower_thres * top)
        wanted = jnp.where(worn, plus - minus, 0.0) / self.device.unit
        after = dict(held)
        for place, (name, sign) in enumerate((("plus", 1), ("minus", -1))):
            keys = jax.random.split(jax.random.fold_in(key, place), 4)
            rates = jax.tree.map(lambda x, place=place: x[place], held["rates"])
            own, points = held[name], held[name]["points"]
            new = devices.reset(self._upkeep, rates, points, keys[0])
            counts = jnp.maximum(sign * wanted, 0)
            nearest = self.device.counting == "nearest"
            counts = jnp.round(counts) if nearest else devices.chance.rounded(keys[1], counts)
            weights = devices.many(
                self.device.device, points, jnp.where(worn, new, own["weights"]),
                jnp.minimum(counts, _REFRESH), None if nearest else keys[2])
            there = self.device.set(keys[3], own, weights.astype(own["weights"].dtype))
            if "shown" in there:
                there["shown"] = jnp.where(worn, there["shown"], own["shown"])
            after[name] = there
        return after

    def programmed(self, held: Any) -> Array:
        """Of the pairs: a write steps one of the two. Refreshes do not count."""
        plus, minus = (self.device.programmed(held[name]) for name in ("plus", "minus"))
        return plus + minus

    def wait(self, key: Array, held: Any, seconds: ArrayLike) -> Any:
        """Both drift."""
        keys = jax.random.split(key)
        return {**held, **{name: self.device.wait(k, held[name], seconds)
                           for name, k in zip(("plus", "minus"), keys, strict=True)}}

    def account(self) -> Bits:
        """Both devices multiply."""
        device, beside = self.device.account()
        return Bits(2 * device, 2 * beside)


@structs.dataclass
class Several:
    """The mean of some devices with different constants.

    Attributes:
      device: of which there are several.
      count: how many; part of the program.
      policy: "all": every one gets all pulses; "sequential": one of them after the other gets
        those of a write, and as many times more.
    """

    device: Pulsed = Pulsed()
    count: int = structs.field(pytree_node=False, default=2)
    policy: str = structs.field(pytree_node=False, default="all")

    @property
    def unit(self) -> ArrayLike:
        """The change that counts as one pulse, to all or as many to the one whose turn it is."""
        return self.device.unit

    def init(self, key: Array, weights: Array) -> Any:
        """All at the weight."""
        keys = jax.random.split(key, self.count)
        return {"devices": jax.vmap(self.device.init, (0, None))(keys, weights),
                "writes": jnp.zeros((), jnp.int32)}

    def read(self, held: Any) -> Array:
        """Their mean."""
        return jnp.mean(jax.vmap(self.device.read)(held["devices"]), 0)

    def behind(self, held: Any) -> Array:
        """The mean of what they are."""
        return jnp.mean(jax.vmap(self.device.behind)(held["devices"]), 0)

    def write(self, key: Array, held: Any, change: Array) -> Any:
        """Pulses to all, or to the one whose turn it is."""
        keys = jax.random.split(key, self.count)
        if self.policy == "all":
            share = jnp.ones(self.count, change.dtype)
        elif self.policy == "sequential":
            mine = jnp.arange(self.count) == jnp.mod(held["writes"], self.count)
            share = jnp.where(mine, jnp.asarray(self.count, change.dtype), 0)
        else:
            raise ValueError(f"policy: expected 'all' or 'sequential', got {self.policy!r}")
        changes = share.reshape(-1, *[1] * change.ndim) * change
        return {"devices": jax.vmap(self.device.write)(keys, held["devices"], changes),
                "writes": held["writes"] + 1}

    def programmed(self, held: Any) -> Array:
        """Of all devices."""
        return jnp.mean(jax.vmap(self.device.programmed)(held["devices"]))

    def wait(self, key: Array, held: Any, seconds: ArrayLike) -> Any:
        """All drift."""
        keys = jax.random.split(key, self.count)
        drifted = jax.vmap(self.device.wait, (0, 0, None))(keys, held["devices"], seconds)
        return {**held, "devices": drifted}

    def account(self) -> Bits:
        """All of them multiply."""
        device, beside = self.device.account()
        return Bits(self.count * device, self.count * beside)
