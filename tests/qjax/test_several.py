"""Several devices for a weight, memories by name, and what all memories of devices promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from simulated import equal

from qjax import devices, memories
from qjax.devices import PRESETS, Upkeep
from qjax.memories import (
    MEMORIES,
    Activity,
    Chopped,
    Pulsed,
    Several,
    TikiTaka,
    about,
    named,
    numbers_of,
    with_numbers,
)
from qjax.quantize import make_quantizer

KEY = jax.random.key(6)
WEIGHTS = jnp.linspace(-0.04, 0.05, 12).reshape(4, 3)
CONSTANT = equal(devices.ConstantStep, dw_min=0.01, w_max=1.0, w_min=-1.0)
COMPOUND = ("mixed_precision", "tiki_taka", "ttv2", "cttv2", "agad", "one_sided", "several")


@jax.jit
def init(memory, key, weights):
    return memory.init(key, weights)


@jax.jit
def write(memory, key, held, *more):
    return memory.write(key, held, *more)


# --- several ---


def test_the_mean_of_several_devices_moves_as_one_would():
    memory = Several(Pulsed(CONSTANT), count=4)
    held = init(memory, KEY, WEIGHTS)
    np.testing.assert_allclose(memory.read(held), WEIGHTS, atol=1e-6)
    after = write(memory, KEY, held, jnp.full_like(WEIGHTS, 0.03))
    np.testing.assert_allclose(memory.read(after), WEIGHTS + 0.03, atol=1e-6)
    # Each with a chance of its own.
    part = write(memory, KEY, held, jnp.full_like(WEIGHTS, 0.005))["devices"]["weights"]
    assert np.any(part[0] != part[1])


def test_several_devices_differ_and_their_mean_does_less():
    alone, memory = Pulsed(devices.SoftBounds()), Several(Pulsed(devices.SoftBounds()), count=9)
    one, nine = (init(m, KEY, jnp.zeros(2000)) for m in (alone, memory))
    spread = np.std(nine["devices"]["points"].up.mean(0)) / np.std(one["points"].up)
    assert abs(spread - 1 / 3) < 4 / 3 / np.sqrt(2 * 2000) * np.sqrt(2)


def test_one_after_the_other_gets_all_pulses():
    memory = Several(Pulsed(CONSTANT), count=3, policy="sequential")
    held = init(memory, KEY, WEIGHTS)
    for number in range(4):
        after = write(memory, KEY, held, jnp.full_like(WEIGHTS, 0.02))
        moved = after["devices"]["weights"] - held["devices"]["weights"]
        expected = np.zeros((3, 4, 3))
        expected[number % 3] = 0.06
        np.testing.assert_allclose(moved, expected, atol=1e-6)
        held = after
    np.testing.assert_allclose(memory.read(held), WEIGHTS + 0.08, atol=1e-6)


def test_an_unknown_policy_is_refused():
    memory = Several(policy="random")
    held = init(memory, KEY, WEIGHTS)
    with pytest.raises(ValueError, match="policy: expected 'all' or 'sequential', got 'random'"):
        write(memory, KEY, held, WEIGHTS)


# --- what they cost ---


@pytest.mark.parametrize(("memory", "device", "beside"), [
    (Pulsed(CONSTANT), np.log2(200), 0),
    (Pulsed(PRESETS["reram_array_hfo2"].device), np.log2(4.327131), 0),
    (Pulsed(CONSTANT.replace(dw_min=5.0)), 1, 0),
    (Several(Pulsed(CONSTANT), count=3), 3 * np.log2(200), 0),
    (memories.OneSided(Pulsed(CONSTANT)), 2 * np.log2(200), 0),
    (TikiTaka(Pulsed(CONSTANT.replace(dw_min=0.02)), Pulsed(CONSTANT)), np.log2(200), np.log2(100)),
    (memories.Buffered(Pulsed(CONSTANT), Pulsed(CONSTANT)), np.log2(200), np.log2(200) + 32),
    (Chopped(Pulsed(CONSTANT), Pulsed(CONSTANT)), np.log2(200), np.log2(200) + 32),
    (memories.Dynamic(Pulsed(CONSTANT), Pulsed(CONSTANT)), np.log2(200), np.log2(200) + 96),
    (memories.MixedPrecision(Pulsed(CONSTANT)), np.log2(200), 32),
    (memories.MixedPrecision(Pulsed(CONSTANT), accumulator_bits=5), np.log2(200), 5),
])
def test_states_and_what_is_beside_them_are_counted(memory, device, beside):
    ours = memory.account()
    np.testing.assert_allclose((ours.device, ours.beside), (device, beside), rtol=1e-5)


# --- by name ---


def test_a_preset_has_its_noise_and_its_upkeep():
    ours = named("reram_es")
    assert ours.device == PRESETS["reram_es"].device
    assert (ours.write_noise_std, ours.upkeep) == (75.0, None)
    assert named("capacitor").upkeep == Upkeep(lifetime=1e6, lifetime_dtod=0.3)
    assert named("ecram").write_noise_std is None
    # Pulses need not be whole where there are many.
    assert [named(n).counting for n in ("ecram", "reram_array_hfo2")] == ["normal", "whole"]


def test_a_name_may_say_what_is_inside():
    ours, plain = named("tiki_taka:reram_es"), named("tiki_taka")
    for array, before in ((ours.fast, plain.fast), (ours.slow, plain.slow)):
        assert array.device == PRESETS["reram_es"].device
        assert array.write_noise_std == 75.0
        assert array.most == before.most
    assert ours.slow.most == 31
    assert named("mixed_precision:capacitor").device.saturation == "output"
    pairs, pcm = named("mixed_precision:one_sided:pcm").device, PRESETS["pcm"]
    assert (pairs.device.device, pairs.device.upkeep) == (pcm.device, pcm.upkeep)
    assert (pairs.device.most, pairs.device.saturation) == (31, "output")
    assert named("one_sided:pcm").device.device == PRESETS["pcm"].device
    held = init(ours, KEY, WEIGHTS)
    after = write(ours, KEY, held, jnp.full_like(WEIGHTS, 0.01))
    assert np.any(after["fast"]["shown"] != held["fast"]["shown"])


def test_a_table_of_steps_may_be_said():
    memory = named("piecewise_step:1,0.5,0:2,0.25")
    np.testing.assert_allclose(memory.device.piecewise_up, [1, 0.5, 0])
    np.testing.assert_allclose(memory.device.piecewise_down, [2, 0.25])
    assert memory.counting == named("piecewise_step").counting
    assert named("piecewise_step:1,0.5,0:2:whole").counting == "whole"
    both = named("tiki_taka:piecewise_step:1,0.5:2,0.25:whole")
    for array in (both.fast, both.slow):
        np.testing.assert_allclose(array.device.piecewise_down, [2, 0.25])
        assert array.counting == "whole"
    # In the middle of its range a device steps by what stands there; up is what a pulse is worth.
    one = with_numbers(memory, **{n: 0 for n in numbers_of(memory) if n.endswith("dtod")},
                       dw_min=0.01, dw_min_std=0, w_max=1, w_min=-1).replace(counting="whole")
    held = init(one, KEY, jnp.zeros((2, 3)))
    for way, step in ((0.005, 0.005), (-0.005, -0.01 * (2 + 0.25) / 2)):
        moved = one.read(write(one, KEY, held, jnp.full((2, 3), way)))
        np.testing.assert_allclose(moved, step, atol=1e-6)


@pytest.mark.parametrize("table", ["1,x:1", "1,-1:1,1", "1", "", "1:1:1", "whole:1:1"])
def test_a_table_that_is_none_is_refused(table):
    word = f"piecewise_step:{table}"
    expected = r"expected (numbers with commas|finite steps of at least 0|piecewise_step:UP)"
    with pytest.raises(ValueError, match=expected):
        named(word)


def test_a_table_with_no_step_in_its_middle_counts_pulses_by_dw_min():
    numbers = {n: 0 for n in numbers_of(named("piecewise_step")) if n.endswith("dtod")} | {
        "dw_min_std": 0, "w_max": 1, "w_min": -1}
    table, formula = (with_numbers(named(word), **numbers)
                      for word in ("piecewise_step:2,0:0,2:whole", "soft_bounds:whole"))
    held = [init(m, KEY, WEIGHTS) for m in (table, formula)]
    changes = jnp.full_like(WEIGHTS, 0.01)
    after = [m.read(write(m, KEY, h, changes)) for m, h in zip((table, formula), held, strict=True)]
    np.testing.assert_allclose(*after, atol=1e-6)  # soft bounds are such a table
    still = named("piecewise_step:0:0")
    held = init(still, KEY, WEIGHTS)
    np.testing.assert_array_equal(still.read(write(still, KEY, held, changes)), WEIGHTS)
    assert np.isfinite(still.account().device)


@pytest.mark.parametrize("word", ["reram_xy", "tiki_taka:nearest", "nearest:reram_es", "tiki_taka:",
                                  "soft_bounds:1:1", "reram_es:capacitor",
                                  "tiki_taka:ttv2", ":reram_es", ""])
def test_other_names_are_refused_with_those_there_are(word):
    with pytest.raises(ValueError, match=r"no memory '.*expected .*tiki_taka"):
        named(word)
    assert not memories.is_memory(word)


@pytest.mark.parametrize(("word", "message"), [
    ("mixed_precision:reram", "did you mean ecram or reram_sb or reram_es"),
    ("mixed_precision:one_sided:pcmm", "behind one_sided: one of .*did you mean pcm"),
    ("mixed_precision:one_side:pcm", "did you mean one_sided"),
    ("mixed_precision:one_sided:", "behind one_sided: one of"),
    ("mixed_precision:nearest", "several and, behind a colon, one of these$"),
    ("tiki_taka:one_sided:pcm", "expected behind tiki_taka: one of"),
    ("write_verify:reram_es", "write_verify is around no device, expected write_verify alone")])
def test_what_stands_behind_a_colon_is_told_from_what_stands_before(word, message):
    with pytest.raises(ValueError, match=message):
        named(word)


@pytest.mark.parametrize("name", MEMORIES)
def test_every_memory_says_what_it_is_in_one_line(name):
    line = about(name)
    assert memories.is_memory(name)
    assert 10 < len(line) < 160
    assert "\n" not in line
    assert not line.endswith(".")


# --- what every compound promises ---


@pytest.mark.thorough(but=2)
@pytest.mark.parametrize("name", COMPOUND)
def test_what_is_put_in_is_shown_and_no_change_moves_it(name):
    memory = named(name)
    held = init(memory, KEY, WEIGHTS)
    # Within the bounds of the devices; in a pair each sign has its own.
    np.testing.assert_allclose(memory.read(held), WEIGHTS, atol=1e-6)
    zero = jnp.zeros_like(WEIGHTS)
    after = held
    for key in jax.random.split(KEY, 3):
        after = write(memory, key, after, zero)
    np.testing.assert_array_equal(memory.read(after), memory.read(held))


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("name", COMPOUND)
def test_a_steady_change_arrives(name):
    memory, change = named(name), jnp.sign(WEIGHTS) * 0.01
    held = init(memory, KEY, WEIGHTS)
    before = memory.read(held)
    for number in range(120 if name == "agad" else 40):
        held = write(memory, jax.random.fold_in(KEY, number), held, change)
    moved = memory.read(held) - before
    assert np.mean(np.sign(moved) == np.sign(change)) > 0.7
    assert np.all(np.isfinite(jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(held)])))


@pytest.mark.parametrize("name", COMPOUND)
def test_types_and_shapes_stay_through_writes_and_batches(name):
    memory, weights = named(name), WEIGHTS.astype(jnp.bfloat16)
    more = (Activity(jnp.abs(weights)),) if memories.takes_activity(memory) else ()

    def used(key, weights):
        held = memory.init(key, weights)
        return held, memory.write(key, held, weights, *more)

    before, after = jax.tree.map(lambda x: (x.shape, x.dtype), jax.eval_shape(used, KEY, weights))
    assert before == after
    assert jax.eval_shape(lambda k, w: memory.read(used(k, w)[1]), KEY, weights).dtype == "bfloat16"
    together = jax.eval_shape(jax.vmap(used, (0, None)), jax.random.split(KEY, 3), weights)[1]
    assert {x.shape[0] for x in jax.tree.leaves(together)} == {3}


def test_a_scalar_stays_one():
    memory = named("ttv2")
    held = memory.write(KEY, memory.init(KEY, jnp.zeros(())), jnp.asarray(0.01))
    assert memory.read(held).shape == ()


@pytest.mark.parametrize("word", ["soft_bounds", "tiki_taka", "ttv2", "cttv2", "agad",
                                  "mixed_precision", "one_sided", "several"])
def test_narrow_weights_stay_narrow_whatever_the_type_of_the_numbers(word):
    known = numbers_of(named(word))
    wide = {n: jnp.float32(known[n].default or 0) for n in ("dw_min", "dw_min_std", "transfer_lr",
                                                       "fast_lr", "lifetime") if n in known}
    memory = with_numbers(named(word), **wide)
    change = jnp.full((3, 4), 0.01, jnp.bfloat16)

    def shapes(held):
        return jax.tree.map(lambda x: (x.shape, x.dtype), held)

    held = jax.eval_shape(memory.init, jax.random.key(0), jnp.zeros((3, 4), jnp.bfloat16))
    after = jax.eval_shape(memory.write, jax.random.key(1), held, change)
    assert shapes(after) == shapes(held)
    assert jax.eval_shape(memory.read, after).dtype == jnp.bfloat16


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("inner", ["one_sided", "several"])
def test_an_accumulator_may_be_beside_many_devices_of_a_weight(inner):
    memory = named(f"mixed_precision:{inner}:constant_step")
    exact = equal(devices.ConstantStep, dw_min=0.01, w_max=1.0, w_min=-1.0)
    memory = memory.replace(device=memory.device.replace(
        device=memory.device.device.replace(device=exact)))
    held = init(memory, KEY, jnp.zeros((2, 3)))
    for _ in range(4):
        held = write(memory, KEY, held, jnp.full((2, 3), -0.0075))
    # Of 3.0 pulses gathered, whole ones left: three, but for rounding.
    total = memory.read(held) + held["gathered"]
    np.testing.assert_allclose(total, -0.03, atol=1e-6)
    steps = memory.read(held) / 0.01
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    assert np.all(steps < -1.5)
    alone = memory.device.account()
    assert memory.account().device == alone.device
    assert memory.account().beside == alone.beside + 32


def test_pulses_of_pairs_are_limited_in_proportion():
    exact = equal(devices.ConstantStep, dw_min=0.01, w_max=1.0, w_min=0.0)
    memory = named("one_sided:constant_step")
    memory = memory.replace(device=memory.device.replace(
        device=exact, most=31, saturation="output", counting="nearest"))
    wanted = jnp.asarray([[0.62], [-0.31], [0.155]])
    held = write(memory, KEY, init(memory, KEY, jnp.zeros((3, 1))), wanted)
    np.testing.assert_allclose(memory.read(held)[:2, 0], [0.31, -0.15], atol=0.0101)


# --- waiting ---


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("word", ["pcm", "reram_es", *(f"{name}:soft_bounds" for name in COMPOUND)])
def test_what_devices_hold_drifts_and_nothing_else(word):
    memory = with_numbers(named(word), nu=0.2)
    held = write(memory, KEY, init(memory, KEY, WEIGHTS), jnp.full_like(WEIGHTS, 0.01))
    wait = jax.jit(memory.wait)
    for now in (0.0, 1.0):  # up to t_0
        jax.tree.map(np.testing.assert_array_equal, wait(KEY, held, now), held)
    later = wait(KEY, held, 32.0)

    def behind(held):
        return getattr(memory, "behind", memory.read)(held)

    np.testing.assert_allclose(behind(later), behind(held) * 0.5, rtol=1e-5, atol=1e-7)
    moved = {jax.tree_util.keystr(path) for (path, now), then in zip(
        jax.tree_util.tree_leaves_with_path(later), jax.tree.leaves(held), strict=True)
        if np.any(now != then)}
    assert moved
    assert all(path.endswith(("['weights']", "['shown']")) for path in moved)


def test_of_a_tree_devices_drift_and_floats_and_levels_stay():
    drifting = with_numbers(named("soft_bounds"), nu=0.2)
    memory = memories.by_leaf(
        (lambda path, leaf: path == "a", memories.Float()),
        (lambda path, leaf: path == "b", memories.Nearest(make_quantizer(2, "symm", "global"))),
        drifting)
    tree = {"a": WEIGHTS, "b": WEIGHTS, "c": WEIGHTS, "d": WEIGHTS, "count": jnp.arange(3)}
    held = memories.hold(KEY, memory, tree)
    later = memories.wait(KEY, memory, held, 32.0)
    now, then = memories.read(memory, later), memories.read(memory, held)
    for name in ("a", "b", "count"):
        np.testing.assert_array_equal(now[name], then[name])
    for name in ("c", "d"):
        np.testing.assert_allclose(now[name], then[name] * 0.5, rtol=1e-5)
    noisy = with_numbers(named("soft_bounds"), nu=0.2, nu_std=0.5)
    held = memories.hold(KEY, noisy, {"c": WEIGHTS, "d": jnp.array(WEIGHTS)})
    held["d"] = held["c"]
    later = memories.read(noisy, memories.wait(KEY, noisy, held, 32.0))
    assert not np.allclose(later["c"], later["d"], rtol=1e-3), "each leaf draws for itself"
