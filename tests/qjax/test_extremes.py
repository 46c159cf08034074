"""Ranges that are measured: of what is finite, whatever else there is, at no cost to others."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.quantize import make_grid, make_quantizer, quantize

RNG = np.random.default_rng(0)
QUANTIZER = make_quantizer(4, "asymm", "local")
SPOILT = {"sound": [], "nan": [np.nan], "both": [np.inf, -np.inf, np.nan], "inf": [np.inf]}


SIZES = [(5, 6), (100, 90)]  # looked at with a mask, and without


def values(spoilt, size=SIZES[1]):
    x = RNG.normal(size=size).astype(np.float32)
    x.flat[: len(spoilt)] = spoilt
    return x


def ends(x, axis=None):
    """Smallest and largest finite value, in NumPy."""
    kept = {"axis": axis, "keepdims": axis is not None}
    finite = np.isfinite(x)
    return (np.min(x, where=finite, initial=np.inf, **kept),
            np.max(x, where=finite, initial=-np.inf, **kept))


@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=list(SPOILT))
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("jitted", [False, True])
def test_a_measured_range_is_that_of_the_finite_elements(spoilt, size, jitted):
    x = values(spoilt, size)
    grid = (jax.jit(make_grid) if jitted else make_grid)(x, QUANTIZER)
    assert (grid.low, grid.end) == ends(x)


def test_of_every_channel():
    x = values(SPOILT["both"])
    grid = make_grid(x, QUANTIZER, axis=-1)
    low, high = ends(x, axis=0)
    np.testing.assert_array_equal(grid.low, low)
    np.testing.assert_array_equal(grid.end, high)


def test_of_many_tensors_where_some_are_not_finite():
    many = np.stack([values(spoilt) for spoilt in SPOILT.values()])
    grids = jax.jit(jax.vmap(make_grid, in_axes=(0, None)))(many, QUANTIZER)
    for number, x in enumerate(many):
        assert (grids.low[number], grids.end[number]) == ends(x)


def test_sound_tensors_are_read_once_for_each_end():
    """A second look, at what is finite, is within a loop that need not turn."""
    grids = jax.jit(jax.vmap(make_grid, in_axes=(0, None)))
    text = grids.lower(values([], (3, 100, 90)), QUANTIZER).compile().as_text()
    bodies = set(re.findall(r"body=(%[\w.]+)", text))
    parts = {part.split()[0]: part for part in text.split("\n\n") if part.startswith("%")}
    picking = {name for name, part in parts.items()
               if re.search(r"\[3,100,90\]\S* is-finite\(", part)}
    assert picking
    for name in picking - bodies:
        callers = {other for other, part in parts.items() if f"calls={name}," in part}
        assert callers
        assert callers <= bodies


@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=list(SPOILT))
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_levels_move_with_the_ends(spoilt, size):
    """The derivative of the largest level is one at the largest element and zero elsewhere."""
    x = jnp.asarray(values(spoilt, size))
    moved = jax.grad(lambda x: make_grid(x, QUANTIZER).end)(x)
    expected = np.zeros(x.shape, np.float32)
    expected[np.unravel_index(np.argmax(np.where(np.isfinite(x), x, -np.inf)), x.shape)] = 1
    np.testing.assert_array_equal(moved, expected)
    direction = RNG.normal(size=size).astype(np.float32)
    _, forward = jax.jvp(lambda x: make_grid(x, QUANTIZER).end, (x,), (direction,))
    np.testing.assert_allclose(forward, np.sum(direction * expected), rtol=1e-6)
    assert np.isfinite(jax.jit(jax.grad(lambda x: jnp.sum(jnp.where(
        jnp.isfinite(x), quantize(x, make_grid(x, QUANTIZER)), 0))))(x)).all()


def test_within_shard_map_that_checks_what_varies():
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("i")
    x = values([])
    found = jax.jit(jax.shard_map(lambda x: quantize(x, make_grid(x, QUANTIZER)), mesh=mesh,
                                  in_specs=spec, out_specs=spec))(x)
    np.testing.assert_allclose(found, quantize(x, make_grid(x, QUANTIZER)), rtol=1e-5)
