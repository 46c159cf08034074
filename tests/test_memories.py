"""Memories against statements of their own, and what the interface promises of any."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax import memories
from qjax.memories import MEMORIES, Float, Held, Latent, Nearest, Pulse, Stochastic, by_leaf
from qjax.quantize import make_quantizer, quantize_tree

KEY = jax.random.key(0)
QUANTIZER = make_quantizer(3, "asymm", "global")  # 8 levels, 2/7 apart
STEP = 2 / 7
PARAMS = {"kernel": jnp.array([[-1.0, -1 + STEP], [1.0, 1 - STEP]]), "bias": jnp.array([1.0])}


def on_grid(tree):
    return all(
        np.allclose(np.round((np.asarray(x) + 1) / STEP), (np.asarray(x) + 1) / STEP, atol=1e-5)
        for x in jax.tree.leaves(tree)
    )


def kept(held):
    """The states: a number for each weight, in the memories of `MEMORIES`."""
    return jax.tree.map(lambda node: node.state, held, is_leaf=memories.is_held)


def write(memory, changes, key=KEY):
    """What is kept after a change of weights that are kept as PARAMS."""
    return kept(memories.write(key, memory, jax.tree.map(Held, PARAMS), changes))


def shifts(size):
    return jax.tree.map(lambda x: jnp.full_like(x, size), PARAMS)


def test_nearest_takes_the_step_and_rounds():
    changes = {"kernel": jnp.full((2, 2), -0.6 * STEP), "bias": jnp.array([-5.0])}
    ours = write(Nearest(QUANTIZER), changes)
    expected = {"kernel": np.array([[-1, -1], [1 - STEP, 1 - 2 * STEP]]), "bias": np.array([-1])}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, expected)


def test_nearest_loses_steps_below_half_a_level():
    ours = write(Nearest(QUANTIZER), shifts(-0.49 * STEP))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, PARAMS)


def test_stochastic_lands_on_the_grid_next_to_the_proposal():
    ours = write(Stochastic(QUANTIZER), shifts(-0.3 * STEP))
    assert on_grid(ours)
    for new, old in zip(jax.tree.leaves(ours), jax.tree.leaves(PARAMS), strict=True):
        assert np.all(np.abs(new - jnp.clip(old - 0.3 * STEP, -1)) < STEP + 1e-6)


def test_stochastic_is_right_on_average():
    keys = jax.random.split(KEY, 4000)
    memory, changes = Stochastic(QUANTIZER), shifts(-0.1 * STEP)
    many = jax.jit(jax.vmap(lambda key: write(memory, changes, key)))(keys)
    sigma = STEP * np.sqrt(0.1 * 0.9 / 4000)
    for new, old in zip(jax.tree.leaves(many), jax.tree.leaves(PARAMS), strict=True):
        expected = np.maximum(np.asarray(old) - 0.1 * STEP, -1)
        assert np.all(np.abs(np.mean(new, 0) - expected) < 4 * sigma)


@pytest.mark.parametrize("size", [0.2, 1.0, 7.5])
@pytest.mark.parametrize("sign", [-1, 1])
def test_pulses_move_by_at_most_one_level(size, sign):
    for seed in range(5):
        ours = write(Pulse(QUANTIZER), shifts(sign * size * STEP), jax.random.key(seed))
        assert on_grid(ours)
        for new, old in zip(jax.tree.leaves(ours), jax.tree.leaves(PARAMS), strict=True):
            moved = np.asarray((new - old) / STEP)
            assert np.all(np.isclose(moved, 0, atol=1e-5) | np.isclose(moved, sign, atol=1e-5))
            if size >= 1:  # certain, but at the range's ends
                inside = np.abs(old + sign * STEP) <= 1 + 1e-6
                np.testing.assert_allclose(moved, np.where(inside, sign, 0), atol=1e-5)


def test_pulses_are_right_on_average():
    keys = jax.random.split(KEY, 4000)
    memory, changes = Pulse(QUANTIZER), shifts(-0.1 * STEP)
    many = jax.jit(jax.vmap(lambda key: write(memory, changes, key)))(keys)
    sigma = STEP * np.sqrt(0.1 * 0.9 / 4000)
    for new, old in zip(jax.tree.leaves(many), jax.tree.leaves(PARAMS), strict=True):
        expected = np.maximum(np.asarray(old) - 0.1 * STEP, -1)
        assert np.all(np.abs(np.mean(new, 0) - expected) < 4 * sigma)


def test_pulses_stay_within_a_symmetric_range():
    memory = Pulse(make_quantizer(2, "symm", "global"))
    weights = jnp.array([-1.0, 0.0, 1.0])
    for sign in (-1, 1):
        ours = memory.write(KEY, weights, jnp.full(3, 9.0 * sign))
        np.testing.assert_array_equal(ours, jnp.clip(weights + sign, -1, 1))


@pytest.mark.parametrize("name", MEMORIES)
def test_a_memory_for_some_leaves_leaves_floats_to_the_others(name):
    own = MEMORIES[name](QUANTIZER)
    memory = by_leaf((lambda path, leaf: path.endswith("kernel"), own), Float())
    key, free = jax.random.key(3), {"kernel": jnp.full((2, 2), 0.3), "bias": jnp.array([0.3])}
    held = memories.hold(key, memory, free)
    assert on_grid(memories.read(memory, held)["kernel"])
    np.testing.assert_array_equal(kept(held)["bias"], free["bias"])
    ours = memories.write(key, memory, held, jax.tree.map(lambda x: 0 * x + 0.01, free))
    np.testing.assert_allclose(memories.read(memory, ours)["bias"], 0.31, atol=1e-6)
    all_of_them = memories.hold(key, own, free)
    np.testing.assert_array_equal(kept(held)["kernel"], kept(all_of_them)["kernel"])


def test_latent_keeps_full_precision():
    ours = write(Latent(QUANTIZER), shifts(0.01))
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b + jnp.float32(0.01)), ours, PARAMS
    )


def test_latent_shows_grid_values():
    floats = {"kernel": jnp.array([[0.31, -0.77]]), "bias": jnp.array([0.5])}
    shown = memories.read(Latent(QUANTIZER), jax.tree.map(Held, floats))
    jax.tree.map(np.testing.assert_array_equal, shown, quantize_tree(floats, QUANTIZER))
    assert on_grid(shown)
    assert not on_grid(floats)


def test_latent_collects_steps_below_half_a_level():
    memory, held = Latent(QUANTIZER), jax.tree.map(Held, PARAMS)
    for _ in range(6):
        held = memories.write(KEY, memory, held, shifts(-0.1 * STEP))
    shown = memories.read(memory, held)
    np.testing.assert_allclose(shown["bias"], PARAMS["bias"] - STEP, atol=1e-6)


@pytest.mark.parametrize("name", ["nearest", "stochastic", "pulse"])
def test_weights_kept_on_the_grid_are_shown_as_they_are(name):
    shown = memories.read(MEMORIES[name](QUANTIZER), jax.tree.map(Held, PARAMS))
    jax.tree.map(np.testing.assert_array_equal, shown, PARAMS)


@pytest.mark.parametrize("name", MEMORIES)
def test_hold_and_read_show_the_grid(name):
    memory = MEMORIES[name](QUANTIZER)
    held = memories.hold(KEY, memory, {"w": jnp.linspace(-0.9, 0.8, 20)})
    assert on_grid(memories.read(memory, held))


@pytest.mark.parametrize("name", MEMORIES)
def test_without_bits_every_memory_adds_the_change(name):
    memory = MEMORIES[name](make_quantizer(None))
    held = jax.tree.map(Held, write(memory, shifts(0.0123)))
    ours = memories.read(memory, held)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b + jnp.float32(0.0123)), ours, PARAMS
    )
