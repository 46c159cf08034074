"""Convolutional blocks against XLA's convolution, and every algorithm on such a network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax import algorithms, convolution, memories
from qjax.algorithms import Batch, Rules, Settings
from qjax.blocks import forward, init_network, kernels_of
from qjax.convolution import convolve
from qjax.feedback import linear
from qjax.losses import cross_entropy, output_error
from qjax.memories import Stochastic
from qjax.networks import Conv, Dense, Residual, identity, lenet, residual
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import make_quantizer

X = jax.random.normal(jax.random.key(0), (3, 7, 8, 2))
KERNEL, FEEDBACK = (jax.random.normal(jax.random.key(k), (3, 3, 2, 4)) for k in (1, 2))
PLAIN = (Conv(3, size=3, padding=1, pool=True), Conv(4, size=3), Dense(3, activation=identity))
# Of everything one, the residual block with a change of channels.
NETWORK = (PLAIN[0], Residual(5), PLAIN[2])
BATCH = Batch(jax.random.normal(jax.random.key(3), (4, 8, 8, 1)), jnp.arange(4) % 3)


def reference(x, kernel, padding="VALID"):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("way", ["as here", "one row after the other", "all rows at once"])
def test_convolution_agrees_with_xla(monkeypatch, way):
    """Also the way that this machine does not take; batched over kernels alone, too."""
    ways = {"one row after the other": lambda one_by_one, at_once: one_by_one(),
            "all rows at once": lambda one_by_one, at_once: at_once()}
    if way in ways:
        monkeypatch.setattr(convolution, "_by_rows", ways[way])
    kernels = jnp.stack([KERNEL, FEEDBACK])
    error = jax.random.normal(jax.random.key(5), (2, 3, 5, 6, 4))

    def both(convolve):
        def one(kernel, error):
            y, pullback = jax.vjp(convolve, X, kernel)
            return y, *pullback(error)

        return jax.vmap(one)(kernels, error)

    for ours, theirs in zip(both(convolve), both(reference), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("shape", [(4, 3, 6, 2), (5, 1, 7, 3)])
def test_pooling_shares_what_comes_back_among_equal_values(shape):
    """As the derivative of `jnp.max` does; a last odd row or column gets nothing."""
    planes = jax.random.randint(jax.random.key(0), shape, -2, 2).astype(jnp.float32)
    height, width = shape[0] // 2, shape[2] // 2

    def largest(planes):
        even = planes[: 2 * height, :, : 2 * width]
        return even.reshape(height, 2, shape[1], width, 2, shape[3]).max((1, 4))

    y, pullback = jax.vjp(convolution.pool_planes, planes)
    expected, expected_pullback = jax.vjp(largest, planes)
    np.testing.assert_array_equal(y, expected)
    error = jax.random.normal(jax.random.key(1), y.shape)
    np.testing.assert_allclose(pullback(error)[0], expected_pullback(error)[0], rtol=1e-6)


def test_what_is_not_a_number_does_not_come_back_from_pooling_as_one():
    planes = jnp.ones((2, 1, 4, 1)).at[1, 0, 2, 0].set(jnp.nan)
    gradient = jax.grad(lambda planes: convolution.pool_planes(planes).sum())(planes)
    np.testing.assert_array_equal(gradient[:, 0, :2, 0], 0.25)
    assert not np.isfinite(gradient[:, 0, 2:, 0]).any()


def test_no_images_give_no_outputs():
    y, pullback = jax.vjp(convolve, X[:0], KERNEL)
    assert y.shape == (0, 5, 6, 4)
    x_error, gradient = pullback(y)
    assert x_error.shape == (0, 7, 8, 2)
    np.testing.assert_array_equal(gradient, jnp.zeros_like(KERNEL))


def test_errors_go_down_through_the_feedback_kernel():
    error = jax.random.normal(jax.random.key(4), (3, 5, 6, 4))
    bias = jnp.zeros(4)

    def response(x, kernel, bias):
        return jnp.sum(error * linear(x, kernel, bias, FEEDBACK, convolve))

    dx, dk, db = jax.grad(response, argnums=(0, 1, 2))(X, KERNEL, bias)
    # What the transposed convolution with the feedback gives; the rest as in backpropagation.
    _, pullback = jax.vjp(lambda x: reference(x, FEEDBACK), X)
    np.testing.assert_allclose(dx, pullback(error)[0], atol=1e-4)
    _, pullback = jax.vjp(lambda k: reference(X, k), KERNEL)
    np.testing.assert_allclose(dk, pullback(error)[0], atol=1e-4)
    np.testing.assert_allclose(db, error.sum((0, 1, 2)), atol=1e-4)


def test_feedback_equal_to_the_kernel_is_backprop():
    def loss(x, feedback):
        return jnp.sum(linear(x, KERNEL, jnp.zeros(4), feedback, convolve) ** 2)

    np.testing.assert_allclose(
        jax.grad(loss)(X, KERNEL), jax.grad(loss)(X, None), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize(("padding", "pool"), [(0, False), (2, True)])
def test_block(padding, pool):
    block = Conv(5, padding=padding, pool=pool)
    x = jax.random.normal(jax.random.key(0), (2, 10, 10, 1))
    variables = block.init(jax.random.key(1), x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    limit = (5 * 5 * 1) ** -0.5
    assert float(jnp.max(jnp.abs(kernel))) <= limit
    expected = np.maximum(reference(x, kernel, [(padding, padding)] * 2) + bias, 0)
    if pool:
        b, h, w, c = expected.shape
        expected = np.asarray(expected).reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))
    np.testing.assert_allclose(block.apply(variables, x), expected, atol=1e-5)


def test_lenet_has_the_parameters_of_the_paper_by_layers():
    x = jnp.zeros((1, 28, 28, 1))
    params, collections = init_network(jax.random.key(0), lenet(10), x)
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(block)) for block in params]
    # 5*5*1*6+6, 5*5*6*16+16, 5*5*16*120+120, 120*84+84, 84*10+10
    assert sizes == [156, 2416, 48120, 10164, 850]
    assert forward(lenet(10), params, collections, x).shape == (1, 10)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("features", [2, 5])
def test_residual_block(features):
    block = Residual(features, pool=True)
    variables = block.init(jax.random.key(1), X)
    layers = variables["params"]

    def layer(number, x):
        own = layers[f"Conv_{number}"]
        return reference(x, own["kernel"], "SAME") + own["bias"]

    around = X if features == 2 else layer(2, X)
    assert ("Conv_2" in layers) == (features == 5)
    out = np.maximum(around + layer(1, np.maximum(layer(0, X), 0)), 0)
    out = out[:, :6].reshape(3, 3, 2, 4, 2, features).max((2, 4))
    np.testing.assert_allclose(block.apply(variables, X), out, atol=1e-5)


@pytest.mark.thorough
def test_the_residual_network_has_the_weights_it_says():
    x = jnp.zeros((1, 32, 32, 3))
    params, collections = init_network(jax.random.key(0), residual(10), x)
    kernels = jax.tree.leaves([kernels_of(block) for block in params])
    assert sum(kernel.size for kernel in kernels) == 86_960
    assert len([kernel for kernel in kernels if kernel.shape[:2] == (3, 3)]) == 7
    assert forward(residual(10), params, collections, x).shape == (1, 10)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("name", ["backprop", "fa", "kp", "dfa", "dni_linear", "dni_conv", "hsic"])
def test_every_algorithm_steps_on_convolutions(name):
    optimizer = OPTIMIZERS["sgd" if name == "hsic" else "adam"]()
    network = tuple(block.clone(gain="fixed") for block in NETWORK)
    algorithm = algorithms.ALGORITHMS[name](network, Rules(optimizer))
    memory = Stochastic(make_quantizer(2, "symm", "global"))
    settings = Settings(learning_rate=0.1, memory=memory)
    key = jax.random.key(0)

    @jax.jit
    def run():
        state = algorithm.init(key, settings, BATCH.inputs)
        start, losses = state, []
        for phase in algorithm.phases:
            state, own = jax.lax.scan(
                lambda state, key, phase=phase: phase.step(key, settings, state, BATCH),
                phase.begin(settings, state), jax.random.split(key, 3))
            losses.append(own)
        weights = (memories.read(memory, each.held)["blocks"] for each in (start, state))
        return *weights, losses, phase.predict(settings, state, BATCH.inputs)

    start, end, losses, logits = run()
    assert logits.shape == (4, 3)
    assert all(np.isfinite(own).all() for own in losses)
    start, end = (jax.tree.leaves([kernels_of(block) for block in blocks])
                  for blocks in (start, end))
    pairs = list(zip(start, end, strict=True))
    moved = [(before != after).any() for before, after in pairs]
    # hsic's steps are small here, and few of so small a network's units are awake.
    assert sum(moved) >= (1 if name == "hsic" else 3), moved
    for _, after in pairs:
        assert set(np.unique(after)) <= {-1.0, 0.0, 1.0}


def test_backprop_on_convolutions_takes_the_true_gradient():
    algorithm = algorithms.backprop(PLAIN, Rules(OPTIMIZERS["sgd"]()))
    settings = Settings(learning_rate=1.0)
    (phase,) = algorithm.phases
    state = phase.begin(settings, algorithm.init(jax.random.key(0), settings, BATCH.inputs))

    def loss(blocks):
        x = BATCH.inputs
        x = jax.nn.relu(reference(x, blocks[0]["kernel"], "SAME") + blocks[0]["bias"])
        x = x.reshape(4, 4, 2, 4, 2, 3).max((2, 4))
        x = jax.nn.relu(reference(x, blocks[1]["kernel"]) + blocks[1]["bias"])
        logits = x.reshape(4, -1) @ blocks[2]["kernel"] + blocks[2]["bias"]
        return output_error(cross_entropy, logits, BATCH.labels)[0]

    stepped, _ = phase.step(jax.random.key(1), settings, state, BATCH)
    before, after = (phase.show(settings, each) for each in (state, stepped))
    for new, old, gradient in zip(after, before, jax.grad(loss)(before), strict=True):
        for leaf in ("kernel", "bias"):
            np.testing.assert_allclose(new[leaf], old[leaf] - gradient[leaf], atol=1e-5)
