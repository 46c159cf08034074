"""Pulses: one after the other, many at once, and the chance by which their number is found."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from simulated import MODELS, equal

from qjax import devices
from qjax.devices import chance

KEY = jax.random.key(5)
WEIGHTS = jnp.linspace(-0.9, 0.9, 61)
# Devices that differ, with noise of all kinds, of which some are stuck.
DIFFERENT = {name: model(dw_min=0.02, corrupt_devices_prob=0.1) for name, model in MODELS.items()}
DIFFERENT["expstep"] = DIFFERENT["expstep"].replace(dw_min_std_add=0.01, dw_min_std_slope=0.1)
every_model = pytest.mark.parametrize("name", MODELS)
many, train, pulse = (jax.jit(f) for f in (devices.many, devices.train, devices.pulse))
jump = jax.jit(devices.jump, static_argnames="spread")


@cache
def with_points(name):
    device = DIFFERENT[name]
    points = drawn(device)
    return device, points, devices.bound(points, WEIGHTS)


@jax.jit
def drawn(device):
    return device.draw(KEY, (61,))


def close(ours, expected, atol=1e-6):
    np.testing.assert_allclose(ours, expected, rtol=0, atol=atol)


# --- one after the other ---


@pytest.mark.thorough(but=3)
@every_model
def test_many_pulses_are_a_train_of_single_ones(name):
    device, points, weights = with_points(name)
    for way in (1, -1):
        expected = train(device, points, weights, jnp.full((7, 61), way), KEY)
        close(many(device, points, weights, jnp.full(61, 3 * way), KEY), expected[2])
        close(many(device, points, weights, jnp.full(61, 7 * way), KEY), expected[6])


@pytest.mark.thorough(but=2)
@every_model
def test_every_device_gets_its_own_number_of_pulses(name):
    device, points, weights = with_points(name)
    counts = jnp.arange(61) % 9 - 4
    ours = many(device, points, weights, counts, KEY)
    for count in range(-4, 5):
        alike = many(device, points, weights, jnp.full(61, count), KEY)
        here = np.asarray(counts == count)
        close(ours[here], alike[here])
    np.testing.assert_array_equal(ours[counts == 0], weights[counts == 0])


@pytest.mark.thorough(but=2)
@every_model
def test_weights_stay_within_the_bounds_of_each(name):
    device, points, weights = with_points(name)
    wild = device.replace(dw_min_std=20.0)
    for key in jax.random.split(KEY, 4):
        for after in (many(wild, points, weights, jnp.full(61, 5), key),
                      jump(wild, points, weights, jnp.full(61, 2.0), jnp.full(61, 1.0), key),
                      pulse(wild, points, weights, -1, key)):
            assert np.all(after >= points.low)
            assert np.all(after <= points.high)


def test_a_step_may_go_the_other_way_but_only_where_there_is_a_pulse():
    device, points, weights = with_points("constantstep")
    noisy = device.replace(dw_min_std=3.0)
    after = pulse(noisy, points, weights, jnp.where(jnp.arange(61) < 40, 1, 0), KEY)
    moved = np.asarray(after - weights)
    assert np.any(moved[:40] < -0.001)
    np.testing.assert_array_equal(moved[40:], 0)
    np.testing.assert_array_equal(pulse(noisy, points, weights, 0, KEY), weights)


# --- all at once ---


@pytest.mark.thorough(but=2)
@every_model
def test_a_jump_of_one_pulse_is_that_pulse(name):
    device, points, weights = with_points(name)
    none, one = jnp.zeros(61), jnp.ones(61)
    for key in (None, KEY):
        for ups, downs, way in ((one, none, 1), (none, one, -1), (none, none, 0)):
            close(jump(device, points, weights, ups, downs, key),
                  pulse(device, points, weights, way, key))


@pytest.mark.parametrize("name", ["constantstep", "linearstep", "softbounds",
                                  "softboundsreference"])
def test_a_jump_of_two_pulses_is_exact_where_steps_are_linear(name):
    device = equal(MODELS[name], dw_min=0.05)
    points, weights = drawn(device), 0.8 * WEIGHTS[10:-10]
    points = jax.tree.map(lambda x: x[10:-10], points)
    for way in (1, -1):
        ups, downs = (jnp.full(41, 2.0 * (sign == way)) for sign in (1, -1))
        close(jump(device, points, weights, ups, downs),
              many(device, points, weights, jnp.full(41, 2 * way)), 1e-7)


@every_model
def test_a_jump_of_several_pulses_is_close_to_them(name):
    device = equal(MODELS[name], dw_min=0.01)
    points = drawn(device)
    weights = devices.bound(points, 0.6 * WEIGHTS)
    for way, count in ((1, 4), (-1, 4), (1, 10), (-1, 10)):
        ups, downs = (jnp.full(61, float(count * (sign == way))) for sign in (1, -1))
        ours = jump(device, points, weights, ups, downs) - weights
        exact = many(device, points, weights, jnp.full(61, count * way)) - weights
        # A hundredth of what they move at most: steps change over these by a tenth or two.
        assert np.max(np.abs(ours - exact)) < 0.01 * 0.01 * count
        if name in ("softbounds", "expstep", "powstep"):  # where steps do change
            assert np.max(np.abs(ours - (ups - downs) * 0.01)) > 0.1 * 0.01 * count


def test_the_noise_of_a_jump_is_that_of_its_pulses():
    device = devices.SoftBounds(dw_min=0.004, dw_min_std=0.8, up_down=0.4)
    equals = equal(devices.SoftBounds, dw_min=0.004, dw_min_std=0.8, up_down=0.4)
    points = equals.draw(KEY, (20000,))
    start, same = jnp.full(20000, 0.1), jnp.ones(20000)
    alone = many(device, points, start, 9 * same.astype(int), KEY)
    ours = jump(device, points, start, 9 * same, 0 * same, KEY)
    np.testing.assert_allclose(np.std(ours), np.std(alone), rtol=4 / np.sqrt(20000) + 0.01)
    np.testing.assert_allclose(np.mean(ours - start), np.mean(alone - start), rtol=0.02)
    both = jump(device, points, start, 9 * same, 4 * same, KEY) - start
    up, down = device.moves(points, start)[:2]
    expected = 9 * up[0] ** 2 + 4 * down[0] ** 2
    np.testing.assert_allclose(np.var(both), 0.64 * expected, rtol=4 * np.sqrt(2 / 20000) + 0.02)
    # Numbers that are means have their own chance.
    spread = jump(device, points, start, 9 * same, 4 * same, KEY, spread=True) - start
    np.testing.assert_allclose(np.var(spread), 1.64 * expected,
                               rtol=4 * np.sqrt(2 / 20000) + 0.02)


# --- chance ---

@pytest.mark.thorough(but=2)
@pytest.mark.parametrize("name", MODELS)
def test_a_jump_has_finite_derivatives_also_where_there_is_no_pulse(name):
    device, points, weights = with_points(name)
    ups = jnp.where(weights > 0, 3.0, 0.0)

    def total(weights):
        return jnp.sum(devices.jump(device, points, weights, ups, 0 * ups, KEY, spread=True))

    # within the bounds: a root has none at its bound, either
    assert np.all(np.isfinite(jax.grad(total)(0.5 * weights)))


def test_numbers_drawn_together_are_those_of_every_key_by_itself():
    keys = jax.random.split(KEY, 3)
    pairs = (chance.normals, jax.random.normal), (chance.uniforms, jax.random.uniform)
    for together, one in pairs:
        np.testing.assert_array_equal(together(keys, (4, 5)), [one(key, (4, 5)) for key in keys])


DRAWS = 100_000


@pytest.mark.thorough(but=3)
@pytest.mark.parametrize("mean", [0.0, 1e-3, 0.02, 0.3, 1.0, 2.0, 2.499, 2.501, 4.0, 9.0, 60.0])
def test_poisson_numbers_have_their_mean_and_variance(mean):
    ours = np.asarray(chance.poisson(KEY, jnp.full(DRAWS, mean)), np.float64)
    assert np.all(ours == np.round(ours))
    assert np.all(ours >= 0)
    # Beyond the switch they are normal and rounded: mean and deviation are right to 3 %, then 1 %.
    rough = 1e-4 if mean < 2.5 else 0.03 if mean < 4 else 0.01
    assert abs(ours.mean() - mean) <= 4 * np.sqrt(mean / DRAWS) + rough * mean
    error = np.sqrt((mean + 2 * mean**2) / DRAWS)  # of the variance, from the fourth moment
    assert abs(ours.var() - mean) <= 4 * error + 2 * rough * mean


@pytest.mark.parametrize("mean", [1e-3, 0.3, 1.0, 2.499])
def test_poisson_numbers_have_their_distribution(mean):
    ours = np.asarray(chance.poisson(KEY, jnp.full(DRAWS, mean))).astype(int)
    law = scipy.stats.poisson(mean)
    for number in range(12):
        share, expected = np.mean(ours == number), law.pmf(number)
        assert abs(share - expected) < 4 * np.sqrt(expected / DRAWS) + 1.5 / DRAWS


@pytest.mark.parametrize("mean", [2.501, 4.0, 9.0, 60.0])
def test_large_poisson_numbers_are_near_their_distribution(mean):
    ours = np.asarray(chance.poisson(KEY, jnp.full(DRAWS, mean)))
    law = scipy.stats.poisson(mean)
    points = np.arange(0, int(mean + 6 * np.sqrt(mean)))
    gap = np.abs((ours[:, None] <= points).mean(0) - law.cdf(points))
    # The skewness of a Poisson distribution, 1 / sqrt(mean), is what a normal one lacks:
    # of the distribution function that is 1 / (6 sqrt(2 pi mean)) at most.
    assert gap.max() < 1.2 / (6 * np.sqrt(2 * np.pi * mean)) + 4 * 0.5 / np.sqrt(DRAWS) + 0.005


def test_means_differ_within_an_array_and_are_drawn_each_by_itself():
    means = jnp.asarray([0.5, 5.0, 0.0])
    ours = jax.vmap(lambda key: chance.poisson(key, means))(jax.random.split(KEY, 4000))
    np.testing.assert_allclose(np.mean(ours, 0), means, atol=4 * np.sqrt(5 / 4000))
    assert abs(np.corrcoef(ours[:, 0], ours[:, 1])[0, 1]) < 4 / np.sqrt(4000)


def test_rounding_at_random_is_right_on_average():
    means = jnp.asarray([0.0, 0.01, 0.3, 0.5, 1.0, 2.75, 31.9])
    ours = np.asarray(jax.vmap(lambda key: chance.rounded(key, means))(
        jax.random.split(KEY, 20000)))
    part = np.asarray(means) % 1
    assert np.all((ours == np.floor(means)) | (ours == np.ceil(means)))
    assert np.all(np.abs(ours.mean(0) - means) <= 4 * np.sqrt(part * (1 - part) / 20000) + 1e-5)


@pytest.mark.parametrize("name", ["reram_array_hfo2", "pcm", "reram_es", "ecram"])
def test_more_pulses_never_take_a_device_less_far(name):
    device = devices.PRESETS[name].device
    one = device.draw(jax.random.key(0), (1,))  # and the same nine times
    points = jax.tree.map(lambda x: jnp.broadcast_to(x, (9,)), one)
    counts = jnp.array([0, 0.3, 1, 2, 3, 10, 100, 1000, 5000])
    start = jnp.clip(jnp.zeros(9), points.low, points.high)
    for ups, downs in ((counts, 0 * counts), (0 * counts, counts)):
        there = jnp.abs(devices.jump(device, points, start, ups, downs) - start)
        assert np.all(np.diff(there) >= -1e-6)
