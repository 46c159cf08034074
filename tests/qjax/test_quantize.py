"""Grids and quantizers: the original's numbers, and what the docstrings promise for any tensor."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import vectors
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qjax.quantize import (
    SCOPES,
    Quantizer,
    code_dtype,
    decode,
    encode,
    keep_on_grid,
    make_grid,
    make_quantizer,
    quantize,
    quantize_tree,
    straight_through,
)

EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True)
BITS = range(1, 17)
UNIFORM = ("asymm", "symm")  # kinds
ALL_WORDS = [
    (bits, kind, scope)
    for bits, kind, scope in itertools.product(BITS, UNIFORM, SCOPES)
    if kind == "asymm" or bits >= 2
]
words = st.sampled_from(ALL_WORDS)


def nearest(x, quantizer):
    return quantize(x, make_grid(x, quantizer))


jit_nearest = jax.jit(nearest)
jit_stochastic = jax.jit(lambda x, quantizer, key: quantize(x, make_grid(x, quantizer), key))
jit_grid = jax.jit(make_grid)


def levels(x, bits, kind, scope, bound=1.0):
    """All levels, in float64, from the definition: independent of `make_grid`."""
    x = np.asarray(x, np.float64)
    if kind == "symm":
        m, n = (np.abs(x).max() if scope == "local" else bound), 2 ** (bits - 1) - 1
        return np.arange(-n, n + 1) * (m / n)
    low, high = (x.min(), x.max()) if scope == "local" else (-bound, bound)
    return low + np.arange(2**bits) * ((high - low) / (2**bits - 1))


def distance_to(values, grid):
    """Distance of every value to the nearest entry of a sorted 1-D `grid`."""
    values = np.asarray(values, np.float64).ravel()
    at = np.clip(np.searchsorted(grid, values), 1, len(grid) - 1)
    return np.minimum(np.abs(values - grid[at - 1]), np.abs(values - grid[at]))


@st.composite
def tensors(draw, size=12):
    """Values of one magnitude; the range is never tiny compared with the values themselves."""
    x = draw(hnp.arrays(np.int64, size, elements=st.integers(-5000, 5000))) / 997
    x = (x + draw(st.sampled_from([0.0, -5.0, 5.0]))) * 10.0 ** draw(st.integers(-4, 4))
    assume(np.ptp(x) > np.abs(x).max() / 8)
    return x.astype(np.float32)


# --- against the original's numbers ---


def published(part):
    """(tensor, kind, scope, bits) of every vector quant/<t>/<kind>/<part>/<bits>."""
    keys = [k.split("/") for k in vectors.vectors() if k.startswith("quant/")]
    return [(t, kind, s, int(bits)) for _, t, kind, s, bits in (k for k in keys if len(k) == 5)
            if s in part]


@pytest.mark.parametrize(("tensor", "kind", "scope", "bits"), published(SCOPES))
def test_values_equal_the_originals(tensor, kind, scope, bits):
    x = vectors.vectors()[f"quant/{tensor}/x"]
    ours = jit_nearest(x, make_quantizer(bits, kind, scope))
    expected = vectors.vectors()[f"quant/{tensor}/{kind}/{scope}/{bits}"]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("tensor", "kind", "_", "bits"), published(["local_codes"]))
def test_local_codes_are_the_originals(tensor, kind, _, bits):
    x = vectors.vectors()[f"quant/{tensor}/x"]
    ours = encode(x, jit_grid(x, make_quantizer(bits, kind, "local")))
    expected = vectors.vectors()[f"quant/{tensor}/{kind}/local_codes/{bits}"]
    np.testing.assert_array_equal(ours, expected)


def test_vectors_cover_all_bits_kinds_and_scopes():
    assert {v[1:] for v in published(SCOPES)} >= set(
        itertools.product(UNIFORM, SCOPES, range(2, 9))
    )


# --- any tensor ---


@EXAMPLES
@given(tensors(), words)
def test_quantizing_twice_changes_nothing_bit_for_bit(x, word):
    quantizer = make_quantizer(*word)
    once = jit_nearest(x, quantizer)
    np.testing.assert_array_equal(jit_nearest(once, quantizer), once)


@settings(EXAMPLES, max_examples=10)
@given(tensors(), words)
def test_quantizing_twice_changes_nothing_without_jit(x, word):
    quantizer = make_quantizer(*word)
    once = nearest(jnp.asarray(x), quantizer)
    np.testing.assert_array_equal(nearest(once, quantizer), once)


@EXAMPLES
@given(tensors(), words)
def test_error_is_at_most_half_a_step_inside_the_range(x, word):
    grid = levels(x, *word)
    inside = (x >= grid[0]) & (x <= grid[-1])
    error = np.abs(np.asarray(jit_nearest(x, make_quantizer(*word))) - x)[inside]
    half = (grid[1] - grid[0]) / 2
    assert np.all(error <= half + 4e-7 * np.abs(x).max())


@EXAMPLES
@given(tensors(), words)
def test_values_beyond_the_range_go_to_its_ends(x, word):
    bits, kind, _ = word
    grid = levels(x, bits, kind, "global")
    ours = np.asarray(jit_nearest(x, make_quantizer(bits, kind, "global")))
    np.testing.assert_array_equal(ours[x > grid[-1]], np.float32(1))
    np.testing.assert_array_equal(ours[x < grid[0]], np.float32(-1))


@EXAMPLES
@given(tensors(), words)
def test_order_is_kept(x, word):
    ours = np.asarray(jit_nearest(x, make_quantizer(*word)))
    assert np.all(np.diff(ours[np.argsort(x)]) >= 0)


@EXAMPLES
@given(tensors(), words)
def test_every_value_is_a_level(x, word):
    grid = levels(x, *word)
    off = distance_to(jit_nearest(x, make_quantizer(*word)), grid)
    assert off.max() <= 3e-7 * np.abs(grid).max()


@pytest.mark.parametrize("word", ALL_WORDS)
def test_number_of_levels(word):
    bits, kind, _ = word
    x = np.linspace(-1, 1, 2**17, dtype=np.float32)
    distinct = np.unique(jit_nearest(x, make_quantizer(*word)))
    assert len(distinct) == (2**bits if kind == "asymm" else 2**bits - 1)
    assert (0 in distinct) == (kind == "symm")


@EXAMPLES
@given(tensors(), words)
def test_ends_of_a_local_range_are_levels_exactly(x, word):
    bits, kind, _ = word
    ours = np.asarray(jit_nearest(x, make_quantizer(bits, kind, "local")))
    if kind == "asymm":
        assert (ours.min(), ours.max()) == (x.min(), x.max())
    furthest = np.argmax(np.abs(x))
    assert ours[furthest] == x[furthest]


def test_ties_go_to_the_even_code():
    x = jnp.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.0])
    codes = encode(x, make_grid(x, make_quantizer(3, "symm", "local")))
    np.testing.assert_array_equal(codes, [-2, -2, 0, 0, 2, 2, 3])


def test_bound_sets_the_global_range():
    x = jnp.array([-9.0, 0.1, 1.3, 2.0])
    ours = nearest(x, make_quantizer(2, "asymm", "global", bound=1.5))
    np.testing.assert_allclose(ours, [-1.5, 0.5, 1.5, 1.5], rtol=1e-6)


# --- codes ---


@settings(EXAMPLES, max_examples=20)
@given(tensors(), words)
def test_decoded_codes_are_the_quantized_values(x, word):
    x = jnp.asarray(x)
    bits, kind, _ = word
    grid = make_grid(x, make_quantizer(*word))
    codes = encode(x, grid, code_dtype(bits, kind))
    assert codes.dtype == code_dtype(bits, kind)
    np.testing.assert_array_equal(decode(codes, grid), quantize(x, grid))


@pytest.mark.parametrize("word", ALL_WORDS)
def test_codes_fill_their_range(word):
    bits, kind, _ = word
    x = jnp.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    codes = encode(x, jit_grid(x, make_quantizer(*word)), code_dtype(bits, kind))
    low, high = (0, 2**bits - 1) if kind == "asymm" else (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1)
    assert (codes.min(), codes.max()) == (low, high)


@pytest.mark.parametrize(
    ("bits", "kind", "name"),
    [
        (1, "asymm", "uint8"),
        (8, "asymm", "uint8"),
        (9, "asymm", "uint16"),
        (16, "asymm", "uint16"),
        (2, "symm", "int8"),
        (8, "symm", "int8"),
        (9, "symm", "int16"),
        (16, "symm", "int16"),
    ],
)
def test_code_dtype_is_the_smallest(bits, kind, name):
    assert code_dtype(bits, kind) == name


def test_without_a_grid_codes_are_zero():
    x = jnp.array([0.3, -0.2])
    assert not encode(x, make_grid(x, make_quantizer(None))).any()


# --- stochastic rounding ---


@pytest.mark.parametrize("word", [(1, "asymm", "global"), (3, "symm", "local"),
                                  (4, "asymm", "local"), (8, "symm", "global")])
def test_stochastic_rounding_is_right_on_average(word):
    count = 20000
    column = jnp.array([-1.0, -0.93, -0.401, -1e-3, 0.0, 0.027, 0.5, 0.77, 0.9])
    x = jnp.tile(column, (count, 1))
    ours = np.asarray(jit_stochastic(x, make_quantizer(*word), jax.random.key(1)), np.float64)
    grid = levels(column, *word)
    step = grid[1] - grid[0]
    covered = (np.asarray(column, np.float64) - grid[0]) / step % 1
    sigma = step * np.sqrt(covered * (1 - covered) / count)
    assert np.all(np.abs(ours.mean(0) - np.asarray(column)) <= 4 * sigma + 1e-4 * step)


@EXAMPLES
@given(tensors(), words, st.integers(0, 2**32 - 1))
def test_stochastic_rounding_moves_less_than_a_step_and_lands_on_levels(x, word, seed):
    ours = jit_stochastic(x, make_quantizer(*word), jax.random.key(seed))
    grid = levels(x, *word)
    clipped = np.clip(x, grid[0], grid[-1])
    tolerance = 1e-6 * np.abs(grid).max()
    assert np.all(np.abs(ours - clipped) < grid[1] - grid[0] + tolerance)
    assert distance_to(ours, grid).max() <= 3e-7 * np.abs(grid).max()


@pytest.mark.parametrize("kind", UNIFORM)
def test_stochastic_rounding_stays_in_the_range(kind):
    """Also where position + uniform is rounded up to the next whole number in float32."""
    x = jnp.ones(50_000).at[0].set(-1)
    grid = make_grid(x, make_quantizer(16, kind, "local"))
    ours = quantize(x, grid, jax.random.key(0))
    assert (ours.min(), ours.max()) == (-1, 1)
    codes = encode(x, grid, code_dtype(16, kind), jax.random.key(0))
    assert codes.max() == grid.codes
    np.testing.assert_array_equal(decode(codes, grid), ours)


def test_stochastic_rounding_depends_on_the_key_alone():
    x = jnp.linspace(-1, 1, 100)
    quantizer = make_quantizer(2)
    first, again, other = (
        jit_stochastic(x, quantizer, jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


# --- per channel ---


@pytest.mark.parametrize("kind", UNIFORM)
@pytest.mark.parametrize("axis", [-1, 1])
def test_one_range_per_column_is_quantizing_the_columns(kind, axis):
    x = jax.random.normal(jax.random.key(0), (6, 4)) * jnp.array([1.0, 10.0, 0.1, 3.0])
    quantizer = make_quantizer(3, kind, "local")
    ours = quantize(x, make_grid(x, quantizer, axis))
    columns = [nearest(x[:, j], quantizer) for j in range(4)]
    np.testing.assert_array_equal(ours, jnp.stack(columns, axis=1))


def test_ranges_along_several_axes():
    x = jax.random.normal(jax.random.key(0), (2, 5, 3))
    quantizer = make_quantizer(4, "asymm", "local")
    ours = quantize(x, make_grid(x, quantizer, (0, -1)))
    for i, j in itertools.product(range(2), range(3)):
        np.testing.assert_array_equal(ours[i, :, j], nearest(x[i, :, j], quantizer))


# --- nothing to quantize ---


@pytest.mark.parametrize("value", [0.0, 0.3, -7.0])
def test_constant_tensors_pass_unchanged_in_asymm(value):
    x = jnp.full((3, 2), value)
    np.testing.assert_array_equal(nearest(x, make_quantizer(4, "asymm", "local")), x)


@pytest.mark.parametrize("kind", UNIFORM)
@pytest.mark.parametrize("key", [None, jax.random.key(0)])
def test_zeros_pass_unchanged(kind, key):
    x = jnp.zeros((3, 2))
    np.testing.assert_array_equal(quantize(x, make_grid(x, make_quantizer(2, kind)), key), x)


@pytest.mark.parametrize("kind", UNIFORM)
def test_tensors_of_tiny_extent_stay_finite(kind):
    x = jnp.array([0.0, 1e-37, 3e-37])
    ours = nearest(x, make_quantizer(8, kind, "local"))
    np.testing.assert_allclose(ours, x, atol=2e-39)


@EXAMPLES
@given(hnp.arrays(np.float32, 8, elements=st.floats(width=32)), st.booleans(), st.booleans())
def test_zero_bits_change_nothing_bit_for_bit(x, symmetric, local):
    ours = np.asarray(jit_nearest(x, Quantizer(0.0, float(symmetric), float(local))))
    np.testing.assert_array_equal(ours.view(np.uint32), x.view(np.uint32))


# --- transformations ---


def test_vmap_over_quantizers_equals_one_by_one():
    x = jax.random.normal(jax.random.key(3), (40,))
    each = [make_quantizer(None), *(make_quantizer(*word) for word in ALL_WORDS)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    together = jax.jit(jax.vmap(nearest, in_axes=(None, 0)))(x, stacked)
    np.testing.assert_array_equal(together[0], x)
    for ours, quantizer in zip(together, each, strict=True):
        np.testing.assert_allclose(ours, jit_nearest(x, quantizer), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", UNIFORM)
@pytest.mark.parametrize("scope", SCOPES)
def test_straight_through_has_the_identity_as_derivative(kind, scope):
    x = jnp.array([-3.0, -0.2, 0.4, 0.9, 2.0])
    weight = jnp.arange(5.0)

    @jax.jit
    def value(x):
        return weight @ straight_through(x, make_grid(x, make_quantizer(3, kind, scope)))

    ours, gradient = jax.value_and_grad(value)(x)
    np.testing.assert_array_equal(gradient, weight)
    np.testing.assert_allclose(ours, weight @ nearest(x, make_quantizer(3, kind, scope)), rtol=1e-6)


def test_quantize_has_zero_derivative_on_a_given_grid():
    x = jnp.array([-0.9, -0.2, 0.4, 0.7])
    grid = make_grid(x, make_quantizer(3, "symm", "global"))
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(quantize(x, grid))))(x)
    np.testing.assert_array_equal(gradient, jnp.zeros(4))


def test_float64_is_kept():
    with jax.enable_x64(True):
        x = jnp.linspace(-1, 1, 7, dtype=jnp.float64)
        ours = nearest(x, make_quantizer(4))
        assert ours.dtype == jnp.float64
        assert distance_to(ours, levels(x, 4, "symm", "local")).max() < 1e-15


# --- trees ---

TREE = {
    "blocks": (
        {"kernel": jnp.linspace(-1, 0.9, 6).reshape(2, 3), "bias": jnp.linspace(0.1, 0.7, 3)},
        {"kernel": jnp.linspace(-3, 2.9, 6).reshape(3, 2), "bias": jnp.linspace(-0.5, 0.7, 2)},
    )
}


def test_tree_leaves_have_grids_of_their_own():
    quantizer = make_quantizer(3)
    expected = jax.tree.map(lambda leaf: nearest(leaf, quantizer), TREE)
    jax.tree.map(np.testing.assert_array_equal, quantize_tree(TREE, quantizer), expected)


def test_where_chooses_leaves_by_path():
    seen = []

    def where(path, leaf):
        seen.append((path, leaf.shape))
        return path == "blocks/1/kernel"

    quantizer = make_quantizer(3)
    ours = quantize_tree(TREE, quantizer, where=where)
    assert set(seen) == {("blocks/0/kernel", (2, 3)), ("blocks/0/bias", (3,)),
                         ("blocks/1/kernel", (3, 2)), ("blocks/1/bias", (2,))}
    expected = nearest(TREE["blocks"][1]["kernel"], quantizer)
    np.testing.assert_array_equal(ours["blocks"][1]["kernel"], expected)
    assert ours["blocks"][0]["kernel"] is TREE["blocks"][0]["kernel"]
    assert ours["blocks"][0]["bias"] is TREE["blocks"][0]["bias"]
    assert ours["blocks"][1]["bias"] is TREE["blocks"][1]["bias"]


def test_tree_axis_gives_a_range_per_unit():
    kernels = {"a": TREE["blocks"][0]["kernel"], "b": TREE["blocks"][1]["kernel"]}
    quantizer = make_quantizer(2)
    ours = quantize_tree(kernels, quantizer, axis=-1)
    for name, kernel in kernels.items():
        expected = quantize(kernel, make_grid(kernel, quantizer, -1))
        np.testing.assert_array_equal(ours[name], expected)


def test_tree_leaves_get_random_numbers_of_their_own():
    x = jnp.linspace(-1, 1, 100)
    ours = quantize_tree({"a": x, "b": x}, make_quantizer(2), key=jax.random.key(0))
    assert (ours["a"] != ours["b"]).any()


# --- with optax ---


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), optax.adam(0.1)], ids=["sgd", "adam"])
@pytest.mark.parametrize("key", [None, jax.random.key(5)], ids=["nearest", "stochastic"])
def test_keep_on_grid_ends_an_optax_chain_on_the_grid(optimizer, key):
    quantizer = make_quantizer(4, "symm", "global")
    chain = optax.chain(optimizer, keep_on_grid(quantizer, key=key))
    params = {"w": jnp.array([[0.5, -0.2], [0.9, 0.1]]), "b": jnp.array([0.3, -0.8])}
    params = quantize_tree(params, quantizer)
    start, state = params, chain.init(params)

    @jax.jit
    def step(params, state):
        gradients = jax.grad(lambda p: jnp.sum((p["w"] @ p["b"] - 1) ** 2))(params)
        updates, state = chain.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(5):
        params, state = step(params, state)
        for leaf in jax.tree.leaves(params):
            assert distance_to(leaf, levels(None, 4, "symm", "global")).max() < 1e-6
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (start, params)), strict=True))


def test_keep_on_grid_lands_on_the_quantized_step():
    quantizer = make_quantizer(3, "asymm", "local")
    transformation = keep_on_grid(quantizer)
    params = quantize_tree({"w": jnp.linspace(-1, 1, 7)}, quantizer)
    proposed = {"w": jnp.linspace(0.4, -0.3, 7)}
    updates, _ = transformation.update(proposed, transformation.init(params), params)
    expected = nearest(params["w"] + proposed["w"], quantizer)
    np.testing.assert_allclose(params["w"] + updates["w"], expected, atol=1e-6)


def test_keep_on_grid_leaves_other_leaves_to_the_optimizer():
    transformation = keep_on_grid(make_quantizer(2), where=lambda path, leaf: path == "w")
    params = {"w": jnp.array([0.0, 1.0]), "b": jnp.array([0.0, 1.0])}
    proposed = {"w": jnp.array([0.1, 0.0]), "b": jnp.array([0.125, 0.0])}
    updates, _ = transformation.update(proposed, transformation.init(params), params)
    np.testing.assert_array_equal(updates["w"], [0, 0])
    np.testing.assert_array_equal(updates["b"], proposed["b"])


def test_keep_on_grid_draws_anew_for_every_update():
    transformation = keep_on_grid(make_quantizer(2), key=jax.random.key(0))
    params = {"w": jnp.linspace(-1, 1, 50)}
    nothing = jax.tree.map(jnp.zeros_like, params)
    first, state = transformation.update(nothing, transformation.init(params), params)
    second, _ = transformation.update(nothing, state, params)
    assert (first["w"] != second["w"]).any()


def test_keep_on_grid_needs_params():
    transformation = keep_on_grid(make_quantizer(2))
    with pytest.raises(ValueError, match="params"):
        transformation.update({"w": jnp.ones(2)}, transformation.init(None))


# --- plain words ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 4, "kind": "uniform"}, "kind 'uniform'"),
        ({"bits": 4, "scope": "tensor"}, "scope 'tensor'"),
        ({"bits": 4, "bound": 0.0}, "bound"),
        ({"bits": 4, "bound": -1.0}, "bound"),
        ({"bits": 4, "bound": float("nan")}, "bound"),
        ({"bits": 0}, "bits"),
        ({"bits": -1}, "bits"),
        ({"bits": 17}, "bits"),
        ({"bits": 2.5}, "bits"),
        ({"bits": True, "kind": "asymm"}, "bits"),
        ({"bits": "4"}, "bits"),
        ({"bits": 1, "kind": "symm"}, "symm needs at least 2 bits"),
        ({"bits": None, "kind": "none"}, "kind 'none'"),
    ],
)
def test_make_quantizer_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_quantizer(**arguments)


def test_make_quantizer_gives_numbers_of_one_structure():
    for word in [(None, "symm", "local"), *ALL_WORDS]:
        quantizer = make_quantizer(*word)
        assert (quantizer.bits or None) == word[0]
        assert bool(quantizer.symmetric) == (word[1] == "symm")
        assert bool(quantizer.local) == (word[2] == "local")
        assert {leaf.dtype for leaf in jax.tree.leaves(quantizer)} == {jnp.dtype("float32")}


def test_code_dtype_refuses_what_make_quantizer_refuses():
    with pytest.raises(ValueError, match="symm"):
        code_dtype(1, "symm")
