"""Uniform grids: where a weight may lie when the device that holds it has only a few levels.

A *quantizer* is three numbers (bits, symmetric?, local?), a *grid* the levels that they give for
one tensor. Because a quantizer is numbers and not code, replicas that differ in it - the
unquantized baseline (0 bits) included - run under one `jax.vmap`.

Both kinds are those of Nayak, Zhang and Chai, "Bit efficient quantization for deep neural networks"
(2019); values are clipped to the range and rounded half-to-even:

* asymm: 2^b levels from lo to hi, both ends included.
* symm: 2^b - 1 levels from -m to m, zero included.

A level is computed as the blend ``origin*(1-t) + end*t`` with ``t = code/codes``, so the ends of
the range are levels exactly and quantizing twice changes nothing, bit for bit, even when the range
is measured anew on the quantized tensor (by one program: another, or none, may round a level of
asymm to the neighbouring float; and as long as floats resolve the steps: a range of 1e-6
around 1000 has no 8 bits in float32).

*Types.* A tensor keeps its type; its grid is computed in float32, or float64 for float64. A level
of a float16 or bfloat16 tensor is the float32 level rounded to that type (so stochastic rounding is
right on average up to that rounding: a quarter of a step at as many bits as the type can bear).
More bits than the type has significant ones (11 and 8) are refused by `make_grid`, if they are not
traced; of a narrow range far from zero, levels may still coincide.

*Derivatives.* Which level a value goes to is piecewise constant. The levels themselves move with
the range, and so with the tensor's extreme values under the scope "local"; a tensor without a grid
passes with the identity as its derivative. All are finite wherever the values are.

*nan and inf* are not counted in a range. A nan stays nan; an inf goes to the end of a fixed range,
and has no level in a measured one: it stays inf or becomes nan. They touch no other element.
"""

from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jax.typing import ArrayLike

from qjax.metrics import wide_type

__all__ = [
    "KINDS",
    "SCOPES",
    "Grid",
    "Quantizer",
    "as_stored",
    "check_quantizer",
    "code_dtype",
    "decode",
    "encode",
    "kept_axes",
    "make_grid",
    "make_quantizer",
    "pulse",
    "quantize",
    "straight_through",
    "wanted",
]

# How far, in steps, a value may be from a level that it is to count as, where floats are coarse.
_SLIGHT = 1 / 64

KINDS = ("asymm", "symm")
SCOPES = ("global", "local")
MAX_BITS = 16


@struct.dataclass
class Quantizer:
    """What decides a grid, as numbers that may be traced or batched.

    Attributes:
      bits: number of bits, 1 to 16 (symmetric: from 2); 0 leaves values as they are, and so does
        symmetric with 1, which has no level but zero (`make_quantizer` refuses it).
      symmetric: nonzero for symm, zero for asymm.
      local: nonzero takes the range from each tensor, zero uses [-bound, bound] for all.
      bound: half-width of the fixed range.
    """

    bits: ArrayLike
    symmetric: ArrayLike = True
    local: ArrayLike = True
    bound: ArrayLike = 1.0


class Grid(NamedTuple):
    """The levels of one tensor (or, with keepdims axes of size 1, of each of its channels).

    Level k is ``origin*(1 - k/codes) + end*k/codes`` for every integer k that keeps it within
    [low, end]; values beyond go to its ends. ``codes = 0`` means "no grid": values pass unchanged.
    `fixed` tells a range that was given from one that was measured, for which inf has no level. All
    are float32 or float64, but `fixed`, which is bool.
    """

    low: Array
    origin: Array
    end: Array
    codes: Array
    fixed: Array


def make_quantizer(
    bits: int | None, kind: str = "symm", scope: str = "local", bound: float = 1.0
) -> Quantizer:
    """Builds a `Quantizer` from plain words and checks it.

    Args:
      bits: 1-16 (symm: 2-16), or None for no quantization.
      kind: "asymm" or "symm".
      scope: "global" ([-bound, bound] for every tensor) or "local" (each tensor's own range).
      bound: half-width of the global range, > 0.

    Raises:
      ValueError: for anything outside these.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown quantizer kind {kind!r}: expected one of {KINDS}")
    if scope not in SCOPES:
        raise ValueError(f"unknown scope {scope!r}: expected one of {SCOPES}")
    float32 = np.finfo(np.float32)
    if not float(float32.tiny) <= bound <= float(float32.max):
        raise ValueError(f"bound must be positive and finite, got {bound!r}")
    if bits is not None:
        if isinstance(bits, bool) or not isinstance(bits, Integral) or not 1 <= bits <= MAX_BITS:
            raise ValueError(
                f"bits must be a whole number from 1 to {MAX_BITS}, or None; got {bits!r}"
            )
        if kind == "symm" and bits < 2:
            raise ValueError("symm needs at least 2 bits (1 leaves only the level zero): use asymm")
    # NumPy's, which stay known inside of `jax.jit`.
    return Quantizer(
        bits=np.float32(bits or 0),
        symmetric=np.float32(kind == "symm"),
        local=np.float32(scope == "local"),
        bound=np.float32(bound),
    )


def _check_resolution(dtype, bits: ArrayLike) -> None:
    """Raises ValueError if a type cannot tell 2^bits levels apart; traced bits are not looked at.

    Of p significant bits, neighbours near the end of a range are 2^(1-p) of it apart at most, and a
    level is rounded by half of that: less than half a step for p bits, not for p + 1.
    """
    try:
        most = float(np.max(np.asarray(bits)))
    except jax.errors.TracerArrayConversionError:
        return
    significant = jnp.finfo(dtype).nmant + 1
    if most > significant:
        raise ValueError(
            f"{dtype} cannot tell the levels of {most:g} bits apart in every range: expected at "
            f"most {significant} bits, or weights of a wider type (float16: 11, float32: 16)"
        )


def _tensor(x: ArrayLike) -> Array:
    """`x` as an array; TypeError if it is not floating point."""
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"expected a floating-point tensor, got {x.dtype}: convert it, for instance with "
            "x.astype(jnp.float32)"
        )
    return x


def kept_axes(shape: tuple[int, ...], axis: int | tuple[int, ...]) -> set[int]:
    """Axes counted from the front; ValueError where `shape` lacks one."""
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    for a in axes:
        if not isinstance(a, Integral) or isinstance(a, bool):
            raise TypeError(f"axis must be a whole number or a tuple of them, got {axis!r}")
        if not -len(shape) <= a < len(shape):
            raise ValueError(f"axis {a} is out of range for a tensor of shape {shape}")
    return {a % len(shape) for a in axes}


def make_grid(x: Array, quantizer: Quantizer, axis: int | tuple[int, ...] | None = None) -> Grid:
    """The grid that `quantizer` lays over `x`.

    Args:
      x: any shape, floating point.
      quantizer: scalars (use `jax.vmap` for several).
      axis: None for one range per tensor; an axis (or axes) of `x` for one range per index along
        it, e.g. the last axis of a Dense kernel for one range per unit.

    Returns:
      A `Grid` of arrays that broadcast against `x`. A tensor with no extent (hi = lo in asymm,
      max |x| = 0 in symm; in float32 also one below about 1e-36; no finite element) gets
      ``codes = 0``: it stays as it is.

    Raises:
      TypeError: `x` is not floating point, or `quantizer` is no `Quantizer`.
      ValueError: `x` has no such axis, or its type cannot tell the levels apart.
    """
    check_quantizer(quantizer)
    x = _tensor(x)
    _check_resolution(x.dtype, quantizer.bits)
    kept = set() if axis is None else kept_axes(x.shape, axis)
    reduced = {
        "axis": tuple(a for a in range(x.ndim) if a not in kept),
        "keepdims": axis is not None,
        "where": jnp.isfinite(x),
    }
    x = x.astype(wide_type(x.dtype))
    low, high = jnp.min(x, initial=jnp.inf, **reduced), jnp.max(x, initial=-jnp.inf, **reduced)

    bits, bound = (jnp.asarray(v, x.dtype) for v in (quantizer.bits, quantizer.bound))
    local, symmetric = (jnp.asarray(v) != 0 for v in (quantizer.local, quantizer.symmetric))
    low = jnp.where(local, low, -bound)
    high = jnp.where(local, high, bound)
    magnitude = jnp.maximum(jnp.abs(low), jnp.abs(high))

    origin = jnp.where(symmetric, jnp.zeros_like(low), low)
    end = jnp.where(symmetric, magnitude, high)
    # round() only undoes the last-bit error of a power computed through exp and log.
    codes = jnp.round(jnp.exp2(jnp.where(symmetric, bits - 1, bits))) - 1
    codes = jax.lax.stop_gradient(codes)
    # An extent of zero, or so small that codes per unit overflow, leaves no room for a grid, nor
    # does a tensor with nothing finite. (A bound that is nan or inf must show: all levels are nan.)
    extent = end - origin
    narrow = (extent <= 0) | jnp.isinf(codes / jnp.where(extent > 0, extent, 1))
    room = ~narrow & ~(local & jnp.isinf(end))
    codes = jnp.where((bits > 0) & room, codes, 0)
    return Grid(jnp.where(symmetric, -magnitude, low), origin, end, codes, ~local)


def check_quantizer(quantizer: Quantizer) -> None:
    """TypeError if it is something else, a `Grid`, say."""
    if not isinstance(quantizer, Quantizer):
        raise TypeError(
            f"expected a Quantizer, got {type(quantizer).__name__}: make one, for instance with "
            'make_quantizer(4, "symm", "local")'
        )


def _check_grid(grid: Grid) -> None:
    if not isinstance(grid, Grid):
        raise TypeError(
            f"expected a Grid, got {type(grid).__name__}: the grid of a tensor x comes from "
            "make_grid(x, quantizer)"
        )


def _position(grid: Grid) -> tuple[Array, Array]:
    """(factor, codes per unit): an offset from the origin times both is a number of codes.

    Finite without a grid too. The factor, a small power of two where the extent is near the largest
    float or beyond, else one, keeps differences from overflowing and their inverse from underflow.
    """
    vast = jnp.isinf(8 * (grid.end - grid.origin))
    factor = jnp.where(vast, 2.0**-8, 1.0).astype(grid.end.dtype)
    extent = grid.end * factor - grid.origin * factor
    return factor, jnp.where(grid.codes > 0, grid.codes / jnp.where(grid.codes > 0, extent, 1), 0)


def _codes(x: Array, grid: Grid, key: Array | None) -> Array:
    """Code of every element, as floats, not finite where it has none; constant to derivatives.

    Meaningless where ``grid.codes == 0``.
    """
    x, grid = jax.lax.stop_gradient((x, grid))
    factor, scale = _position(grid)
    exact = x.astype(grid.end.dtype)
    clipped = jnp.clip(exact, grid.low, grid.end)
    # An inf must not pass for the largest weight where the range was measured without it.
    clipped = jnp.where(grid.fixed | ~jnp.isinf(exact), clipped, exact)
    position = (clipped * factor - grid.origin * factor) * scale
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
        return as_stored(_levels(nearest, grid), dtype) == exact
    t = _share(nearest, grid.codes)
    largest = (jnp.abs(grid.origin) * (1 - t) + jnp.abs(grid.end) * t) * scale
    rounding = jnp.minimum(2 * jnp.finfo(dtype).eps * jnp.abs(largest), _SLIGHT)
    return (jnp.abs(position - nearest) <= rounding) | (_levels(nearest, grid) == exact)


def as_stored(level: Array, dtype: Any) -> Array:
    """What a tensor of a type holds of a wider value; XLA would leave the rounding out."""
    return jax.lax.optimization_barrier(level.astype(dtype)).astype(level.dtype)


def _share(codes: Array, most: Array) -> Array:
    """``codes / most``, exactly +-1 at +-most; any number where `most` is 0."""
    most = jnp.where(most > 0, most, 1)

    def inexact(codes, most):  # a GPU's division is a last bit off
        return jnp.where(jnp.abs(codes) == most, jnp.sign(codes), codes / most)

    return jax.lax.platform_dependent(codes, most, cpu=jnp.divide, default=inexact)


def _levels(codes: Array, grid: Grid) -> Array:
    t = _share(codes, grid.codes)
    return grid.origin * (1 - t) + grid.end * t


@jax.custom_jvp
def _at(codes: Array, grid: Grid, otherwise: Array) -> Array:
    """Levels of `codes` in the type of `otherwise`, which stands where there is no grid.

    With a derivative of its own, as those of divisions that nobody wanted the result of are nan.
    """
    return jnp.where(grid.codes > 0, _levels(codes, grid).astype(otherwise.dtype), otherwise)


@_at.defjvp
def _at_jvp(primals, tangents):
    (codes, grid, otherwise), (_, grid_dot, otherwise_dot) = primals, tangents
    has_level = (grid.codes > 0) & jnp.isfinite(codes)
    level_dot = _levels(jnp.where(has_level, codes, 0), grid._replace(
        origin=grid_dot.origin, end=grid_dot.end))
    moved = jnp.where(has_level, level_dot.astype(otherwise.dtype), otherwise_dot)
    return _at(*primals), moved


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
    _check_grid(grid)
    x = _tensor(x)
    return _at(_codes(x, grid, key), grid, x)


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
    _check_grid(grid)
    x, change = _tensor(x), _tensor(change)
    if x.shape != change.shape:
        raise ValueError(f"expected a change of the shape of x, {x.shape}, got {change.shape}")
    factor, scale = _position(jax.lax.stop_gradient(grid))
    step = jax.lax.stop_gradient(change).astype(scale.dtype)
    moves = jax.random.uniform(key, x.shape, scale.dtype) < jnp.abs(step) * factor * scale
    before = _codes(x, grid, None)
    after = before + jnp.where(moves, jnp.sign(step), 0 * step)  # 0, or nan where the change is
    lowest = jnp.round((grid.low * factor - grid.origin * factor) * scale)
    codes = jnp.where(jnp.isinf(before), before, jnp.clip(after, lowest, grid.codes))
    return _at(jax.lax.stop_gradient(codes), grid, (x + change).astype(x.dtype))


def code_dtype(bits: int, kind: str) -> jnp.dtype:
    """The smallest integer type for the codes: unsigned for asymm (from 0), signed for symm."""
    make_quantizer(bits, kind)
    sign = "u" if kind == "asymm" else ""
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
    _check_grid(grid)
    x = _tensor(x)
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
    _check_grid(grid)
    return _levels(jnp.asarray(codes).astype(grid.codes.dtype), grid)


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
        _, scale = _position(grid)
        slight = _SLIGHT / jnp.where(scale > 0, scale, 1)
        stored = jnp.abs(level - exact) <= jnp.minimum(reach, slight)
    else:
        stored = as_stored(level, x.dtype) == exact
    return jnp.where(stored, level, exact) + change.astype(exact.dtype)
