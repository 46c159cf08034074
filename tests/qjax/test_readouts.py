"""Readouts without training, and networks side by side: against SciPy, counting, and one alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from qjax import memories
from qjax.algorithms import Batch, Rules, Settings, hsic
from qjax.blocks import forward, init_network
from qjax.losses import squared_error
from qjax.networks import Dense, mlp
from qjax.optimizers import OPTIMIZERS
from qjax.readouts import MOMENTUM, Assigned, observed, one_to_one, side_by_side

RNG = np.random.default_rng(0)
BATCH = Batch(jnp.asarray(RNG.normal(size=(12, 6)), jnp.float32),
              jnp.asarray(RNG.integers(0, 3, 12), jnp.int32))
SGD = Rules(OPTIMIZERS["sgd"]())
PLAIN = Settings(learning_rate=1e-3)
NETWORK = mlp([5], 3)


@pytest.mark.parametrize(("classes", "units"), [(3, 3), (10, 10), (4, 7)])
def test_assignments_are_scipys(classes, units):
    means = RNG.normal(size=(5, classes, units))
    ours = jax.jit(jax.vmap(one_to_one))(jnp.asarray(means, jnp.float32))
    for own, mean in zip(np.asarray(ours), means, strict=True):
        np.testing.assert_array_equal(own, linear_sum_assignment(mean, maximize=True)[1])


def test_an_assignment_names_no_unit_twice_where_the_largest_would():
    means = jnp.array([[3.0, 2.0], [2.5, 0.0]])  # unit 0 is the largest for both
    np.testing.assert_array_equal(one_to_one(means), [1, 0])


def test_scores_are_the_units_in_the_order_of_the_classes():
    units = np.array([2, 0, 1])  # that tell classes 0, 1, 2
    one_hot = np.eye(3, dtype=np.float32)[np.array([0, 1, 2, 2, 1])]
    x = np.zeros((5, 3), np.float32)
    x[np.arange(5), units[one_hot.argmax(1)]] = 1.0
    block = Assigned(3)
    collections = {"assignment": block.init(jax.random.key(0), x)["assignment"]}
    seen = observed(collections, jnp.asarray(x), jnp.asarray(one_hot))
    np.testing.assert_allclose(seen["assignment"]["counts"], MOMENTUM * np.array([1, 2, 2]))
    np.testing.assert_allclose(seen["assignment"]["sums"], MOMENTUM * one_hot.T @ x)
    np.testing.assert_array_equal(block.apply(seen, x), one_hot)
    again = observed(seen, jnp.zeros((5, 3)), jnp.asarray(one_hot))
    np.testing.assert_allclose(again["assignment"]["sums"],
                               (1 - MOMENTUM) * np.asarray(seen["assignment"]["sums"]), rtol=1e-6)


def test_copies_side_by_side_are_as_each_alone():
    network = (Dense(5, normalize=True), Dense(3))
    several = side_by_side(network, 3)
    params, collections = init_network(jax.random.key(0), several, BATCH.inputs)
    out = forward(several, params, collections, BATCH.inputs)
    assert out.shape == (12, 3, 3)
    for number in range(3):
        own = [tuple(block.get(f"copy_{number}", {}) for block in tree)
               for tree in (params, [c.get("batch_stats", {}) for c in collections])]
        alone = forward(network, own[0], [{"batch_stats": s} if s else {} for s in own[1]],
                        BATCH.inputs)
        np.testing.assert_allclose(out[:, number], alone, rtol=1e-5, atol=1e-6)
    assert np.abs(out[:, 0] - out[:, 1]).max() > 0.01


def stepped(algorithm, state=None, settings=PLAIN):
    start = algorithm.init(jax.random.key(0), settings, BATCH.inputs) if state is None else state
    begun = algorithm.phases[0].begin(settings, start)
    after, loss = jax.jit(algorithm.phases[0].step)(jax.random.key(1), settings, begun, BATCH)
    return start, after, loss


def weights(state):
    return memories.read(PLAIN.memory, state.held)["blocks"]


@pytest.mark.thorough
def test_bodies_of_several_widths_learn_as_each_alone():
    sigmas = (1.0, 5.0)
    start, after, loss = stepped(hsic(NETWORK, SGD, sigma=sigmas))
    losses = []
    for number, sigma in enumerate(sigmas):
        alone = hsic(NETWORK, SGD, sigma=sigma)
        first = alone.init(jax.random.key(0), PLAIN, BATCH.inputs)
        own = tuple(block[f"copy_{number}"] for block in start.held["blocks"][:2])
        first = first.replace(held={"blocks": (*own, first.held["blocks"][2])})
        _, expected, own_loss = stepped(alone, first)
        losses.append(own_loss)
        for block, other, old in zip(weights(after)[:2], weights(expected)[:2],
                                     weights(first)[:2], strict=True):
            for name in ("kernel", "bias"):
                change = np.asarray(block[f"copy_{number}"][name] - old[name])
                other_change = np.asarray(other[name] - old[name])
                size = np.abs(other_change).max()
                np.testing.assert_allclose(change, other_change, atol=2e-2 * size + 1e-9)
    np.testing.assert_allclose(loss, sum(losses), rtol=1e-3)


def test_unformatted_training_is_the_first_phase_alone():
    formatted, unformatted = hsic(NETWORK, SGD), hsic(NETWORK, SGD, formatted=False)
    assert [phase.name for phase in unformatted.phases] == ["bottleneck"]
    start, after, loss = stepped(unformatted)
    own = formatted.init(jax.random.key(0), PLAIN, BATCH.inputs)
    own = own.replace(held={"blocks": start.held["blocks"][:2] + own.held["blocks"][2:]})
    _, expected, own_loss = stepped(formatted, own)
    np.testing.assert_allclose(loss, own_loss, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
                 weights(after)[:2], weights(expected)[:2])
    assert weights(after)[2] == {}
    outputs = unformatted.phases[0].predict(PLAIN, after, BATCH.inputs)
    body = forward(unformatted.network[:2], weights(after)[:2], after.collections[:2],
                   BATCH.inputs)
    np.testing.assert_allclose(np.sort(outputs, axis=1), np.sort(body, axis=1), rtol=1e-5)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("sigma", [5.0, (1.0, 5.0)])
def test_unformatted_training_tells_separable_classes(sigma):
    labels = jnp.arange(48) % 3
    inputs = jax.random.normal(jax.random.key(5), (48, 6)) + 4 * jax.nn.one_hot(labels, 6)
    algorithm, settings = hsic(NETWORK, SGD, sigma=sigma, formatted=False), Settings(
        learning_rate=3e-3)
    state = algorithm.init(jax.random.key(0), settings, inputs)
    phase = algorithm.phases[0]

    def train(state, _):
        return phase.step(jax.random.key(1), settings, state, Batch(inputs, labels))

    begun = phase.begin(settings, state)
    state, _ = jax.jit(lambda s: jax.lax.scan(train, s, length=150))(begun)
    right = phase.predict(settings, state, inputs).argmax(1) == labels
    assert np.mean(right) > 0.9


def test_widths_may_be_an_array():
    assert hsic(NETWORK, SGD, sigma=np.array([1.0, 5.0])).network[0].copies == 2


def test_no_kernel_width_is_refused():
    with pytest.raises(ValueError, match="no kernel width"):
        hsic(NETWORK, SGD, sigma=())


def test_flax_layers_go_side_by_side():
    several = side_by_side((nn.Dense(4),), 2)
    params, collections = init_network(jax.random.key(0), several, BATCH.inputs)
    out = forward(several, params, collections, BATCH.inputs)
    own = params[0]["copy_1"]
    np.testing.assert_allclose(out[:, 1], BATCH.inputs @ own["kernel"] + own["bias"], rtol=1e-5,
                               atol=1e-6)


def test_an_unformatted_readout_needs_classes():
    with pytest.raises(ValueError, match=r"expected cross_entropy, or formatted training"):
        hsic(NETWORK, SGD._replace(loss=squared_error), formatted=False)
