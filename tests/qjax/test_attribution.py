"""Tests of attributions: exact where that is known, complete, as plain NumPy has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax import blocks, networks
from qjax.attribution import integrated_gradients


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_of_a_linear_function_they_are_its_terms():
    weights, x, baseline = drawn(3, 4), drawn(3, 4, seed=1), drawn(3, 4, seed=2)
    for steps in (1, 7):
        found = integrated_gradients(lambda x: jnp.sum(weights * x) + 5, x, baseline, steps)
        np.testing.assert_allclose(found, weights * (x - baseline), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        integrated_gradients(lambda x: jnp.sum(weights * x), x), weights * x, rtol=1e-5, atol=1e-6)


def test_of_a_square_one_step_is_exact():
    x, baseline = drawn(5), drawn(5, seed=1)
    found = integrated_gradients(lambda x: jnp.sum(x**2), x, baseline, 1)
    np.testing.assert_allclose(found, x**2 - baseline**2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", [
    networks.mlp([20, 10], 3),
    (networks.Conv(4, size=3, pool=True), networks.Dense(3, activation=networks.identity))])
def test_they_add_up_to_what_the_output_gains(network):
    images = jnp.asarray(drawn(6, 8, 8, 1))
    params, collections = blocks.init_network(jax.random.key(0), network, images)
    params = jax.tree.map(lambda leaf: 3 * leaf, params)  # so that there is something to gain

    def output(x, number):
        return blocks.forward(network, params, collections, x[None])[0, number]

    def one(x, number, baseline):
        def own(x):
            return output(x, number)

        return integrated_gradients(own, x, baseline, 300), own(x) - own(baseline)

    numbers = jnp.arange(6) % 3
    found, gained = jax.jit(jax.vmap(one))(images, numbers, 0.1 * images[::-1])
    assert found.shape == images.shape
    assert np.abs(gained).max() > 0.5
    np.testing.assert_allclose(found.sum((1, 2, 3)), gained, rtol=1e-2, atol=1e-3)


def test_as_plain_numpy_with_finite_differences():
    inner, outer = drawn(6, 5).astype(np.float64), drawn(5, seed=1).astype(np.float64)
    x, baseline, steps = drawn(6, seed=2), np.float32(0.3), 9

    def plain(x):
        return np.tanh(x @ inner) @ outer

    expected = np.zeros(6)
    for i, unit in enumerate(np.eye(6)):
        for k in range(steps):
            at = baseline + (k + 0.5) / steps * (x.astype(np.float64) - baseline)
            slope = (plain(at + 1e-5 * unit) - plain(at - 1e-5 * unit)) / 2e-5
            expected[i] += (x[i] - baseline) * slope / steps
    found = integrated_gradients(
        lambda x: jnp.tanh(x @ jnp.float32(inner)) @ jnp.float32(outer), x, baseline, steps)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match="int32 have no gradient: expected floats"):
        integrated_gradients(jnp.sum, jnp.arange(3))
    with pytest.raises(ValueError, match="0 steps: expected at least 1"):
        integrated_gradients(jnp.sum, jnp.ones(3), steps=0)
    with pytest.raises(ValueError, match="broadcast"):
        integrated_gradients(jnp.sum, jnp.ones(3), jnp.ones(4))
