"""Weights in pulsed devices: ends that are known, what examples ask for, what a memory promises."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from simulated import assert_near, device_of, equal, parameters, reference

from qjax import devices
from qjax.algorithms import Batch, Rules, Settings, backprop
from qjax.memories import (
    Activity,
    Buffered,
    MixedPrecision,
    OneSided,
    Pulse,
    Pulsed,
    Several,
)
from qjax.networks import mlp
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import make_quantizer
from qjax.replicas import stack
from qjax.training import Data, make_begin, make_epoch, make_init

KEY = jax.random.key(21)
WEIGHTS = jnp.linspace(-0.55, 0.5, 42).reshape(7, 6)
CONSTANT = equal(devices.ConstantStep, dw_min=0.01, w_max=1.0, w_min=-1.0)


@jax.jit
def after_writes(memory, weights, changes, key, activities=None):
    """What is shown and what is behind it, at first and after each change."""
    held = memory.init(key, weights)

    def step(held, turn):
        number, change, activity = turn
        held = memory.write(jax.random.fold_in(key, number), held, change,
                            *(() if activity is None else (activity,)))
        return held, seen(held)

    def behind(held):  # of which a memory need not know more than it shows
        return getattr(memory, "behind", memory.read)(held)

    def seen(held):
        return jnp.stack([memory.read(held), behind(held)])

    turns = jnp.arange(len(changes)), changes, activities
    return jnp.concatenate([seen(held)[None], jax.lax.scan(step, held, turns)[1]]).swapaxes(0, 1)


@jax.jit
def init(memory, key, weights):
    return memory.init(key, weights)


@jax.jit
def write(memory, key, held, *more):
    return memory.write(key, held, *more)


def random_changes(count, size):
    return size * jax.random.normal(KEY, (count, *WEIGHTS.shape))


# --- the ends ---


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_equal_constant_steps_are_an_ideal_grid(bits):
    grid = make_quantizer(bits, "symm", "global")
    step = 2 / (2**bits - 2)
    device = CONSTANT.replace(dw_min=step)
    ours = Pulsed(device, most=1)
    # From levels, as Pulse rounds what is put in.
    start = jnp.round(WEIGHTS / step) * step
    changes = random_changes(8, 0.4 * step).at[3].multiply(8.0)
    found, expected = (after_writes(m, start, changes, KEY)[0] for m in (ours, Pulse(grid)))
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert np.mean(found[1:] != found[:-1]) > 0.1
    assert np.abs(found).max() <= 1
    assert float(ours.account().total) == pytest.approx(np.log2(2**bits - 2))


def test_tiny_steps_follow_plain_floats():
    device = CONSTANT.replace(dw_min=1e-5)
    changes = random_changes(10, 0.02)
    found = after_writes(Pulsed(device), WEIGHTS, changes, KEY)[0]
    expected = np.concatenate([WEIGHTS[None], WEIGHTS + jnp.cumsum(changes, 0)])
    steps = np.arange(11)[:, None, None]
    assert np.all(np.abs(found - expected) <= 1e-5 * steps + 2e-6)


def test_writes_are_right_on_average_where_steps_are_constant():
    held = init(Pulsed(CONSTANT), KEY, WEIGHTS)
    change = jnp.linspace(-0.034, 0.034, 42).reshape(7, 6)
    after = jax.jit(jax.vmap(lambda key: Pulsed(CONSTANT).write(key, held, change)["weights"]))(
        jax.random.split(KEY, 4000))
    part = np.abs(np.asarray(change)) / 0.01 % 1
    error = 0.01 * np.sqrt(part * (1 - part) / 4000)
    assert np.all(np.abs(after.mean(0) - WEIGHTS - change) < 4 * error + 1e-6)


def test_nearest_counts_are_the_deterministic_trains():
    device = equal(devices.SoftBounds, dw_min=0.02, up_down=0.2)
    ours = Pulsed(device, counting="nearest", granularity=0.015)
    change = random_changes(1, 0.06)
    found = after_writes(ours, WEIGHTS, change, KEY)[0, 1]
    counts = jnp.round(change[0] / 0.015).astype(int)
    expected = devices.many(device, device.draw(KEY, (7, 6)), WEIGHTS, counts)
    np.testing.assert_allclose(found, expected, atol=1e-6)


# --- what examples ask for ---

X = jax.random.normal(jax.random.key(1), (16, 5))
D = jax.random.normal(jax.random.key(2), (16, 4))
RATE = 0.02 * 0.002 / float(jnp.max(jnp.abs(X)) * jnp.max(jnp.abs(D)))
SMALL = equal(devices.ConstantStep, dw_min=0.002, dw_min_std=0.5, up_down=0.4)
DRAWS = 6000


@cache
def trains():
    """Changes by exact trains of all samples, [draws, in, out]."""
    points = SMALL.draw(KEY, (5, 4))
    return np.asarray(jax.jit(jax.vmap(lambda key: devices.outer_batch(
        key, SMALL, points, jnp.zeros((5, 4)), X, D, RATE, devices.Trains(desired_bl=2))))(
            jax.random.split(KEY, DRAWS)), np.float64)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("counting", ["whole", "normal"])
def test_activity_moves_as_the_trains_of_all_samples(counting):
    memory = Pulsed(SMALL, counting=counting)
    held = init(memory, KEY, jnp.zeros((5, 4)))
    change = -RATE * X.T @ D
    activity = Activity(RATE * jnp.abs(X).T @ jnp.abs(D))
    found = np.asarray(jax.jit(jax.vmap(
        lambda key: memory.write(key, held, change, activity)["weights"]))(
            jax.random.split(KEY, DRAWS)), np.float64)
    exact = trains()
    ups, downs = ((np.asarray(activity.total) + way * np.asarray(change)) / 2 for way in (1, -1))
    mean = ups - 0.6 * downs  # steps down are smaller
    variance = 0.002 * (ups + 0.36 * downs) * 1.25
    for sample in (found, exact):
        assert np.all(np.abs(sample.mean(0) - mean) < 4 * np.sqrt(variance / DRAWS))
        # Of a rare pulse the fourth moment is that of its step: noise makes it 2.7 times the fourth
        # power of the step; 2 % are what trains of one slot lack.
        counts = np.asarray(activity.total) / 0.002
        error = variance * np.sqrt((2 + 1.8 / counts) / DRAWS)
        assert np.all(np.abs(sample.var(0) - variance) < 4 * error + 0.02 * variance)


def test_what_cancels_in_the_change_still_moves_devices():
    memory = Pulsed(CONSTANT)
    held = init(memory, KEY, jnp.zeros(4000))
    asked = Activity(jnp.full(4000, 0.02))
    moved = write(memory, KEY, held, jnp.zeros(4000), asked)["weights"]
    assert_near(moved, 0.0, 0.01 * np.sqrt(2), 1e9)
    alone = write(memory, KEY, held, jnp.zeros(4000))["weights"]
    np.testing.assert_array_equal(alone, 0)
    # No less is asked for than the change.
    less = write(memory, KEY, held, jnp.full(4000, 0.02), Activity(jnp.zeros(4000)))["weights"]
    assert np.all(less >= 0)
    assert_near(less, 0.02, 0.01 * np.sqrt(2), 1e9)


def test_without_a_total_the_change_is_programmed():
    memory, change = Pulsed(CONSTANT), random_changes(1, 0.05)[0]
    held = init(memory, KEY, WEIGHTS)
    plain = write(memory, KEY, held, change)
    told = write(memory, KEY, held, change, Activity(None, 1.0, 2.0))
    jax.tree.map(np.testing.assert_array_equal, plain, told)


# --- what a memory promises ---

KINDS = {
    "plain": Pulsed(devices.SoftBounds(dw_min=0.02)),
    "shown": Pulsed(devices.LinearStep(dw_min=0.02), write_noise_std=1.5),
    "normal": Pulsed(devices.ExpStep(dw_min=0.02), counting="normal"),
    "nearest": Pulsed(devices.PowStep(dw_min=0.02), counting="nearest"),
    "output": Pulsed(devices.ConstantStep(dw_min=0.02), saturation="output", most=2.0),
}


@pytest.mark.thorough(but=2)
@pytest.mark.parametrize("name", KINDS)
def test_zero_change_and_zero_activity_move_nothing(name):
    memory = KINDS[name]
    held, zero = init(memory, KEY, WEIGHTS), jnp.zeros_like(WEIGHTS)
    for activity in (None, Activity(zero), Activity(zero, 0.0, 0.0)):
        after = write(memory, KEY, held, zero, activity)
        jax.tree.map(np.testing.assert_array_equal, after, held)
    some = write(memory, KEY, held, zero.at[2].set(0.05))
    assert np.mean(memory.behind(some)[2] != memory.behind(held)[2]) > 0.8
    others = np.arange(7) != 2
    for view in (memory.read, memory.behind):
        np.testing.assert_array_equal(view(some)[others], view(held)[others])


@pytest.mark.parametrize("name", KINDS)
def test_weights_are_held_within_the_bounds_of_each_device(name):
    memory = KINDS[name]
    held = init(memory, KEY, WEIGHTS)
    points = held["points"]
    inside = jnp.clip(WEIGHTS, points.low, points.high)
    np.testing.assert_array_equal(memory.behind(held), inside)
    if name == "shown":
        assert_near(memory.read(held) - inside, 0.0, 0.03, 1e9)
    else:
        np.testing.assert_array_equal(memory.read(held), inside)
    after = write(memory, KEY, held, jnp.full_like(WEIGHTS, 5.0))
    assert np.all(memory.behind(after) <= points.high)
    same = memory.set(KEY, after, WEIGHTS)
    np.testing.assert_array_equal(memory.behind(same), inside)


@pytest.mark.parametrize("name", ["shown", "nearest"])
def test_compiled_and_batched_it_is_the_same_memory(name):
    sizes, change = jnp.asarray([0.01, 0.03]), random_changes(1, 0.04)

    def one(size):
        memory = KINDS[name].replace(device=KINDS[name].device.replace(dw_min=size))
        return after_writes(memory, WEIGHTS, change, KEY)[0]

    together = jax.jit(jax.vmap(one))(sizes)
    for ours, size in zip(together, sizes, strict=True):
        np.testing.assert_allclose(ours, one(size), atol=2e-6)
    assert np.any(together[0] != together[1])


@pytest.mark.thorough(but=2)
@pytest.mark.parametrize("name", KINDS)
def test_the_weights_type_is_kept(name):
    weights = WEIGHTS.astype(jnp.bfloat16)
    held = init(KINDS[name], KEY, weights)
    after = write(KINDS[name], KEY, held, jnp.full_like(weights, 0.1))
    assert {x.dtype for x in jax.tree.leaves((held, after))} == {jnp.dtype("bfloat16")}


def test_write_noise_is_drawn_anew_only_where_there_was_a_pulse():
    memory = Pulsed(CONSTANT, write_noise_std=2.0)
    held = init(memory, KEY, WEIGHTS)
    after = write(memory, jax.random.key(1), held, jnp.zeros_like(WEIGHTS).at[0].set(0.01))
    noise, before = (h["shown"] - h["weights"] for h in (after, held))
    np.testing.assert_allclose(after["weights"][0], WEIGHTS[0] + 0.01, atol=1e-6)
    assert np.all(np.abs(noise - before)[0] > 1e-5)
    np.testing.assert_array_equal(after["shown"][1:], held["shown"][1:])


@pytest.mark.parametrize("model", ["softbounds", "expstep"])
def test_write_noise_agrees(model):
    at, expected = f"noise/{model}/write_noise_2", reference()
    told = parameters(at)
    memory = Pulsed(device_of(told), write_noise_std=told["write_noise_std"], most=1)
    found, behind = after_writes(memory, jnp.zeros(10_000), jnp.full((10, 10_000), 1.0), KEY)
    table = told["dw_min"] * 2 / np.sqrt(32768)  # theirs are of one array
    assert_near(found[0], *expected[f"{at}/after_set_weights_zero"], 10_000)
    assert_near(found[10], *expected[f"{at}/after_10_up"], 10_000, offset=table)
    persistent, none = expected[f"{at}/persistent_after_10_up"]
    assert none == 0
    assert_near(found[10], persistent, told["dw_min"] * 2, 10_000)
    alone = devices.many(memory.device, memory.device.draw(KEY, ()), jnp.zeros(()), jnp.asarray(10))
    np.testing.assert_allclose(behind[10], alone, atol=1e-6)


def test_what_is_too_much_is_cut_by_device_or_by_output():
    change = jnp.asarray([[0.1, 0.02, -0.04], [0.05, -0.02, 0.01]])
    device = CONSTANT.replace(dw_min=1e-4)
    for saturation, expected in (
        ("device", np.clip(change, -0.03, 0.03)),
        ("output", change * np.array([0.3, 1.0, 0.75])),
    ):
        memory = Pulsed(device, most=300, saturation=saturation)
        found = after_writes(memory, jnp.zeros((2, 3)), change[None], KEY)[0, 1]
        np.testing.assert_allclose(found, expected, atol=1.1e-4)


def test_weights_decay_and_diffuse_with_every_write_and_drift_by_waiting():
    upkeep = devices.Upkeep(lifetime=4.0, reset=0.1, nu=0.2)
    memory = Pulsed(CONSTANT, upkeep=upkeep)
    held = init(memory, KEY, WEIGHTS)
    after = write(memory, KEY, held, jnp.zeros_like(WEIGHTS))
    np.testing.assert_allclose(memory.read(after), 0.1 + 0.75 * (WEIGHTS - 0.1), atol=1e-6)
    later = memory.wait(KEY, held, 32.0)
    np.testing.assert_allclose(memory.read(later), WEIGHTS * 0.5, atol=1e-6)
    restless = Pulsed(CONSTANT, upkeep=devices.Upkeep(diffusion=0.03), write_noise_std=1.0)
    held = init(restless, KEY, jnp.zeros(5000))
    after = write(restless, KEY, held, jnp.zeros(5000))
    assert_near(restless.behind(after), 0, 0.03, 1e9)
    assert_near(restless.read(after) - restless.behind(after), 0, 0.01, 1e9)
    assert np.all(after["shown"] != held["shown"])
    plain = Pulsed(CONSTANT)
    held = init(plain, KEY, WEIGHTS)
    assert plain.wait(KEY, held, 9.0) is held


def test_what_is_programmed_are_devices_that_pulses_moved():
    none, few = jnp.zeros(50_000), jnp.full(50_000, 1e-4)  # a hundredth of a pulse
    asked = Activity(few)
    leaky = devices.Upkeep(lifetime=4.0)
    for memory in (Pulsed(CONSTANT, counting="normal", upkeep=leaky), Pulsed(CONSTANT)):
        held = init(memory, KEY, none + 0.1)
        assert memory.programmed(held) == 0
        after = write(memory, KEY, held, none)
        assert memory.programmed(after) == 0, "decay is no programming"
        after = write(memory, KEY, held, few, asked)
        assert memory.programmed(after) == pytest.approx(0.01, abs=0.002)
        after = write(memory, KEY, held, few)
        assert memory.programmed(after) == pytest.approx(0.01, abs=0.002)
    held = init(memory, KEY, none + 0.1)
    after = write(memory, KEY, held, few, asked)
    shown = float(np.mean(memory.read(after) != memory.read(held)))
    assert float(memory.programmed(after)) == pytest.approx(shown, rel=1e-5)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("memory", [
    MixedPrecision(Pulsed(CONSTANT)), Several(Pulsed(CONSTANT)), OneSided(Pulsed(CONSTANT)),
    Buffered(fast=Pulsed(CONSTANT), slow=Pulsed(CONSTANT)),
], ids=lambda memory: type(memory).__name__)
def test_schemes_tell_what_they_programmed(memory):
    held = init(memory, KEY, WEIGHTS)
    assert memory.programmed(held) == 0
    first = write(memory, KEY, held, jnp.full_like(WEIGHTS, 0.02))
    later = write(memory, KEY, first, jnp.full_like(WEIGHTS, 0.02))
    # Nothing leaves an accumulator at first, and one line at a time a fast array.
    at_first = {MixedPrecision: 0, Buffered: 1 / len(WEIGHTS)}.get(type(memory), 1)
    assert float(memory.programmed(first)) == pytest.approx(at_first)
    shown = float(np.mean(memory.read(first) != memory.read(later)))
    assert float(memory.programmed(later)) == pytest.approx(shown)
    assert shown > 0


@pytest.mark.thorough(but=4)
@pytest.mark.parametrize("counting", ["whole", "normal", "nearest"])
@pytest.mark.parametrize("told", [False, True], ids=["change", "activity"])
@pytest.mark.parametrize("wrap", [lambda m: m, MixedPrecision], ids=["plain", "mixed"])
def test_a_change_that_is_no_number_shows(counting, told, wrap):
    memory = wrap(Pulsed(CONSTANT, counting=counting, write_noise_std=1.0))
    held = write(memory, KEY, init(memory, KEY, WEIGHTS), jnp.zeros_like(WEIGHTS))
    change = jnp.zeros_like(WEIGHTS).at[1, 2].set(jnp.nan)
    more = (Activity(jnp.abs(change)),) if told and type(memory) is Pulsed else ()
    after = write(memory, KEY, held, change, *more)
    for seen in (memory.read(after), memory.behind(after)):
        assert np.isnan(seen[1, 2])
        assert np.sum(np.isnan(seen)) == 1


@pytest.mark.parametrize("name", ["counting", "saturation"])
def test_unknown_words_are_refused(name):
    memory = Pulsed(**{name: "often"})
    held = init(memory, KEY, WEIGHTS)
    with pytest.raises(ValueError, match=f"{name}: expected .* got 'often'"):
        write(memory, KEY, held, WEIGHTS)


# --- a whole training ---


def test_a_network_learns_in_devices_from_what_every_example_asks():
    x = np.random.default_rng(0).uniform(size=(64, 6)).astype(np.float32)
    batch = Batch(jnp.asarray(x), jnp.asarray((x[:, 0] > 0.5).astype(np.int32)))
    memory = Pulsed(devices.SoftBounds(dw_min=0.004), write_noise_std=0.5)
    algorithm = backprop(mlp([8], 2), Rules(OPTIMIZERS["sgd"](), by_example=True))
    (phase,) = algorithm.phases
    settings = stack([Settings(memory=memory, learning_rate=1.0)])
    keys = jax.random.split(KEY, 1)
    state = make_begin(phase)(settings, make_init(algorithm, (64, 6))(keys, settings))
    before = jax.tree.map(np.asarray, state.held["blocks"][0]["kernel"].state)
    epoch = make_epoch(phase, batch_size=64, shuffle=False, preprocess=lambda v: v)
    losses = []
    for number in range(30):  # of one batch
        state, report = epoch(keys, number, settings, state, Data(batch, batch))
        losses.append(float(report.train.loss[0, 0]))
    assert np.all(np.isfinite(losses))
    assert np.mean(losses[-5:]) < losses[0] - 0.05
    kernel = state.held["blocks"][0]["kernel"].state
    assert kernel["weights"].shape == kernel["points"].up.shape == (1, 1, 8, 6)
    np.testing.assert_array_equal(kernel["points"].up, before["points"].up)
    assert np.mean(kernel["weights"] != before["weights"]) > 0.7
    assert np.any(kernel["shown"] != kernel["weights"])


def test_what_is_shown_changes_only_where_a_pulse_is_likely():
    memory = Pulsed(CONSTANT, write_noise_std=5.0, counting="normal")
    held = memory.init(KEY, jnp.zeros((100, 100)))
    nothing = jnp.zeros((100, 100))
    asked = Activity(jnp.full((100, 100), 0.02 * 0.01))  # a pulse for one of 50 devices
    after = memory.write(jax.random.key(1), held, nothing, asked)
    changed = float(jnp.mean(memory.read(after) != memory.read(held)))
    assert 0.01 < changed < 0.03
