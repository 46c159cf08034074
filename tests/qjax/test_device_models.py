"""Devices against the simulator aihwkit: responses, differences between devices, noise, presets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import simulated
from simulated import MODELS, assert_near, device_of, equal, own_numbers, parameters, reference

from qjax import devices
from qjax.devices import PRESETS, Upkeep
from qjax.numbers import numbers_of

KEY = jax.random.key(11)
COUNT = 10_000
OURS = {"ReRamES": "reram_es", "ReRamSB": "reram_sb", "EcRam": "ecram", "Idealized": "idealized",
        "GokmenVlasov": "gokmen_vlasov", "ReRamArrayHfO2": "reram_array_hfo2"}


def drawn(device, count=COUNT):
    return device.draw(KEY, (count,))


@jax.jit
def there_and_back(device, points, weights, ups, downs, key):
    """After some pulses up, and after some down."""
    up_key, down_key = jax.random.split(key)
    up = devices.many(device, points, weights, jnp.full(weights.shape, ups), up_key)
    return up, devices.many(device, points, up, jnp.full(weights.shape, -downs), down_key)


# --- responses ---


@pytest.mark.parametrize("at", simulated.places("response/"))
def test_responses_agree_pulse_by_pulse(at):
    device, expected = device_of(parameters(at)), reference()
    starts = jnp.asarray([0.0, expected[f"{at}/w_near_bound"][0]])
    ours = devices.train(device, device.draw(KEY, (2,)), starts,
                         jnp.asarray(expected["response/sequence"]))
    for place, name in enumerate(("w", "w_near_bound")):
        np.testing.assert_allclose(ours[:, place], expected[f"{at}/{name}"][1:], atol=1e-6, rtol=0)


def test_soft_bounds_have_a_closed_form_and_a_symmetry_point():
    device = equal(devices.SoftBounds, dw_min=0.02, w_max=0.5, w_min=-0.7, up_down=0.2)
    points, start = device.draw(KEY, ()), jnp.float32(-0.3)
    ours = devices.train(device, points, start, jnp.ones(60))
    left = (1 - 0.02 / 0.5) ** np.arange(1, 61)
    np.testing.assert_allclose(ours, 0.5 - 0.8 * left, atol=2e-6)
    up, down = 0.02, 0.02 * 0.8
    moves = device.moves(points, jnp.float32((up - down) / (up / 0.5 + down / 0.7)))
    np.testing.assert_allclose(moves.up, moves.down, rtol=1e-5)


def test_pmax_and_alpha_give_the_simulators_numbers():
    ours = devices.soft_bounds_pmax(400, 0.004, -0.8, 0.9, dw_min_std=0.1)
    scale = 1.7 / (1 - np.exp(-1.6))
    assert (ours.w_min, ours.dw_min_std) == (-0.8, 0.1)
    np.testing.assert_allclose(ours.w_max, scale - 0.8, rtol=1e-6)
    np.testing.assert_allclose(ours.dw_min, scale * 0.004, rtol=1e-6)
    np.testing.assert_allclose(ours.up_down, 1 - 1.6 / scale, rtol=1e-5)


def test_a_table_with_one_entry_is_a_constant_step():
    numbers = {"dw_min": 0.03, "up_down": 0.1}
    table = equal(devices.PiecewiseStep, piecewise_up=jnp.array([1.0]), **numbers)
    constant = equal(devices.ConstantStep, **numbers)
    points, weights = constant.draw(KEY, (9,)), jnp.linspace(-0.5, 0.5, 9)
    for way in (1, -1):
        np.testing.assert_allclose(devices.pulse(table, points, weights, way),
                                   devices.pulse(constant, points, weights, way), atol=1e-7)
    with pytest.raises(ValueError, match=r"expected a table \[n\] of steps"):
        devices.pulse(table.replace(piecewise_up=jnp.ones((2, 2))), points, weights, 1)


# --- no two devices are alike ---


def assert_folded(ours, mean, share):
    """They are the sizes of normally distributed numbers."""
    law = scipy.stats.foldnorm(1 / share, scale=mean * share)
    assert scipy.stats.kstest(np.asarray(ours), law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("at", [a for a in simulated.places("noise/") if "/d2d_" in a])
def test_differences_between_devices_agree(at):
    device, expected = device_of(parameters(at)), reference()
    points = drawn(device)
    if at.endswith("gamma"):
        for ours, name in ((-points.up * points.own["slope_up"], "slope_up"),
                           (-points.down * points.own["slope_down"], "slope_down")):
            assert_near(ours, *expected[f"{at}/{name}_mean_std"], COUNT)
        return
    for name, ours in (("dwmin_up", points.up), ("dwmin_down", points.down),
                       ("max_bound", points.high), ("min_bound", points.low)):
        mean, std, *_ = expected[f"{at}/hidden/{name}"]
        assert_near(ours, mean, std, COUNT)
    if at.endswith("d2d_all"):
        ours = np.corrcoef(points.up, points.down)[0, 1]
        assert abs(ours - expected[f"{at}/hidden/corr_up_down"]) < 4 * 0.36 * np.sqrt(2 / COUNT)
    states = there_and_back(device, points, jnp.zeros(COUNT), 10, 20, KEY)
    for ours, name in zip(states, ("after_10_up", "after_20_down"), strict=True):
        assert_near(ours, *expected[f"{at}/{name}"], COUNT)


def test_draws_are_folded_not_truncated():
    device = equal(devices.ConstantStep, dw_min=0.5, dw_min_dtod=0.8, w_max=0.6, w_max_dtod=0.9,
                   w_min=-100.0)  # so far away that bounds do not cross
    points = drawn(device)
    assert_folded(points.up, 0.5, 0.8)
    assert_folded(points.high, 0.6, 0.9)
    assert np.all(points.low <= 0)
    assert np.all(points.high >= 0)
    np.testing.assert_array_equal(points.up, points.down)


def test_without_consistency_signs_stay_and_bounds_that_cross_meet():
    device = equal(devices.ConstantStep, dw_min_dtod=0.8, w_max_dtod=2.0, w_min_dtod=2.0,
                   enforce_consistency=0)
    points = drawn(device)
    wrong = scipy.stats.norm.cdf(-1 / 0.8)
    sigma = np.sqrt(wrong * (1 - wrong) / COUNT)
    assert abs(np.mean(np.asarray(points.up) < 0) - wrong) < 4 * sigma
    assert np.all(points.low <= points.high)
    met = np.asarray(points.low == points.high)
    crossing = scipy.stats.norm.cdf(-1.2 / (1.2 * np.sqrt(2)))  # of w_max - w_min below zero
    assert abs(met.mean() - crossing) < 4 * np.sqrt(crossing * (1 - crossing) / COUNT)


def test_up_down_makes_one_direction_smaller():
    for share, up, down in ((0.3, 1.0, 0.7), (-0.3, 0.7, 1.0)):
        points = equal(devices.ConstantStep, dw_min=0.01, up_down=share).draw(KEY, (3,))
        np.testing.assert_allclose(points.up, 0.01 * up, rtol=1e-6)
        np.testing.assert_allclose(points.down, 0.01 * down, rtol=1e-6)


def test_as_many_devices_are_stuck_as_in_the_simulator():
    at, expected = "noise/softbounds/corrupt_0.2", reference()
    points = drawn(device_of(parameters(at)))
    stuck = np.asarray(points.low == points.high)
    sigma = np.sqrt(0.2 * 0.8 / COUNT)
    assert abs(stuck.mean() - 0.2) < 4 * sigma
    assert abs(stuck.mean() - expected[f"{at}/fraction"]) < 4 * sigma * np.sqrt(2)
    values = np.asarray(points.low)[stuck]
    mean, std, low, high = expected[f"{at}/value_mean_std_min_max"]
    assert_near(values, mean, std, 2019)
    np.testing.assert_allclose([values.min(), values.max()], [low, high], atol=0.001)


@pytest.mark.thorough(but=2)
@pytest.mark.parametrize("name", MODELS)
def test_stuck_devices_stay_put(name):
    device = MODELS[name](dw_min=0.05, corrupt_devices_prob=0.5)
    points = drawn(device, 200)
    stuck = np.asarray(points.low == points.high)
    assert 50 < stuck.sum() < 150
    weights = devices.bound(points, jnp.linspace(-1, 1, 200))
    np.testing.assert_array_equal(weights[stuck], points.low[stuck])
    moves = device.moves(points, weights)
    assert all(np.all(np.isfinite(m)) for m in moves)
    np.testing.assert_array_equal(np.stack([m[stuck] for m in moves]), 0)
    for after in there_and_back(device, points, weights, 5, 5, KEY):
        np.testing.assert_array_equal(after[stuck], weights[stuck])
        assert np.mean(after[~stuck] != weights[~stuck]) > 0.8


def test_a_reference_is_subtracted_and_may_be_the_symmetry_point():
    device = devices.SoftBoundsReference(
        dw_min=0.02, up_down_dtod=0.1, reference_mean=0.05, reference_std=0.02)
    points = drawn(device)
    assert_near(points.own["reference"], 0.05, 0.02, 1e9)
    np.testing.assert_allclose(points.high + points.own["reference"], points.own["top"], atol=1e-6)
    symmetric = device.replace(subtract_symmetry_point=1, reference_mean=0, reference_std=0)
    points = drawn(symmetric)
    moves = symmetric.moves(points, jnp.zeros(COUNT))
    np.testing.assert_allclose(moves.up, moves.down, atol=1e-7)
    assert np.std(points.own["reference"]) > 0.01


# --- from cycle to cycle ---


@pytest.mark.parametrize("at", [a for a in simulated.places("noise/") if "/c2c_" in a])
def test_noise_from_cycle_to_cycle_agrees(at):
    told, expected = parameters(at), reference()
    device = device_of(told)
    states = there_and_back(device, drawn(device), jnp.zeros(COUNT), 10, 20, KEY)
    # 16 arrays, each with its table of 32768 numbers.
    table = told["dw_min"] * told["dw_min_std"] / np.sqrt(32768 * 16)
    for ours, name, pulses in zip(states, ("after_10_up", "after_20_down"), (10, 30), strict=True):
        assert_near(ours, *expected[f"{at}/{name}"], COUNT, offset=pulses * table)


# --- presets ---


@pytest.mark.parametrize("name", OURS)
def test_presets_have_the_simulators_numbers(name):
    told, preset = parameters(f"preset/{name}"), PRESETS[OURS[name]]
    theirs = device_of(told, own_numbers)
    for number in numbers_of(preset.device):
        np.testing.assert_allclose(
            getattr(preset.device, number), getattr(theirs, number), rtol=1e-6, err_msg=number)
    assert preset.write_noise_std == told.get("write_noise_std", 0)
    np.testing.assert_allclose(
        preset.device.granularity, reference()[f"preset/{name}/granularity"], rtol=1e-6)


@pytest.mark.parametrize("name", OURS)
def test_presets_respond_like_the_simulators(name):
    at = f"preset/{name}"
    alike = equal(type(PRESETS[OURS[name]].device)).replace(**{
        n: value for n, value in device_of(parameters(at)).__dict__.items()
        if not n.endswith(("_dtod", "dw_min_std", "reference_std", "subtract_symmetry_point"))})
    expected = reference()[f"{at}/noise_free_600_up_600_down"]
    ways = jnp.concatenate([jnp.ones(600), -jnp.ones(600)])
    ours = devices.train(alike, alike.draw(KEY, ()), jnp.float32(expected[0]), ways)
    np.testing.assert_allclose(ours, expected[1:], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", OURS)
def test_populations_of_presets_agree(name):
    at, preset = f"preset/{name}", PRESETS[OURS[name]]
    device = preset.device
    states = there_and_back(device, drawn(device), jnp.zeros(COUNT), 100, 100, KEY)
    table = device.dw_min * device.dw_min_std / np.sqrt(32768 * 16)
    for ours, way, pulses in zip(states, ("up", "down"), (100, 200), strict=True):
        noise = preset.write_noise_std * device.dw_min * jax.random.normal(KEY, (COUNT,))
        assert_near(ours + noise, *reference()[f"{at}/population_after_100_{way}"], COUNT,
                    offset=pulses * table)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_what_it_is_and_counts_its_states(name):
    preset = PRESETS[name]
    assert preset.about
    assert "20" in preset.source
    # devices.md, section 6, last column.
    states = {"reram_es": 1004, "reram_sb": 1000, "capacitor": 400, "ecram": 1000, "ecram_mo": 7089,
              "idealized": 10000, "gokmen_vlasov": 1250, "pcm": 62, "reram_array_om": 21,
              "reram_array_hfo2": 4.3}
    np.testing.assert_allclose(preset.device.states, states[name], rtol=0.01)


# --- upkeep ---


def kept(upkeep, device, count=COUNT):
    points = drawn(device, count)
    return points, upkeep.draw(jax.random.fold_in(KEY, 1), (count,))


def upkeep_of(told):
    return Upkeep(**{"reset_std": 0.0} | {
        n: v for n, v in told.items() if n in numbers_of(Upkeep)})


def test_weights_decay_towards_where_a_reset_leads():
    told, expected = parameters("maintenance/decay"), reference()["maintenance/decay/w"]
    points, rates = kept(upkeep_of(told), device_of(told), 1)
    weights = jnp.asarray(expected[:1], jnp.float32)
    for after in expected[1:]:
        weights = devices.decay(rates, points, weights)
        np.testing.assert_allclose(weights, after, atol=1e-6)


def test_diffusion_and_reset_agree():
    told = parameters("maintenance/diffusion")
    points, rates = kept(upkeep_of(told), device_of(told))
    ours = devices.diffuse(rates, points, jnp.full(COUNT, told["start"]), KEY)
    # These were made on one array.
    assert_near(ours, *reference()["maintenance/diffusion/after_1_call"], COUNT, 0.02 / 181)
    told = parameters("maintenance/reset")
    upkeep = upkeep_of(told)
    points, rates = kept(upkeep, device_of(told))
    ours = devices.reset(upkeep, rates, points, KEY)
    assert_near(ours, *reference()["maintenance/reset/after_1_call"], COUNT, 0.03 / 181)


def test_weights_drift_from_t_0_on():
    told = parameters("maintenance/drift")
    upkeep = upkeep_of(told)
    points, rates = kept(upkeep, device_of(told), 1)
    start = jnp.full(1, reference()["maintenance/drift/w"][0], jnp.float32)
    for seconds, expected in zip(reference()["maintenance/drift/t"],
                                 reference()["maintenance/drift/w"], strict=True):
        ours = devices.drift(upkeep, rates, points, start, seconds)
        np.testing.assert_allclose(ours, expected, atol=1e-6)
    for never in (upkeep.replace(t_0=0.0), upkeep.replace(t_0=100.0)):
        np.testing.assert_array_equal(devices.drift(never, rates, points, start, 50.0), start)


def test_devices_keep_differently_and_within_their_bounds():
    upkeep = Upkeep(lifetime=5.0, lifetime_dtod=0.3, diffusion=0.3, diffusion_dtod=1.0, nu=0.1,
                    nu_dtod=0.3, nu_std=0.3, reset=0.2, reset_dtod=0.3)
    points, rates = kept(upkeep, equal(devices.ConstantStep))
    assert_near(rates.nu, 0.1, 0.03, 1e9)
    assert_near(rates.towards, 0.2, 0.3, 1e9)
    assert_folded(rates.diffusion, 0.3, 1.0)
    lives = 5 * (1 + 0.3 * np.random.default_rng(0).standard_normal(COUNT))
    expected = np.where(lives > 1, 1 - 1 / np.maximum(lives, 1), 0)
    assert scipy.stats.ks_2samp(np.asarray(rates.kept), expected).pvalue > 1e-3
    weights = jnp.full(COUNT, 0.59)
    for ours in (devices.diffuse(rates, points, weights, KEY),
                 devices.reset(upkeep, rates, points, KEY),
                 devices.drift(upkeep, rates, points, weights, 100.0, KEY)):
        assert np.max(np.abs(ours)) <= np.float32(0.6)
    once = devices.drift(upkeep, rates, points, weights, 100.0)
    again = devices.drift(upkeep, rates, points, weights, 100.0, KEY)
    ratio = np.log(np.asarray(again) / 0.59) / np.log(np.asarray(once) / 0.59)
    assert_near(ratio[rates.nu > 0.02], 1, 0.3, 1e9)


def test_nothing_happens_by_default():
    points, rates = kept(Upkeep(), equal(devices.ConstantStep), 50)
    weights = jnp.linspace(-0.6, 0.6, 50)
    np.testing.assert_allclose(devices.decay(rates, points, weights), weights, atol=1e-7)
    np.testing.assert_array_equal(devices.diffuse(rates, points, weights, KEY), weights)
    np.testing.assert_array_equal(devices.drift(Upkeep(), rates, points, weights, 9.0), weights)
