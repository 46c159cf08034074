"""Sequences that are cut: against gradients through the whole, with the cuts written by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qjax import memories
from qjax.algorithms import Batch, Rules, Settings, backprop, dni_time, tbptt
from qjax.devices import Converters, Crossbar
from qjax.networks import Recurrent, Stretch, mlp, recurrent
from qjax.optimizers import OPTIMIZERS
from qjax.synthetic import Synthesizer

LENGTH, CUT = 7, 3  # stretches of 1, 3 and 3 steps
RNG = np.random.default_rng(0)
BATCH = Batch(jnp.asarray(RNG.normal(size=(6, LENGTH, 2)), jnp.float32),
              jnp.asarray(RNG.integers(0, 3, 6), jnp.int32))
NETWORK = recurrent(4, 3, truncation=CUT)
SGD = Rules(OPTIMIZERS["sgd"]())
PLAIN = Settings(learning_rate=0.5)
# Not quiet, so that guesses are not zero at the first step.
GUESSING = Synthesizer(width=5)


def after(algorithm, settings=PLAIN):
    """(weights before, weights after one step) of every tree that is held."""
    state = algorithm.init(jax.random.key(1), settings, BATCH.inputs)
    state = algorithm.phases[0].begin(settings, state)
    moved, _ = jax.jit(algorithm.phases[0].step)(jax.random.key(2), settings, state, BATCH)
    return tuple(memories.read(settings.memory, s.held) for s in (state, moved))


def gradient(before, moved):
    return jax.tree.map(lambda a, b: (a - b) / PLAIN.learning_rate, before, moved)


def loss_of(logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, BATCH.labels).mean()


def states(blocks, cut=lambda h: h, at=()):
    """All states of the recurrent layer, and the loss; `cut` is applied to those before `at`."""
    body, top = blocks
    h, seen = jnp.zeros((6, 4)), []
    for t in range(LENGTH):
        if t in at:
            seen.append(h)
            h = cut(h)
        h = jnp.tanh(BATCH.inputs[:, t] @ body["input"]["kernel"] + body["input"]["bias"]
                     + h @ body["recurrent"]["kernel"] + body["recurrent"]["bias"])
    logits = h @ top["kernel"] + top["bias"]
    return seen, loss_of(logits), logits


def assert_close(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), ours, theirs)


def test_the_layer_is_the_recursion_written_out():
    before, _ = after(backprop(NETWORK, SGD))
    h = Recurrent(4).apply({"params": before["blocks"][0]}, BATCH.inputs)
    logits = NETWORK[1].apply({"params": before["blocks"][1]}, h)
    np.testing.assert_allclose(logits, states(before["blocks"])[2], rtol=1e-5, atol=1e-6)


def test_a_sequence_in_stretches_ends_where_the_whole_ends():
    layer = Recurrent(4)
    variables = layer.init(jax.random.key(0), BATCH.inputs)
    h = layer.start(BATCH.inputs)
    for start, end in ((0, 1), (1, 5), (5, 7)):
        h = layer.apply(variables, Stretch(BATCH.inputs[:, start:end], h, start))
    np.testing.assert_allclose(h, layer.apply(variables, BATCH.inputs), rtol=1e-6)


def test_the_program_does_not_grow_with_the_sequence():
    def size(length):
        algorithm = backprop(recurrent(4, 3), SGD)
        inputs = jnp.zeros((6, length, 2))
        state = algorithm.init(jax.random.key(1), PLAIN, inputs)
        state = algorithm.phases[0].begin(PLAIN, state)
        step = jax.jit(algorithm.phases[0].step)
        batch = Batch(inputs, BATCH.labels)
        return len(step.lower(jax.random.key(2), PLAIN, state, batch).as_text())

    assert size(700) < 1.05 * size(LENGTH)


@pytest.mark.parametrize(("shape", "expected"), [
    ((5, 28, 28, 1), (5, 28, 28)), ((5, 8, 6, 3), (5, 8, 18)), ((5, 9), (5, 9, 1)),
    ((5, 9, 2), (5, 9, 2)),
])
def test_images_are_read_by_rows_and_vectors_by_numbers(shape, expected):
    x = jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape)
    steps = Recurrent(3).sequence(x)
    assert steps.shape == expected
    np.testing.assert_array_equal(steps[2, 1].ravel(), x[2, 1].ravel())


def test_tbptt_is_the_gradient_that_stops_at_the_cuts():
    before, moved = after(tbptt(NETWORK, SGD))
    expected = jax.grad(lambda b: states(b, jax.lax.stop_gradient, (1, 4))[1])(before["blocks"])
    assert_close(gradient(before, moved)["blocks"], expected)
    assert set(before) == {"blocks"}


@pytest.mark.parametrize("cut", [LENGTH, 100])
def test_without_a_cut_tbptt_is_backpropagation_through_time(cut):
    before, moved = after(tbptt(recurrent(4, 3, truncation=cut), SGD))
    expected = jax.grad(lambda b: states(b)[1])(before["blocks"])
    assert_close(gradient(before, moved)["blocks"], expected)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_guess_crosses_every_cut_and_is_trained_on_what_comes_down(share):
    algorithm = dni_time(NETWORK, SGD, GUESSING)
    before, moved = after(algorithm, PLAIN.replace(bp_lambda=share))
    blocks, (params,) = before["blocks"], before["synthesizers"]
    labels = jax.nn.one_hot(BATCH.labels, 3)
    seen, _, _ = states(blocks, at=(1, 4))

    def guess(params, h):
        return GUESSING.apply({"params": params}, h, labels)

    def stretch(blocks, h, start, end):
        body = blocks[0]
        for t in range(start, end):
            h = jnp.tanh(BATCH.inputs[:, t] @ body["input"]["kernel"] + body["input"]["bias"]
                         + h @ body["recurrent"]["kernel"] + body["recurrent"]["bias"])
        return h

    def last(blocks, h):
        logits = stretch(blocks, h, 4, 7) @ blocks[1]["kernel"] + blocks[1]["bias"]
        return loss_of(logits)

    found, down_4 = jax.grad(last, (0, 1))(blocks, seen[1])
    sent_4 = (1 - share) * guess(params, seen[1]) + share * down_4
    more, down_1 = jax.vjp(lambda b, h: stretch(b, h, 1, 4), blocks, seen[0])[1](sent_4)
    sent_1 = (1 - share) * guess(params, seen[0]) + share * down_1
    (first,) = jax.vjp(lambda b: stretch(b, jnp.zeros((6, 4)), 0, 1), blocks)[1](sent_1)
    expected = jax.tree.map(lambda *each: sum(each), found, more, first)
    assert_close(gradient(before, moved)["blocks"], expected)

    def error(params):
        return sum(((guess(params, h) - d) ** 2).sum() / 6
                   for h, d in zip(seen, (down_1, down_4), strict=True))

    assert_close(gradient(before, moved)["synthesizers"][0], jax.grad(error)(params))
    if share == 1.0:
        whole = jax.grad(lambda b: states(b)[1])(blocks)
        assert_close(gradient(before, moved)["blocks"], whole)


def test_quiet_synthesizers_first_guess_nothing():
    settings = PLAIN
    first = after(dni_time(NETWORK, SGD), settings)
    assert_close(first[1]["blocks"], after(tbptt(NETWORK, SGD), settings)[1]["blocks"])


def test_without_labels_the_synthesizer_has_no_weights_for_them():
    before, _ = after(dni_time(NETWORK, SGD, GUESSING, label_context=False))
    assert "context" not in before["synthesizers"][0]
    assert "context" in after(dni_time(NETWORK, SGD, GUESSING))[0]["synthesizers"][0]


def test_every_step_meets_noise_of_its_own():
    layer, rows = Recurrent(4, activation=lambda x: x), jnp.zeros((2, 1, 2))
    params = jax.tree.map(jnp.zeros_like, layer.init(jax.random.key(0), rows)["params"])
    noisy = Crossbar(Converters(out_noise=0.1), None, jax.random.key(3), noisy=True)
    crossbar = {"input": {"kernel": noisy}, "recurrent": {"kernel": noisy.replace(
        key=jax.random.key(4))}}

    def noise(start):
        with_noise = {"params": params, "crossbar": crossbar}
        return layer.apply(with_noise, Stretch(rows, jnp.ones((2, 4)), start))

    seen = [np.asarray(noise(start)) for start in range(3)]
    assert all(np.abs(one).max() > 0 for one in seen)
    assert all(np.abs(a - b).max() > 1e-3 for a, b in itertools.pairwise(seen))


def test_other_networks_are_refused():
    with pytest.raises(TypeError, match=r"first block is Dense: qjax.networks.recurrent"):
        dni_time(mlp([3], 2))
    with pytest.raises(ValueError, match=r"truncation=None: expected the steps"):
        tbptt(recurrent(3, 2))
    with pytest.raises(ValueError, match=r"no block after the recurrent one"):
        tbptt(recurrent(3, 2, truncation=2)[:1])


def test_tbptt_sends_nothing_across_a_cut_whatever_the_share():
    whole = PLAIN.replace(bp_lambda=1.0)
    assert_close(after(tbptt(NETWORK, SGD), whole)[1], after(tbptt(NETWORK, SGD))[1])
