"""Blocks of any layers: feedback for every kernel wherever it is, or a refusal that says why."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from qjax import memories
from qjax.algorithms import ALGORITHMS, Batch, Rules, Settings
from qjax.algorithms.passes import chain, run_blocks
from qjax.blocks import check_feedback, forward, init_network, kernels_of, shapes_of
from qjax.feedback import linear
from qjax.memories import Nearest, Stochastic
from qjax.networks import Dense, identity
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import make_quantizer

KEY = jax.random.key(3)
RNG = np.random.default_rng(5)
IMAGES = jnp.asarray(RNG.normal(size=(6, 8, 8, 2)), jnp.float32)
LABELS = jnp.asarray(RNG.integers(0, 3, 6))
SGD = Rules(OPTIMIZERS["sgd"]())


class Residual(nn.Module):
    """Two convolutions of Flax and a batch normalization, around them the identity."""

    features: int

    @nn.compact
    def __call__(self, x, train=True):
        h = nn.relu(nn.Conv(self.features, (3, 3))(x))
        h = nn.BatchNorm(use_running_average=not train)(h)
        return nn.relu(x + nn.Conv(self.features, (3, 3), use_bias=False)(h))


class Head(nn.Module):
    """A hidden layer and logits, without `train`."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.tanh(nn.DenseGeneral(5, axis=(-3, -2, -1))(x)))


class Own(nn.Module):
    """A layer of one's own, that asks for its feedback or does not."""

    asks: bool = True

    @nn.compact
    def __call__(self, x, train=True):
        x = x.reshape(len(x), -1)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], 3))
        return linear(x, kernel, 0.0, self.get_variable("feedback", "kernel") if self.asks
                      else None)


DEEP = (nn.Conv(4, (3, 3), strides=2), Residual(4), Head())
# Those left out differ from these in how a matrix is made, not in where it goes.
ALGORITHMS_TRIED = ("backprop", "fa", "usf", "kp", "dfa", "dni")


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("name", ALGORITHMS_TRIED)
def test_blocks_of_flax_layers_learn(name):
    algorithm = ALGORITHMS[name](DEEP, Rules(OPTIMIZERS["adam"]()))
    settings = Settings(learning_rate=0.02, memory=Nearest(make_quantizer(8, "symm", "local")))

    @jax.jit
    def train(key):
        (phase,) = algorithm.phases
        state = phase.begin(settings, algorithm.init(key, settings, IMAGES))

        def step(state, key):
            return phase.step(key, settings, state, Batch(IMAGES, LABELS))

        state, losses = jax.lax.scan(step, state, jax.random.split(key, 30))
        probe = phase.probe(key, settings, state, Batch(IMAGES, LABELS))
        return losses, phase.predict(settings, state, IMAGES), probe.gradients, state

    losses, outputs, gradients, state = train(KEY)
    assert losses[-1] < 0.7 * losses[0]
    assert outputs.shape == (6, 3)
    assert jnp.all(jnp.isfinite(outputs))
    # Running statistics move, and every parameter gets a gradient.
    assert jnp.any(state.collections[1]["batch_stats"]["BatchNorm_0"]["mean"] != 0)
    assert all(jnp.any(g != 0) for g in jax.tree.leaves(gradients[-1]))


def test_with_the_kernels_for_feedback_any_blocks_backpropagate():
    params, collections = init_network(KEY, DEEP, IMAGES)
    with_kernels = tuple({**c, "feedback": kernels_of(p)}
                         for p, c in zip(params, collections, strict=True))
    error = jnp.asarray(RNG.normal(size=(6, 3)), jnp.float32)
    true, ours = (chain(run_blocks(DEEP, params, c, IMAGES).pullbacks, error)
                  for c in (collections, with_kernels))
    for a, b in zip(jax.tree.leaves(true), jax.tree.leaves(ours), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_every_kernel_of_a_block_has_its_own_matrix_on_the_way_down():
    head, x = Head(), IMAGES[:, :2, :2]
    (params,), (collections,) = init_network(KEY, (head,), x)
    matrices = jax.tree.map(lambda k: jnp.asarray(RNG.normal(size=k.shape), k.dtype),
                            kernels_of(params))
    assert {"/".join(p) for p in flatten_dict(matrices)} == {
        "DenseGeneral_0/kernel", "Dense_0/kernel"}
    error = jnp.asarray(RNG.normal(size=(6, 3)), jnp.float32)
    run = run_blocks((head,), (params,), ({**collections, "feedback": matrices},), x)
    gradients, down = run.pullbacks[0](error)

    flat = np.asarray(x).reshape(6, -1)
    first = np.asarray(params["DenseGeneral_0"]["kernel"]).reshape(-1, 5)
    hidden = np.tanh(flat @ first)  # biases start at zero
    signal = (np.asarray(error) @ np.asarray(matrices["Dense_0"]["kernel"]).T) * (1 - hidden**2)
    np.testing.assert_allclose(
        gradients["DenseGeneral_0"]["kernel"].reshape(-1, 5), flat.T @ signal, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(gradients["DenseGeneral_0"]["bias"], signal.sum(0), rtol=1e-4,
                               atol=1e-5)
    np.testing.assert_allclose(
        down.reshape(6, -1),
        signal @ np.asarray(matrices["DenseGeneral_0"]["kernel"]).reshape(-1, 5).T,
        rtol=1e-4, atol=1e-5,
    )


def test_a_layer_of_flax_gives_what_the_block_of_the_same_weights_gives():
    x = IMAGES.reshape(6, -1)
    ours, theirs = (Dense(4, activation=identity),), (nn.Dense(4),)
    params, collections = init_network(KEY, ours, x)
    for name in ("fa", "kp"):
        states = []
        for network in (ours, theirs):
            algorithm = ALGORITHMS[name](network, SGD)
            (phase,), settings = algorithm.phases, Settings(learning_rate=0.1)
            state = algorithm.init(KEY, settings, x)
            state = state.replace(held={**state.held, "blocks": jax.tree.map(memories.Held,
                                                                            params)})
            state = phase.begin(settings, state)
            after, _ = phase.step(KEY, settings, state, Batch(x, LABELS))
            states.append(memories.read(settings.memory, after.held["blocks"]))
        for a, b in zip(*map(jax.tree.leaves, states), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        forward(ours, params, collections, x), forward(theirs, params, ({},), x), rtol=1e-6
    )


@pytest.mark.parametrize("name", ["fa", "usf", "kp"])
def test_a_kernel_that_keeps_its_errors_to_itself_is_refused_by_name(name):
    network = (Dense(4), Own(asks=False))
    with pytest.raises(ValueError, match=r"block 1 \(Own\) sends .* 'kernel'.*backprop, dfa"):
        ALGORITHMS[name](network, SGD).init(KEY, Settings(), IMAGES)
    ALGORITHMS[name]((Dense(4), Own()), SGD).init(KEY, Settings(), IMAGES)


def test_algorithms_without_matrices_take_any_kernel():
    for name in ("backprop", "dfa", "dni"):
        ALGORITHMS[name]((Dense(4), Own(asks=False)), SGD).init(KEY, Settings(), IMAGES)


def test_refusals_say_which_block_and_what_instead():
    with pytest.raises(TypeError, match="block 1 is custom_jvp: expected a Flax Linen module"):
        init_network(KEY, (Dense(4), nn.relu), IMAGES)
    with pytest.raises(TypeError, match="hsic batch-normalizes every block, and Residual has no"):
        ALGORITHMS["hsic"]((Residual(2), Dense(3)))


def test_shapes_of_blocks_and_of_their_kernels():
    params, collections = init_network(KEY, DEEP, IMAGES)
    assert [s.shape for s in shapes_of(DEEP, params, collections, IMAGES)] == [
        (6, 4, 4, 4), (6, 4, 4, 4), (6, 3)]
    assert jax.tree.map(jnp.shape, kernels_of(params[1])) == {
        "Conv_0": {"kernel": (3, 3, 4, 4)}, "Conv_1": {"kernel": (3, 3, 4, 4)}}
    assert kernels_of({"scale": jnp.ones(3)}) == {}
    check_feedback(DEEP, params, collections, tuple(map(kernels_of, params)), IMAGES)


def test_a_block_without_kernels_passes_errors_on():
    class Scale(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x * self.param("scale", nn.initializers.ones, x.shape[1:])

    algorithm = ALGORITHMS["fa"]((Dense(4), Scale(), Dense(3, activation=identity)), SGD)
    settings = Settings(learning_rate=0.1, memory=Stochastic(make_quantizer(4)))
    (phase,) = algorithm.phases
    state = phase.begin(settings, algorithm.init(KEY, settings, IMAGES))
    probe = phase.probe(KEY, settings, state, Batch(IMAGES, LABELS))
    assert jnp.any(probe.gradients[1]["scale"] != 0)


class Doubled(nn.Dense):
    """Not what its base is."""

    @nn.compact
    def __call__(self, inputs):
        return 2 * super().__call__(inputs)


class Named(nn.Module):
    """Calls its layer by keyword."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(inputs=x)


def test_what_is_derived_from_a_layer_of_flax_is_not_taken_for_it():
    with pytest.raises(ValueError, match=r"block 0 \(Doubled\) sends errors down"):
        ALGORITHMS["fa"]((Doubled(5), nn.Dense(3)), SGD).init(KEY, Settings(), IMAGES[:, 0, 0])


@pytest.mark.thorough(but=2)
@pytest.mark.parametrize("network", [
    (nn.Sequential([nn.Dense(5), nn.relu]), Named()),
    (nn.Dense(5, dtype=jnp.bfloat16), nn.Dense(3)),
], ids=["sequential", "bfloat16"])
@pytest.mark.parametrize("name", ["fa", "dfa"])
def test_other_shapes_of_blocks_step(name, network):
    algorithm, settings, x = ALGORITHMS[name](network, SGD), Settings(), IMAGES[:, 0, 0]
    for inputs in (x, jnp.round(5 * x).astype(jnp.int32))[: 2 if name == "fa" else 1]:
        (phase,) = algorithm.phases
        state = phase.begin(settings, algorithm.init(KEY, settings, inputs))
        after, loss = phase.step(KEY, settings, state, Batch(inputs, LABELS))
        assert jnp.isfinite(loss)
        first = memories.read(settings.memory, after.held)["blocks"][0]
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(first))
