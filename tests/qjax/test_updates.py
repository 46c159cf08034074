"""Update rules and optimizers against statements of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.quantize import make_quantizer, quantize_tree
from qjax.updates import (
    OPTIMIZERS,
    UPDATE_RULES,
    latent,
    nearest,
    only,
    propose,
    pulsed,
    stochastic,
)

QUANTIZER = make_quantizer(3, "asymm", "global")  # 8 levels, 2/7 apart
STEP = 2 / 7
PARAMS = {"kernel": jnp.array([[-1.0, -1 + STEP], [1.0, 1 - STEP]]), "bias": jnp.array([1.0])}


def on_grid(tree):
    return all(
        np.allclose(np.round((np.asarray(x) + 1) / STEP), (np.asarray(x) + 1) / STEP, atol=1e-5)
        for x in jax.tree.leaves(tree)
    )


def write(rule, updates, seed=0, quantizer=QUANTIZER):
    return rule.write(jax.random.key(seed), PARAMS, updates, quantizer)


def shifts(size):
    return jax.tree.map(lambda x: jnp.full_like(x, size), PARAMS)


def test_nearest_takes_the_step_and_rounds():
    ours = write(nearest, {"kernel": jnp.full((2, 2), -0.6 * STEP), "bias": jnp.array([-5.0])})
    expected = {"kernel": np.array([[-1, -1], [1 - STEP, 1 - 2 * STEP]]), "bias": np.array([-1])}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, expected)


def test_nearest_loses_steps_below_half_a_level():
    ours = write(nearest, shifts(-0.49 * STEP))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, PARAMS)


def test_stochastic_lands_on_the_grid_next_to_the_proposal():
    ours = write(stochastic, shifts(-0.3 * STEP))
    assert on_grid(ours)
    for new, old in zip(jax.tree.leaves(ours), jax.tree.leaves(PARAMS), strict=True):
        assert np.all(np.abs(new - jnp.clip(old - 0.3 * STEP, -1)) < STEP + 1e-6)


def test_stochastic_is_right_on_average():
    keys = jax.random.split(jax.random.key(0), 4000)
    many = jax.jit(jax.vmap(lambda key: stochastic.write(key, PARAMS, shifts(-0.1 * STEP),
                                                         QUANTIZER)))(keys)
    sigma = STEP * np.sqrt(0.1 * 0.9 / 4000)
    for new, old in zip(jax.tree.leaves(many), jax.tree.leaves(PARAMS), strict=True):
        expected = np.maximum(np.asarray(old) - 0.1 * STEP, -1)
        assert np.all(np.abs(np.mean(new, 0) - expected) < 4 * sigma)


@pytest.mark.parametrize("size", [0.2, 1.0, 7.5])
@pytest.mark.parametrize("sign", [-1, 1])
def test_pulses_move_by_at_most_one_level(size, sign):
    for seed in range(5):
        ours = write(pulsed, shifts(sign * size * STEP), seed)
        assert on_grid(ours)
        for new, old in zip(jax.tree.leaves(ours), jax.tree.leaves(PARAMS), strict=True):
            moved = np.asarray((new - old) / STEP)
            assert np.all(np.isclose(moved, 0, atol=1e-5) | np.isclose(moved, sign, atol=1e-5))
            if size >= 1:  # certain, but at the range's ends
                inside = np.abs(old + sign * STEP) <= 1 + 1e-6
                np.testing.assert_allclose(moved, np.where(inside, sign, 0), atol=1e-5)


def test_pulses_are_right_on_average():
    keys = jax.random.split(jax.random.key(0), 4000)
    many = jax.jit(jax.vmap(lambda key: pulsed.write(key, PARAMS, shifts(-0.1 * STEP),
                                                     QUANTIZER)))(keys)
    sigma = STEP * np.sqrt(0.1 * 0.9 / 4000)
    for new, old in zip(jax.tree.leaves(many), jax.tree.leaves(PARAMS), strict=True):
        expected = np.maximum(np.asarray(old) - 0.1 * STEP, -1)
        assert np.all(np.abs(np.mean(new, 0) - expected) < 4 * sigma)


def test_pulses_stay_within_a_symmetric_range():
    quantizer = make_quantizer(2, "symm", "global")
    weights = jnp.array([-1.0, 0.0, 1.0])
    for sign in (-1, 1):
        ours = pulsed.write(jax.random.key(0), weights, jnp.full(3, 9.0 * sign), quantizer)
        np.testing.assert_array_equal(ours, jnp.clip(weights + sign, -1, 1))


@pytest.mark.parametrize("name", UPDATE_RULES)
def test_a_rule_for_some_leaves_leaves_floats_to_the_others(name):
    rule = only(lambda path, leaf: path.endswith("kernel"), UPDATE_RULES[name])
    key, free = jax.random.key(3), {"kernel": jnp.full((2, 2), 0.3), "bias": jnp.array([0.3])}
    placed = rule.place(key, free, QUANTIZER)
    assert on_grid(rule.read(placed, QUANTIZER)["kernel"])
    np.testing.assert_array_equal(placed["bias"], free["bias"])
    ours = rule.write(key, placed, jax.tree.map(lambda x: 0 * x + 0.01, free), QUANTIZER)
    np.testing.assert_allclose(rule.read(ours, QUANTIZER)["bias"], 0.31, atol=1e-6)
    all_of_them = UPDATE_RULES[name].place(key, free, QUANTIZER)
    np.testing.assert_array_equal(placed["kernel"], all_of_them["kernel"])


def test_latent_keeps_full_precision():
    ours = write(latent, shifts(0.01))
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b + jnp.float32(0.01)), ours, PARAMS
    )


def test_latent_shows_grid_values():
    kept = {"kernel": jnp.array([[0.31, -0.77]]), "bias": jnp.array([0.5])}
    shown = latent.read(kept, QUANTIZER)
    jax.tree.map(np.testing.assert_array_equal, shown, quantize_tree(kept, QUANTIZER))
    assert on_grid(shown)
    assert not on_grid(kept)


def test_latent_collects_steps_below_half_a_level():
    params = PARAMS
    for _ in range(6):
        params = latent.write(jax.random.key(0), params, shifts(-0.1 * STEP), QUANTIZER)
    shown = latent.read(params, QUANTIZER)
    np.testing.assert_allclose(shown["bias"], PARAMS["bias"] - STEP, atol=1e-6)


@pytest.mark.parametrize("rule", [nearest, stochastic], ids=["nearest", "stochastic"])
def test_weights_kept_on_the_grid_are_shown_as_they_are(rule):
    jax.tree.map(np.testing.assert_array_equal, rule.read(PARAMS, QUANTIZER), PARAMS)


@pytest.mark.parametrize("name", UPDATE_RULES)
def test_place_and_read_show_the_grid(name):
    rule = UPDATE_RULES[name]
    placed = rule.place(jax.random.key(0), {"w": jnp.linspace(-0.9, 0.8, 20)}, QUANTIZER)
    assert on_grid(rule.read(placed, QUANTIZER))


@pytest.mark.parametrize("name", UPDATE_RULES)
def test_without_bits_every_rule_adds_the_update(name):
    rule, none = UPDATE_RULES[name], make_quantizer(None)
    ours = rule.read(write(rule, shifts(0.0123), quantizer=none), none)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b + jnp.float32(0.0123)), ours, PARAMS
    )


# --- optimizers, in NumPy and float64 ---


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
