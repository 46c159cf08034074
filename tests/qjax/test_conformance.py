"""Our algorithms against the original programs, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import vectors

from qjax import algorithms, memories, networks
from qjax.algorithms import Batch, Rules, Settings, TrainState
from qjax.memories import Held, Nearest
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import make_quantizer
from qjax.trees import turned

QUANTIZERS = {
    "float": (None, "symm", "local"),
    "symm-local-5": (5, "symm", "local"),
    "asymm-global-8": (8, "asymm", "global"),
}
DECAY = 1e-3  # of hsic's first phase
NETWORK = networks.mlp([8, 8], 10)


# Takes the step of plain SGD and remembers the gradient it saw.
SPY = optax.GradientTransformation(
    init=lambda params: jax.tree.map(jnp.zeros_like, params),
    update=lambda gradient, state, params=None: (gradient, gradient),
)


def memory_of(variant):
    return Nearest(make_quantizer(*QUANTIZERS[variant]))


def trajectory(algorithm, variant, steps, dtype=np.float32, optimizer=None):
    """Our state and objectives after `steps` steps from the original's initial tensors."""
    default = OPTIMIZERS["sgd" if algorithm == "hsic" else "adadelta"]()
    phase = algorithms.ALGORITHMS[algorithm](NETWORK, Rules(optimizer or default)).phases[0]
    settings = Settings(
        weight_decay=DECAY if algorithm == "hsic" else 0.0,
        memory=memory_of(variant),
    )
    trees = vectors.params(algorithm, variant, 0, dtype)
    fixed = vectors.fixed(algorithm, variant, 0, dtype)
    collections = vectors.collections(algorithm, variant, 0, dtype)
    if algorithm == "hsic":  # the readout takes no part in the first phase
        readout = {"kernel": np.zeros((10, 10), dtype), "bias": np.zeros(10, dtype)}
        trees["blocks"] += (readout,)
        collections += ({},)
    state = TrainState(jax.tree.map(Held, trees), collections, fixed=jax.tree.map(Held, fixed))
    state = phase.begin(settings, jax.tree.map(jnp.asarray, state))
    step = jax.jit(phase.step)
    losses = []
    for k in range(steps):
        batch = Batch(
            jnp.asarray(vectors.vectors()["steps/x"][k] / dtype(255)).astype(dtype),
            jnp.asarray(vectors.vectors()["steps/labels"][k].astype(np.int32)),
        )
        state, loss = step(jax.random.key(k), settings, state, batch)
        losses.append(float(loss))
    return state, losses


def first_blocks(state, variant):
    """Trees that the vectors hold: hsic's readout left out."""
    weights = memories.read(memory_of(variant), state.held)
    return {**weights, "blocks": weights["blocks"][:3]}


def leaves(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@pytest.mark.parametrize("algorithm", ["backprop", "fa", "dni"])
def test_float_trajectories_agree(algorithm):
    for k in (1, 6):
        state, losses = trajectory(algorithm, "float", k)
        expected = leaves(vectors.params(algorithm, "float", k))
        ours = leaves(first_blocks(state, "float"))
        assert ours.keys() == expected.keys()
        for name, tensor in expected.items():
            np.testing.assert_allclose(ours[name], tensor, atol=1e-5, rtol=0, err_msg=name)
    published = [vectors.vectors()[f"trajectory/{algorithm}/float/loss/{k}"] for k in range(6)]
    np.testing.assert_allclose(losses, published, rtol=1e-5)


@pytest.mark.parametrize("variant", QUANTIZERS)
@pytest.mark.parametrize("algorithm", ["backprop", "fa", "dni"])
def test_first_gradients_agree(algorithm, variant):
    state, _ = trajectory(algorithm, variant, 1, optimizer=SPY)
    ours = leaves(turned(state.opt_state))
    expected = leaves(vectors.params(algorithm, variant, "grad0"))
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(ours[name], tensor, atol=1e-6, rtol=1e-5, err_msg=name)


def relative(ours, expected):
    return np.abs(ours - expected).max() / np.abs(expected).max()


def test_hsic_float_trajectory_agrees_in_float64():
    with jax.enable_x64(True):
        for k in (1, 6):
            state, losses = trajectory("hsic", "float", k, np.float64)
            expected = leaves(vectors.params("hsic", "float", k, np.float64))
            ours = leaves(first_blocks(state, "float"))
            for name, tensor in expected.items():
                assert relative(ours[name], tensor) < 1e-5, name
            statistics = leaves(vectors.collections("hsic", "float", k, np.float64))
            ours = leaves(state.collections)
            for name, tensor in statistics.items():
                assert relative(ours[name], tensor) < 1e-5, name
    v = vectors.vectors()
    for k, loss in enumerate(losses):
        at = "trajectory/hsic/float"
        published = sum(v[f"{at}/hx/{k}/{i}"] - 500 * v[f"{at}/hy/{k}/{i}"] for i in range(3))
        np.testing.assert_allclose(loss, published, rtol=1e-5)


@pytest.mark.parametrize("variant", QUANTIZERS)
def test_hsic_first_gradients_agree_in_float64(variant):
    with jax.enable_x64(True):
        state, _ = trajectory("hsic", variant, 1, np.float64, optimizer=SPY)
        start = vectors.params("hsic", variant, 0, np.float64)
        expected = vectors.params("hsic", variant, "grad0", np.float64)
        for layer, gradient in enumerate(turned(state.opt_state)):
            # The bias moves nothing before batch normalization: its gradient is rounding noise.
            kernel = expected["blocks"][layer]["kernel"]
            ours = gradient["kernel"] - DECAY * start["blocks"][layer]["kernel"]
            assert relative(ours, kernel) < 1e-5, layer
            bias = gradient["bias"] - DECAY * start["blocks"][layer]["bias"]
            assert np.abs(bias).max() < 1e-9 * np.abs(kernel).max(), layer


@pytest.mark.parametrize("variant", ["symm-local-5", "asymm-global-8"])
@pytest.mark.parametrize("algorithm", ["backprop", "fa", "dni", "hsic"])
def test_quantized_trajectories_agree_on_the_grid_points(algorithm, variant):
    dtype = np.float64 if algorithm == "hsic" else np.float32
    with jax.enable_x64(dtype is np.float64):
        state, _ = trajectory(algorithm, variant, 6, dtype)
    ours = leaves(first_blocks(state, variant))
    expected = leaves(vectors.params(algorithm, variant, 6))
    bits, kind, scope = QUANTIZERS[variant]
    same = total = 0
    for name, tensor in expected.items():
        extent = 2.0 if scope == "global" else 2 * np.abs(tensor).max()
        step = extent / (2**bits - (1 if kind == "asymm" else 2))
        same += np.sum(np.abs(ours[name] - tensor) < step / 2)
        total += tensor.size
    assert same / total >= 0.99
