"""Losses against plain NumPy and finite differences, and training on each of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.algorithms import ALGORITHMS, Batch, Rules, Settings
from qjax.losses import LOSSES, check_labels, output_error, targets
from qjax.memories import Stochastic, by_leaf
from qjax.networks import is_bias, mlp
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import make_quantizer
from qjax.training import evaluate

RNG = np.random.default_rng(2)
OUTPUTS = RNG.normal(size=(6, 3))
CLASSES = RNG.integers(0, 3, 6)
SEVERAL = (RNG.random((6, 3)) < 0.5).astype(float)
REAL = RNG.normal(size=(6, 3))
LABELS = [("cross_entropy", CLASSES), ("squared_error", CLASSES), ("squared_error", REAL),
          ("sigmoid", SEVERAL), ("sigmoid", CLASSES)]


def one_hot(labels):
    return np.eye(3)[labels] if labels.ndim == 1 else labels


def expected(name, outputs, labels, smoothing=0.0):
    """Mean loss in float64, with the targets themselves smoothed."""
    t = one_hot(labels)
    if name == "sigmoid":
        t = (1 - smoothing) * t + smoothing / 2
        p = 1 / (1 + np.exp(-outputs))
        return -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))
    t = (1 - smoothing) * t + smoothing / 3
    if name == "squared_error":
        return np.mean(np.sum((outputs - t) ** 2, axis=1))
    shifted = outputs - outputs.max(1, keepdims=True)
    return -np.mean(np.sum(t * (shifted - np.log(np.exp(shifted).sum(1, keepdims=True))), axis=1))


def arrays(outputs, labels):
    return jnp.asarray(outputs, jnp.float32), jnp.asarray(
        labels, jnp.int32 if labels.ndim == 1 else jnp.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("name", "labels"), LABELS)
def test_losses_and_their_gradients_are_those_of_the_definition(name, labels, smoothing):
    loss, error = output_error(LOSSES[name], *arrays(OUTPUTS, labels), smoothing)
    np.testing.assert_allclose(loss, expected(name, OUTPUTS, labels, smoothing), rtol=1e-5)
    numeric = np.zeros_like(OUTPUTS)
    for place in np.ndindex(OUTPUTS.shape):
        step = np.zeros_like(OUTPUTS)
        step[place] = 1e-5
        up, down = (expected(name, OUTPUTS + s, labels, smoothing) for s in (step, -step))
        numeric[place] = (up - down) / 2e-5
    np.testing.assert_allclose(error, numeric, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "labels"), LABELS)
def test_scores_are_those_of_the_definition_whatever_the_chunks(name, labels):
    outputs, labels32 = arrays(OUTPUTS, labels)
    scores = [evaluate(lambda x: x, Batch(outputs, labels32), lambda x: x, chunk, LOSSES[name])
              for chunk in (2, 4, 6, 100)]
    if labels.ndim == 1:
        right = np.mean(OUTPUTS.argmax(1) == labels)
    elif name == "sigmoid":
        right = np.mean((OUTPUTS > 0) == (labels > 0.5))
    else:
        right = 1 - np.sum((OUTPUTS - labels) ** 2) / np.sum((labels - labels.mean(0)) ** 2)
    for score in scores:
        np.testing.assert_allclose(score.accuracy, right, rtol=1e-5)
        np.testing.assert_allclose(score.loss, expected(name, OUTPUTS, labels), rtol=1e-5)


def test_a_perfect_network_scores_one_and_the_mean_explains_nothing():
    labels = jnp.asarray(REAL, jnp.float32)
    perfect = evaluate(lambda x: x, Batch(labels, labels), lambda x: x, 4, LOSSES["squared_error"])
    assert perfect == (0, 1)
    mean = evaluate(lambda x: jnp.broadcast_to(labels.mean(0), x.shape), Batch(labels, labels),
                    lambda x: x, 4, LOSSES["squared_error"])
    np.testing.assert_allclose(mean.accuracy, 0, atol=1e-6)


def problem(name, count=96):
    """Inputs [count, 5], labels that a small network can learn from them."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(count, 5))
    hidden = np.tanh(x @ rng.normal(size=(5, 3)))
    if name == "cross_entropy":
        return arrays(x, hidden.argmax(1))
    return arrays(x, (hidden > 0).astype(float) if name == "sigmoid" else hidden)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize(("name", "algorithm"), [
    ("cross_entropy", "hsic"), *((name, "dni") for name in LOSSES),
    *(("squared_error", name) for name in ("backprop", "fa", "dfa", "hsic")), ("sigmoid", "kp"),
])
def test_algorithms_train_on_other_losses(name, algorithm):
    batch, loss = Batch(*problem(name)), LOSSES[name]
    rules = [Rules(OPTIMIZERS["adam"](), loss=loss)] * (2 if algorithm == "hsic" else 1)
    trained = ALGORITHMS[algorithm](mlp([16], 3, gain="fixed"), *rules)
    memory = by_leaf((is_bias, Stochastic()), Stochastic(make_quantizer(5, "symm", "global")))
    settings = Settings(learning_rate=0.02, memory=memory)

    @jax.jit
    def train(key):
        state, objectives = trained.init(key, settings, batch.inputs), []
        for phase in trained.phases:
            def step(state, key, phase=phase):
                return phase.step(key, settings, state, batch)

            state, objective = jax.lax.scan(step, phase.begin(settings, state),
                                            jax.random.split(key, 150))
            objectives.append(objective)
        predict = trained.phases[-1].predict
        return objectives, evaluate(lambda x: predict(settings, state, x), batch, lambda x: x, 50,
                                    trained.phases[-1].loss)

    objectives, score = train(jax.random.key(1))
    assert objectives[-1][-1] < objectives[-1][0]
    chance = {"cross_entropy": 0.5, "squared_error": 0.2, "sigmoid": 0.6}[name]
    assert score.accuracy > chance


def test_labels_that_fit_no_network_are_refused():
    cross_entropy, squares = LOSSES["cross_entropy"], LOSSES["squared_error"]
    with pytest.raises(TypeError, match="labels must be integers, got float32"):
        check_labels(cross_entropy, jnp.ones(3), 3)
    with pytest.raises(ValueError, match=r"labels of shape \(4, 2\).*expected \[n, 3\] floats"):
        check_labels(squares, jnp.ones((4, 2)), 3)
    with pytest.raises(ValueError, match="labels from 0 to 3, where the network has 3"):
        check_labels(squares, jnp.arange(4), 3)
    with pytest.raises(ValueError, match=r"integer labels of shape \(4, 1\): expected \[n\]"):
        check_labels(squares, jnp.zeros((4, 1), int), 3)
    with pytest.raises(ValueError, match="1 labels for 4 outputs"):
        output_error(squares, jnp.ones((4, 3)), jnp.ones((1, 3)))
    check_labels(squares, jnp.ones(4), 1)
    assert targets(jnp.ones(4), 1).shape == (4, 1)
