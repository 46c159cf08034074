"""Models of a measured device: which one follows its pulses best, and with what numbers."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.circuit.facts import mean_points, without_spread
from qjax import devices
from qjax.devices import Device
from qjax.memories import MEMORIES

__all__ = ["MODELS", "Fit", "Measured", "MeasuredError", "fit", "fits", "read_measured"]

_NODES = 6  # steps in a table, each way
# Numbers of each model that are fitted; "NAME 3" is an entry of a table. Others are those of the
# model, and a dw_min that is not searched for is the mean step.
_SCALE = ("dw_min", "up_down")
MODELS: Mapping[str, Sequence[str]] = {
    "constant_step": _SCALE,
    "linear_step": (*_SCALE, "gamma_up", "gamma_down"),
    "soft_bounds": (*_SCALE, "w_max", "w_min"),
    "exp_step": (*_SCALE, "A_up", "A_down", "gamma_up", "gamma_down"),
    "pow_step": (*_SCALE, "pow_gamma", "w_max", "w_min"),
    "piecewise_step": tuple(f"piecewise_{way} {node}"
                            for way in ("up", "down") for node in range(_NODES)),
}
# Searches begin there: steps that fall towards the bound, and steps that grow away from the other.
_FALLING = {"A_up": 0.1, "A_down": 0.1, "gamma_up": 2.0, "gamma_down": 2.0}
_GROWING = {name: -value for name, value in _FALLING.items()}
_OTHERS: Mapping[str, Sequence[dict[str, float]]] = {
    "constant_step": ({},),
    "linear_step": ({"gamma_up": 0.2, "gamma_down": 0.2},),
    "soft_bounds": ({}, {"w_max": 3.0, "w_min": -3.0}),
    "exp_step": (_FALLING, _GROWING),
    "pow_step": ({}, {"pow_gamma": 2.0}),
    "piecewise_step": ({},),
}
_FIXED: Mapping[str, dict[str, float]] = {
    "exp_step": {"a": 0.5, "b": 0.0}, "linear_step": {"allow_increasing": 1},
}


_EQUAL = 1e-3  # of a range from -1 to 1: errors below it are told apart no more
_WINDOWS = 30  # parts of the pulses, over which a model looks ahead


class MeasuredError(ValueError):
    """A file that is no measurement; the message says what to write."""


class Measured(NamedTuple):
    """One device's answer to pulses.

    Attributes:
      directions: [pulses] 1 or -1.
      weights: [pulses + 1] from before the first one on, scaled so that the range is -1 to 1.
      scale, origin: conductance = origin + scale * weight.
    """

    directions: np.ndarray
    weights: np.ndarray
    scale: float
    origin: float


class Fit(NamedTuple):
    """A model of a measured device.

    Attributes:
      model: its name among the memories.
      device: with the numbers found; noise from cycle to cycle, and of what is shown, as the
        single steps have it, see `noises`.
      numbers: those that were fitted, by name.
      path: [pulses + 1] the model's weights, from the first one on by itself.
      error: root mean square of what it is off by, in units of the weights.
      ahead: pulses over which it was fitted, and
      later: what it is off by after so many, from where the device was.
      steps: likewise of single steps.
      shown: deviation of what a reading shows, in units of the weights.
    """

    model: str
    device: Device
    numbers: Mapping[str, float]
    path: np.ndarray
    error: float
    ahead: int
    later: float
    steps: float
    shown: float

    @property
    def word(self) -> str:
        """What the command line calls it: the model, with its table of steps where it is one."""
        tables = [getattr(self.device, f"piecewise_{way}", None) for way in ("up", "down")]
        written = [",".join(f"{step:.3g}" for step in table) for table in tables
                   if table is not None]
        return ":".join([self.model, *written])


def read_measured(path: Path) -> Measured:
    """A CSV file with the columns (direction, conductance), or (pulse, conductance).

    A direction is 1 or "up", -1 or "down": of the pulse before the conductance was read; the first
    row's does not count. A pulse is a number that rises with every pulse up and falls with every
    one down.

    Raises:
      MeasuredError: says what is wrong and what is expected.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError:
        raise MeasuredError(f"{path}: expected text, a CSV file") from None
    except (OSError, csv.Error) as error:
        raise MeasuredError(f"cannot read {path}: {error}") from None
    names = {name.strip().lower(): name for name in (rows[0][1] if rows else {}) if name}
    if "conductance" not in names or not {"direction", "pulse"} & set(names):
        raise MeasuredError(
            f"{path}: expected a line of names and the columns direction (up or down) and "
            f"conductance, or pulse and conductance; got {', '.join(names) or 'nothing'}")

    def column(name, words, expected, first=0):
        found = []
        for number, row in rows[first:]:
            text = (row[names[name]] or "").strip()
            try:
                found.append(words[text.lower()] if text.lower() in words else float(text))
            except ValueError:
                found.append(np.nan)
            if not np.isfinite(found[-1]):
                raise MeasuredError(f"{path}, line {number}: expected {expected} as {name}, got "
                                    f"{text!r}")
        return np.array(found)

    conductance = column("conductance", {}, "a finite number")
    if "direction" in names:
        turns = column("direction", {"up": 1.0, "down": -1.0}, "up (1) or down (-1)", first=1)
    else:
        turns = np.diff(column("pulse", {}, "a finite number"))
    turns = np.sign(turns)
    low, high = conductance.min(initial=np.inf), conductance.max(initial=-np.inf)
    if len(conductance) < 10 or low == high:
        raise MeasuredError(f"{path}: expected at least ten conductances, not all the same; got "
                            f"{len(conductance)}")
    if not np.all(turns):
        line = rows[1 + int(np.argmin(np.abs(turns)))][0]
        raise MeasuredError(
            f"{path}, line {line}: expected one pulse between any two rows, got none. pulse is a "
            "number that rises with every pulse up and falls with every one down; up and down, or "
            "1 and -1, go to a column direction")
    if np.all(turns == turns[0]):
        raise MeasuredError(
            f"{path}: all pulses go the same way: pulses both ways are needed for a model of both. "
            "If these numbers only count pulses, write a column direction")
    scale, origin = (high - low) / 2, (high + low) / 2
    return Measured(turns, (conductance - origin) / scale, scale, origin)


def _device(model: str, values: Any, size: float) -> Device:
    """A model with the values of its fitted numbers; `size`: the mean step."""
    quiet = replace(
        without_spread(MEMORIES[model].device), dw_min_std=0.0, **_FIXED.get(model, {}))
    numbers: dict[str, Any] = {"dw_min": size, "w_max": 1.02, "w_min": -1.02}
    tables: dict[str, list] = {}
    for name, value in zip(MODELS[model], values, strict=True):
        table, is_entry, _ = name.partition(" ")
        if is_entry:
            tables.setdefault(table, []).append(value)
        else:  # steps are positive whatever the search tries
            numbers[name] = jnp.exp(value) if name == "dw_min" else value
    return replace(quiet, **numbers, **{name: jnp.stack(table) for name, table in tables.items()})


def noises(off: np.ndarray) -> tuple[float, float]:
    """Noise that adds up from step to step and noise of what is shown, from what steps are off by.

    What a reading is off by is in the step before it and, with the other sign, in the one after: so
    neighbours vary together by minus its variance, by which, twice, the steps vary too much. What
    is not told from chance, within two standard errors, counts as none.
    """
    variance = float(np.mean(off**2))
    shown = -float(np.mean(off[1:] * off[:-1]))
    if shown < 2 * variance / np.sqrt(len(off)):
        return np.sqrt(variance), 0.0
    shown = min(shown, variance / 2)
    return np.sqrt(variance - 2 * shown), np.sqrt(shown)


def fit(measured: Measured, model: str) -> Fit:
    """The numbers of a model that follow a measured device best, by least squares.

    Compared is where the device is some pulses later, from every point on: single steps are small
    beside the noise of a reading, and along the whole path the noise of all steps adds up.

    Args:
      measured: of one device.
      model: a key of `MODELS`.
    """
    from scipy.optimize import least_squares

    names = MODELS[model]
    size = float(np.mean(np.abs(np.diff(measured.weights)))) or 1e-3
    turns = jnp.asarray(measured.directions, jnp.float32)
    told = jnp.asarray(measured.weights, jnp.float32)

    def path(values):
        device = _device(model, values, size)
        start = told[:1]
        points = mean_points(device, (1,))
        return jnp.concatenate([start, devices.train(device, points, start, turns)[:, 0]])

    ahead = max(1, len(turns) // _WINDOWS)
    places = jnp.arange(len(turns) - ahead + 1)
    windows = turns[places + jnp.arange(ahead)[:, None]]  # [ahead, starts]

    def off(values):
        device = _device(model, values, size)
        points = mean_points(device, places.shape)
        return devices.train(device, points, told[places], windows)[-1] - told[places + ahead]

    residual, slope = jax.jit(off), jax.jit(jax.jacfwd(off))
    bounds = {"w_max": (1.0, 20.0), "w_min": (-20.0, -1.0), "up_down": (-0.95, 0.95),
              "pow_gamma": (0.05, 8.0), "gamma_up": (-20.0, 20.0), "gamma_down": (-20.0, 20.0),
              "piecewise_up": (0.0, 100.0), "piecewise_down": (0.0, 100.0)}
    starts = {"dw_min": np.log(size), "up_down": 0.0, "w_max": 1.2, "w_min": -1.2,
              "pow_gamma": 1.0, "piecewise_up": 1.0, "piecewise_down": 1.0}
    fields = [name.partition(" ")[0] for name in names]
    limits = np.array([bounds.get(field, (-np.inf, np.inf)) for field in fields]).T
    best = None
    for other in _OTHERS[model]:
        first = np.array([(starts | other)[field] for field in fields])
        found = least_squares(
            lambda v: np.nan_to_num(np.asarray(residual(v), float), nan=1e3), first,
            jac=lambda v: np.nan_to_num(np.asarray(slope(v), float)), bounds=limits,
            max_nfev=200)
        if best is None or found.cost < best.cost:
            best = found
    device = _device(model, best.x, size)
    points = mean_points(device, told[:-1].shape)
    step = np.asarray(devices.pulse(device, points, told[:-1], turns)) - np.asarray(told[:-1])
    off_by = np.diff(measured.weights) - step
    steps, (noise, shown) = float(np.sqrt(np.mean(off_by**2))), noises(off_by)
    mean_step = float(np.mean(np.abs(step)))
    scalars = dict.fromkeys(
        name for name in ("dw_min", *names, "w_max", "w_min") if " " not in name)
    numbers = {name: float(getattr(device, name)) for name in scalars}
    numbers |= _FIXED.get(model, {}) | {"dw_min_std": noise / mean_step if mean_step else 0.0,
                                        "write_noise_std": shown / numbers["dw_min"]}
    line = np.asarray(path(best.x))
    error = float(np.sqrt(np.mean((line - measured.weights) ** 2)))
    later = float(np.sqrt(np.mean(np.asarray(residual(best.x)) ** 2)))
    device = replace(device, dw_min_std=numbers["dw_min_std"])
    return Fit(model, device, numbers, line, error, ahead, later, steps, shown)


def fits(measured: Measured) -> list[Fit]:
    """Of every model its best, that which follows the device best for its numbers first.

    By Schwarz's criterion, n log(error^2) + numbers log(n), with n the stretches of pulses that a
    model looks ahead which do not overlap; errors below 0.05 % of the range count as that.
    """
    def cost(found: Fit) -> float:
        count = len(measured.directions) / found.ahead
        size = len(MODELS[found.model]) * np.log(count)
        return 2 * count * np.log(max(found.later, _EQUAL)) + size

    return sorted((fit(measured, model) for model in MODELS), key=cost)
