"""The feedback-alignment family against a backward pass written in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_algorithms import BATCH, NETWORK, PLAIN, SGD, assert_same, shown, start, steps

from qjax import algorithms, memories
from qjax.algorithms import Settings
from qjax.algorithms.fa import _draw_all
from qjax.memories import Nearest
from qjax.networks import mlp
from qjax.quantize import make_quantizer

KERNELS = range(3)


def arrays(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def fixed(state, settings=PLAIN):
    """The matrices that are never written, as the memory shows them."""
    return memories.read(settings.memory, state.fixed)


def numpy_gradients(blocks, signal_at):
    """Gradients of the ReLU network `blocks` on BATCH.

    Args:
      blocks: kernels and biases.
      signal_at: (index, error at the layer above's pre-activation, error at the logits) -> the
        signal at the output of hidden block `index`.
    """
    x, labels = np.asarray(BATCH.inputs, np.float64), np.asarray(BATCH.labels)
    inputs, before = [x], []
    for index, layer in enumerate(blocks):
        before.append(inputs[-1] @ layer["kernel"] + layer["bias"])
        last = index == len(blocks) - 1
        inputs.append(before[-1] if last else np.maximum(before[-1], 0))
    odds = np.exp(before[-1] - before[-1].max(1, keepdims=True))
    error = (odds / odds.sum(1, keepdims=True) - np.eye(3)[labels]) / len(labels)
    output_error, gradients = error, []
    for index in reversed(range(len(blocks))):
        if index < len(blocks) - 1:
            error = signal_at(index, error, output_error) * (before[index] > 0)
        gradients.insert(0, {"kernel": inputs[index].T @ error, "bias": error.sum(0)})
    return gradients


def check(algorithm, state, signal_at):
    """One step of plain gradient descent moves the blocks by NumPy's gradients."""
    after, _ = steps(algorithm, state)
    blocks = arrays(shown(state)["blocks"])
    for new, old, gradient in zip(
        shown(after)["blocks"], blocks, numpy_gradients(blocks, signal_at), strict=True
    ):
        for name, expected in gradient.items():
            np.testing.assert_allclose(new[name], old[name] - 0.3 * expected, rtol=1e-4, atol=1e-6)
    return after


def through(matrices):
    """Errors go down through the transpose of the matrix of the layer above."""
    return lambda index, error, output_error: error @ matrices[index + 1].T


@pytest.mark.parametrize("name", ["fa", "usf", "frsf", "kp"])
def test_errors_travel_through_the_feedback(name):
    algorithm = algorithms.ALGORITHMS[name](NETWORK, SGD)
    state = start(algorithm)
    weights = [np.asarray(b["kernel"]) for b in shown(state)["blocks"]]
    trees = shown(state) if name == "kp" else fixed(state)
    assert ("feedback" in trees) == (name != "usf")
    drawn = [np.asarray(b["kernel"]) for b in trees.get("feedback", ())]
    if name == "usf":  # Xavier: the variance of a kernel is 2 / (fan_in + fan_out)
        matrices = [np.sign(w) * np.sqrt(2 / sum(w.shape)) for w in weights]
    elif name == "frsf":
        matrices = [np.sign(w) * np.abs(m) for w, m in zip(weights, drawn, strict=True)]
    else:
        matrices = drawn
    after = check(algorithm, state, through(matrices))
    # The random matrices stay as they are, and none comes to stay.
    assert_same((after.fixed, after.collections), (state.fixed, state.collections))


def test_brsf_draws_magnitudes_for_every_batch():
    algorithm = algorithms.brsf(NETWORK, SGD)
    state = start(algorithm)
    weights = [np.asarray(b["kernel"]) for b in shown(state)["blocks"]]
    step_key = jax.random.fold_in(jax.random.key(0), 0)  # of `steps`
    drawn = _draw_all(jax.random.fold_in(step_key, 0), shown(state)["blocks"], state.collections)
    matrices = [np.sign(w) * np.abs(m["kernel"]) for w, m in zip(weights, drawn, strict=True)]
    check(algorithm, state, through(matrices))

    def moved(key):
        return shown(algorithm.phases[0].step(key, PLAIN, state, BATCH)[0])["blocks"]

    one, other = moved(jax.random.key(1)), moved(jax.random.key(2))
    assert (one[0]["kernel"] != other[0]["kernel"]).any()
    np.testing.assert_array_equal(one[-1]["kernel"], other[-1]["kernel"])  # whose error is exact


@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_dfa_sends_the_output_error_to_every_block(gain):
    algorithm = algorithms.dfa(NETWORK, SGD)
    state = start(algorithm)
    assert [float(c["direct"]["gain"]) for c in state.collections[:-1]] == [1.0, 1.0]
    state = state.replace(collections=(*({"direct": {"gain": jnp.float32(gain)}},) * 2, {}))
    matrices = [gain * np.asarray(b["kernel"]) for b in fixed(state)["direct"]]
    assert [m.shape for m in matrices] == [(3, 5), (3, 4)]
    after = check(algorithm, state, lambda index, error, output: output @ matrices[index])
    assert_same((after.fixed, after.collections), (state.fixed, state.collections))


@pytest.mark.thorough(but=2)
@pytest.mark.parametrize("name", ["fa", "usf", "frsf", "brsf", "dfa", "kp"])
def test_the_last_block_receives_the_true_gradient(name):
    algorithm = algorithms.ALGORITHMS[name](NETWORK, SGD)
    state = start(algorithm)
    after, _ = steps(algorithm, state)
    truth, _ = steps(algorithms.backprop(NETWORK, SGD), state.replace(
        held={"blocks": state.held["blocks"]}, collections=({}, {}, {}), fixed={}
    ))
    for leaf in ("kernel", "bias"):
        np.testing.assert_allclose(
            shown(after)["blocks"][-1][leaf], shown(truth)["blocks"][-1][leaf], atol=1e-6
        )


def test_kolen_pollack_feedback_becomes_the_weights():
    algorithm = algorithms.kp(NETWORK, SGD)
    settings = Settings(learning_rate=0.3, weight_decay=0.1)
    state = start(algorithm, settings)
    after, _ = steps(algorithm, state, settings, count=60)

    def gaps(state):
        return [np.asarray(b["kernel"] - w["kernel"]) for b, w in zip(
            shown(state)["feedback"], shown(state)["blocks"], strict=True)]

    for then, now in zip(gaps(state), gaps(after), strict=True):
        # Both receive the same gradient: their difference only decays.
        np.testing.assert_allclose(now, then * (1 - 0.3 * 0.1) ** 60, atol=1e-5)
        assert np.abs(now).max() < 0.2 * np.abs(then).max()


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("name", ["fa", "frsf", "dfa", "kp"])
def test_stored_feedback_lies_on_the_device_grid(name):
    network, settings = mlp([5, 4], 3, gain="fixed"), Settings(
        gain=jnp.float32(1.5), memory=Nearest(make_quantizer(2, "symm", "global"))
    )
    state = start(algorithms.ALGORITHMS[name](network, SGD), settings)
    trees = shown(state, settings) if name == "kp" else fixed(state, settings)
    stored = [b["kernel"] for b in trees["direct" if name == "dfa" else "feedback"]]
    if name == "dfa":
        gains = [c["direct"]["gain"] for c in state.collections[:-1]]
        np.testing.assert_allclose(gains, [1.5 * 3**-0.5] * 2, rtol=1e-6)
    for matrix in stored:
        np.testing.assert_allclose(matrix, np.round(matrix), atol=1e-6)
        assert set(np.round(np.asarray(matrix)).ravel()) <= {-1.0, 0.0, 1.0}
        assert np.abs(matrix).max() > 0.5
