"""Grids: where a weight may lie when the device that holds it has only a few levels.

A *quantizer* is three numbers (bits, symmetric?, local?) and how its levels are spaced, a *grid*
the levels that it gives for one tensor. Because all but the spacing is numbers and not code,
replicas that differ in it - the unquantized baseline (0 bits) included - run under one `jax.vmap`.

Kinds, see `qjax.kinds`; values are clipped to the range and rounded half-to-even:

* asymm: 2^b levels from lo to hi, both ends included;
* symm: 2^b - 1 levels from -m to m, zero included (both as in Nayak, Zhang and Chai 2019, "Bit
  efficient quantization for deep neural networks");
* pow2: zero and +-m, +-m/2, +-m/4, ..., 2^b - 1 levels as well;
* levels:-1:-0.2:0.2:1: these ones.

A level is computed as the blend ``origin*(1-t) + end*t``, t its place in the range (for equal
distances ``code/codes``), so the ends of the range are levels exactly and quantizing twice changes
nothing, bit for bit, even when the range is measured anew on the quantized tensor (by one program:
another, or none, may round a level of asymm to the neighbouring float; and as long as floats
resolve the steps: a range of 1e-6 around 1000 has no 8 bits in float32).

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

import functools
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from qjax import structs
from qjax.kinds import MAX_BITS, kind_of
from qjax.metrics import wide_type
from qjax.spacings import Spacing, Uniform

__all__ = [
    "SCOPES", "Grid", "Quantizer", "check_grid", "check_quantizer", "kept_axes", "levels",
    "make_grid", "make_quantizer", "scale_of", "tensor",
]

SCOPES = ("global", "local")

Ends = tuple[Array, Array]
_LARGE = 2**13  # elements


@structs.dataclass
class Quantizer:
    """What decides a grid, as numbers that may be traced or batched.

    Attributes:
      bits: number of bits, 1 to 16 (symmetric: from 2); 0 leaves values as they are, and so does
        symmetric with 1, which has no level but zero (`make_quantizer` refuses it).
      symmetric: nonzero for symm, zero for asymm.
      local: nonzero takes the range from each tensor, zero uses [-bound, bound] for all.
      bound: half-width of the fixed range.
      spacing: of the levels; part of the program, not a number.
    """

    bits: ArrayLike
    symmetric: ArrayLike = True
    local: ArrayLike = True
    bound: ArrayLike = 1.0
    spacing: Spacing = structs.field(pytree_node=False, default=Uniform())


@structs.dataclass
class Grid:
    """The levels of one tensor (or, with keepdims axes of size 1, of each of its channels).

    Level k is ``origin*(1 - t) + end*t``, t its place by the spacing, for every integer k up to
    `codes` that keeps it within [low, end]; values beyond go to its ends. ``codes = 0`` means "no
    grid": values pass unchanged. `fixed` tells a range that was given from one that was measured,
    for which inf has no level. All are float32 or float64, but `fixed`, which is bool.
    """

    low: Array
    origin: Array
    end: Array
    codes: Array
    fixed: Array
    spacing: Spacing = structs.field(pytree_node=False, default=Uniform())


def make_quantizer(
    bits: int | None, kind: str = "symm", scope: str = "local", bound: float = 1.0
) -> Quantizer:
    """Builds a `Quantizer` from plain words and checks it.

    Args:
      bits: 1-16 (symm: 2-16, pow2: 2-7; a list of levels has its own), or None for no
        quantization.
      kind: a word for `qjax.kinds.kind_of`.
      scope: "global" ([-bound, bound] for every tensor) or "local" (each tensor's own range).
      bound: half-width of the global range, > 0.

    Raises:
      ValueError: for anything outside these.
    """
    about = kind_of(kind)
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
        if bits < about.least == 2:
            raise ValueError(
                f"{kind} needs at least 2 bits (1 leaves only the level zero): use asymm"
            )
        if not about.least <= bits <= about.most:
            expected = f"{about.least}" if about.least == about.most else (
                f"{about.least} to {about.most}")
            raise ValueError(f"{kind} has {expected} bits, got {bits}")
    # NumPy's, which stay known inside of `jax.jit`.
    return Quantizer(
        bits=np.float32(bits or 0),
        symmetric=np.float32(about.symmetric),
        local=np.float32(scope == "local"),
        bound=np.float32(bound),
        spacing=about.spacing,
    )


def _check_resolution(dtype, quantizer: Quantizer) -> None:
    """Raises ValueError if a type cannot tell the levels apart; traced bits are not looked at.

    Of p significant bits, neighbours near the end of a range are 2^(1-p) of it apart at most, and a
    level is rounded by half of that: less than half a step for p bits, not for p + 1.
    """
    try:
        bits = float(np.max(np.asarray(quantizer.bits)))
    except jax.errors.TracerArrayConversionError:
        return
    significant = jnp.finfo(dtype).nmant + 1
    if bits > 0 and quantizer.spacing.digits(bits) > significant:
        raise ValueError(
            f"{dtype} cannot tell the levels of {bits:g} bits apart in every range: expected at "
            f"most {significant} bits, or weights of a wider type (float16: 11, float32: 16)"
        )


def tensor(x: ArrayLike) -> Array:
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
    x = tensor(x)
    _check_resolution(x.dtype, quantizer)
    kept = set() if axis is None else kept_axes(x.shape, axis)
    return _laid(x, quantizer, tuple(a for a in range(x.ndim) if a not in kept), axis is not None)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _laid(x: Array, quantizer: Quantizer, axes: tuple[int, ...], keepdims: bool) -> Grid:
    x = x.astype(wide_type(x.dtype))
    low, high = _extremes(x, axes, keepdims)

    bits, bound = (jnp.asarray(v, x.dtype) for v in (quantizer.bits, quantizer.bound))
    local, symmetric = (jnp.asarray(v) != 0 for v in (quantizer.local, quantizer.symmetric))
    spacing = quantizer.spacing
    low, high = (jnp.where(local, measured, share * bound)
                 for measured, share in zip((low, high), spacing.ends, strict=True))
    magnitude = jnp.maximum(jnp.abs(low), jnp.abs(high))

    low, end = jnp.where(symmetric, -magnitude, low), jnp.where(symmetric, magnitude, high)
    origin = jnp.where(symmetric & spacing.both_ways, jnp.zeros_like(low), low)
    codes = jax.lax.stop_gradient(spacing.most(bits, symmetric))
    # An extent of zero, or so small that codes per unit overflow, leaves no room for a grid, nor
    # does a tensor with nothing finite. (A bound that is nan or inf must show: all levels are nan.)
    extent = end - origin
    narrow = (extent <= 0) | jnp.isinf(codes / jnp.where(extent > 0, extent, 1))
    room = ~narrow & ~(local & jnp.isinf(end))
    codes = jnp.where((bits > 0) & room, codes, 0)
    return Grid(low, origin, end, codes, ~local, spacing)


def _ends(x: Array, axes: tuple[int, ...], keepdims: bool, where: Array | None = None) -> Ends:
    """Smallest and largest of the elements that count, inf and -inf where none does."""
    reduced: dict[str, Any] = {"axis": axes, "keepdims": keepdims, "where": where}
    return jnp.min(x, initial=jnp.inf, **reduced), jnp.max(x, initial=-jnp.inf, **reduced)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _extremes(x: Array, axes: tuple[int, ...], keepdims: bool) -> Ends:
    """Smallest and largest finite element.

    Of all elements where these are finite, else again without the others: picking them writes the
    tensor once more for each end, which an optimizer's step feels if the tensor is large. The loop,
    of one turn or none, stands for a condition, as `jax.vmap` would make both branches of that run.
    """
    if x.size < _LARGE:  # a loop takes longer to compile than this to run
        return _ends(x, axes, keepdims, jnp.isfinite(x))

    def sound(ends: Ends) -> Array:
        return jnp.all(jnp.isfinite(jnp.stack(ends)))

    def again(state: tuple) -> tuple:
        here, _ = jax.lax.optimization_barrier((x, state))  # else it is computed before the loop
        return (~state[0], *_ends(here, axes, keepdims, jnp.isfinite(here)))

    all_of_them = _ends(x, axes, keepdims)
    done = sound(all_of_them)
    return jax.lax.while_loop(lambda state: ~state[0], again, (done, *all_of_them))[1:]


@_extremes.defjvp
def _extremes_jvp(axes, keepdims, primals, tangents):
    (x,) = primals
    finite = jnp.isfinite(x)
    _, moved = jax.jvp(lambda x: _ends(x, axes, keepdims, finite), primals, tangents)
    return _extremes(x, axes, keepdims), moved


def check_quantizer(quantizer: Quantizer) -> None:
    """TypeError if it is something else, a `Grid`, say."""
    if not isinstance(quantizer, Quantizer):
        raise TypeError(
            f"expected a Quantizer, got {type(quantizer).__name__}: make one, for instance with "
            'make_quantizer(4, "symm", "local")'
        )


def check_grid(grid: Grid) -> None:
    """TypeError if it is something else, a `Quantizer`, say."""
    if not isinstance(grid, Grid):
        raise TypeError(
            f"expected a Grid, got {type(grid).__name__}: the grid of a tensor x comes from "
            "make_grid(x, quantizer)"
        )


def scale_of(grid: Grid) -> tuple[Array, Array]:
    """(factor, codes per unit): an offset from the origin times both is a number of codes.

    Of equal distances: with others it is the mean. Finite without a grid too. The factor, a small
    power of two where the extent is near the largest float or beyond, else one, keeps differences
    from overflowing and their inverse from underflow.
    """
    vast = jnp.isinf(8 * (grid.end - grid.origin))
    factor = jnp.where(vast, 2.0**-8, 1.0).astype(grid.end.dtype)
    extent = grid.end * factor - grid.origin * factor
    return factor, jnp.where(grid.codes > 0, grid.codes / jnp.where(grid.codes > 0, extent, 1), 0)


def levels(codes: Array, grid: Grid) -> Array:
    """The levels of codes, float32 or float64; any finite number where there is no grid."""
    t = grid.spacing.place(codes, grid.codes)
    return grid.origin * (1 - t) + grid.end * t
