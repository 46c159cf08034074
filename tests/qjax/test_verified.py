"""Programming with a few tries: how far off it ends, what it leaves alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from qjax.memories import WriteVerify, named

KEY = jax.random.key(2)
COUNT = 40_000


def errors(memory, target=0.1):
    return np.asarray(memory.init(KEY, jnp.full(COUNT, target))) - target


@pytest.mark.parametrize("tries", [1, 3])
def test_an_error_is_within_tolerance_or_that_of_the_last_try(tries):
    memory = WriteVerify(write_std=0.05, tolerance=0.02, tries=tries)
    off = errors(memory)
    good = 2 * stats.norm.cdf(0.02 / 0.05) - 1
    expected = 1 - (1 - good) ** tries
    share = np.mean(np.abs(off) <= 0.02 + 1e-6)
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / COUNT)
    assert abs(off.mean()) < 4 * off.std() / np.sqrt(COUNT)


def test_more_tries_are_nearer_and_none_is_noise_free():
    spread = [errors(WriteVerify(tries=t)).std() for t in (1, 2, 10)]
    assert spread[0] == pytest.approx(0.05, rel=0.03)
    assert spread[0] > spread[1] > spread[2]
    np.testing.assert_allclose(errors(WriteVerify(write_std=0.0)), 0, atol=1e-7)


def test_only_what_changes_is_written_and_bounds_hold():
    memory = WriteVerify(write_std=0.3)
    held = memory.init(KEY, jnp.linspace(-2, 2, 100))
    assert jnp.abs(held).max() <= 1
    change = jnp.where(jnp.arange(100) % 2 == 0, 0.1, 0.0)
    after = memory.write(jax.random.key(3), held, change)
    np.testing.assert_array_equal(after[1::2], held[1::2])
    inside = np.abs(held[::2]) < 0.5  # at a bound an attempt may end where it began
    assert np.all(np.asarray(after[::2])[inside] != np.asarray(held[::2])[inside])
    assert jnp.abs(after).max() <= 1


def test_numbers_are_traced_and_batched():
    def spread(tries):
        return jnp.std(WriteVerify(tries=tries).init(KEY, jnp.zeros(2000)))

    one, many = jax.jit(jax.vmap(spread))(jnp.array([1.0, 8.0]))
    assert many < one
    assert named("write_verify") == WriteVerify()
    assert WriteVerify(write_std=0.05).account().device == pytest.approx(np.log2(20))
