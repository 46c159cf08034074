"""Converters against the simulator aihwkit, and what they promise by themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import simulated
from simulated import parameters, reference

from qjax.devices import Converters, digitized, product, resolution_of
from qjax.numbers import numbers_of

KEY = jax.random.key(8)
WORDS = {"AbsMax": "abs_max", "None": "none", "Iterative": "iterative"}
EXACT = Converters(inp_res=0.0, out_res=0.0, out_noise=0.0, bound_management="none")


def converters(told):
    numbers = {n: v for n, v in told.items() if n in numbers_of(Converters)}
    return Converters(**numbers, noise_management=WORDS[told["noise_management"]],
                      bound_management=WORDS[told["bound_management"]])


def tensors():
    return (jnp.asarray(reference()[f"io/{name}"]) for name in ("X", "D", "W"))


@pytest.mark.parametrize("at", [a for a in simulated.places("io/") if "/noise/" not in a])
def test_products_agree(at):
    ours, (x, d, w) = converters(parameters(at)), tensors()
    forward = product(None, ours, x, w.T)
    np.testing.assert_allclose(forward, reference()[f"{at}/forward"], atol=3e-6, rtol=0)
    # Errors are never run again.
    backward = product(None, ours.replace(bound_management="none"), d, w)
    np.testing.assert_allclose(backward, reference()[f"{at}/backward"], atol=3e-6, rtol=0)


def test_the_cases_tell_managements_apart():
    at = "io/absmax_small_out_bound"
    ours, (x, _, w) = converters(parameters(at)), tensors()
    without = product(None, ours.replace(bound_management="none"), x, w.T)
    assert np.abs(without - reference()[f"{at}/forward"]).max() > 0.05


@pytest.mark.parametrize("at", simulated.places("io/noise/"))
def test_noise_agrees(at):
    told, count = parameters(at), 20000
    ours = converters(told).replace(w_noise_by_weight="pcmread" in at)
    x, _, w = tensors()
    y = jax.jit(product)(KEY, ours, jnp.repeat(x[told["input_row"]][None], count, 0), w.T)
    y = np.asarray(y, np.float64)
    mean, std = reference()[f"{at}/mean_std"]
    # Theirs is drawn from one table of 32768 numbers, so its mean has an error of its own.
    error = std * np.sqrt(2 / count + 1 / 32768)
    assert np.all(np.abs(y.mean(0) - mean) < 4 * error)
    assert np.all(np.abs(y.std(0) / std - 1) < 4 / np.sqrt(count))
    assert np.abs(np.corrcoef(y[:, 0], y[:, 1])[0, 1]) < (1 if told["inp_noise"] else 0.03)


def test_without_anything_products_are_exact_and_zero_stays_zero():
    x, _, w = tensors()
    x = x.at[1].set(0.0)
    np.testing.assert_allclose(product(None, EXACT, x, w.T), x @ w.T, atol=2e-6)
    noisy = Converters(inp_noise=0.1, w_noise=0.1)
    y = product(KEY, noisy, x, w.T)
    np.testing.assert_array_equal(y[1], 0)
    assert np.mean(y[0] != 0) > 0.5


def test_what_is_no_number_comes_back_as_none():
    x = jnp.asarray([[jnp.nan, 1.0], [0.5, 1.0]])
    for ours in (Converters(out_noise=0.0), EXACT):
        found = product(None, ours, x, jnp.eye(2))
        assert np.all(np.isnan(found[0]))
        assert np.all(np.isfinite(found[1]))


def test_without_a_bound_there_are_no_steps():
    x, _, w = tensors()
    ours = EXACT.replace(out_res=0.1, out_bound=jnp.inf)
    np.testing.assert_allclose(product(None, ours, x, w.T), x @ w.T, atol=1e-5)


def test_no_key_is_no_noise():
    x, _, w = tensors()
    noisy = Converters(inp_noise=0.1, w_noise=0.1, out_noise=0.3)
    quiet = Converters(out_noise=0.0)
    np.testing.assert_array_equal(product(None, noisy, x, w.T), product(None, quiet, x, w.T))
    np.testing.assert_array_equal(product(KEY, noisy, x, w.T), product(KEY, noisy, x, w.T))
    assert np.any(product(KEY, noisy, x, w.T) != product(jax.random.key(1), noisy, x, w.T))


def test_samples_are_managed_each_by_itself():
    x, _, w = tensors()
    x = x * jnp.asarray([1e-3, 1, 50, 1, 1, 1, 1, 1])[:, None]
    ours = Converters(out_bound=1.0, out_noise=0.0)
    alone = jnp.concatenate([product(None, ours, one[None], w.T) for one in x])
    np.testing.assert_allclose(product(None, ours, x, w.T), alone, atol=1e-6, rtol=1e-6)
    # In units of their largest entry they are what they were.
    same, _, _ = tensors()
    np.testing.assert_allclose(
        product(None, ours, x, w.T)[2] / 50, product(None, ours, same, w.T)[2], rtol=1e-5)


def test_outputs_are_multiples_of_a_step_within_their_bound():
    x, _, w = tensors()
    ours = Converters(inp_res=0.0, out_res=1 / 20, out_bound=0.5, out_noise=0.0,
                      noise_management="none", bound_management="none", out_scale=2.0)
    y = np.asarray(product(None, ours, x, w.T)) / 2
    np.testing.assert_allclose(y / 0.05, np.round(y / 0.05), atol=1e-4)
    exact = np.asarray(x.clip(-1, 1) @ w.T).clip(-0.5, 0.5)
    assert np.abs(y - exact).max() < 0.025 + 1e-5
    assert np.abs(y).max() == np.float32(0.5)


def test_inputs_are_multiples_of_a_step_and_cut_at_a_threshold():
    unit, x = jnp.eye(4), jnp.asarray([[1.0, 0.26, -0.13, 0.6]])
    ours = EXACT.replace(inp_res=1 / 8)
    np.testing.assert_allclose(product(None, ours, x, unit), [[1, 0.25, -0.25, 0.5]], atol=1e-6)
    cut = ours.replace(nm_thres=0.5)
    np.testing.assert_allclose(
        product(None, cut, x, unit), [[0.5, 0.25, -0.125, 0.5]], atol=1e-6)
    high = ours.replace(nm_thres=3.0)
    np.testing.assert_array_equal(product(None, high, x, unit), product(None, ours, x, unit))


def test_a_resolution_above_one_is_a_number_of_steps():
    x, _, w = tensors()
    share, steps = (Converters(inp_res=r, out_res=s, out_noise=0.0)
                    for r, s in ((1 / 30, 1 / 64), (30.0, 64.0)))
    np.testing.assert_allclose(product(None, share, x, w.T), product(None, steps, x, w.T),
                               atol=1e-6)


def test_bound_management_makes_inputs_smaller_as_often_as_it_may():
    x, w = jnp.ones((1, 40)), jnp.ones((40, 1))
    ours = Converters(out_bound=1.0, out_res=0.0, inp_res=0.0, out_noise=0.0)
    np.testing.assert_allclose(product(None, ours, x, w), 40, rtol=1e-6)
    # One half less each time, as long as it was not 9 times less before: 16 times in the end.
    np.testing.assert_allclose(product(None, ours.replace(max_bm_factor=9.0), x, w), 16, rtol=1e-6)
    # With steps of the default size up to 16 times, too.
    steps = ours.replace(inp_res=1 / 126)
    np.testing.assert_allclose(product(None, steps, x, w), 16, rtol=1e-6)
    # Beyond steps of an eighth of the range of inputs it is not tried again.
    coarse = ours.replace(inp_res=1 / 64, max_bm_res=1 / 8)
    np.testing.assert_allclose(product(None, coarse, x, w), 8, rtol=1e-6)


def test_numbers_may_be_batched_and_programs_compiled():
    x, _, w = tensors()
    bounds = jnp.asarray([1.0, 0.5, 12.0])

    def one(bound):
        return product(KEY, Converters(out_bound=bound), x, w.T)

    together = jax.jit(jax.vmap(one))(bounds)
    for ours, bound in zip(together, bounds, strict=True):
        np.testing.assert_allclose(ours, one(bound), atol=2e-6)


def test_other_bilinear_forms_are_let_through():
    x = jax.random.normal(KEY, (3, 8, 2))
    kernel = jax.random.normal(jax.random.key(1), (5, 2, 4))

    def convolved(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))

    ours = product(None, Converters(inp_res=1e-5, out_res=1e-5, out_noise=0.0), x, kernel,
                   convolved)
    np.testing.assert_allclose(ours, convolved(x, kernel), atol=2e-3)
    assert product(KEY, Converters(w_noise=0.1), x, kernel, convolved).shape == (3, 8, 4)


def test_single_values_are_digitized():
    ours = Converters(out_res=1 / 16, out_bound=0.4, out_noise=0.1)
    values = jnp.linspace(-1, 1, 41)
    clean = np.asarray(digitized(None, ours, values))
    expected = np.clip(np.round(np.asarray(values) / 0.05) * 0.05, -0.4, 0.4)
    np.testing.assert_allclose(clean, expected, atol=1e-6)
    free = ours.replace(out_res=0.0, out_bound=100.0)
    noisy = digitized(KEY, free, jnp.full(20000, 0.3))
    simulated.assert_near(noisy, 0.3, 0.1, 1e9)
    np.testing.assert_array_equal(digitized(None, free, values), values)


@pytest.mark.parametrize("name", ["noise_management", "bound_management"])
def test_unknown_managements_are_refused(name):
    x, _, w = tensors()
    with pytest.raises(ValueError, match=f"{name}: expected .* got 'average'"):
        product(None, Converters(**{name: "average"}), x, w.T)


def test_bits_are_a_resolution():
    assert resolution_of(None) == 0
    assert [round(1 / resolution_of(bits)) for bits in (2, 7, 8, 16)] == [2, 126, 254, 65534]
    for bits in (1, 17):
        with pytest.raises(ValueError, match=f"expected 2-16 bits or None, got {bits}"):
            resolution_of(bits)
