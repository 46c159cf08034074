"""What a device is like, in a few numbers, before anybody trains on it."""

from dataclasses import fields, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qjax import devices
from qjax.devices import Device, Points
from qjax.memories import Pulsed

__all__ = ["Facts", "facts_of", "mean_points", "paths", "without_spread"]

LONGEST = 100_000  # pulses that are tried to traverse a range


class Facts(NamedTuple):
    """Of a mean device, without any noise; in units of the weights.

    Attributes:
      low, high: bounds.
      step: at zero, by which pulses are counted.
      states: steps in the range.
      up, down: pulses from 5 to 95 % of the range, and back; None: more than 100,000.
      symmetry: weight where steps up and down are equal; None: nowhere within the bounds.
      asymmetry: (up - down) / (up + down) of the steps at zero.
      cycle: noise of a step at zero, as a share of it.
      write: noise of what is shown, in steps.
      spread: deviation of the steps at zero between devices, as a share.
      stuck: share of devices.
    """

    low: float
    high: float
    step: float
    states: float
    up: int | None
    down: int | None
    symmetry: float | None
    asymmetry: float
    cycle: float
    write: float
    spread: float
    stuck: float


def without_spread(device: Device) -> Device:
    """The mean device, like which all are."""
    none = {f.name: 0.0 for f in fields(device)
            if f.name.endswith("_dtod") or f.name in ("corrupt_devices_prob", "reference_std")}
    return replace(device, **none)


def mean_points(device: Device, shape: tuple[int, ...] = ()) -> Points:
    """Constants of the mean device."""
    points = without_spread(device).draw(jax.random.key(0), shape)
    return jax.tree.map(lambda x: jnp.broadcast_to(x, shape), points)


def paths(
    memory: Pulsed, directions: np.ndarray, count: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of some devices along a sequence of pulses, from zero on.

    Args:
      memory: the devices.
      directions: [pulses], 1 or -1.
      count: devices.
      seed: of their differences and noise.

    Returns:
      (what they show [pulses, count], the mean device without noise [pulses]).
    """
    draw_key, pulse_key, show_key = jax.random.split(jax.random.key(seed), 3)
    points = memory.device.draw(draw_key, (count,))
    points = jax.tree.map(lambda x: jnp.broadcast_to(x, (count,)), points)
    turns = jnp.asarray(directions)
    run = jax.jit(devices.train)
    found = run(memory.device, points, devices.bound(points, jnp.zeros(count)), turns, pulse_key)
    if memory.write_noise_std is not None:
        noise = jax.random.normal(show_key, found.shape)
        found = found + memory.write_noise_std * memory.device.dw_min * noise
    mean = mean_points(memory.device, (1,))
    middle = run(memory.device, mean, devices.bound(mean, jnp.zeros(1)), turns)
    return np.asarray(found), np.asarray(middle)[:, 0]


def _traverse(device: Device, way: int) -> int | None:
    """Pulses that the mean device needs from 5 to 95 % of its range, or back."""
    points = mean_points(device)
    low, width = points.low, points.high - points.low
    start, goal = (low + share * width for share in ((0.05, 0.95) if way > 0 else (0.95, 0.05)))

    def going(carry):
        number, weight = carry
        return (way * (goal - weight) > 0) & (number < LONGEST)

    def step(carry):
        number, weight = carry
        return number + 1, devices.pulse(device, points, weight, way)

    number, weight = jax.jit(lambda: jax.lax.while_loop(going, step, (0, start)))()
    return int(number) if way * (goal - float(weight)) <= 0 else None


def facts_of(memory: Pulsed) -> Facts:
    """What there is to know of a device."""
    device = memory.device
    points = mean_points(device)
    low, high = float(points.low), float(points.high)
    grid = jnp.linspace(low, high, 2001)
    wide = jax.tree.map(lambda x: jnp.broadcast_to(x, grid.shape), points)
    moves = device.moves(wide, grid)
    ahead = np.asarray(moves.up - moves.down)
    turns = np.flatnonzero((ahead[:-1] > 0) & (ahead[1:] <= 0))
    symmetry = None
    if np.allclose(ahead, 0, atol=1e-9):
        symmetry = 0.0
    elif len(turns):
        at = turns[0]
        share = ahead[at] / (ahead[at] - ahead[at + 1])
        symmetry = float(grid[at] + share * (grid[at + 1] - grid[at]))
    here = device.moves(points, jnp.clip(0.0, low, high))
    up, down = float(here.up), float(here.down)
    drawn = device.draw(jax.random.key(1), (20_000,))
    drawn = jax.tree.map(lambda x: jnp.broadcast_to(x, (20_000,)), drawn)
    if not np.any(np.asarray(drawn.high > drawn.low)):
        raise ValueError("all of these devices are stuck: nothing of them is to be shown; "
                         "corrupt_devices_prob is their share")
    each = np.asarray(device.moves(drawn, jnp.zeros(20_000)).up)
    step = float(device.granularity)
    if not step > 0:
        raise ValueError("a device without steps, dw_min=0, never moves: give it some")
    write: Any = memory.write_noise_std or 0.0
    return Facts(
        low, high, step, (high - low) / step, _traverse(device, 1), _traverse(device, -1),
        symmetry, (up - down) / (up + down) if up + down else 0.0,
        float(here.up_std) / abs(up) if up else 0.0, float(write * device.dw_min) / step,
        float(each.std() / abs(each.mean())) if each.mean() else 0.0,
        float(device.corrupt_devices_prob))
