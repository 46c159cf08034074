"""Optimizers and the change that they begin, propose, against statements in NumPy and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qjax.algorithms import ALGORITHMS, Batch, Rules, Settings
from qjax.memories import read
from qjax.networks import mlp
from qjax.optimizers import OPTIMIZERS, begin, propose
from qjax.quantize import make_quantizer


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


def normalized(state, g):
    return None, g / np.sqrt(np.mean(g**2))


def balanced(state, g):
    matrix = g.reshape(-1, g.shape[-1])
    if 1 in matrix.shape:
        return None, g / np.sqrt(np.mean(g**2))
    rows, columns, mean = (np.mean(matrix**2, axis=axis) for axis in (1, 0, None))
    sizes = np.outer(rows, columns) / mean + 1e-6 * mean
    return None, g / np.sqrt(sizes).reshape(g.shape)


def factored(state, g):
    """Shazeer and Stern 2018: means of the squares over rows and over columns."""
    t, row, column = state or (0, 0.0, 0.0)
    keep = 1 - (t + 1) ** -0.8
    if g.ndim < 2:
        row = keep * row + (1 - keep) * g**2
        return (t + 1, row, None), g / np.sqrt(row)
    row = keep * row + (1 - keep) * np.mean(g**2, axis=1)
    column = keep * column + (1 - keep) * np.mean(g**2, axis=0)
    return (t + 1, row, column), g / np.sqrt(np.outer(row, column) / np.mean(row))


RULES = {"adadelta": adadelta, "adam": adam, "momentum": momentum, "sgd": sgd, "sign": sign,
         "normalized": normalized, "balanced": balanced, "factored": factored}


def test_every_optimizer_is_tested():
    # Names of one's own, which other tests have entered, have colons.
    assert RULES.keys() == {word for word in OPTIMIZERS if ":" not in word}


@pytest.mark.thorough(but=2)
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("name", RULES)
def test_propose_follows_the_formula(name, decay):
    rng = np.random.default_rng(0)
    theirs = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    if name in ("balanced", "normalized"):
        theirs |= {"one": rng.normal(size=(4, 1)), "conv": rng.normal(size=(3, 3, 1, 4))}
    ours = jax.tree.map(jnp.float32, theirs)
    optimizer = OPTIMIZERS[name]()
    opt_state, states = begin(optimizer, ours), dict.fromkeys(theirs)
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


@pytest.mark.parametrize("shape", [(50, 30), (5, 5, 1, 6), (5, 5, 6, 16), (64, 1)])
def test_some_entries_of_every_kernel_are_larger_than_usual(shape):
    g = np.random.default_rng(1).normal(size=shape)
    ours, _ = OPTIMIZERS["balanced"]().update(jnp.float32(g), optax.EmptyState())
    assert 0.05 < np.mean(np.abs(ours) > 1.5) < 0.2  # of a normal distribution 0.13


def test_small_entries_of_matrices_count_as_zero():
    tensors = {"kernel": jnp.array([[0.5, -2.0], [jnp.nan, 1.0]]), "bias": jnp.array([0.5, -2.0])}
    weights = jax.tree.map(jnp.zeros_like, tensors)

    @jax.jit
    @jax.vmap
    def run(threshold):
        return propose(OPTIMIZERS["sgd"](), tensors, (), weights, 2.0, 0.0, threshold)[0]

    ours = run(jnp.array([0.0, 1.0, 3.0]))
    np.testing.assert_array_equal(
        ours["kernel"], [[[-1, 4], [np.nan, -2]], [[0, 4], [np.nan, -2]], [[0, 0], [np.nan, 0]]])
    np.testing.assert_array_equal(ours["bias"], [[-1, 4]] * 3)


@pytest.mark.parametrize("name", ["backprop", "dni_linear"])
def test_a_threshold_is_for_the_blocks_alone(name):
    x, y = jax.random.normal(jax.random.key(2), (16, 6)), jnp.arange(16) % 3
    algorithm = ALGORITHMS[name](mlp([5, 4], 3), Rules(OPTIMIZERS["balanced"]()))
    (phase,), ends = algorithm.phases, []
    for threshold in (0.0, 1.5, 100.0):
        settings = Settings(learning_rate=0.05, threshold=threshold)
        state = phase.begin(settings, algorithm.init(jax.random.key(0), settings, x))
        after, _ = jax.jit(phase.step)(jax.random.key(1), settings, state, Batch(x, y))
        ends.append((read(settings.memory, state.held), read(settings.memory, after.held)))
    moved = [np.mean([np.mean(a["kernel"] != b["kernel"]) for a, b in zip(
        old["blocks"], new["blocks"], strict=True)]) for old, new in ends]
    assert moved[0] > 0.5  # all but those of units that none of the examples reaches
    assert 0 < moved[1] < moved[0] / 2
    assert moved[2] == 0
    for part in set(ends[0][1]) - {"blocks"}:
        jax.tree.map(np.testing.assert_array_equal, ends[0][1][part], ends[2][1][part])


def test_few_bits_hold_what_an_optimizer_keeps_right_on_average():
    quantizer = make_quantizer(4, "pow2", "local")
    rules = Rules(OPTIMIZERS["adam"](), quantize_state=True)
    params = {"kernel": jax.random.normal(jax.random.key(0), (6, 5)), "bias": jnp.ones(5)}
    _, state = rules.optimizer.update(params, rules.optimizer.init(params), params)
    settings = Settings(state_quantizer=quantizer)
    kept = jax.jit(jax.vmap(lambda k: rules.keep(k, state, settings)))(
        jax.random.split(jax.random.key(1), 4000))
    assert kept.count.dtype == jnp.int32
    assert (kept.count == state.count).all()
    for moments, exact in ((kept.mu, state.mu), (kept.nu, state.nu)):
        for ours, expected in zip(*map(jax.tree.leaves, (moments, exact)), strict=True):
            largest = np.abs(expected).max()
            ratios = np.log2(np.abs(ours)[ours != 0] / largest)
            np.testing.assert_allclose(ratios, np.round(ratios), atol=1e-4)
            assert np.abs(np.mean(ours, 0) - expected).max() < 5 * largest / 4 / np.sqrt(4000)
    free = Rules(rules.optimizer)
    assert free.keep(jax.random.key(0), state, settings) is state


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("name", ["backprop", "hsic"])
def test_training_with_few_bits_of_state_stays_on_them(name):
    x, y = jax.random.normal(jax.random.key(2), (16, 6)), jnp.arange(16) % 3
    rules = [Rules(OPTIMIZERS["momentum"](), quantize_state=True)] * (2 if name == "hsic" else 1)
    algorithm = ALGORITHMS[name](mlp([5], 3), *rules)
    settings = Settings(learning_rate=0.05, state_quantizer=make_quantizer(3, "pow2", "local"))
    phase = algorithm.phases[0]
    state = phase.begin(settings, algorithm.init(jax.random.key(0), settings, x))
    for n in range(3):
        state, _ = jax.jit(phase.step)(jax.random.key(n), settings, state, Batch(x, y))
    for leaf in jax.tree.leaves(state.opt_state):
        assert len(np.unique(np.abs(leaf))) <= 4
