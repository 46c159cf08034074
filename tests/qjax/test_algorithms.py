"""What every algorithm promises, and the cases where two of them must agree."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax import memories
from qjax.algorithms import (
    ALGORITHMS,
    Batch,
    Rules,
    Settings,
    backprop,
    chain,
    dni,
    fa,
    hsic,
    run_blocks,
)
from qjax.algorithms.dni import blended
from qjax.blocks import init_network
from qjax.losses import cross_entropy, output_error
from qjax.memories import MEMORIES, Float, Held, Latent, Nearest, Stochastic, by_leaf
from qjax.networks import Dense, mlp
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import make_quantizer
from qjax.synthetic import InputSynthesizer, is_synthesizer

RNG = np.random.default_rng(0)
BATCH = Batch(
    jnp.asarray(RNG.normal(size=(8, 6)), jnp.float32), jnp.asarray(RNG.integers(0, 3, 8), jnp.int32)
)
NETWORK = mlp([5, 4], 3)
KEY = jax.random.key(0)
SGD = Rules(OPTIMIZERS["sgd"]())
PLAIN = Settings(learning_rate=0.3)


def compiled(function):
    """jit for programs that run a few times only: quickly compiled, slowly run."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def start(algorithm, settings=PLAIN):
    state = compiled(algorithm.init)(KEY, settings, BATCH.inputs)
    return algorithm.phases[0].begin(settings, state)


def shown(state, settings=PLAIN):
    """All trained weights as the memory shows them."""
    return memories.read(settings.memory, state.held)


def steps(algorithm, state, settings=PLAIN, phase=0, count=1):
    step, losses = compiled(algorithm.phases[phase].step), []
    for number in range(count):
        state, loss = step(jax.random.fold_in(KEY, number), settings, state, BATCH)
        losses.append(float(loss))
    return state, losses


def assert_close(ours, expected, **tolerance):
    tolerance = tolerance or {"rtol": 1e-5, "atol": 1e-6}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), ours, expected)


def assert_same(ours, expected):
    jax.tree.map(np.testing.assert_array_equal, ours, expected)


def differs(ours, other):
    pairs = zip(*map(jax.tree.leaves, (ours, other)), strict=True)
    return any((a != b).any() for a, b in pairs)


# --- the loss and its gradient, written without qjax ---


def loss_from(blocks, h, labels):
    """Cross-entropy of the ReLU layers `blocks` on activation `h`."""
    for index, layer in enumerate(blocks):
        h = h @ layer["kernel"] + layer["bias"]
        h = h if index == len(blocks) - 1 else jax.nn.relu(h)
    return -jnp.mean(jax.nn.log_softmax(h)[jnp.arange(len(h)), labels])


@compiled
def true_step(blocks):
    gradients = jax.grad(loss_from)(blocks, *BATCH)
    return jax.tree.map(lambda p, g: p - 0.3 * g, blocks, gradients)


# --- agreement ---


def test_backprop_takes_the_step_of_the_true_gradient():
    algorithm = backprop(NETWORK, SGD)
    state = start(algorithm)
    after, losses = steps(algorithm, state)
    assert_close(shown(after)["blocks"], true_step(shown(state)["blocks"]))
    np.testing.assert_allclose(losses[0], loss_from(shown(state)["blocks"], *BATCH), rtol=1e-6)


def test_fa_with_the_kernels_as_feedback_is_backprop():
    algorithm = fa(NETWORK, SGD)
    state = start(algorithm)
    as_kernels = tuple({"kernel": block["kernel"]} for block in state.held["blocks"])
    after, _ = steps(algorithm, state.replace(fixed={"feedback": as_kernels}))
    assert_close(shown(after)["blocks"], true_step(shown(state)["blocks"]))


def test_fa_with_its_own_feedback_moves_the_output_only_as_backprop_does():
    algorithm = fa(NETWORK, SGD)
    state = start(algorithm)
    after, _ = steps(algorithm, state)
    expected = true_step(shown(state)["blocks"])
    assert_close(shown(after)["blocks"][-1], expected[-1])
    for index in range(2):
        change = np.abs(shown(after)["blocks"][index]["kernel"] - expected[index]["kernel"])
        assert change.max() > 1e-3


def test_fa_sends_the_error_through_every_feedback_matrix():
    algorithm = fa(NETWORK, SGD)
    state = start(algorithm)
    after, _ = steps(algorithm, state)
    one, two, three = jax.tree.map(np.asarray, shown(state)["blocks"])
    fixed = memories.read(PLAIN.memory, state.fixed)
    feedback = [np.asarray(b["kernel"]) for b in fixed["feedback"]]
    x = np.asarray(BATCH.inputs)
    h1 = np.maximum(x @ one["kernel"] + one["bias"], 0)
    h2 = np.maximum(h1 @ two["kernel"] + two["bias"], 0)
    logits = h2 @ three["kernel"] + three["bias"]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error = (p - np.eye(3)[np.asarray(BATCH.labels)]) / 8
    error = error @ feedback[2].T * (h2 > 0)
    two_gradient = h1.T @ error
    error = error @ feedback[1].T * (h1 > 0)
    ours = [b["kernel"] for b in shown(after)["blocks"]]
    np.testing.assert_allclose(ours[1], two["kernel"] - 0.3 * two_gradient, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ours[0], one["kernel"] - 0.3 * x.T @ error, rtol=1e-4, atol=1e-6)


def test_fa_feedback_is_xavier_on_the_grid_and_never_trained():
    algorithm = fa(mlp([40, 40], 40), SGD)
    state = start(algorithm)
    fixed = memories.read(PLAIN.memory, state.fixed)
    for matrix, fan_in in zip(fixed["feedback"], (6, 40, 40), strict=True):
        feedback, limit = matrix["kernel"], np.sqrt(6 / (fan_in + 40))
        assert 0.9 * limit < np.abs(feedback).max() <= limit
    after, _ = steps(algorithm, state, count=2)
    assert_same((after.fixed, after.collections), (state.fixed, state.collections))


class Oracle(nn.Module):
    """A synthesizer that holds its prediction as a parameter."""

    @nn.compact
    def __call__(self, activation, context=None):
        return self.param("gradient", nn.initializers.zeros, activation.shape)


def test_dni_with_perfect_synthesizers_is_backprop():
    algorithm = dni(NETWORK, SGD, Oracle())
    state = start(algorithm)
    blocks = shown(state)["blocks"]
    true, h = [], BATCH.inputs
    for index, layer in enumerate(blocks[:-1]):
        h = jax.nn.relu(h @ layer["kernel"] + layer["bias"])
        above = blocks[index + 1 :]
        true.append({"gradient": jax.grad(loss_from, argnums=1)(above, h, BATCH.labels)})
    assert all(np.abs(t["gradient"]).max() > 1e-3 for t in true)
    synthesizers = jax.tree.map(Held, tuple(true))
    perfect = state.replace(held={**state.held, "synthesizers": synthesizers})
    after, _ = steps(algorithm, perfect)
    assert_close(shown(after)["blocks"], true_step(blocks))
    # Their targets are what they predicted: nothing is left for them to learn.
    assert_close(shown(after)["synthesizers"], tuple(true), rtol=0, atol=1e-6)


def test_dni_lets_no_other_signal_cross():
    """With predictions of zero the hidden blocks stay, the output block follows the loss."""
    algorithm = dni(NETWORK, SGD, Oracle())
    state = start(algorithm)
    after, losses = steps(algorithm, state)
    blocks = shown(state)["blocks"]
    assert_same(shown(after)["blocks"][:-1], blocks[:-1])
    assert_close(shown(after)["blocks"][-1], true_step(blocks)[-1])
    np.testing.assert_allclose(losses[0], loss_from(blocks, *BATCH), rtol=1e-6)
    # The last synthesizer's target is the real gradient, the one below it hears only zeros.
    below, last = (s["gradient"] for s in shown(after)["synthesizers"])
    np.testing.assert_array_equal(below, np.zeros((8, 5)))
    h = BATCH.inputs
    for layer in blocks[:-1]:
        h = jax.nn.relu(h @ layer["kernel"] + layer["bias"])
    target = jax.grad(loss_from, argnums=1)(blocks[-1:], h, BATCH.labels)
    np.testing.assert_allclose(last, 0.3 * 2 / 8 * target, rtol=1e-4, atol=1e-8)


def test_synthesizers_have_a_learning_rate_of_their_own():
    algorithm = dni(NETWORK, SGD)
    before = start(algorithm)
    (usual, _), (slow, _) = (
        steps(algorithm, before, PLAIN.replace(beside_rate=rate)) for rate in (1.0, 0.25)
    )
    assert_same(shown(slow)["blocks"], shown(usual)["blocks"])
    begun = shown(before)["synthesizers"]
    assert differs(shown(usual)["synthesizers"], begun)
    assert_close(
        shown(slow)["synthesizers"],
        jax.tree.map(lambda a, b: a + (b - a) / 4, begun, shown(usual)["synthesizers"]),
    )


@pytest.mark.thorough
def test_synthesizers_can_stay_off_the_grid():
    coarse = Stochastic(make_quantizer(2, "symm", "global"))
    free = PLAIN.replace(memory=by_leaf((is_synthesizer, Float()), coarse))
    unquantized = PLAIN.replace(memory=Stochastic())
    algorithm = dni(NETWORK, SGD)
    begun = start(algorithm, free)
    # Unquantized: to the last bit or two, as the programs that draw them are not the same.
    assert_close(
        shown(begun, free)["synthesizers"],
        shown(start(algorithm, unquantized), unquantized)["synthesizers"],
    )
    after, _ = steps(algorithm, begun, free, count=3)
    begun, after = shown(begun, free), shown(after, free)
    for weights in (begun, after):
        assert all(jnp.isin(x, jnp.array([-1.0, 0.0, 1.0])).all()
                   for x in jax.tree.leaves(weights["blocks"]))
        assert not any(jnp.isin(x, jnp.array([-1.0, 1.0])).any()
                       for x in jax.tree.leaves(weights["synthesizers"]))
    assert differs(after["synthesizers"], begun["synthesizers"])


def test_dni_without_label_context_has_no_context_weights():
    with_labels, without = (
        jax.eval_shape(
            dni(NETWORK, SGD, label_context=flag).init, KEY, PLAIN, BATCH.inputs
        ).held["synthesizers"]
        for flag in (True, False)
    )
    assert all("context" in tree for tree in with_labels)
    assert not any("context" in tree for tree in without)


def test_dni_with_all_of_the_true_error_is_backprop():
    algorithm, settings = dni(NETWORK, SGD), PLAIN.replace(bp_lambda=1.0)
    state = start(algorithm, settings)
    after, _ = steps(algorithm, state, settings)
    assert_close(shown(after)["blocks"], true_step(shown(state)["blocks"]))
    assert differs(after.held["synthesizers"], state.held["synthesizers"])


def test_dni_with_a_share_of_the_true_error_is_between_at_the_last_boundary():
    algorithm = dni(NETWORK, SGD)
    moved = []
    for share in (0.0, 0.25, 1.0):
        settings = PLAIN.replace(bp_lambda=share)
        state = start(algorithm, settings)
        moved.append(shown(steps(algorithm, state, settings)[0])["blocks"])
    none, quarter, whole = (blocks[1] for blocks in moved)
    mixed = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, none, whole)
    assert_close(quarter, mixed)
    assert differs(none, whole)
    # Below, the error that arrives is itself made of a guess: other than that mean.
    lower = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, moved[0][0], moved[2][0])
    assert differs(moved[1][0], lower)


def test_without_a_share_an_infinite_error_does_not_reach_a_block():
    collection = {"boundary": {"share": jnp.float32(0)}}
    guess = jnp.ones((2, 3))
    np.testing.assert_array_equal(blended(collection, guess, jnp.inf * guess), guess)


def test_with_synthetic_inputs_no_block_sees_another_ones_weights():
    algorithm = dni(NETWORK, SGD, synthetic_inputs=True)
    state = start(algorithm)
    other = jax.tree.map(lambda x: x + 0.1, state.held["blocks"][0])
    changed = state.replace(held={**state.held, "blocks": (other, *state.held["blocks"][1:])})
    after, also = (steps(algorithm, s)[0].held for s in (state, changed))
    assert_same(after["blocks"][1:], also["blocks"][1:])
    assert_same(after["synthesizers"][1:], also["synthesizers"][1:])
    assert differs(after["input_synthesizers"][0], also["input_synthesizers"][0])
    (phase,) = algorithm.phases
    ours = phase.predict(PLAIN, state, BATCH.inputs)
    theirs = phase.predict(PLAIN, changed, BATCH.inputs)  # which go through all blocks
    assert np.abs(ours - theirs).max() > 1e-3


def test_synthetic_inputs_learn_what_the_block_below_gives():
    algorithm = dni(NETWORK, SGD, synthetic_inputs=True)
    state = start(algorithm, PLAIN.replace(learning_rate=0.0))
    blocks, params = shown(state)["blocks"], shown(state)["input_synthesizers"][0]
    hidden = np.maximum(BATCH.inputs @ blocks[0]["kernel"] + blocks[0]["bias"], 0)
    guess = InputSynthesizer((5,)).apply({"params": params}, BATCH.inputs)
    after, _ = steps(algorithm, start(algorithm), PLAIN)
    # Gradient descent on the squared error, written out for the last bias.
    expected = params["layer_0"]["bias"] - 0.3 * 2 * np.mean(guess - hidden, axis=0)
    np.testing.assert_allclose(shown(after)["input_synthesizers"][0]["layer_0"]["bias"], expected,
                               rtol=1e-4, atol=1e-6)


def test_chained_pullbacks_are_the_gradient():
    network = (Dense(5, normalize=True), *mlp([4], 3))
    params, collections = init_network(KEY, network, BATCH.inputs)

    def loss(params, x):
        logits = run_blocks(network, params, collections, x).outputs[-1]
        return output_error(cross_entropy, logits, BATCH.labels)[0]

    @jax.jit
    def ours(params, x):
        run = run_blocks(network, params, collections, x)
        _, error = output_error(cross_entropy, run.outputs[-1], BATCH.labels)
        return chain(run.pullbacks, error)

    expected = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, BATCH.inputs)
    assert_close(ours(params, BATCH.inputs), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_label_smoothing_is_cross_entropy_with_softer_labels(smoothing):
    logits = jnp.asarray(RNG.normal(size=(8, 3)) * 2, jnp.float32)
    loss, error = output_error(cross_entropy, logits, BATCH.labels, smoothing)
    p = np.exp(np.asarray(logits, np.float64))
    p /= p.sum(-1, keepdims=True)
    target = (1 - smoothing) * np.eye(3)[BATCH.labels] + smoothing / 3
    np.testing.assert_allclose(loss, -(target * np.log(p)).sum(-1).mean(), rtol=1e-5)
    np.testing.assert_allclose(error, (p - target) / 8, atol=1e-6)


def test_label_smoothing_reaches_every_algorithm_and_is_off_by_default():
    for name in ("backprop", "fa", "dfa", "dni"):
        algorithm = ALGORITHMS[name](NETWORK, SGD)
        state = start(algorithm)
        plain, zero, soft = (
            steps(algorithm, state, PLAIN.replace(**more))[1][0]
            for more in ({}, {"label_smoothing": 0.0}, {"label_smoothing": 0.5})
        )
        assert plain == zero != soft


def test_output_error_is_softmax_minus_label_over_the_batch():
    logits = jnp.asarray(RNG.normal(size=(8, 3)), jnp.float32)
    loss, error = output_error(cross_entropy, logits, BATCH.labels)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    one_hot = np.eye(3)[np.asarray(BATCH.labels)]
    np.testing.assert_allclose(loss, -np.mean(np.log(p[one_hot == 1])), rtol=1e-5)
    np.testing.assert_allclose(error, (p - one_hot) / 8, atol=1e-6)


def test_images_that_a_network_does_not_flatten_are_explained():
    with pytest.raises(ValueError, match=r"outputs of shape \(2, 8, 8, 3\), expected \[batch, out"):
        output_error(cross_entropy, jnp.zeros((2, 8, 8, 3)), jnp.zeros(2, jnp.int32))


# --- hsic's two phases ---

HSIC = hsic(NETWORK)


@pytest.fixture(scope="module")
def after_bottleneck():
    settings = Settings(learning_rate=0.1, weight_decay=1e-3)
    state = start(HSIC, settings)
    return state, *steps(HSIC, state, settings, count=10)


def test_hsic_objective_falls(after_bottleneck):
    _, _, losses = after_bottleneck
    assert losses[-1] < losses[0] - 0.01 * abs(losses[0])


def test_hsic_bottleneck_moves_the_body_alone(after_bottleneck):
    before, after, _ = after_bottleneck
    assert len(shown(before)["blocks"]) == 4  # with the readout
    for index in range(3):
        assert differs(shown(after)["blocks"][index], shown(before)["blocks"][index])
        assert differs(after.collections[index], before.collections[index])
    assert_same(shown(after)["blocks"][3], shown(before)["blocks"][3])


def test_hsic_readout_moves_the_readout_alone(after_bottleneck):
    _, before, _ = after_bottleneck
    phase = HSIC.phases[1]
    settings = Settings(learning_rate=1.0)
    before = phase.begin(settings, before)
    after, losses = steps(HSIC, before, settings, phase=1, count=10)
    assert_same(shown(after)["blocks"][:3], shown(before)["blocks"][:3])
    assert_same(after.collections, before.collections)
    assert differs(shown(after)["blocks"][3], shown(before)["blocks"][3])
    assert losses[-1] < losses[0]


def test_hsic_phases_by_name_and_prediction():
    assert [phase.name for phase in HSIC.phases] == ["bottleneck", "readout"]
    assert HSIC.phases[0].predict is None
    logits = HSIC.phases[1].predict(PLAIN, start(HSIC), BATCH.inputs)
    assert logits.shape == (8, 3)


# --- every algorithm ---

CELLS = [
    make_quantizer(None),
    make_quantizer(3, "symm", "local"),
    make_quantizer(3, "asymm", "local"),
    make_quantizer(4, "symm", "global"),
    make_quantizer(2, "asymm", "global"),
]
QUANTIZERS = jax.tree.map(lambda *leaves: jnp.stack(leaves), *CELLS)
SMALL = mlp([4], 3)


def on_grid(tensor, cell):
    """Is every entry a level of the cell's grid? Counted from one end, in float64."""
    x, quantizer = np.asarray(tensor, np.float64), CELLS[cell]
    bits = int(quantizer.bits)
    count = 2**bits - 2 if quantizer.symmetric else 2**bits - 1
    if not quantizer.local:
        low, high = -1.0, 1.0
    elif quantizer.symmetric:
        low, high = -np.abs(x).max(), np.abs(x).max()
    else:
        low, high = x.min(), x.max()
    if low == high:
        return True
    position = (x - low) / (high - low) * count
    return (np.abs(position - np.round(position)).max() < 1e-3
            and low - 1e-6 <= x.min() and x.max() <= high + 1e-6)


FOR_VECTORS = [name for name in ALGORITHMS if name not in ("tbptt", "dni_time")]
ONE_PHASE = [name for name in FOR_VECTORS if not name.startswith("hsic")]

# Every memory with the algorithms that treat their weights in ways of their own.
OWN = ("backprop", "dni", "hsic")
# Algorithms know memories through their interface alone: every one of either kind is tried.
COMBINATIONS = [(name, "stochastic")
                for name in ("backprop", "fa", "brsf", "kp", "dfa", "dni_linear", "hsic")]
COMBINATIONS += [("dni", memory) for memory in ("nearest", "pulse")]
COMBINATIONS += [("hsic", "latent"), ("dni_inputs", "nearest"), ("hsic_sigmas", "nearest"),
                 ("hsic_unformatted", "nearest")]


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize(("name", "memory"), COMBINATIONS)
def test_one_step_of_many_replicas(name, memory):
    """jit and vmap over seeds and quantizers; weights where the memory keeps them."""
    optimizer = OPTIMIZERS["sgd" if name.startswith("hsic") else "adadelta"]()
    algorithm = ALGORITHMS[name](SMALL, Rules(optimizer))

    def replica(key, quantizer):
        settings = Settings(learning_rate=0.5, memory=MEMORIES[memory](quantizer))
        state = first = algorithm.init(key, settings, BATCH.inputs)
        for phase in algorithm.phases:
            state, loss = phase.step(key, settings, phase.begin(settings, state), BATCH)
        weights = {"first": shown(first, settings), "after": shown(state, settings)}
        logits = algorithm.phases[-1].predict(settings, state, BATCH.inputs)
        return first, state, weights, loss, logits

    over_cells = jax.vmap(replica, in_axes=(None, 0))
    keys = jax.random.split(jax.random.key(3), 2)
    run = compiled(jax.vmap(over_cells, in_axes=(0, None)))
    first, state, weights, loss, logits = run(keys, QUANTIZERS)
    assert loss.shape == (2, len(CELLS))
    assert logits.shape == (2, len(CELLS), 8, 3)
    assert np.isfinite(loss).all()
    assert np.isfinite(logits).all()
    assert differs(first.held, state.held)
    kept = () if memory == "latent" else (first.held, state.held, state.fixed)
    for path, leaf in jax.tree_util.tree_leaves_with_path((weights, kept)):
        for cell in range(1, len(CELLS)):
            for seed in range(2):
                assert on_grid(leaf[seed, cell], cell), (path, cell)
    if memory == "latent":
        kernel = state.held["blocks"][0]["kernel"].state
        assert not on_grid(kernel[0, 1], 1)


@pytest.mark.parametrize("name", ["fa", "dni"])
def test_feedback_and_synthesizers_start_on_the_grid(name):
    algorithm = ALGORITHMS[name](NETWORK, SGD)
    init = compiled(algorithm.init)
    for cell in range(1, len(CELLS)):
        state = init(KEY, Settings(memory=Nearest(CELLS[cell])), BATCH.inputs)
        extra = state.fixed if name == "fa" else state.held["synthesizers"]
        assert jax.tree.leaves(extra)
        assert all(on_grid(leaf, cell) for leaf in jax.tree.leaves(extra))


@pytest.mark.thorough(but=4)
@pytest.mark.parametrize("name", FOR_VECTORS)
def test_initial_state_is_decided_by_the_key(name):
    init = compiled(ALGORITHMS[name](SMALL).init)
    first, again, other = (init(jax.random.key(seed), PLAIN, BATCH.inputs) for seed in (0, 0, 1))
    assert_same(first, again)
    kernels = [[b for b in jax.tree.leaves(shown(state)["blocks"]) if b.ndim == 2]
               for state in (first, other)]
    assert all((a != b).any() for a, b in zip(*kernels, strict=True))


def test_without_bits_no_memory_quantizes():
    algorithm, results = ALGORITHMS["dni"](SMALL, SGD), []
    begun = start(algorithm, PLAIN.replace(memory=Nearest(make_quantizer(None))))
    names = ("nearest", "pulse", "latent", "hidden")
    for memory in (Float(), *(MEMORIES[name](make_quantizer(None)) for name in names)):
        settings = PLAIN.replace(memory=memory)
        results.append(shown(steps(algorithm, begun, settings)[0], settings))
    for other in results[1:]:
        assert_close(other, results[0], rtol=1e-6, atol=1e-7)
    kernel = results[0]["blocks"][0]["kernel"]
    assert len(np.unique(kernel)) == kernel.size


def test_quantized_gradients_have_few_values():
    algorithm = backprop(NETWORK, SGD._replace(quantize_gradients=True))
    settings = Settings(learning_rate=1.0, gradient_quantizer=make_quantizer(2, "asymm", "local"))
    state = start(algorithm, settings)
    after, _ = steps(algorithm, state, settings)
    gradients = jax.grad(loss_from)(shown(state)["blocks"], *BATCH)
    for index in range(3):
        name = "kernel"
        change = shown(state)["blocks"][index][name] - shown(after)["blocks"][index][name]
        assert len(np.unique(np.round(change, 5))) <= 4
        expected = gradients[index][name]
        np.testing.assert_allclose(change.max(), expected.max(), atol=1e-6)
        np.testing.assert_allclose(change.min(), expected.min(), atol=1e-6)


def test_predictions_use_the_weights_that_are_shown():
    quantizer = make_quantizer(2, "symm", "local")
    kept, shows = (Settings(memory=about(quantizer)) for about in (Latent, Nearest))
    algorithm = backprop(NETWORK, SGD)
    (phase,) = algorithm.phases
    state = start(algorithm, kept)
    quantized = state.replace(held=jax.tree.map(Held, shown(state, kept)))
    assert differs(quantized.held, state.held)
    np.testing.assert_array_equal(
        phase.predict(kept, state, BATCH.inputs), phase.predict(shows, quantized, BATCH.inputs)
    )


@pytest.mark.thorough(but=4)
@pytest.mark.parametrize("name", ONE_PHASE)
def test_a_single_block_follows_the_true_gradient(name):
    algorithm = ALGORITHMS[name](mlp([], 3), SGD)
    state = start(algorithm)
    after, _ = steps(algorithm, state)
    assert_close(shown(after)["blocks"], true_step(shown(state)["blocks"]))


# Behind four units that guess its inputs a block has too little to learn a batch by heart.
@pytest.mark.thorough(but=3)
@pytest.mark.parametrize("name", [name for name in ONE_PHASE if name != "dni_inputs"])
def test_training_learns_a_batch(name):
    algorithm = ALGORITHMS[name](SMALL, Rules(OPTIMIZERS["adam"]()))
    settings = Settings(learning_rate=0.03)
    _, losses = steps(algorithm, start(algorithm, settings), settings, count=150)
    assert losses[-1] < 0.5 * losses[0]
