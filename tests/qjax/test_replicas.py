"""Replicas in turns: who trains with whom does not change what comes out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qjax.replicas import compile_replicated, fitting, replicate, turn_of

SEEDS, CONFIGS, SIZE = 3, 7, 8


@given(st.integers(1, 200), st.integers(1, 50))
def test_turns_are_no_longer_than_asked_and_nearly_full(count, at_once):
    length = turn_of(count, at_once)
    assert 1 <= length <= min(count, at_once)
    turns = -(-count // length)
    assert turns <= -(-count // at_once)
    assert turns * length - count < turns  # empty places


def test_what_fits_has_room_for_gradients_too():
    assert fitting(1000, 100) == 5
    assert fitting(1000, 10_000) == 1
    assert fitting(1000, 0) == 1000  # of what keeps nothing


def step(key, numbers, shared, state):
    """Results of other types and shapes than the arguments, random numbers, a shared argument."""
    drawn = jax.random.normal(key, state["w"].shape)
    moved = state["w"] * numbers + drawn + shared
    return {"w": moved, "n": state["n"] + 1}, jnp.sum(moved)


def arguments():
    rng = np.random.default_rng(0)
    state = {"w": rng.normal(size=(SEEDS, CONFIGS, SIZE)).astype(np.float32),
             "n": np.arange(SEEDS * CONFIGS).reshape(SEEDS, CONFIGS)}
    return (jax.random.split(jax.random.key(0), SEEDS),
            rng.normal(size=CONFIGS).astype(np.float32), np.float32(0.5), state)


LETTERS = ("r..r", ".r.r")
STATE = 4 * SIZE + 4


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 8, 14, 20, 100])
def test_in_turns_every_replica_gets_what_is_its_own(at_once):
    expected = jax.jit(replicate(step, *LETTERS))(*arguments())
    compiled = compile_replicated(step, *LETTERS, None, cache=2 * STATE * at_once)
    ours = compiled(*arguments())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, expected)
    loops = compiled.lower(*arguments()).as_text().count("while")
    assert (loops > jax.jit(replicate(step, *LETTERS)).lower(*arguments()).as_text().count(
        "while")) == (at_once < SEEDS * CONFIGS)
