"""Two arrays of devices: gradients go to a fast one, which is read line by line and written to a
slow one (Tiki-Taka).

The slow array is the weight. So noise and asymmetry of the many small updates are averaged out
before they reach it. A line are the weights of one input; kernels are [..., in, out]. Versions:

* `TikiTaka`: Gokmen and Haensch 2020, "Algorithm for training neural networks on resistive device
  arrays" (TTv1); with `momentum` and a digital buffer between both arrays, Gokmen 2021, "Enabling
  training of neural networks on noisy hardware" (TTv2): `Buffered`.
* `Chopped`: the gradient's sign is flipped now and then by line, so that what the fast array does
  by itself cancels (c-TTv2), and `Dynamic`, which also subtracts what the fast array was before
  (AGAD): Rasch, Carta, Fagbohungbe, Gokmen 2024, "Fast and robust analog in-memory deep neural
  network training".

Names and defaults are aihwkit's, with three differences. Its rates count absolutely where ours are
in units of the change that is written: `fast_lr` is a factor on it, and `transfer_lr` is not scaled
by the learning rate. `transfer_every` counts writes, which are batches in a training, where the
simulator counts samples for the chopped versions: with batches of 64 its 1 is our 1 / 64. Only
inputs are chopped, not outputs.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from qjax import structs
from qjax.devices import Converters, digitized
from qjax.memories.interface import Bits
from qjax.memories.pulsed import Activity, Pulsed
from qjax.numbers import number

__all__ = ["Buffered", "Chopped", "Dynamic", "TikiTaka"]


def _lines(like: Array) -> int:
    """How many lines a tensor has: all its axes but the last; a vector is one line."""
    return math.prod(like.shape[:-1])


def _per_line(values: Array, like: Array) -> Array:
    """[lines] -> to multiply a tensor with."""
    return values.reshape(*like.shape[:-1], 1) if like.ndim else values.reshape(())


@structs.dataclass
class TikiTaka:
    """Gradients go to a fast array, read line by line and written to a slow one (TTv1).

    Attributes:
      fast, slow: what holds the two.
      reading: converters that the fast array is read with; None: it is read exactly. aihwkit's own
        have an `out_noise` of 0.06 there.
      noisy: with their noise; part of the program.
    """

    fast: Pulsed = Pulsed(counting="normal")
    slow: Pulsed = Pulsed(most=31)
    fast_lr: ArrayLike = number(1.0, "factor on the change that goes to the fast array", 0)
    transfer_lr: ArrayLike = number(1.0, "how much of what is read goes to the slow one", 0)
    transfer_every: ArrayLike = number(1.0, "writes from one line's transfer to the next's", 0)
    gamma: ArrayLike = number(0.0, "how much of the fast array shows in the weight")
    reading: Converters | None = None
    noisy: bool = structs.field(pytree_node=False, default=True)
    takes_activity = True

    def init(self, key: Array, weights: Array) -> Any:
        """The weights are in the slow array, the fast one is at zero."""
        fast_key, slow_key = jax.random.split(key)
        return {
            "fast": self.fast.init(fast_key, jnp.zeros_like(weights)),
            "slow": self.slow.init(slow_key, weights),
            "writes": jnp.zeros((), jnp.int32),
            **self.beside(weights),
        }

    def beside(self, weights: Array) -> dict[str, Array]:
        """What is kept beside the two arrays."""
        del weights
        return {}

    def read(self, held: Any) -> Array:
        """The slow array, and what shows of the fast one."""
        slow = self.slow.read(held["slow"])
        return (slow + self.gamma * self.fast.read(held["fast"])).astype(slow.dtype)

    def write(
        self, key: Array, held: Any, change: Array, activity: Activity | None = None
    ) -> Any:
        """The change goes to the fast array; then the lines whose turn it is are transferred."""
        fast_key, read_key, line_key, slow_key = jax.random.split(key, 4)
        factor, held = self.factor(held, change, activity)
        felt = None if activity is None or activity.total is None else Activity(
            activity.total * jnp.abs(factor))
        fast = self.fast.write(fast_key, held["fast"], (factor * change).astype(change.dtype), felt)
        held = {**held, "fast": fast}
        turn, sweep = self.turn(held["writes"], change)
        seen = self.fast.read(held["fast"])
        if self.reading is not None:
            seen = digitized(read_key if self.noisy else None, self.reading, seen)
        wanted, held = self.transfer(line_key, held, seen, turn, sweep)
        wanted = jnp.where(turn, wanted, 0.0).astype(change.dtype)
        slow = self.slow.write(slow_key, held["slow"], wanted)
        return {**held, "slow": slow, "writes": held["writes"] + 1}

    def factor(
        self, held: Any, change: Array, activity: Activity | None
    ) -> tuple[ArrayLike, Any]:
        """(factor on the change that goes to the fast array, what is held)."""
        del change, activity
        return self.fast_lr, held

    def turn(self, writes: Array, like: Array) -> tuple[Array, Array]:
        """(is it a line's turn after this write?, in which sweep over all lines?).

        Of a shape to broadcast with the weights; sweeps are counted from 0.
        """
        count = _lines(like)
        every = jnp.maximum(self.transfer_every, 1e-6)
        before, after = (jnp.floor(t / every).astype(jnp.int32) for t in (writes, writes + 1))
        first = jnp.maximum(before, after - count)  # of more turns than lines the last ones count
        place = first + jnp.mod(jnp.arange(count) - first, count)
        return _per_line(place < after, like), _per_line(place // count, like)

    def transfer(
        self, key: Array, held: Any, seen: Array, turn: Array, sweep: Array
    ) -> tuple[Array, Any]:
        """(change of the slow array, what is held), of what is seen in the fast one."""
        del key, turn, sweep
        return self.transfer_lr * seen, held

    def programmed(self, held: Any) -> Array:
        """Of the slow array."""
        return self.slow.programmed(held["slow"])

    def wait(self, key: Array, held: Any, seconds: ArrayLike) -> Any:
        """Both arrays drift."""
        fast_key, slow_key = jax.random.split(key)
        return {**held, "fast": self.fast.wait(fast_key, held["fast"], seconds),
                "slow": self.slow.wait(slow_key, held["slow"], seconds)}

    def account(self) -> Bits:
        """Two arrays; the second one does not multiply."""
        fast, slow = self.fast.account(), self.slow.account()
        return Bits(slow.device, slow.beside + fast.total)


@structs.dataclass
class Buffered(TikiTaka):
    """`TikiTaka` with a digital buffer, out of which whole pulses go to the slow array (TTv2)."""

    momentum: ArrayLike = number(0.1, "what stays in the buffer of what was transferred", 0)
    forget_buffer: ArrayLike = number(
        1, "1: of all of it that much stays, 0: only whole pulses leave", 0, 1)
    thres_scale: ArrayLike = number(1.0, "a pulse is worth so many steps of the slow array", 0)
    transfer_bl: ArrayLike = number(1, "pulses to a slow device at once", 0)

    def beside(self, weights: Array) -> dict[str, Array]:
        """The buffer, in units of a pulse."""
        return {"buffer": jnp.zeros_like(weights)}

    def empty(self, held: Any, full: Array, turn: Array) -> tuple[Array, Any]:
        """(change of the slow array, what is held) of a buffer that was just added to."""
        whole = jnp.clip(jnp.trunc(full), -self.transfer_bl, self.transfer_bl)
        forgetful = jnp.asarray(self.forget_buffer) > 0
        left = jnp.where(forgetful, self.momentum * full, full - (1 - self.momentum) * whole)
        left = jnp.where(whole == 0, full, left)
        left = jnp.where(turn, left, held["buffer"]).astype(held["buffer"].dtype)
        held = {**held, "buffer": left}
        return whole * self.slow.unit, held

    def transfer(
        self, key: Array, held: Any, seen: Array, turn: Array, sweep: Array
    ) -> tuple[Array, Any]:
        """What is read goes to the buffer, and from there in whole pulses."""
        del key, sweep
        unit = self.thres_scale * self.slow.unit
        return self.empty(held, held["buffer"] + self.transfer_lr * seen / unit, turn)

    def account(self) -> Bits:
        """Two arrays and a float."""
        device, beside = super().account()
        return Bits(device, beside + 32)


@structs.dataclass
class Chopped(Buffered):
    """`Buffered` whose gradients change sign now and then, line by line (c-TTv2)."""

    momentum: ArrayLike = number(0.0, "what stays in the buffer of what was transferred", 0)
    in_chop_prob: ArrayLike = number(0.1, "how often a line changes its sign, per sweep", 0, 1)
    in_chop_random: ArrayLike = number(1, "1: at random, 0: regularly", 0, 1)
    buffer_granularity: ArrayLike = number(1.0, "a pulse for so many steps of the fast array", 0)
    auto_granularity: ArrayLike = number(
        0.0, "a pulse for so many steps, over a sweep; 0: no such factor", 0)
    auto_scale: ArrayLike = number(
        0, "1: the fast array's rate follows the largest changes: fast_lr times desired_bl pulses",
        0, 1)
    desired_bl: ArrayLike = number(31, "see auto_scale", 0)
    auto_momentum: ArrayLike = number(0.99, "how long these are remembered", 0, 1)
    correct_gradient_magnitudes: ArrayLike = number(
        0, "1: what arrives does not depend on the fast array's rate", 0, 1)

    def beside(self, weights: Array) -> dict[str, Array]:
        """The buffer, a sign for every line, and the largest input and error of late."""
        return {"buffer": jnp.zeros_like(weights),
                "chopper": jnp.ones(_lines(weights), weights.dtype),
                "tops": jnp.zeros(2, weights.dtype)}

    @property
    def period(self) -> ArrayLike:
        """Sweeps after which a line changes its sign, if that is regular."""
        often = jnp.maximum(self.in_chop_prob, 1e-6)
        return jnp.maximum(jnp.ceil(1 / often), 2)

    def factor(
        self, held: Any, change: Array, activity: Activity | None
    ) -> tuple[ArrayLike, Any]:
        """The line's sign times a rate."""
        felt = (jnp.ones(()), jnp.max(jnp.abs(change)))
        if activity is not None and activity.input is not None and activity.error is not None:
            felt = (activity.input, activity.error)
        now = jnp.stack(felt).astype(change.dtype)
        share = jnp.where(held["writes"] > 0, 1 - self.auto_momentum, 1.0)
        tops = held["tops"] + share * (now - held["tops"])
        held = {**held, "tops": tops.astype(now.dtype)}
        return self.rate(held) * _per_line(held["chopper"], change), held

    def rate(self, held: Any) -> Array:
        """Factor on the change that goes to the fast array."""
        top = jnp.prod(held["tops"])
        pulses = self.fast_lr * self.desired_bl
        scaled = pulses * self.fast.device.granularity / jnp.where(top > 0, top, 1.0)
        return jnp.where(jnp.asarray(self.auto_scale) > 0, scaled, self.fast_lr)

    def scale(self, held: Any) -> Array:
        """Pulses in the buffer for what is read."""
        fast, slow = self.fast.device.granularity, self.slow.unit
        unit = self.buffer_granularity * fast
        lines = held["chopper"].size
        timed = unit * self.auto_granularity / (lines * jnp.maximum(self.transfer_every, 1e-6))
        unit = jnp.where(jnp.asarray(self.auto_granularity) > 0, timed, unit)
        correct = jnp.asarray(self.correct_gradient_magnitudes) > 0
        return self.transfer_lr / jnp.where(correct, self.rate(held) * unit * slow / fast, unit)

    def transfer(
        self, key: Array, held: Any, seen: Array, turn: Array, sweep: Array
    ) -> tuple[Array, Any]:
        """What is read goes to the buffer with its sign; then signs change."""
        sign = _per_line(held["chopper"], seen)
        full = held["buffer"] + sign * seen * self.scale(held)
        wanted, held = self.empty(held, full, turn)
        return wanted, {**held, "chopper": self.flipped(key, held, turn, sweep)}

    def flipped(self, key: Array, held: Any, turn: Array, sweep: Array) -> Array:
        """Signs of all lines after these were read."""
        signs = held["chopper"]
        turn, sweep = turn.reshape(-1), sweep.reshape(-1)
        chance = jax.random.uniform(key, signs.shape) < self.in_chop_prob
        due = (jnp.mod(sweep, self.period) == self.period - 1) & (
            jnp.asarray(self.in_chop_prob) > 0)
        flips = turn & jnp.where(jnp.asarray(self.in_chop_random) > 0, chance, due)
        return jnp.where(flips, -signs, signs)


@structs.dataclass
class Dynamic(Chopped):
    """`Chopped` that subtracts what the fast array was before its sign changed (AGAD)."""

    in_chop_random: ArrayLike = number(0, "1: at random, 0: regularly", 0, 1)
    tail_weightening: ArrayLike = number(5.0, "how much the last reads of a period count", 0)

    def beside(self, weights: Array) -> dict[str, Array]:
        """As for `Chopped`, with a running mean of what is read, and that of the last period."""
        return {**super().beside(weights), "mean": jnp.zeros_like(weights),
                "past": jnp.zeros_like(weights), "flipped": jnp.zeros(_lines(weights), bool)}

    def transfer(
        self, key: Array, held: Any, seen: Array, turn: Array, sweep: Array
    ) -> tuple[Array, Any]:
        """What is read beyond the past goes to the buffer; at first nothing to the slow array."""
        anew = turn & _per_line(held["flipped"], seen)
        past = jnp.where(anew, held["mean"], held["past"])
        sign = _per_line(held["chopper"], seen)
        full = held["buffer"] + sign * (seen - past) * self.scale(held)
        wanted, held = self.empty(held, full, turn)
        wanted = jnp.where(sweep > self.period, wanted, 0.0)
        share = jnp.minimum(self.tail_weightening / self.period, 1.0)
        mean = held["mean"] + jnp.where(turn, share * (seen - held["mean"]), 0.0)
        mean = mean.astype(seen.dtype)
        signs = self.flipped(key, held, turn, sweep)
        flipped = jnp.where(turn.reshape(-1), signs != held["chopper"], held["flipped"])
        return wanted, {**held, "chopper": signs, "mean": mean, "past": past, "flipped": flipped}

    def account(self) -> Bits:
        """Two arrays and three floats."""
        device, beside = super().account()
        return Bits(device, beside + 64)
