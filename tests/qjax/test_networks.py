"""Blocks: batch normalization against NumPy, initialization, structure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax import algorithms, memories
from qjax.algorithms import interface
from qjax.blocks import apply_block, forward, init_network
from qjax.losses import cross_entropy, output_error
from qjax.memories import Float, Stochastic, by_leaf
from qjax.networks import BatchNorm, Dense, identity, is_log_gain, mlp, uniform_fan_in
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import make_quantizer

RNG = np.random.default_rng(0)
X = (3 * RNG.normal(size=(7, 4)) + 1).astype(np.float32)


def init(block, x=X, seed=0):
    variables = block.init(jax.random.key(seed), x, train=True)
    return variables.get("params", {}), {k: v for k, v in variables.items() if k != "params"}


def normalized(x):
    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)


def test_batch_norm_normalizes_by_the_batch():
    params, held = init(BatchNorm())
    assert params == {}
    ours, _ = apply_block(BatchNorm(), params, held, X, train=True)
    np.testing.assert_allclose(ours, normalized(X), atol=1e-5)


def test_batch_norm_running_statistics_follow_pytorch():
    _, held = init(BatchNorm())
    mean, variance = np.zeros(4), np.ones(4)
    for _ in range(3):
        x = (2 * RNG.normal(size=(5, 4)) - 1).astype(np.float32)
        _, held = apply_block(BatchNorm(), {}, held, x, train=True)
        mean = 0.9 * mean + 0.1 * x.mean(0)
        variance = 0.9 * variance + 0.1 * x.var(0, ddof=1)
    np.testing.assert_allclose(held["batch_stats"]["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(held["batch_stats"]["variance"], variance, rtol=1e-5)


def test_batch_norm_starts_at_zero_and_one():
    _, held = init(BatchNorm())
    np.testing.assert_array_equal(held["batch_stats"]["mean"], np.zeros(4))
    np.testing.assert_array_equal(held["batch_stats"]["variance"], np.ones(4))


def test_batch_norm_evaluates_with_running_statistics_and_keeps_them():
    held = {"batch_stats": {"mean": jnp.arange(4.0), "variance": jnp.arange(1.0, 5)}}
    ours, after = apply_block(BatchNorm(), {}, held, X, train=False)
    expected = (X - np.arange(4)) / np.sqrt(np.arange(1, 5) + 1e-5)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, after, held)


def test_batch_norm_takes_statistics_over_all_axes_but_the_last():
    x = RNG.normal(size=(3, 2, 2, 4)).astype(np.float32)
    _, held = init(BatchNorm(), x)
    ours, held = apply_block(BatchNorm(), {}, held, x, train=True)
    flat = x.reshape(-1, 4)
    np.testing.assert_allclose(ours, normalized(flat).reshape(x.shape), atol=1e-5)
    variance = 0.9 + 0.1 * flat.var(0, ddof=1)
    np.testing.assert_allclose(held["batch_stats"]["variance"], variance, rtol=1e-5)


def test_batch_norm_momentum_and_epsilon():
    block = BatchNorm(momentum=1.0, epsilon=2.0)
    _, held = init(block)
    ours, held = apply_block(block, {}, held, X, train=True)
    np.testing.assert_allclose(ours, (X - X.mean(0)) / np.sqrt(X.var(0) + 2), atol=1e-5)
    np.testing.assert_allclose(held["batch_stats"]["mean"], X.mean(0), rtol=1e-5)


def test_batch_norm_of_one_example_is_finite():
    _, held = init(BatchNorm(), X[:1])
    ours, held = apply_block(BatchNorm(), {}, held, X[:1], train=True)
    np.testing.assert_array_equal(ours, np.zeros((1, 4)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(held))


def test_uniform_fan_in_fills_its_bounds():
    values = uniform_fan_in(16)(jax.random.key(0), (10_000,))
    assert -0.25 <= values.min() < -0.249
    assert 0.249 < values.max() <= 0.25
    assert abs(values.mean()) < 4 * 0.25 / np.sqrt(3 * 10_000)


@pytest.mark.parametrize("features", [3, 300])
def test_dense_starts_within_one_over_root_fan_in(features):
    params, held = init(Dense(features), jnp.ones((2, 100)))
    assert params["kernel"].shape == (100, features)
    assert params["bias"].shape == (features,)
    assert held == {}
    assert 0.09 < np.abs(params["kernel"]).max() <= 0.1
    assert 0 < np.abs(params["bias"]).max() <= 0.1


def test_dense_is_linear_bias_relu():
    params, held = init(Dense(5))
    ours, _ = apply_block(Dense(5), params, held, X, train=True)
    expected = np.maximum(X @ params["kernel"] + params["bias"], 0)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    assert (ours == 0).any()


def test_dense_normalizes_between_the_linear_map_and_the_activation():
    block = Dense(5, normalize=True)
    params, held = init(block)
    ours, _ = apply_block(block, params, held, X, train=True)
    expected = np.maximum(normalized(np.asarray(X @ params["kernel"] + params["bias"])), 0)
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_dense_flattens_images():
    params, held = init(Dense(5), X.reshape(7, 2, 2, 1))
    ours, _ = apply_block(Dense(5), params, held, X.reshape(7, 2, 2, 1), train=True)
    flat, _ = apply_block(Dense(5), params, held, X, train=True)
    np.testing.assert_array_equal(ours, flat)


def test_dense_sends_its_error_through_a_feedback_collection():
    block = Dense(5, activation=identity)
    params, _ = init(block)
    feedback = RNG.normal(size=(4, 5)).astype(np.float32)

    def total(x):
        return jnp.sum(apply_block(block, params, {"feedback": {"kernel": feedback}}, x, True)[0])

    expected = np.ones((7, 5)) @ feedback.T
    np.testing.assert_allclose(jax.grad(total)(X), expected, rtol=1e-5)


def test_apply_block_keeps_collections_it_does_not_update():
    block = Dense(4, normalize=True)
    params, held = init(block)
    held = {**held, "feedback": {"kernel": jnp.ones((4, 4))}}
    _, after = apply_block(block, params, held, X, train=True)
    assert jax.tree.structure(after) == jax.tree.structure(held)
    np.testing.assert_array_equal(after["feedback"]["kernel"], jnp.ones((4, 4)))
    statistics = [c["batch_stats"]["BatchNorm_0"]["mean"] for c in (held, after)]
    assert (statistics[0] != statistics[1]).all()


def test_mlp_structure():
    network = mlp([100, 20], 10)
    assert [block.features for block in network] == [100, 20, 10]
    params, held = init_network(jax.random.key(0), network, jnp.ones((2, 28, 28, 1)))
    assert [p["kernel"].shape for p in params] == [(784, 100), (100, 20), (20, 10)]
    assert [p["bias"].shape for p in params] == [(100,), (20,), (10,)]
    assert held == ({}, {}, {})


def test_mlp_forward_is_relu_layers_and_a_linear_output():
    network = mlp([6, 5], 3)
    params, held = init_network(jax.random.key(1), network, X)
    h = X
    for index, layer in enumerate(params):
        h = h @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        h = h if index == 2 else np.maximum(h, 0)
    np.testing.assert_allclose(forward(network, params, held, X), h, rtol=1e-4, atol=1e-5)


def test_blocks_of_one_shape_start_differently():
    params, _ = init_network(jax.random.key(0), mlp([4, 4], 4), X)
    kernels = [p["kernel"] for p in params]
    assert (kernels[0] != kernels[1]).any()
    assert (kernels[1] != kernels[2]).any()


def test_init_network_looks_at_shapes_only():
    network = (Dense(4, normalize=True), *mlp([], 3))
    ours = init_network(jax.random.key(0), network, X)
    other = init_network(jax.random.key(0), network, jnp.full_like(X, jnp.nan))
    jax.tree.map(np.testing.assert_array_equal, ours, other)


def test_forward_is_in_evaluation_mode():
    network = (Dense(4, normalize=True), *mlp([], 3))
    params, held = init_network(jax.random.key(0), network, X)
    ours = forward(network, params, held, X)
    alone = forward(network, params, held, X[:1])  # no example sees the rest of its batch
    np.testing.assert_allclose(ours[:1], alone, rtol=1e-5, atol=1e-6)


def test_a_gain_scales_the_product_but_not_the_bias():
    block = Dense(4, activation=identity, gain="fixed")
    x = jax.random.normal(jax.random.key(0), (3, 16))
    variables = block.init(jax.random.key(1), x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    assert float(jnp.max(jnp.abs(kernel))) > 0.9  # fills [-1, 1], whatever the width
    np.testing.assert_allclose(variables["device"]["gain"], 0.25)
    np.testing.assert_allclose(block.apply(variables, x), 0.25 * (x @ kernel) + bias, rtol=1e-5)


def test_settings_set_the_gain():
    x = jnp.ones((2, 9))
    network = mlp([4], 3, gain="fixed")
    settings = interface.Settings(gain=jnp.float32(1.5))
    state = algorithms.fa(network).init(jax.random.key(0), settings, x)
    gains = [float(c["device"]["gain"]) for c in state.collections]
    np.testing.assert_allclose(gains, [1.5 / 3, 1.5 / 2], rtol=1e-6)
    fixed = memories.read(settings.memory, state.fixed)
    for b in fixed["feedback"]:  # the device's range is that of the feedback matrices too
        assert 0.5 < float(jnp.max(jnp.abs(b["kernel"]))) <= 1


def test_feedback_equal_to_the_kernel_is_backprop_with_a_gain():
    x, labels = jax.random.normal(jax.random.key(0), (5, 9)), jnp.arange(5) % 3
    network, settings = mlp([4, 6], 3, gain="fixed"), interface.Settings()
    _, params, collections = algorithms.init_blocks(jax.random.key(1), network, settings, x)
    mirrored = tuple(
        {**c, "feedback": {"kernel": p["kernel"]}}
        for p, c in zip(params, collections, strict=True)
    )

    def gradients(collections):
        run = algorithms.run_blocks(network, params, collections, x)
        _, error = output_error(cross_entropy, run.outputs[-1], labels)
        return algorithms.chain(run.pullbacks, error)[0]

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        gradients(mirrored), gradients(collections),
    )


def learned(log_gain):
    """A block, its variables with that log_gain, and those of a fixed gain as large."""
    block = Dense(4, gain="learned")
    variables = block.init(jax.random.key(1), X)
    assert variables["params"]["log_gain"] == 0
    bare = {k: v for k, v in variables["params"].items() if k != "log_gain"}
    params = {**bare, "log_gain": jnp.float32(log_gain)}
    fixed = {"params": bare, "device": {"gain": np.exp(log_gain) * variables["device"]["gain"]}}
    return block, {**variables, "params": params}, fixed


@pytest.mark.parametrize("log_gain", [0, -0.7, 0.4])
def test_a_learned_gain_multiplies_the_fixed_one(log_gain):
    block, variables, fixed = learned(log_gain)
    expected = Dense(4, gain="fixed").apply(fixed, X)
    assert expected.any()
    np.testing.assert_allclose(block.apply(variables, X), expected, rtol=1e-5)


def test_the_gradient_of_a_learned_gain_equals_finite_differences():
    block, variables, _ = learned(0.3)

    def loss(log_gain):
        params = {**variables["params"], "log_gain": log_gain}
        return jnp.sum(block.apply({**variables, "params": params}, X) ** 2)

    slope = jax.grad(loss)(jnp.float32(0.3))
    kernel, bias = (np.float64(variables["params"][name]) for name in ("kernel", "bias"))

    def exact(log_gain):
        return np.sum(np.maximum(np.exp(log_gain) / 2 * (X @ kernel) + bias, 0) ** 2)

    np.testing.assert_allclose(slope, (exact(0.3 + 1e-5) - exact(0.3 - 1e-5)) / 2e-5, rtol=1e-4)


def test_an_unknown_gain_is_refused():
    with pytest.raises(ValueError, match=r"unknown gain 'some': expected one of .*'learned'"):
        Dense(4, gain="some").init(jax.random.key(0), X)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("name", ["backprop", "fa", "kp", "dfa", "dni_linear", "hsic"])
def test_every_algorithm_learns_gains_off_the_grid(name):
    rules = [interface.Rules(OPTIMIZERS["adam"]())]
    algorithm = algorithms.ALGORITHMS[name](
        mlp([5], 3, gain="learned"), *rules * (2 if name == "hsic" else 1)
    )
    memory = by_leaf((is_log_gain, Float()), Stochastic(make_quantizer(2, "symm", "global")))
    settings = interface.Settings(learning_rate=0.3, gain=2.0, memory=memory)
    key, batch = jax.random.key(0), interface.Batch(X, jnp.arange(7) % 3)

    def run():
        state = start = algorithm.init(key, settings, X)
        for phase in algorithm.phases:
            state = phase.begin(settings, state)
            for number in range(3):  # dni's synthesizers predict nothing before they have learned
                state, loss = phase.step(jax.random.fold_in(key, number), settings, state, batch)
        return *(memories.read(memory, each.held) for each in (start, state)), loss

    # Quickly compiled, slowly run: it runs once.
    options = {"xla_backend_optimization_level": 0}
    start, end, loss = jax.jit(run, compiler_options=options)()
    assert np.isfinite(loss)
    blocks = list(zip(start["blocks"], end["blocks"], strict=True))
    with_gains = [(old, new) for old, new in blocks if "log_gain" in old]
    assert with_gains
    for old, new in with_gains:
        assert old["log_gain"] == 0
        assert new["log_gain"] not in (-1, 0, 1)
        assert set(np.unique(new["kernel"])) <= {-1.0, 0.0, 1.0}
