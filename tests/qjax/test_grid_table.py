"""Every public function on grids over types, kinds, scopes and modes of running, with its values.

What is expected comes from a float64 statement of the grid in NumPy, which knows nothing of ours.
"""

import contextlib
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qjax import memories
from qjax.memories import MEMORIES as ALL
from qjax.memories import Float, Held
from qjax.quantize import (
    SCOPES,
    Quantizer,
    decode,
    encode,
    keep_on_grid,
    make_grid,
    make_quantizer,
    pulse,
    quantize,
    quantize_tree,
    straight_through,
)

DTYPES = ("float16", "bfloat16", "float32", "float64")
UNIFORM = ("asymm", "symm")  # kinds
SIGNIFICANT = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}
SIZE = 24  # of all but two, so that programs are compiled once

MEMORIES = {name: ALL[name] for name in ("nearest", "stochastic", "pulse", "latent")}


def _filled(*values):
    return np.resize(np.array(values), SIZE)


TENSORS = {
    "usual": np.linspace(-1.3, 0.9, SIZE),
    "small": np.linspace(-1.3, 0.9, SIZE) * 1e-3,
    "one side": np.linspace(0.2, 0.9, SIZE),
    "nan": _filled(0.4, np.nan, -0.7, 0.1, 0.65),
    "inf": _filled(0.4, np.inf, -0.7, 0.1, -np.inf, 0.65),
    "zeros": np.zeros(SIZE),
    "constant": np.full(SIZE, 0.375),
    "all nan": np.full(SIZE, np.nan),
    "empty": np.zeros((0, 3)),
    "scalar": np.array(0.3),
}
# "wide" ranges, beyond the largest float, by type: in the types that have such.
LARGEST = {"float16": 6e4, "bfloat16": 3e38, "float32": 3e38, "float64": 1.7e308}

modes = pytest.mark.parametrize("mode", ["eager", "jit", "vmap", "debug_nans"])
every_grid = pytest.mark.parametrize(
    ("dtype", "kind", "scope"), list(itertools.product(DTYPES, UNIFORM, SCOPES))
)


@functools.cache
def compiled(function, batched=False):
    """One program of (x, *others) for all quantizers, which are arguments."""
    return jax.jit(jax.vmap(function, in_axes=(0, None, None)) if batched else function)


def run(mode, function, x, *others):
    """`function` (of three arguments) as each of the modes runs it."""
    if mode == "jit":
        return compiled(function)(x, *others)
    if mode == "vmap":  # of two equal ones
        both = compiled(function, True)(jnp.stack([x, x]), *others)
        first, second = (jax.tree.map(lambda x, i=i: x[i], both) for i in (0, 1))
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(as64(a), as64(b)), first, second)
        return first
    with jax.debug_nans(mode == "debug_nans"):
        return function(x, *others)


def ways(x, quantizer, key):
    """All that `quantize` and its kin make of a tensor."""
    grid = make_grid(x, quantizer)
    codes = encode(x, grid)
    return {
        "nearest": quantize(x, grid), "codes": codes, "decoded": decode(codes, grid),
        "straight": straight_through(x, grid), "drawn": quantize(x, grid, key),
    }


def width(dtype):
    """float64 exists only where jax is asked for it."""
    return jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()


def tensor(name, dtype):
    values = LARGEST[dtype] * _filled(1, -1, 0.1) if name == "wide" else TENSORS[name]
    return jnp.asarray(values).astype(dtype)


def as64(x):
    return np.asarray(x).astype(np.float64)


def grid64(x, bits, kind, scope):
    """(levels, lowest code) in float64, or None for no grid. Only finite elements have a range."""
    finite = x[np.isfinite(x)]
    if scope == "global":
        low, high = -1.0, 1.0
    elif not finite.size:
        return None
    else:
        low, high = finite.min(), finite.max()
    if kind == "symm":
        n, m = 2 ** (bits - 1) - 1, max(abs(low), abs(high))
        return (m * (np.arange(-n, n + 1) / n), -n) if m > 0 else None
    t = np.arange(2**bits) / (2**bits - 1)
    return (low * (1 - t) + high * t, 0) if high > low else None


def expected_codes(x, levels, lowest):
    """Code of the nearest level of every element; two where it is half-way, to float rounding."""
    clipped = np.clip(x, levels[0], levels[-1])
    half = levels / 2  # differences of the halves cannot overflow
    distance = np.abs(clipped[..., None] / 2 - half)
    step = half[1] - half[0]
    return [(distance + 1e-5 * step * side * np.arange(len(levels))).argmin(-1) + lowest
            for side in (1, -1)]


def equal_levels(ours, codes, levels, lowest, dtype):
    """Are these the levels of one or the other code, as the type rounds them?"""
    eps = 2.0 ** (1 - SIGNIFICANT[dtype])
    scale = np.abs(levels).max()
    near = [np.abs(as64(ours) - levels[c - lowest]) <= 4 * eps * scale for c in codes]
    return np.all(near[0] | near[1])


def known(x, grid, scope):
    """Elements that have a level."""
    return np.zeros(x.shape, bool) if grid is None else (
        np.isfinite(x) if scope == "local" else ~np.isnan(x)
    )


def bits_of(dtype, kind):
    return [b for b in (1, 2, 3, 8, 11, 16)
            if b <= SIGNIFICANT[dtype] and (kind == "asymm" or b > 1)]


@pytest.mark.thorough(but=1)
@every_grid
@modes
def test_nearest_and_codes(dtype, kind, scope, mode):
    names = [*TENSORS, "wide"]
    if mode == "debug_nans":  # which objects to nan that are given, too
        names = [name for name in names if "nan" not in name and name != "inf"]
    with width(dtype):
        for name, bits in itertools.product(names, bits_of(dtype, kind)[:4]):
            x, quantizer = tensor(name, dtype), make_quantizer(bits, kind, scope)
            got = run(mode, ways, x, quantizer, jax.random.key(0))
            ours, codes = got["nearest"], np.asarray(got["codes"])
            assert ours.dtype == got["straight"].dtype == x.dtype
            np.testing.assert_array_equal(as64(got["straight"]), as64(ours))
            x = as64(x)
            grid = grid64(x, bits, kind, scope)
            has = known(x, grid, scope)
            np.testing.assert_array_equal(np.isfinite(as64(ours)), has | np.isfinite(x))
            if grid is None:
                np.testing.assert_array_equal(as64(ours), x)
                assert not np.any(codes)
                continue
            expected = [e[has] for e in expected_codes(x, *grid)]
            message = f"{name}, {bits} bits"
            assert np.all((codes[has] == expected[0]) | (codes[has] == expected[1])), message
            assert not np.any(codes[~has])
            assert equal_levels(as64(ours)[has], expected, *grid, dtype), message
            assert equal_levels(as64(got["decoded"])[has], expected, *grid, dtype), message


@every_grid
def test_quantizing_twice_changes_nothing(dtype, kind, scope):
    with width(dtype):
        for name, bits in itertools.product((*TENSORS, "wide"), bits_of(dtype, kind)):
            x, quantizer = tensor(name, dtype), make_quantizer(bits, kind, scope)
            if name == "one side" and bits > 3 and kind == "asymm" and "16" in dtype:
                continue  # a narrow range far from zero: half precision has too few numbers there
            once = compiled(ways)(x, quantizer, jax.random.key(0))["nearest"]
            twice = compiled(ways)(once, quantizer, jax.random.key(0))["nearest"]
            np.testing.assert_array_equal(as64(twice), as64(once), err_msg=f"{name}, {bits} bits")


@pytest.mark.thorough(but=12)
@every_grid
@modes
def test_chance_moves_values_to_a_neighbour_and_levels_nowhere(dtype, kind, scope, mode):
    with width(dtype):
        for name, bits in itertools.product(("usual", "small", "zeros", "inf", "wide"), (2, 4, 8)):
            if mode == "debug_nans" and name == "inf":
                continue
            x, quantizer = tensor(name, dtype), make_quantizer(bits, kind, scope)
            got = run(mode, ways, x, quantizer, jax.random.key(3))
            ours, level, x = as64(got["drawn"]), got["nearest"], as64(x)
            assert got["drawn"].dtype == level.dtype
            grid = grid64(x, bits, kind, scope)
            has = known(x, grid, scope)
            if grid is None:
                np.testing.assert_array_equal(ours, x)
                continue
            levels, _ = grid
            clipped = np.clip(x[has], levels[0], levels[-1])
            step, eps = levels[1] / 2 - levels[0] / 2, 2.0 ** (1 - SIGNIFICANT[dtype])
            rounding = 2 * eps * np.abs(levels).max()
            assert np.all(np.abs(ours[has] / 2 - clipped / 2) <= step * (1 + 1e-5) + rounding)
            assert np.all(np.abs(ours[has][:, None] / 2 - levels / 2).min(-1) <= rounding)
            for seed in range(3):
                moved = as64(run(mode, ways, level, quantizer, jax.random.key(seed))["drawn"])
                # Levels are rounded in one program otherwise than in the next.
                still = np.abs(moved[has] / 2 - as64(level)[has] / 2) <= min(step / 8, rounding)
                assert np.all(still), (name, bits)


def zero_updates(start, quantizer, key):
    """`start` after 30 updates of zero in every memory, and through optax's addition."""
    nothing = jax.tree.map(jnp.zeros_like, start)
    after = {}
    for name, about in MEMORIES.items():
        memory = about(quantizer)

        def write(held, key, memory=memory):
            return memories.write(key, memory, held, nothing), None

        keys = jax.random.split(key, 30)
        held, _ = jax.lax.scan(write, jax.tree.map(Held, start), keys)
        after[name] = memories.read(Float(), held)
        after[f"{name}, shown"] = memories.read(memory, held)
    chain = keep_on_grid(quantizer, key=key)

    def step(carry, _):
        params, state = carry
        updates, state = chain.update(nothing, state, params)
        return (optax.apply_updates(params, updates), state), None

    (after["keep_on_grid"], _), _ = jax.lax.scan(step, (start, chain.init(start)), None, 30)
    return after


@pytest.mark.thorough(but=1)
@every_grid
def test_zero_updates_move_no_weight(dtype, kind, scope):
    """In any memory, also through optax's addition, however often."""
    with width(dtype):
        quantizer = make_quantizer(4, kind, scope)
        values = jax.random.normal(jax.random.key(0), (200,)).astype(dtype) * 0.4
        start = {"w": compiled(ways)(values, quantizer, jax.random.key(0))["nearest"]}
        if kind == "symm" or scope == "local":
            start["b"] = jnp.zeros(3, dtype)  # on the grid, or without one
        after = compiled(zero_updates)(start, quantizer, jax.random.key(1))
        for name, params in after.items():
            jax.tree.map(lambda a, b, name=name: np.testing.assert_allclose(
                as64(a), as64(b), rtol=0, err_msg=name,
                atol=0 if "16" in dtype else 4 * np.finfo(dtype).eps), params, start)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["nearest", "stochastic", "pulse", "latent"])
def test_updates_are_right_on_average(dtype, name):
    """A step of 0.3 levels (nearest: 0.7), also from levels that half precision rounds."""
    with width(dtype):
        quantizer, bits = make_quantizer(6, "asymm", "global"), 6
        step = 2 / (2**bits - 1)
        size = {"nearest": 0.7, "latent": 2.0}.get(name, 0.3) * step
        column = quantize(jnp.linspace(-0.8, 0.8, 7).astype(dtype), make_grid(
            jnp.ones(1, dtype), quantizer))
        count = 1 if name in ("nearest", "latent") else 4000
        params = jnp.tile(column, (count, 1))
        changes = jnp.full_like(params, size)
        memory = MEMORIES[name](quantizer)
        written = memory.write(jax.random.key(2), params, changes)
        assert written.dtype == params.dtype
        shown = memory.read(written)
        levels, lowest = grid64(as64(column), bits, "asymm", "global")
        (start, _), (end, _) = (expected_codes(as64(x), levels, lowest) for x in (column, shown))
        moved = (end - start).mean(0)
        expected = {"nearest": 1.0, "latent": 2.0}.get(name, 0.3)
        # Half precision rounds the wanted step, and latent's sum, by some of their digits.
        tolerance = 4 * np.sqrt(0.3 * 0.7 / count) if count > 1 else 1e-6
        assert np.all(np.abs(moved - expected) <= tolerance + 4 * 2.0 ** -SIGNIFICANT[dtype])


def pulsed(x, quantizer, change):
    grid = make_grid(x, quantizer)
    return pulse(x, change, grid, jax.random.key(0))


@every_grid
def test_pulses_step_by_one_level_of_the_grid(dtype, kind, scope):
    with width(dtype):
        quantizer = make_quantizer(3, kind, scope)
        x = compiled(ways)(tensor("usual", dtype), quantizer, jax.random.key(0))["nearest"]
        levels, lowest = grid64(as64(x), 3, kind, scope)
        start, _ = expected_codes(as64(x), levels, lowest)
        big = jnp.where(jnp.arange(x.size) % 2, 10.0, -10.0).astype(dtype)
        ours = compiled(pulsed)(x, quantizer, big)
        assert ours.dtype == x.dtype
        end = np.clip(start + np.sign(as64(big)), lowest, lowest + len(levels) - 1).astype(int)
        assert equal_levels(ours, (end, end), levels, lowest, dtype)


@pytest.mark.parametrize("kind", UNIFORM)
def test_a_range_measured_on_one_tensor_holds_for_another(kind):
    grid = make_grid(jnp.array([-1.0, 0.3, 2.0]), make_quantizer(4, kind, "local"))
    x = jnp.array([-50.0, 50.0, jnp.inf, 0.1])
    ours, codes = quantize(x, grid), encode(x, grid)
    assert (ours[0], ours[1]) == (-1.0 if kind == "asymm" else -2.0, 2.0)
    assert not np.isfinite(ours[2])
    assert (codes[0], codes[1]) == (0 if kind == "asymm" else -7, grid.codes)
    for key in jax.random.split(jax.random.key(0), 3):
        np.testing.assert_array_equal(quantize(x, grid, key)[:2], ours[:2])
    pushed = pulse(x, jnp.array([-9.0, 9.0, 9.0, 9.0]), grid, jax.random.key(0))
    np.testing.assert_array_equal(pushed[:2], ours[:2])


def test_a_nan_change_shows_and_stays_where_it_is():
    x, change = jnp.array([0.0, 0.5, 1.0]), jnp.array([0.1, jnp.nan, 0.1])
    for name, about in MEMORIES.items():
        memory = about(make_quantizer(3))
        ours = memory.read(memory.write(jax.random.key(0), x, change))
        np.testing.assert_array_equal(np.isnan(ours), [False, True, False], err_msg=name)


# --- derivatives ---


def functions(quantizer, key):
    """Scalar functions of a tensor through every public function; nan is left out of the sums."""

    def total(x):
        return jnp.sum(jnp.where(jnp.isfinite(x), x, 0).astype(jnp.float32) ** 2)

    def kept(x):
        chain = keep_on_grid(quantizer, key=key)
        updates, _ = chain.update({"w": x}, chain.init({"w": x}), {"w": x})
        return total(updates["w"])

    def grid(x):
        return make_grid(x, quantizer)

    held_by = {name: about(quantizer) for name, about in MEMORIES.items()}
    return {
        "quantize": lambda x: total(quantize(x, grid(x))),
        "stochastic": lambda x: total(quantize(x, grid(x), key)),
        "pulse": lambda x: total(pulse(x, 0.1 * x, grid(x), key)),
        "straight_through": lambda x: total(straight_through(x, grid(x))),
        "decode": lambda x: total(decode(encode(x, grid(x)), grid(x))),
        "tree": lambda x: total(quantize_tree({"w": x}, quantizer)["w"]),
        "keep_on_grid": kept,
        **{name: lambda x, memory=memory: total(memory.read(memory.write(key, x, x)))
           for name, memory in held_by.items()},
    }


def derivatives(x, quantizer, key):
    return {what: jax.grad(function)(x) for what, function in functions(quantizer, key).items()}


@pytest.mark.thorough(but=1)
@every_grid
def test_derivatives_are_finite(dtype, kind, scope):
    with width(dtype):
        quantizer = make_quantizer(4, kind, scope)
        for name in ("usual", "nan", "inf", "zeros", "constant", "empty", "scalar"):
            if name in ("empty", "scalar") and dtype != "float32":
                continue
            x = tensor(name, dtype)
            for what, gradient in compiled(derivatives)(x, quantizer, jax.random.key(0)).items():
                assert gradient.dtype == x.dtype
                assert np.all(np.isfinite(as64(gradient))), (name, what)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("mode", ["eager", "jit"])
@pytest.mark.parametrize("name", ["usual", "zeros", "constant"])
def test_without_a_grid_the_derivative_is_as_if_it_were_not_there(mode, name):
    x = tensor(name, "float32")
    quantizer = make_quantizer(None) if name == "usual" else make_quantizer(4, "asymm", "local")
    # What each function multiplies x by: pulse adds a tenth of it, the memories all of it.
    factors = {"pulse": 1.1, **dict.fromkeys(MEMORIES, 2.0)}
    with jax.debug_nans(True):
        run_them = derivatives if mode == "eager" else compiled(derivatives)
        gradients = run_them(x, quantizer, jax.random.key(0))
    for what, gradient in gradients.items():
        if what != "decode":  # there is no code to decode
            expected = 2 * factors.get(what, 1.0) ** 2 * x
            np.testing.assert_allclose(gradient, expected, rtol=1e-6, err_msg=what)


def test_levels_move_with_the_range_that_they_are_measured_on():
    """asymm local: d level / d low = 1 - t, d level / d high = t, by finite differences too."""
    x = jnp.array([-1.0, -0.31, 0.2, 0.7, 1.5])
    weight = jnp.array([0.3, -1.0, 2.0, 0.5, 1.0])

    def value(x):
        return weight @ quantize(x, make_grid(x, make_quantizer(3, "asymm", "local")))

    ours = jax.grad(value)(x)
    t = np.round((np.asarray(x) + 1) / 2.5 * 7) / 7
    np.testing.assert_allclose(ours, [weight @ (1 - t), 0, 0, 0, weight @ t], atol=1e-6)
    nudge = 1e-3 * jnp.eye(5)
    differences = [(value(x + d) - value(x - d)) / 2e-3 for d in nudge]
    np.testing.assert_allclose(ours, differences, atol=2e-3)


def test_the_unquantized_member_of_a_batch_has_its_derivative():
    quantizers = jax.tree.map(
        lambda *q: jnp.stack(q), make_quantizer(None), make_quantizer(3), make_quantizer(8)
    )
    x = tensor("usual", "float32")

    def value(quantizer):
        return jax.grad(lambda x: jnp.sum(quantize_tree(x, quantizer) ** 2))(x)

    ours = jax.jit(jax.vmap(value))(quantizers)
    assert np.all(np.isfinite(ours))
    np.testing.assert_allclose(ours[0], 2 * x, rtol=1e-6)


# --- what a type cannot hold ---


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", UNIFORM)
def test_a_type_is_trusted_with_as_many_bits_as_it_can_tell_apart(dtype, kind):
    most = SIGNIFICANT[dtype]
    for bound in (1.0, 1.01, 1.5, 1.99):
        x = jnp.linspace(-bound, bound, 40_000).astype(dtype)
        quantizer = make_quantizer(most, kind, "global", bound)
        levels, lowest = grid64(np.array([-bound, bound]), most, kind, "local")
        stored = jnp.asarray(levels).astype(dtype)  # as the type rounds them
        assert len(np.unique(as64(stored))) == len(levels)
        codes = encode(stored, make_grid(stored, quantizer))
        np.testing.assert_array_equal(codes, np.arange(len(levels)) + lowest)
    for call in (make_grid, quantize_tree):
        with pytest.raises(ValueError, match=f"at most {most} bits"):
            call(x, make_quantizer(most + 1, kind))


def test_bits_that_are_traced_are_not_looked_at():
    x = jnp.ones(3, jnp.bfloat16)
    jax.jit(lambda bits: quantize_tree(x, Quantizer(bits)))(10)
    with pytest.raises(ValueError, match="leaf 'w'"):
        quantize_tree({"w": x}, make_quantizer(10))
