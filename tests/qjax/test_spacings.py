"""Levels that are not at equal distances: powers of two and lists, against plain NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qjax.grids import levels
from qjax.kinds import KINDS, kind_of
from qjax.quantize import (
    code_dtype,
    decode,
    encode,
    keep_on_grid,
    make_grid,
    make_quantizer,
    pulse,
    quantize,
    straight_through,
)
from qjax.spacings import Table, Uniform, position

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=400).astype(np.float32)
TABLES = ("levels:-1:-0.3:0.3:1", "levels:-0.5:0:0.2:0.5", "levels:0:0.1:0.5:2")
WORDS = [("pow2", bits) for bits in (3, 7)] + [(t, kind_of(t).least) for t in TABLES]
CASES = list(itertools.product(WORDS, ("global", "local")))


def expected_levels(word, bits, scope, x, bound=1.0):
    """All levels, sorted, in float64."""
    x = np.asarray(x, np.float64)
    magnitude = np.abs(x).max() if scope == "local" else bound
    if word == "pow2":
        sizes = magnitude * 2.0 ** -np.arange(2 ** (bits - 1) - 1)
        return np.sort(np.concatenate([-sizes, [0.0], sizes]))
    own = np.array(sorted(map(float, word.removeprefix("levels:").split(":"))))
    if scope == "global":
        return own * bound
    if own[0] == -own[-1]:
        return own / own[-1] * magnitude
    return x.min() + (own - own[0]) / (own[-1] - own[0]) * (x.max() - x.min())


def neighbours(x, known):
    """Index of the level at or below every (clipped) value, and the share of the way up."""
    x = np.clip(np.asarray(x, np.float64), known[0], known[-1])
    below = np.clip(np.searchsorted(known, x, side="right") - 1, 0, len(known) - 2)
    return below, (x - known[below]) / (known[below + 1] - known[below])


def grid_of(word, bits, scope, x):
    return make_grid(jnp.asarray(x), make_quantizer(bits, word, scope))


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize(("word", "scope"), CASES)
def test_levels_and_codes_are_those_of_the_definition(word, scope):
    word, bits = word
    grid, known = grid_of(word, bits, scope, X), expected_levels(word, bits, scope, X)
    lowest = -(len(known) // 2) if word == "pow2" else 0
    codes = jnp.arange(len(known), dtype=jnp.float32) + lowest
    np.testing.assert_allclose(levels(codes, grid), known, rtol=1e-6, atol=1e-6)
    below, share = neighbours(X, known)
    clear = np.abs(share - 0.5) > 1e-4
    codes = np.asarray(encode(X, grid)) - lowest
    np.testing.assert_array_equal(codes[clear], (below + (share > 0.5))[clear])
    np.testing.assert_array_equal(decode(encode(X, grid), grid), quantize(X, grid))
    assert encode(X, grid, code_dtype(bits, word)).dtype == ("int8" if word == "pow2" else "uint8")


@pytest.mark.thorough(but=3)
@pytest.mark.parametrize(("word", "scope"), CASES)
def test_quantizing_twice_changes_nothing_and_chance_moves_no_level(word, scope):
    word, bits = word

    @jax.jit
    def twice(x, key):
        once = quantize(x, grid_of(word, bits, scope, x))
        again = grid_of(word, bits, scope, once)
        drawn = jax.vmap(lambda k: quantize(once, again, k))(jax.random.split(key, 20))
        return once, quantize(once, again), drawn, pulse(once, jnp.zeros_like(x), again, key)

    once, again, drawn, still = twice(X, KEY)
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(once, still)
    assert jnp.all(drawn == once)


@pytest.mark.thorough(but=3)
@pytest.mark.parametrize(("word", "scope"), CASES)
def test_chance_is_right_on_average_and_goes_to_neighbours_only(word, scope):
    word, bits = word
    x, count = X[:60], 4000
    grid, known = grid_of(word, bits, scope, X), expected_levels(word, bits, scope, X)
    drawn = jax.jit(jax.vmap(lambda k: quantize(x, grid, k)))(jax.random.split(KEY, count))
    below, _ = neighbours(x, known)
    low, high = known[below], known[below + 1]
    off = np.minimum(np.abs(drawn - low), np.abs(drawn - high))
    assert np.max(off) < 1e-6 * max(1, np.abs(known).max())
    error = np.abs(np.mean(np.asarray(drawn, np.float64), 0) - np.clip(x, known[0], known[-1]))
    assert np.all(error <= 5 * (high - low) / 2 / np.sqrt(count) + 1e-6)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize(("word", "scope"), CASES)
def test_a_pulse_moves_by_one_level_and_is_right_on_average(word, scope):
    word, bits = word
    grid, known = grid_of(word, bits, scope, X), expected_levels(word, bits, scope, X)
    start, count = quantize(X[:40], grid), 4000
    smallest = np.min(np.diff(known))
    for sign in (1, -1):
        change = jnp.full_like(start, sign * 0.4 * smallest)
        moved = jax.jit(jax.vmap(lambda k, c=change: pulse(start, c, grid, k)))(
            jax.random.split(KEY, count))
        codes = np.asarray(encode(moved, grid)) - np.asarray(encode(start, grid))
        inside = np.abs(np.asarray(start) - known[-1 if sign > 0 else 0]) > 1e-6
        assert set(np.unique(codes * sign)) <= {0, 1}
        assert not codes[:, ~inside].any()
        gap = np.abs(np.mean(np.asarray(moved, np.float64), 0) - start - change)[inside]
        widest = np.max(np.diff(known))
        assert np.all(gap <= 5 * np.sqrt(0.4 * smallest * widest / count) + 1e-6)


@pytest.mark.parametrize("word", ["pow2", *TABLES])
def test_two_bits_of_powers_of_two_are_symm_and_derivatives_are_finite(word):
    symm, pow2 = (make_grid(X, make_quantizer(2, kind, "local")) for kind in ("symm", "pow2"))
    np.testing.assert_array_equal(quantize(X, symm), quantize(X, pow2))
    bits = 4 if word == "pow2" else kind_of(word).least
    x = jnp.asarray([*X[:20], 0.0])

    def total(x, scope="local"):
        q = make_quantizer(bits, word, scope)
        return jnp.sum(quantize(x, make_grid(x, q)) ** 2)

    assert jnp.all(jnp.isfinite(jax.grad(total)(x)))
    grid = grid_of(word, bits, "local", x)
    through = jax.grad(lambda x: jnp.sum(straight_through(x, grid)))(x)
    np.testing.assert_array_equal(through, np.ones(21))


@pytest.mark.thorough(but=3)
@pytest.mark.parametrize("word", ["pow2", *TABLES])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_types_stay_on_their_levels(word, dtype):
    bits = 4 if word == "pow2" else kind_of(word).least
    x = jnp.asarray(X, dtype)

    @jax.jit
    def run(x):
        q = make_quantizer(bits, word, "global")
        once = quantize(x, make_grid(x, q))
        return once, quantize(once, make_grid(once, q)), quantize(once, make_grid(once, q), KEY)

    once, again, drawn = run(x)
    assert once.dtype == dtype
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(once, drawn)


def test_numbers_batch_and_float_networks_ride_along():
    quantizers = [make_quantizer(b, "pow2", s) for b in (2, 3, 6) for s in ("global", "local")]
    quantizers.append(make_quantizer(None, "pow2"))
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *quantizers)
    ours = jax.jit(jax.vmap(lambda q: quantize(X, make_grid(X, q))))(together)
    for row, q in zip(ours, quantizers, strict=True):
        np.testing.assert_array_equal(row, jax.jit(lambda x, q=q: quantize(x, make_grid(x, q)))(X))
    np.testing.assert_array_equal(ours[-1], X)


def test_nan_and_inf_touch_nothing_else():
    for word, bits in WORDS:
        x = jnp.asarray([0.3, jnp.nan, jnp.inf, -jnp.inf, -1.0])
        fixed = quantize(x, make_grid(x, make_quantizer(bits, word, "global")))
        assert jnp.isnan(fixed[1])
        assert jnp.all(jnp.isfinite(fixed[jnp.array([0, 2, 3, 4])]))
        local = quantize(x, make_grid(x, make_quantizer(bits, word, "local")))
        assert jnp.isnan(local[1])
        assert jnp.all(jnp.isfinite(local[jnp.array([0, 4])]))


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.floats(-10, 10, width=16), min_size=2, max_size=9, unique=True),
    st.lists(st.floats(-12, 12, width=16), min_size=1, max_size=20),
)
def test_any_list_of_levels_gives_the_nearest_of_them(own, values):
    own = sorted({float(v) + 0.0 for v in own})
    if len(own) < 2 or min(np.diff(own)) < 1e-3:
        return
    word = "levels:" + ":".join(map(repr, own))
    x = jnp.asarray(values, jnp.float32)
    bits = kind_of(word).least
    ours = np.asarray(quantize(x, make_grid(x, make_quantizer(bits, word, "global"))))
    nearest = np.min(np.abs(np.asarray(values)[:, None] - np.asarray(own)), axis=1)
    np.testing.assert_allclose(np.abs(ours - np.asarray(values)), nearest, atol=2e-5)
    assert np.max(np.min(np.abs(ours[:, None] - np.asarray(own)), axis=1)) < 2e-5


def test_an_optax_loop_keeps_weights_on_any_levels():
    q = make_quantizer(4, "pow2", "global")
    params = {"w": quantize(jnp.asarray(X), make_grid(X, q))}
    chain = keep_on_grid(q, key=KEY)
    changes, _ = chain.update({"w": jnp.asarray(0.1 * X)}, chain.init(params), params)
    after = np.asarray(params["w"] + changes["w"])
    known = expected_levels("pow2", 4, "global", X)
    assert np.max(np.min(np.abs(after[:, None] - known), axis=1)) < 1e-6


def test_refusals_name_what_is_wrong():
    for bits, word, message in (
        (1, "pow2", "pow2 needs at least 2 bits"), (8, "pow2", "pow2 has 2 to 7 bits, got 8"),
        (3, "levels:-1:0:1", "levels:-1:0:1 has 2 bits, got 3"),
        (2, "levels:1", "at least two different numbers"), (2, "levels:a:b", "at least two"),
        (2, "levels", "at least two"), (1, "levels:1e-39:1e-38", "told apart by float32"),
        (2, "levels:-1:0:1e-9:1", "told apart"), (1, "levels:-1e300:1e300", "told apart"),
        (2, "symm:3", "unknown quantizer kind 'symm:3'"),
        (2, "log", "expected one of asymm, symm, pow2, levels"),
    ):
        with pytest.raises(ValueError, match=message):
            make_quantizer(bits, word)
    fine = "levels:" + ":".join(str(n / 4096) for n in range(4))
    wide = "levels:0:" + ":".join(str(1 - n / 4096) for n in range(4))
    with pytest.raises(ValueError, match="cannot tell the levels"):
        make_grid(jnp.ones(3, jnp.float16), make_quantizer(3, wide))
    make_grid(jnp.ones(3, jnp.float16), make_quantizer(2, fine))
    assert KINDS["levels"]("-1:1").spacing == Table((0.0, 1.0), (-1.0, 1.0))


@pytest.mark.parametrize("kind", ["asymm", "symm"])
def test_equal_distances_by_the_general_way_are_those_of_the_closed_form(kind):
    grid = make_grid(X, make_quantizer(4, kind, "local"))
    places = (jnp.clip(X, grid.low, grid.end) - grid.origin) / (grid.end - grid.origin)
    # The general way knows zero for the lowest code of a range that is counted from its end.
    spacing = grid.spacing if kind == "symm" else Uniform(both_ways=False)
    ours, per_place = position(spacing, places, grid.codes)
    np.testing.assert_allclose(ours, places * grid.codes, atol=1e-4)
    np.testing.assert_allclose(per_place, grid.codes, rtol=1e-3)
