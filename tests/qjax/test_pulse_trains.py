"""Pulse trains against the simulator aihwkit: lines, whole numbers, means, variances, covariances.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import simulated
from simulated import equal, parameters, reference

from qjax import devices
from qjax.devices import Trains, lines

KEY = jax.random.key(3)
REPETITIONS = 2000  # as theirs
UNIT = 0.001
DEVICE = equal(devices.ConstantStep, dw_min=UNIT, w_max=10.0, w_min=-10.0)
CASES = [at for at in simulated.places("update/") if at != "update/deterministic"]
# Of these many repetitions are made; others are the same by their lines.
OFTEN = ["update/default/small", "update/default/medium", "update/default/large",
         "update/default_c2c_0.3/medium", "update/no_management/medium",
         "update/not_fixed_bl/large"]

outer, outer_batch = (jax.jit(f, static_argnames="noisy")
                      for f in (devices.outer, devices.outer_batch))


def vectors():
    return jnp.asarray(reference()["update/x"]), jnp.asarray(reference()["update/d"])


def trains_of(at):
    told = parameters(at)["update"]
    return Trains(**told) if isinstance(told, dict) else Trains()


@cache
def changes(at):
    """Many times the change of one update, [repetitions, in, out], in pulses."""
    told, (x, d), trains = parameters(at), vectors(), trains_of(at)
    device = DEVICE.replace(dw_min_std=told.get("dw_min_std", 0.0))
    points = device.draw(KEY, (16, 16))

    @jax.jit
    @jax.vmap
    def one(key):
        return outer(key, device, points, jnp.zeros((16, 16)), x, d, told["lr"], trains)

    return np.asarray(one(jax.random.split(KEY, REPETITIONS)), np.float64) / UNIT


@cache
def law(at):
    """(way, length, probability of a pulse in a slot): what the numbers of pulses follow."""
    (x, d), told = vectors(), parameters(at)
    found = lines(x, d, told["lr"], UNIT, trains_of(at))
    chance = np.outer(np.asarray(found.inputs, float), np.asarray(found.errors, float))
    return -np.sign(np.outer(x, d)), float(found.length), chance


@pytest.mark.parametrize("at", [a for a in CASES if "c2c" not in a])
def test_lines_agree(at):
    (x, d), told, expected = vectors(), parameters(at), reference()
    found = lines(x, d, told["lr"], told["dw_min"], trains_of(at))
    assert int(found.length) == expected[f"{at}/BL"]
    np.testing.assert_allclose(found.inputs, expected[f"{at}/p_x"], atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(found.errors, expected[f"{at}/p_d"], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_whole_numbers_of_pulses_agree(size):
    at, (x, d) = f"update/deterministic/{size}", vectors()
    rate, expected = float(reference()[f"{at}/lr"]), reference()[f"{at}/counts"].T
    implicit = Trains(implicit=True)
    # Above zero they go down.
    ours = devices.counts(lines(x, d, rate, UNIT, implicit)) * np.sign(np.outer(x, d))
    np.testing.assert_array_equal(ours, expected)
    points = DEVICE.draw(KEY, (16, 16))
    for sign in (1, -1):
        after = outer(KEY, DEVICE, points, jnp.zeros((16, 16)), x, d, sign * rate, implicit,
                      noisy=False)
        np.testing.assert_allclose(after, -sign * UNIT * expected, atol=1e-6)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("at", OFTEN)
def test_changes_have_the_simulators_mean_and_variance(at):
    ours, (way, length, chance) = changes(at), law(at)
    noise = parameters(at).get("dw_min_std", 0.0) ** 2
    # The law of section 3, and its fourth moment, for devices that hardly ever move as well.
    variance = length * chance * (1 - chance + noise)
    mean = way * length * chance
    fourth = variance * (1 + 3 * noise) ** 2 + 3 * variance**2
    theirs_mean = reference()[f"{at}/mean"].T / UNIT
    theirs_variance = reference()[f"{at}/variance"].T / UNIT**2
    error = 4 * np.sqrt(variance / REPETITIONS) + 4 / REPETITIONS  # a few single pulses
    assert np.all(np.abs(ours.mean(0) - mean) < error)
    assert np.all(np.abs(theirs_mean - mean) < error)
    assert np.all(np.abs(ours.mean(0) - theirs_mean) < np.sqrt(2) * error)
    error = 4 * np.sqrt((fourth - variance**2) / REPETITIONS) + 8 / REPETITIONS
    assert np.all(np.abs(ours.var(0) - variance) < error)
    assert np.all(np.abs(ours.var(0) - theirs_variance) < np.sqrt(2) * error)
    # All together they leave little room for a bias.
    often = (length * chance * REPETITIONS > 20) & (variance > 1e-3)
    np.testing.assert_allclose(np.abs(ours.mean(0))[often].sum(), np.abs(mean)[often].sum(),
                               rtol=0.03)
    np.testing.assert_allclose(ours.var(0)[often].mean(), variance[often].mean(), rtol=0.06)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("at", [a for a in OFTEN if f"{a}/covariance_within_row_1" in reference()])
def test_devices_of_one_line_move_together(at):
    ours, expected = changes(at), reference()
    way, length, _ = law(at)
    for mine, name in ((ours[:, :, 1], "covariance_within_row_1"),
                       (ours[:, 0, :], "covariance_within_column_0")):
        theirs = expected[f"{at}/{name}"] / UNIT**2
        found = np.cov(mine.T)
        size = np.sqrt(np.outer(np.diag(found), np.diag(found)))
        # Of rare pulses the fourth moment is that of single coincidences.
        error = np.sqrt((size**2 + found**2 + np.abs(found)) * 2 / REPETITIONS) + 1 / REPETITIONS
        apart = ~np.eye(16, dtype=bool)
        assert np.all(np.abs(found - theirs)[apart] < 4 * error[apart])
    # The formula, of one line of outputs, where there are many pulses.
    x, d = vectors()
    lines_ = lines(x, d, parameters(at)["lr"], UNIT, trains_of(at))
    p, q = float(lines_.errors[1]), np.asarray(lines_.inputs, float)
    expected = length * p * (1 - p) * np.outer(q * way[:, 1], q * way[:, 1])
    apart = np.triu(np.ones((16, 16), bool), 1)
    found = np.cov(ours[:, :, 1].T)
    scale = np.abs(expected[apart]).sum()
    if scale * REPETITIONS > 500:
        together = (found * np.sign(expected))[apart].sum()
        np.testing.assert_allclose(together, scale, rtol=0.25)
    # Without a common line there is nothing in common.
    corner = np.cov(ours[:, 2, 3], ours[:, 5, 7])
    assert abs(corner[0, 1]) <= 4 * np.sqrt(corner[0, 0] * corner[1, 1] / REPETITIONS) + 1e-12


def test_managed_trains_are_as_long_as_needed():
    x, d = jnp.asarray([0.5, -1.0]), jnp.asarray([0.25, 0.1])
    for wanted, length in ((0.3, 1), (1.0, 1), (1.2, 2), (30.5, 31), (80.0, 31)):
        found = lines(x, d, wanted * UNIT / 0.25, UNIT, Trains())
        assert int(found.length) == length
        p, q = float(found.errors[0]), float(found.inputs[1])
        np.testing.assert_allclose(length * p * q, min(wanted, 31), rtol=1e-4)
    scaled = lines(x, d, 2.0 * UNIT / 0.25, UNIT, Trains(um_grad_scale=3.0))
    assert int(scaled.length) == 6


def test_probabilities_are_multiples_of_a_resolution():
    x, d = vectors()
    free = lines(x, d, 0.005, UNIT, Trains())
    for resolution in (0.05, jnp.asarray(0.05)):
        found = lines(x, d, 0.005, UNIT, Trains(resolution=resolution))
        for ours, exact in zip(found[:2], free[:2], strict=True):
            np.testing.assert_allclose(ours, np.round(np.asarray(exact) / 0.05) * 0.05, atol=1e-6)
    none = lines(x, d, 0.005, UNIT, Trains(resolution=jnp.asarray(0.0)))
    np.testing.assert_array_equal(none.inputs, free.inputs)


@pytest.mark.parametrize("trains", [Trains(), Trains(implicit=True),
                                    Trains(update_bl_management=False)])
def test_nothing_moves_by_nothing(trains):
    (x, d), start = vectors(), jax.random.normal(KEY, (16, 16))
    points = DEVICE.draw(KEY, (16, 16))
    for inputs, errors, rate in ((0 * x, d, 0.1), (x, 0 * d, 0.1), (x, d, 0.0)):
        after = outer(KEY, DEVICE.replace(dw_min_std=0.5), points, start, inputs, errors, rate,
                      trains)
        np.testing.assert_array_equal(after, start)


def test_samples_come_one_after_the_other():
    device = equal(devices.SoftBounds, dw_min=0.05)
    points, start = device.draw(KEY, (4, 3)), jnp.zeros((4, 3))
    x, d = jax.random.normal(KEY, (5, 4)), jax.random.normal(jax.random.key(9), (5, 3))
    implicit = Trains(implicit=True)
    ours, expected = outer_batch(KEY, device, points, start, x, d, 0.1, implicit), start
    for one_x, one_d in zip(x, d, strict=True):
        expected = outer(KEY, device, points, expected, one_x, one_d, 0.1, implicit)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    backwards = outer_batch(KEY, device, points, start, x[::-1], d[::-1], 0.1, implicit)
    assert np.abs(ours - backwards).max() > 1e-3
    # Another unit is another number of pulses.
    twice = outer_batch(KEY, DEVICE, DEVICE.draw(KEY, (4, 3)), start, x, d, 1e-3, implicit,
                        granularity=UNIT / 2, noisy=False)
    once = outer_batch(KEY, DEVICE, DEVICE.draw(KEY, (4, 3)), start, x, d, 1e-3, implicit,
                       noisy=False)
    assert np.abs(twice).sum() > 1.5 * np.abs(once).sum()
    # Samples have chances of their own.
    same = outer_batch(KEY, DEVICE, DEVICE.draw(KEY, (4, 3)), start, x[:1].repeat(2, 0),
                       d[:1].repeat(2, 0), 2e-4)
    assert np.any(np.round(np.asarray(same) / UNIT) % 2 != 0)
