"""Epochs: what they see, what they report, and that replicas do not disturb each other."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax import memories, metrics
from qjax.algorithms import Batch, Phase, Settings, TrainState, backprop
from qjax.memories import Latent, Nearest, Stochastic
from qjax.networks import mlp
from qjax.quantize import Quantizer, make_quantizer
from qjax.replicas import stack
from qjax.training import (
    Data,
    evaluate,
    make_begin,
    make_epoch,
    make_evaluation,
    make_init,
    train_epoch,
)

RNG = np.random.default_rng(0)


def examples(count):
    x = RNG.integers(0, 256, (count, 6), dtype=np.uint8)
    labels = (x[:, 0] > 128).astype(np.int32) + (x[:, 1] > 128)
    return Batch(jnp.asarray(x), jnp.asarray(labels))


DATA = Data(examples(100), examples(30))
QUANTIZERS = [make_quantizer(*w) for w in [(None,), (4, "symm", "local"), (6, "asymm", "global")]]
FLOAT, SYMM, ASYMM = (Settings(memory=Nearest(q), gamma=0.7) for q in QUANTIZERS)
LATENT = FLOAT.replace(memory=Latent(QUANTIZERS[1]))
ALGORITHM = backprop(mlp([8], 3))
KEYS = jax.random.split(jax.random.key(0), 2)


def preprocess(x):
    return x.astype(jnp.float32) / 255


@cache
def programs(algorithm, shuffle=True):
    (phase,) = algorithm.phases
    return (
        make_init(algorithm, (16, 6)),
        make_begin(phase),
        make_epoch(phase, batch_size=16, shuffle=shuffle, preprocess=preprocess),
    )


def train(cells, keys=KEYS, algorithm=ALGORITHM, epochs=2):
    """Final states and every epoch's metrics, [seeds, configs], as NumPy."""
    init, begin, epoch = programs(algorithm)
    settings = stacked(*cells)
    state, reports = begin(settings, init(keys, settings)), []
    for number in range(epochs):
        state, report = epoch(keys, number, settings, state, DATA)
        reports.append(jax.tree.map(np.asarray, report))
    return jax.tree.map(np.asarray, state), reports


@cache
def group():
    return train((FLOAT, SYMM, ASYMM))


def leaves_at(tree, seed, cell):
    return [leaf[seed, cell] for leaf in jax.tree.leaves(tree)]


def assert_same(ours, expected):
    jax.tree.map(np.testing.assert_array_equal, ours, expected)


# --- replicas ---


def test_states_and_metrics_have_both_axes():
    state, reports = group()
    for leaf in jax.tree.leaves((state, reports)):
        assert leaf.shape[:2] == (2, 3)
    assert reports[0].train.loss.shape == (2, 3)


def test_a_float_replica_in_a_group_is_the_replica_alone():
    state, reports = group()
    alone, alone_reports = train((FLOAT,), KEYS[1:])
    together = leaves_at((state.held, reports), 1, 0)
    for ours, expected in zip(
        together, leaves_at((alone.held, alone_reports), 0, 0), strict=True
    ):
        np.testing.assert_allclose(ours, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("cell", "settings"), [(1, SYMM), (2, ASYMM)])
def test_a_quantized_replica_in_a_group_is_the_replica_alone(cell, settings):
    state, _ = group()
    alone, _ = train((settings,), KEYS[1:])
    ours, expected = (
        np.concatenate([leaf.ravel() for leaf in leaves_at(tree, seed, index)])
        for tree, seed, index in ((state.held, 1, cell), (alone.held, 0, 0))
    )
    assert np.mean(np.isclose(ours, expected, atol=1e-5, rtol=0)) >= 0.99


def test_replicas_in_turns_are_those_at_once():
    cells = (FLOAT, FLOAT.replace(learning_rate=0.1), FLOAT.replace(learning_rate=0.2))
    init, begin, _ = programs(ALGORITHM)
    (phase,) = ALGORITHM.phases
    settings = stacked(*cells)
    found = []
    for fast in (None, 1):  # a byte: every replica by itself
        epoch = make_epoch(phase, batch_size=16, shuffle=True, preprocess=preprocess, cache=fast)
        state = begin(settings, init(KEYS, settings))
        found.append(epoch(KEYS, 0, settings, state, DATA))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5), *found)


def test_replicas_differ():
    state, _ = group()
    kernel = state.held["blocks"][0]["kernel"].state.reshape(6, -1)
    assert len(np.unique(kernel, axis=0)) == 6


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("memory", [Nearest, Stochastic], ids=["nearest", "stochastic"])
def test_the_same_seed_gives_the_same_bits(memory):
    cells = [FLOAT.replace(memory=memory(q)) for q in QUANTIZERS]
    assert_same(train(cells), train(cells))


@pytest.mark.parametrize(
    "bad",
    [
        FLOAT.replace(learning_rate=1e30),
        FLOAT.replace(memory=Nearest(Quantizer(4, True, False, bound=jnp.nan))),
    ],
    ids=["huge rate", "nan grid"],
)
def test_a_diverging_replica_leaves_its_neighbours_alone(bad):
    fine, fine_reports = group()
    state, reports = train((FLOAT, bad, ASYMM))
    assert not reports[-1].finite[:, 1].any()
    assert reports[-1].finite[:, [0, 2]].all()
    for cell in (0, 2):
        for seed in range(2):
            assert_same(leaves_at((state, reports), seed, cell),
                        leaves_at((fine, fine_reports), seed, cell))


def test_training_learns():
    _, reports = train((FLOAT,), epochs=8)
    assert (reports[-1].objective < reports[0].objective).all()
    assert (reports[-1].train.accuracy > reports[0].train.accuracy).all()


def test_the_learning_rate_shrinks_by_gamma_every_epoch():
    """gamma 0 stops training after the first epoch."""
    stopped = FLOAT.replace(gamma=0.0)
    first, _ = train((stopped,), epochs=1)
    third, _ = train((stopped,), epochs=3)
    assert_same(first.held, third.held)


def test_epochs_of_one_key_have_different_orders():
    """The key given to an epoch is folded with its number: stochastic choices differ."""
    _, reports = train((FLOAT.replace(learning_rate=0.0),), epochs=2)
    # Nothing moves, but the tail is filled with other examples: the mean objective differs.
    assert (reports[0].objective != reports[1].objective).all()


# --- what an epoch sees ---

RECORD_COUNT, RECORD_BATCH = 10, 4


def record_step(key, settings, state, batch):
    rows = state.held["rows"].at[state.opt_state].set(batch.inputs)
    keys = state.held["keys"].at[state.opt_state].set(jax.random.uniform(key))
    state = TrainState({"rows": rows, "keys": keys}, (), state.opt_state + 1)
    return state, jnp.mean(batch.inputs)


RECORD = Phase("record", lambda settings, state: state, record_step)


def recorded(count=RECORD_COUNT, batch_size=RECORD_BATCH, shuffle=True, seed=0):
    steps = -(-count // batch_size)
    start = {"rows": jnp.full((steps, batch_size), -1.0), "keys": jnp.zeros(steps)}
    state, objective, _, _ = train_epoch(
        RECORD,
        jax.random.key(seed),
        Settings(),
        TrainState(start, (), 0),
        Batch(jnp.arange(count), jnp.arange(count)),
        batch_size=batch_size,
        shuffle=shuffle,
        preprocess=lambda rows: rows.astype(jnp.float32),
    )
    return np.asarray(state.held["rows"]), np.asarray(state.held["keys"]), objective


@pytest.mark.parametrize("count", [3, 4, 10, 12])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_example_is_used_and_the_tail_filled_from_the_start(count, shuffle):
    rows = recorded(count, 4, shuffle)[0].ravel()
    assert sorted(rows[:count]) == list(range(count))
    np.testing.assert_array_equal(rows[count:], rows[: len(rows) - count])


def test_without_shuffling_the_order_is_the_data_sets():
    rows = recorded(shuffle=False)[0]
    np.testing.assert_array_equal(rows.ravel(), [*range(10), 0, 1])


def test_shuffling_depends_on_the_key():
    first, again, other = (recorded(seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first.ravel()[:10] != np.arange(10)).any()


def test_every_step_has_random_numbers_of_its_own():
    _, keys, _ = recorded()
    assert len(set(keys)) == 3


def test_the_objective_is_the_mean_over_the_steps():
    rows, _, objective = recorded()
    np.testing.assert_allclose(objective, rows.mean(), rtol=1e-6)


# --- what an epoch reports ---


@pytest.mark.parametrize(("count", "chunk"), [(23, 7), (21, 7), (5, 7), (1, 7), (23, 1)])
def test_evaluate_counts_every_example_once(count, chunk):
    data = examples(count)
    kernel = jnp.asarray(RNG.normal(size=(6, 3)), jnp.float32)
    ours = evaluate(lambda x: x @ kernel, data, preprocess, chunk)
    logits = np.asarray(data.inputs, np.float64) / 255 @ np.asarray(kernel, np.float64)
    labels = np.asarray(data.labels)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(count), labels]
    np.testing.assert_allclose(ours.loss, losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(ours.accuracy, (logits.argmax(1) == labels).mean(), rtol=1e-6)


def test_scores_are_of_the_weights_after_the_epoch():
    state, reports = group()
    one = jax.tree.map(lambda leaf: leaf[1, 0], state)

    def predict(x):
        return ALGORITHM.phases[0].predict(FLOAT, one, x)

    for part, score in zip(DATA, (reports[-1].train, reports[-1].test), strict=True):
        expected = evaluate(predict, part, preprocess)
        np.testing.assert_allclose(score.loss[1, 0], expected.loss, rtol=1e-5)
        np.testing.assert_allclose(score.accuracy[1, 0], expected.accuracy, rtol=1e-6)


def stacked(*cells):
    return jax.tree.map(lambda *leaves: jnp.stack(list(map(jnp.float32, leaves))), *cells)


def test_evaluation_on_its_own_gives_the_epochs_scores():
    state, reports = group()
    evaluation = make_evaluation(ALGORITHM.phases[0], preprocess=preprocess)
    ours = evaluation(stacked(FLOAT, SYMM, ASYMM), jax.tree.map(jnp.asarray, state), DATA)
    for score, expected in zip(ours, (reports[-1].train, reports[-1].test), strict=True):
        np.testing.assert_allclose(score.loss, expected.loss, rtol=1e-5)
        np.testing.assert_allclose(score.accuracy, expected.accuracy, rtol=1e-6)


def test_an_epoch_can_go_without_evaluation():
    epoch = make_epoch(
        ALGORITHM.phases[0], batch_size=16, shuffle=True, preprocess=preprocess,
        evaluate_after=False,
    )
    state = jax.tree.map(jnp.asarray, group()[0])
    _, report = jax.eval_shape(epoch, KEYS, 0, stacked(FLOAT, SYMM, ASYMM), state, DATA)
    assert (report.train, report.test) == (None, None)


def levels_of(settings, state):
    """Every kernel in levels of a symmetric range of its own, 4 bits; floats as they are."""
    kernels = [np.asarray(block["kernel"])
               for block in memories.read(settings.memory, state.held["blocks"])]
    if settings.memory.grid.bits == 0:
        return kernels
    return [np.round(7 * kernel / np.abs(kernel).max()) for kernel in kernels]


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("settings", [FLOAT, SYMM, LATENT], ids=["float", "symm", "latent"])
def test_ranges_and_writes_are_of_every_step(settings):
    settings = settings.replace(learning_rate=20.0)  # so that some steps reach another level
    (phase,) = ALGORITHM.phases
    state = phase.begin(settings, ALGORITHM.init(KEYS[0], settings, jnp.zeros((16, 6))))
    step, seen, now, written = jax.jit(phase.step), [], state, 0
    rows = np.resize(np.arange(100), (7, 16))
    for index in rows:
        before = levels_of(settings, now)
        batch = Batch(preprocess(DATA.train.inputs[index]), DATA.train.labels[index])
        now, _ = step(KEYS[0], settings, now, batch)
        seen.append(memories.behind(settings.memory, now.held))
        pairs = zip(before, levels_of(settings, now), strict=True)
        written += sum((old != new).sum() for old, new in pairs)
    end, _, writes, ranges = train_epoch(
        phase, KEYS[1], settings, state, DATA.train,
        batch_size=16, shuffle=False, preprocess=preprocess,
    )
    low, high = (
        jax.tree.map(lambda *each, f=f: f(np.stack(each)), *seen) for f in (np.min, np.max)
    )
    for ours, expected in ((ranges.low, low), (ranges.high, high), (end.held, now.held)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, expected)
    weights = 6 * 8 + 8 * 3
    assert 0 < written < 7 * weights
    np.testing.assert_allclose(writes, written / weights, rtol=1e-5)


def test_widen_takes_nan_to_both_ends():
    ranges = metrics.empty_ranges({"w": jnp.zeros(3)})
    assert (ranges.low["w"], ranges.high["w"]) == (np.inf, -np.inf)
    ranges = metrics.widen(ranges, {"w": jnp.array([2.0, -1.0])})
    ranges = metrics.widen(ranges, {"w": jnp.array([0.0, 3.0])})
    assert (ranges.low["w"], ranges.high["w"]) == (-1, 3)
    ranges = metrics.widen(ranges, {"w": jnp.array([0.0, jnp.nan])})
    assert np.isnan([ranges.low["w"], ranges.high["w"]]).all()


@pytest.mark.parametrize(("value", "finite"), [(1.0, True), (np.inf, False), (np.nan, False)])
def test_all_finite_looks_at_every_tensor(value, finite):
    assert metrics.all_finite({"a": jnp.ones(2), "b": (jnp.array([0.0, value]),)}) == finite


# --- several devices ---

TWO_DEVICES = '''
import jax, jax.numpy as jnp, numpy as np
import test_training as t
from qjax.algorithms import Settings, backprop, hsic
from qjax.networks import mlp
from qjax import training
from qjax.training import make_begin, make_epoch, make_init

training._INIT_OPTIONS.clear()  # as for all tests
assert len(jax.devices()) == 2
mesh = jax.make_mesh((1, 2), ("seeds", "configs"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

def run(algorithm, mesh):
    cells = [s.replace(learning_rate=0.1) for s in (t.FLOAT, t.SYMM)]
    settings = jax.tree.map(lambda *v: jnp.stack(list(map(jnp.float32, v))), *cells)
    state, reports = make_init(algorithm, (16, 6), mesh)(t.KEYS, settings), []
    for phase in algorithm.phases:
        state = make_begin(phase, mesh)(settings, state)
        epoch = make_epoch(phase, batch_size=16, shuffle=True, preprocess=t.preprocess, mesh=mesh)
        state, report = epoch(t.KEYS, 0, settings, state, t.DATA)
        reports.append(report)
    assert mesh is None or len(state.held["blocks"][0]["kernel"].state.devices()) == 2
    return jax.tree.map(np.asarray, (state.held, reports))

def compare(name, algorithm, tolerance):
    """The float cell agrees everywhere, the quantized one on nearly all grid points."""
    one, two = (jax.tree.leaves(run(algorithm, m)) for m in (None, mesh))
    same = [[], []]
    for a, b in zip(one, two):
        for cell in (0, 1):
            limit = tolerance * max(1, np.abs(a[:, cell]).max())
            close = np.isclose(a[:, cell], b[:, cell], rtol=0, atol=limit)
            same[cell] += list(close.ravel())
    assert np.mean(same[0]) == 1, (name, np.mean(same[0]))
    assert np.mean(same[1]) >= 0.99, (name, np.mean(same[1]))

compare("backprop", t.ALGORITHM, 1e-5)
compare("hsic", hsic(mlp([], 3)), 5e-3)  # the criterion's float32 rounding
print("agree")
'''


@pytest.mark.thorough
def test_two_devices_give_the_same_as_one():
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2",
        "PYTHONPATH": os.pathsep.join([str(here.parents[1]), str(here)]),
    }
    result = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES], env=environment, capture_output=True, text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("agree\n")


# --- what was meant ---


def test_settings_that_are_not_stacked_are_told():
    init, begin, epoch = programs(ALGORITHM)
    with pytest.raises(ValueError, match=r"\(Settings\), learning_rate.*replicas\.stack"):
        init(KEYS, FLOAT)
    settings = stack([FLOAT, SYMM])
    state = begin(settings, init(KEYS, settings))
    with pytest.raises(ValueError, match=r"\(Settings\), learning_rate.*replicas\.stack"):
        epoch(KEYS, 0, FLOAT, state, DATA)
    with pytest.raises(ValueError, match=r"expected leading axes \[seeds = 2, configs = 1\]"):
        epoch(KEYS, 0, stack([FLOAT]), state, DATA)
    assert_same(settings, stacked(FLOAT, SYMM))


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("label", [-1, 3])
def test_labels_without_an_output_are_refused(part, label):
    wrong = getattr(DATA, part)
    wrong = wrong._replace(labels=wrong.labels.at[3].set(label))
    data = DATA._replace(**{part: wrong})
    init, begin, epoch = programs(ALGORITHM)
    settings = stack([FLOAT])
    state = begin(settings, init(KEYS, settings))
    evaluation = make_evaluation(ALGORITHM.phases[0], preprocess=preprocess)
    for call in (lambda: epoch(KEYS, 0, settings, state, data),
                 lambda: evaluation(settings, state, data)):
        with pytest.raises(ValueError, match="the network has 3 outputs: expected 0 to 2"):
            call()
    state, _ = epoch(KEYS, 0, settings, state, DATA)  # the states were not given away
    assert np.all(np.isfinite(state.held["blocks"][0]["kernel"].state))


def test_labels_are_whole_numbers_also_inside_of_jit():
    (phase,) = ALGORITHM.phases
    state = phase.begin(FLOAT, ALGORITHM.init(KEYS[0], FLOAT, jnp.zeros((4, 6))))
    step = jax.jit(phase.step)
    with pytest.raises(TypeError, match="labels must be integers, got float32"):
        step(KEYS[0], FLOAT, state, Batch(jnp.zeros((4, 6)), jnp.zeros(4)))
    with pytest.raises(ValueError, match="labels from 0 to 5"):
        phase.step(KEYS[0], FLOAT, state, Batch(jnp.zeros((4, 6)), jnp.array([0, 1, 5, 2])))


def test_labels_and_inputs_must_be_as_many():
    short = DATA.train._replace(labels=DATA.train.labels[:-1])
    with pytest.raises(ValueError, match=r"inputs of shape \(100, 6\) and labels of shape \(99,\)"):
        evaluate(lambda x: x[:, :3], short, preprocess)
    init, begin, epoch = programs(ALGORITHM)
    settings = stack([FLOAT])
    with pytest.raises(ValueError, match=r"labels of shape \(99,\)"):
        epoch(KEYS, 0, settings, begin(settings, init(KEYS, settings)), DATA._replace(train=short))
