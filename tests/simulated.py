"""Reads tests/reference/devices.npz, numbers printed by the simulator aihwkit."""

import json
from functools import cache
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from qjax import devices
from qjax.numbers import numbers_of

MODELS = {
    "constantstep": devices.ConstantStep,
    "linearstep": devices.LinearStep,
    "softbounds": devices.SoftBounds,
    "softboundsreference": devices.SoftBoundsReference,
    "expstep": devices.ExpStep,
    "powstep": devices.PowStep,
    "piecewisestep": devices.PiecewiseStep,
}
TABLES = ("piecewise_up", "piecewise_down")


@cache
def reference():
    with np.load(Path(__file__).parent / "reference" / "devices.npz") as archive:
        return dict(archive)


def parameters(at):
    return json.loads(str(reference()[f"{at}/parameters"]))


def places(prefix):
    """All "a/b/c" that start so and have parameters."""
    return sorted(name.removesuffix("/parameters") for name in reference()
                  if name.startswith(prefix) and name.endswith("/parameters"))


def equal(model, **numbers):
    """Devices that are all equal, without any noise but what is given."""
    none = {n: 0.0 for n in numbers_of(model) if n.endswith("_dtod") or n == "dw_min_std"}
    return model(**(none | numbers))


def device_of(told, make=equal):
    """A device of the simulator's parameters, of which we have no other use."""
    model = MODELS[told["kind"]]
    numbers = {n: float(v) for n, v in told.items() if n in numbers_of(model)}
    tables = {n: jnp.asarray(told[n]) for n in TABLES if n in told}
    return make(model, **numbers, **tables)


def own_numbers(model, **numbers):
    """As `equal`, but what is not given is the model's default."""
    return model(**numbers)


def assert_near(ours, mean, std, count, offset=0.0):
    """Mean and deviation of a sample agree with those of another, within 4 standard errors.

    The deviation's error takes the tails into account. `offset` is a further standard error of the
    other's mean (the simulator draws noise from a table whose own mean is not zero).
    """
    ours = np.asarray(ours, np.float64).ravel()
    centered = ours - ours.mean()
    spread = centered.std()
    tails = np.mean(centered**4) / max(spread**4, 1e-30)
    shares = 1 / ours.size + 1 / count
    error = np.sqrt(spread**2 * shares + offset**2)
    assert abs(ours.mean() - mean) < 4 * error + 1e-6, (ours.mean(), mean, error)
    error = spread * np.sqrt(max(tails - 1, 0) / 4 * shares)
    assert abs(spread - std) < 4 * error + 1e-6, (spread, std, error)
