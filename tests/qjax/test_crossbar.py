"""Converters around every product, and what single examples ask of the weights."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax import algorithms, blocks, devices, feedback, memories, networks, structs
from qjax.algorithms import Batch, Rules, Settings
from qjax.convolution import convolve
from qjax.devices import Converters, Crossbar
from qjax.memories import Float, Pulsed, by_leaf
from qjax.networks import Conv, identity, is_bias
from qjax.optimizers import OPTIMIZERS

KEY = jax.random.key(4)
FREE = Converters(inp_res=0.0, out_res=0.0, out_bound=jnp.inf, out_noise=0.0)
COARSE = Converters(inp_res=1 / 6, out_res=1 / 30, out_bound=12.0, out_noise=0.0)
IMAGES = jax.random.normal(KEY, (6, 5))
FLOAT = Float()
LABELS = jnp.arange(6) % 3
NETWORK = networks.mlp([8, 7], 3)


def step_of(name, memory=FLOAT, network=NETWORK, by_example=False, **settings):
    """(state after one step, objective, network's outputs after it)."""
    rules = Rules(OPTIMIZERS["sgd"](), by_example=by_example)
    algorithm = algorithms.ALGORITHMS[name](network, rules)
    phase = algorithm.phases[0]
    rate = 0.002 if name == "hsic" else 0.2  # whose gradients are hundreds of times as large
    settings = Settings(learning_rate=rate, memory=memory, **settings)

    @jax.jit
    def run(key, settings):
        state = phase.begin(settings, algorithm.init(key, settings, IMAGES))
        state, objective = phase.step(jax.random.key(1), settings, state, Batch(IMAGES, LABELS))
        outputs = phase.predict(settings, state, IMAGES) if phase.predict else objective
        return phase.show(settings, state), objective, outputs

    return run(KEY, settings)


@functools.cache
def plain_step(name):
    """`step_of` without devices or converters: several tests compare with it."""
    return step_of(name)


def assert_same(one, other, share=1e-6):
    """Up to a share of the largest entry of each array, or of one."""
    def same(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=share * max(1.0, float(jnp.abs(b).max())))

    jax.tree.map(same, one, other)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("name", ["backprop", "fa", "dfa", "hsic"])
def test_converters_without_bits_are_none(name):
    free = Crossbar(FREE, FREE.replace(bound_management="none"))
    # hsic inverts matrices that are close to singular.
    assert_same(step_of(name, crossbar=free), plain_step(name), 3e-3 if name == "hsic" else 3e-4)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize(("name", "counting"), [
    ("backprop", "normal"),
    *((name, "whole") for name in ("backprop", "fa", "kp", "dfa", "dni_linear", "hsic"))])
def test_devices_of_countless_equal_states_are_floats(name, counting):
    equal = dict.fromkeys(("dw_min_dtod", "dw_min_std", "up_down_dtod", "w_max_dtod",
                           "w_min_dtod"), 0.0)
    device = devices.ConstantStep(dw_min=1e-6, w_max=50.0, w_min=-50.0, **equal)
    memory = by_leaf((is_bias, Float()), Pulsed(device, counting=counting, most=1e9))
    # Pulses of all examples have a deviation of their own, of sqrt(change times step).
    found = step_of(name, memory, by_example=counting == "normal")
    assert_same(found[0], plain_step(name)[0], 5e-3)


def test_products_pass_the_converters_both_ways():
    x, kernel, error = (jax.random.normal(jax.random.key(n), shape)
                        for n, shape in enumerate([(4, 5), (5, 3), (4, 3)]))
    crossbar = Crossbar(COARSE, COARSE.replace(bound_management="none"))

    def layer(x, kernel):
        return feedback.with_feedback(feedback.matmul, x, kernel, None, None, crossbar)

    out, pull = jax.vjp(layer, x, kernel)
    np.testing.assert_allclose(out, devices.product(None, COARSE, x, kernel), atol=1e-6)
    assert not np.allclose(out, x @ kernel, atol=1e-3)
    down, gradient = pull(error)
    np.testing.assert_allclose(down, devices.product(None, crossbar.backward, error, kernel.T),
                               atol=1e-6)
    np.testing.assert_allclose(gradient, x.T @ error, rtol=1e-5)  # as aihwkit updates


@pytest.mark.thorough
def test_convolutions_pass_converters_that_manage_images_one_by_one():
    """However images lie: sizes differ by image, and so does what a converter lets through."""
    x = jax.random.normal(jax.random.key(0), (3, 6, 6, 2)) * jnp.array([0.1, 1, 10])[:, None, None,
                                                                                     None]
    crossbar = Crossbar(COARSE, COARSE.replace(bound_management="none"))
    block = Conv(4, identity, size=3)
    variables = block.init(jax.random.key(1), x)
    params = variables["params"]
    error = jax.random.normal(jax.random.key(2), (3, 4, 4, 4)) * x[:, :1, :1, :1]

    def respond(x):
        return block.apply({"params": params, "crossbar": {"kernel": crossbar}}, x)

    def back(error, kernel):
        return jax.vjp(lambda x: convolve(x, kernel), x)[1](error)[0]

    out, pull = jax.vjp(respond, x)
    expected = devices.product(None, COARSE, x, params["kernel"], convolve)
    np.testing.assert_allclose(out, expected + params["bias"], rtol=1e-5, atol=1e-5)
    down = devices.product(None, crossbar.backward, error, params["kernel"], back)
    np.testing.assert_allclose(pull(error)[0], down, rtol=1e-5, atol=1e-5)


def test_errors_go_down_through_feedback_and_its_converters():
    x, kernel, error = (jnp.ones((2, 3)), jnp.ones((3, 2)), jnp.array([[1.0, -0.3], [0.2, 0.7]]))
    matrix = jnp.array([[0.1, 0.5], [-0.4, 0.2], [0.3, -0.9]])
    crossbar = Crossbar(None, COARSE.replace(bound_management="none"))
    out, pull = jax.vjp(lambda x: feedback.with_feedback(
        feedback.matmul, x, kernel, matrix, None, crossbar), x)
    np.testing.assert_allclose(out, x @ kernel)
    np.testing.assert_allclose(
        pull(error)[0], devices.product(None, crossbar.backward, error, matrix.T), atol=1e-6)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("block", [
    networks.Dense(3), networks.Dense(3, gain="fixed"), nn.Dense(3),
    networks.Conv(3, size=2), nn.Conv(3, (2, 2)),
])
def test_sizes_are_those_of_every_example(block):
    shape = (4, 3, 3, 2) if isinstance(block, networks.Conv | nn.Conv) else (4, 5)
    x = jax.random.normal(KEY, shape)
    (params,), (collections,) = blocks.init_network(KEY, (block,), x)

    def pulled(params, x, error_of):
        out, pull = jax.vjp(
            lambda p: blocks.apply_block(block, p, collections, x, train=True)[0], params)
        return pull(error_of(out))[0]

    error = jax.random.normal(jax.random.key(9), jax.eval_shape(
        lambda: blocks.apply_block(block, params, collections, x, train=True)[0]).shape)
    gradient, sizes = blocks.without_activity(
        pulled(blocks.with_activity(params), x, lambda out: error))
    assert_same(gradient, pulled(params, x, lambda out: error))
    assert sizes["bias"] is None
    if len(shape) == 2:  # every example by itself
        each = [jnp.abs(pulled(params, x[i : i + 1], lambda out, i=i: error[i : i + 1])["kernel"])
                for i in range(len(x))]
        np.testing.assert_allclose(sizes["kernel"], sum(each), rtol=1e-4)
    else:  # every patch of every example: more than every example
        each = [jnp.abs(pulled(params, x[i : i + 1], lambda out, i=i: error[i : i + 1])["kernel"])
                for i in range(len(x))]
        assert np.all(np.asarray(sizes["kernel"]) >= np.asarray(sum(each)) - 1e-4)
    assert blocks.kernels_of(blocks.with_activity(params)).keys() == {"kernel"}


def test_the_memory_is_told_what_examples_ask_for_in_units_of_the_change():
    seen = []

    @structs.dataclass
    class Spy(Float):
        takes_activity = True

        def write(self, key, held, change, activity=None):
            seen.append((change.shape, activity is None or activity.total.shape))
            return super().write(key, held, change)

    assert memories.takes_activity(by_leaf((is_bias, Float()), Spy()))
    step_of("backprop", by_leaf((is_bias, Float()), Spy()), by_example=True)
    assert seen
    assert all(shape == told for shape, told in seen)
    seen.clear()
    step_of("backprop", by_leaf((is_bias, Float()), Spy()))
    assert all(told is True for _, told in seen)


def test_noise_is_new_in_every_step_and_the_same_for_the_same_inputs():
    noisy = Crossbar(FREE.replace(out_noise=0.1), None)
    settings = Settings(memory=Float(), crossbar=noisy)
    algorithm = algorithms.backprop(NETWORK, Rules(OPTIMIZERS["sgd"]()))
    phase = algorithm.phases[0]
    state = phase.begin(settings, algorithm.init(KEY, settings, IMAGES))
    losses = [float(phase.step(jax.random.key(n), settings, state, Batch(IMAGES, LABELS))[1])
              for n in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]
    one, two = (phase.predict(settings, state, IMAGES) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    other = state.replace(held=jax.tree.map(lambda x: 1.001 * x, state.held))
    assert not np.allclose(one, phase.predict(settings, other, IMAGES), atol=0.02)
    plain = phase.predict(settings.replace(crossbar=None), state, IMAGES)
    assert 0.01 < float(jnp.std(one - plain)) < 1
    assert "crossbar" not in phase.step(
        KEY, settings, state, Batch(IMAGES, LABELS))[0].collections[0]


def test_direct_feedback_passes_the_converters_of_errors():
    coarse = Crossbar(None, COARSE.replace(inp_res=1 / 2, bound_management="none"))
    plain, through = step_of("dfa")[0], step_of("dfa", crossbar=coarse)[0]
    assert not np.allclose(plain[0]["kernel"], through[0]["kernel"], atol=1e-4)
    # The last block's error comes from the loss, not from an array.
    np.testing.assert_allclose(plain[-1]["kernel"], through[-1]["kernel"], atol=1e-6)
