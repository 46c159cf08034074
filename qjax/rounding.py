"""Moving values to the levels of a grid: to the nearest, at random, by single steps, as integers.

What holds of types, derivatives, nan and inf is said in `qjax.grids`, whose grids these are.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qjax.grids import Grid, check_grid, levels, make_quantizer, scale_of, tensor
from qjax.kinds import kind_of
from qjax.metrics import wide_type
from qjax.spacings import Uniform, position

__all__ = [
    "as_stored", "code_dtype", "decode", "encode", "land", "moved", "pulse", "quantize",
    "straight_through", "wanted",
]

# How far, in steps, a value may be from a level that it is to count as, where floats are coarse.
_SLIGHT = 1 / 64


def _position(x: Array, grid: Grid) -> tuple[Array, Array]:
    """(code below plus share of the way to the next level, codes per unit there) of values."""
    factor, scale = scale_of(grid)
    if isinstance(grid.spacing, Uniform):  # a last bit off in the other way, which moves halves
        return (x * factor - grid.origin * factor) * scale, scale
    some = jnp.where(grid.codes > 0, grid.codes, 1)
    per_unit = scale / some  # places per unit, times the factor
    place = (x * factor - grid.origin * factor) * per_unit
    found, per_place = position(grid.spacing, place, grid.codes)
    return found, per_place * per_unit


def _codes(x: Array, grid: Grid, key: Array | None) -> Array:
    """Code of every element, as floats, not finite where it has none; constant to derivatives.

    Meaningless where ``grid.codes == 0``.
    """
    x, grid = jax.lax.stop_gradient((x, grid))
    exact = x.astype(grid.end.dtype)
    clipped = jnp.clip(exact, grid.low, grid.end)
    # An inf must not pass for the largest weight where the range was measured without it.
    clipped = jnp.where(grid.fixed | ~jnp.isinf(exact), clipped, exact)
    position, scale = _position(clipped, grid)
    nearest = jnp.round(position)
    if key is None:
        return nearest
    drawn = jnp.floor(position + jax.random.uniform(key, x.shape, position.dtype))
    # The sum may round up to a whole number at the top of the range: there is no level above it.
    drawn = jnp.where(position < jnp.inf, jnp.minimum(drawn, grid.codes), position)
    return jnp.where(_is_level(exact, x.dtype, position, nearest, grid, scale), nearest, drawn)


def _is_level(exact, dtype, position, nearest, grid, scale):
    """Is a value a level, but for how floats round? Chance must not move what is on the grid."""
    if jnp.dtype(dtype) != position.dtype:  # a level is what rounding to that type makes of it
        return as_stored(levels(nearest, grid), dtype) == exact
    t = grid.spacing.place(nearest, grid.codes)
    largest = (jnp.abs(grid.origin) * (1 - t) + jnp.abs(grid.end) * t) * scale
    rounding = jnp.minimum(2 * jnp.finfo(dtype).eps * jnp.abs(largest), _SLIGHT)
    return (jnp.abs(position - nearest) <= rounding) | (levels(nearest, grid) == exact)


def as_stored(level: Array, dtype: Any) -> Array:
    """What a tensor of a type holds of a wider value; XLA would leave the rounding out."""
    return jax.lax.optimization_barrier(level.astype(dtype)).astype(level.dtype)


@jax.custom_jvp
def _at(codes: Array, grid: Grid, otherwise: Array) -> Array:
    """Levels of `codes` in the type of `otherwise`, which stands where there is no grid.

    With a derivative of its own, as those of divisions that nobody wanted the result of are nan.
    """
    return jnp.where(grid.codes > 0, levels(codes, grid).astype(otherwise.dtype), otherwise)


@_at.defjvp
def _at_jvp(primals, tangents):
    (codes, grid, otherwise), (_, grid_dot, otherwise_dot) = primals, tangents
    has_level = (grid.codes > 0) & jnp.isfinite(codes)
    level_dot = levels(jnp.where(has_level, codes, 0), grid.replace(
        origin=grid_dot.origin, end=grid_dot.end))
    moved = jnp.where(has_level, level_dot.astype(otherwise.dtype), otherwise_dot)
    return _at(*primals), moved


@jax.jit
def quantize(x: Array, grid: Grid, key: Array | None = None) -> Array:
    """Moves every element of `x` to a level of `grid`.

    Args:
      x: any shape, floating point.
      grid: from `make_grid`.
      key: None rounds to the nearest level (half to even). A PRNG key rounds stochastically: up
        with probability equal to the fraction of the step already covered, so that the
        expectation is the (clipped) value itself (Gupta et al. 2015, "Deep learning with limited
        numerical precision"); a level itself never moves. The key is consumed.

    Returns:
      Array like `x`. Its gradient with respect to `x` is zero almost everywhere, as the function
      is piecewise constant; use `straight_through` to let gradients pass.
    """
    check_grid(grid)
    x = tensor(x)
    return _at(_codes(x, grid, key), grid, x)


@jax.jit
def pulse(x: Array, change: Array, grid: Grid, key: Array) -> Array:
    """Moves every element of `x` by at most one level, up or down, at random.

    The probability is the size of the wanted change in levels, at most 1: as long as no change is
    larger than a level, and none leaves the range, the result is ``x + change`` on average.

    Args:
      x: any shape, on `grid` (else it is rounded first).
      change: like `x`; nan makes the element nan.
      grid: from `make_grid`.
      key: PRNG key, consumed.

    Returns:
      Array like `x`, on the grid; ``x + change`` where ``grid.codes == 0``.
    """
    check_grid(grid)
    x, change = tensor(x), tensor(change)
    if x.shape != change.shape:
        raise ValueError(f"expected a change of the shape of x, {x.shape}, got {change.shape}")
    factor, scale = scale_of(jax.lax.stop_gradient(grid))
    step = jax.lax.stop_gradient(change).astype(scale.dtype)
    before = _codes(x, grid, None)
    if not isinstance(grid.spacing, Uniform):
        scale = _scale_toward(before, jnp.sign(step), jax.lax.stop_gradient(grid))
    moves = jax.random.uniform(key, x.shape, scale.dtype) < jnp.abs(step) * factor * scale
    after = before + jnp.where(moves, jnp.sign(step), 0 * step)  # 0, or nan where the change is
    lowest = _codes(grid.low, grid, None)
    codes = jnp.where(jnp.isinf(before), before, jnp.clip(after, lowest, grid.codes))
    return _at(jax.lax.stop_gradient(codes), grid, (x + change).astype(x.dtype))


def _scale_toward(code, direction, grid):
    """Codes per unit between a level and its neighbour in a direction; any at the last one."""
    _, scale = scale_of(grid)
    here, there = (grid.spacing.place(c, grid.codes) for c in (code, code + direction))
    step = jnp.where(here != there, jnp.abs(here - there), 1)
    return scale / jnp.where(grid.codes > 0, grid.codes, 1) / step


@jax.jit
def moved(before: Array, then: Grid, after: Array, now: Grid) -> Array:
    """Is the level of an element another? Where a grid is missing: is its value?

    Args:
      before, then: a tensor that is on its grid already, and that grid.
      after, now: the same, later.

    Returns:
      bool like `before`; False of nan and inf where there are grids.
    """
    old, new = (jnp.round(_position(x.astype(grid.end.dtype), grid)[0])
                for x, grid in ((before, then), (after, now)))
    apart = jnp.abs(new - old)
    other = (apart > 0.5) & (apart < jnp.inf)
    return jnp.where((then.codes > 0) & (now.codes > 0), other, before != after)


def land(
    x: Array, change: Array, lay: Callable[[Array], Grid], key: Array | None = None
) -> Array:
    """``x + change`` on a grid: the step first, then the level.

    Args:
      x: any shape.
      change: like `x`.
      lay: values -> the grid that is laid over them, which may take its range from them.
      key: as in `quantize`.

    Returns:
      Array like `x`.
    """
    # A narrow type has too few digits to hold what is in between.
    narrow = wide_type(x.dtype) != x.dtype
    landing = wanted(x, change, lay(x)) if narrow else x + change
    return quantize(landing, lay(landing), key).astype(x.dtype)


def code_dtype(bits: int, kind: str) -> jnp.dtype:
    """The smallest integer type for the codes: signed where they are counted both ways."""
    make_quantizer(bits, kind)
    about = kind_of(kind)
    sign = "" if about.symmetric and about.spacing.both_ways else "u"
    return jnp.dtype(f"{sign}int{8 if bits <= 8 else 16}")


def encode(x: Array, grid: Grid, dtype=jnp.int32, key: Array | None = None) -> Array:
    """Integer code of every element: what the device would store.

    Args:
      x: any shape.
      grid: from `make_grid`, with ``codes > 0`` (there is no code without a grid: zeros result, as
        for elements that are not finite).
      dtype: integer type that holds the codes, see `code_dtype`.
      key: as in `quantize`.

    Raises:
      ValueError: `dtype` cannot hold all codes of the grid (not seen if the grid is traced).
    """
    check_grid(grid)
    x = tensor(x)
    _check_codes_fit(grid, dtype)
    codes = _codes(x, grid, key)
    return jnp.where((grid.codes > 0) & jnp.isfinite(codes), codes, 0).astype(dtype)


def _check_codes_fit(grid: Grid, dtype) -> None:
    limits = jnp.iinfo(dtype)
    try:
        codes, below = np.max(np.asarray(grid.codes)), np.any(np.asarray(grid.low < grid.origin))
    except jax.errors.TracerArrayConversionError:
        return
    if codes > limits.max or (below and codes > 0 and -codes < limits.min):
        lowest = -codes if below else 0.0
        raise ValueError(
            f"{jnp.dtype(dtype)} cannot hold the codes of this grid, {lowest:g} to {codes:g}: "
            "code_dtype(bits, kind) gives the smallest type that can"
        )


def decode(codes: Array, grid: Grid) -> Array:
    """The levels that integer `codes` stand for; ``decode(encode(x, g), g) == quantize(x, g)``.

    In the grid's type, float32 or float64. Without a grid that holds for tensors without extent,
    which are all one value, and not for zero bits, where no code stands for anything.
    """
    check_grid(grid)
    return levels(jnp.asarray(codes).astype(grid.codes.dtype), grid)


@jax.custom_jvp
def straight_through(x: Array, grid: Grid) -> Array:
    """`quantize(x, grid)` whose derivative with respect to `x` is the identity.

    The straight-through estimator (Bengio, Leonard, Courville 2013); the grid counts as constant.
    """
    return quantize(x, grid)


@straight_through.defjvp
def _straight_through_jvp(primals, tangents):
    return straight_through(*primals), tangents[0]


def wanted(x: Array, change: Array, grid: Grid) -> Array:
    """``x + change`` in float32 or wider, from the very level that a stored `x` stands for.

    A level in float16 or bfloat16 is rounded, and ``optax.apply_updates`` misses a level by a
    rounding error: starting from there, chance would move weights that nobody asked to move, and
    half precision would swallow small changes.

    Args:
      x: any shape.
      change: like `x`.
      grid: that `x` was put on.
    """
    exact = x.astype(grid.end.dtype)
    level = _at(_codes(x, grid, None), grid, exact)
    if x.dtype == exact.dtype:
        reach = 4 * jnp.finfo(x.dtype).eps * jnp.maximum(jnp.abs(grid.low), jnp.abs(grid.end))
        _, scale = _position(jnp.clip(exact, grid.low, grid.end), grid)
        slight = _SLIGHT / jnp.where(scale > 0, scale, 1)
        stored = jnp.abs(level - exact) <= jnp.minimum(reach, slight)
    else:
        stored = as_stored(level, x.dtype) == exact
    return jnp.where(stored, level, exact) + change.astype(exact.dtype)
