"""Optimizers and the change that they propose, against statements in NumPy and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.optimizers import OPTIMIZERS, propose


def adadelta(state, gradient):
    squares, deltas = state or (0.0, 0.0)
    squares = 0.9 * squares + 0.1 * gradient**2
    delta = np.sqrt(deltas + 1e-6) / np.sqrt(squares + 1e-6) * gradient
    return (squares, 0.9 * deltas + 0.1 * delta**2), delta


def adam(state, gradient):
    t, first, second = state or (0, 0.0, 0.0)
    t, first, second = t + 1, 0.9 * first + 0.1 * gradient, 0.999 * second + 1e-3 * gradient**2
    direction = first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    return (t, first, second), direction


def momentum(state, gradient):
    velocity = 0.9 * (0.0 if state is None else state) + gradient
    return velocity, velocity


def sgd(state, gradient):
    return state, gradient


def sign(state, gradient):
    return state, np.sign(gradient)


RULES = {"adadelta": adadelta, "adam": adam, "momentum": momentum, "sgd": sgd, "sign": sign}


def test_every_optimizer_is_tested():
    assert RULES.keys() == OPTIMIZERS.keys()


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("name", RULES)
def test_propose_follows_the_formula(name, decay):
    rng = np.random.default_rng(0)
    theirs = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    ours = jax.tree.map(jnp.float32, theirs)
    optimizer = OPTIMIZERS[name]()
    opt_state, states = optimizer.init(ours), dict.fromkeys(theirs)
    for number in range(5):
        rate = 0.7**number
        gradients = {k: rng.normal(size=v.shape) for k, v in theirs.items()}
        updates, opt_state = propose(
            optimizer, jax.tree.map(jnp.float32, gradients), opt_state, ours, rate, decay
        )
        for k, tensor in theirs.items():
            states[k], direction = RULES[name](states[k], gradients[k] + decay * tensor)
            np.testing.assert_allclose(updates[k], -rate * direction, rtol=1e-4, atol=1e-7)
            theirs[k] = tensor - rate * direction
        ours = jax.tree.map(jnp.add, ours, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), ours, theirs)


def test_propose_applies_nothing_and_takes_traced_rates():
    params, optimizer = {"w": jnp.array([1.0, 2.0])}, OPTIMIZERS["sgd"]()

    @jax.jit
    @jax.vmap
    def run(rate):
        return propose(optimizer, {"w": jnp.array([0.5, -1.0])}, (), params, rate)[0]["w"]

    ours = run(jnp.array([0.0, 1.0, 2.0]))
    np.testing.assert_array_equal(ours, [[0, 0], [-0.5, 1], [-1, 2]])
