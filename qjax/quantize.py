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
is measured anew on the quantized tensor (as long as floats resolve the steps: a range of 1e-6
around 1000 has no 8 bits in float32).
"""

from collections.abc import Callable
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jax.typing import ArrayLike

__all__ = [
    "KINDS",
    "SCOPES",
    "Grid",
    "Quantizer",
    "Where",
    "code_dtype",
    "decode",
    "encode",
    "keep_on_grid",
    "make_grid",
    "make_quantizer",
    "pulse",
    "quantize",
    "quantize_tree",
    "straight_through",
]

KINDS = ("asymm", "symm")
SCOPES = ("global", "local")
MAX_BITS = 16

# Chooses leaves of a tree: (path such as "blocks/0/kernel", leaf) -> quantize it?
Where = Callable[[str, Array], bool]


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
    [low, end]. ``codes = 0`` means "no grid": values pass unchanged.
    """

    low: Array
    origin: Array
    end: Array
    codes: Array


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
    if not 0 < bound < float("inf"):
        raise ValueError(f"bound must be positive and finite, got {bound!r}")
    if bits is not None:
        if isinstance(bits, bool) or not isinstance(bits, Integral) or not 1 <= bits <= MAX_BITS:
            raise ValueError(
                f"bits must be a whole number from 1 to {MAX_BITS}, or None; got {bits!r}"
            )
        if kind == "symm" and bits < 2:
            raise ValueError("symm needs at least 2 bits (1 leaves only the level zero): use asymm")
    return Quantizer(
        bits=jnp.float32(bits or 0),
        symmetric=jnp.float32(kind == "symm"),
        local=jnp.float32(scope == "local"),
        bound=jnp.float32(bound),
    )


def make_grid(x: Array, quantizer: Quantizer, axis: int | tuple[int, ...] | None = None) -> Grid:
    """The grid that `quantizer` lays over `x`.

    Args:
      x: any shape, floating point.
      quantizer: scalars (use `jax.vmap` for several).
      axis: None for one range per tensor; an axis (or axes) of `x` for one range per index along
        it, e.g. the last axis of a Dense kernel for one range per unit.

    Returns:
      A `Grid` of arrays that broadcast against `x`. A tensor with no extent (hi = lo in asymm,
      max |x| = 0 in symm; in float32 also one below about 1e-36) gets ``codes = 0``: it stays
      as it is.
    """
    if axis is None:
        low, high = jnp.min(x), jnp.max(x)
    else:
        kept = {a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis)}
        reduced = tuple(a for a in range(x.ndim) if a not in kept)
        low = jnp.min(x, axis=reduced, keepdims=True)
        high = jnp.max(x, axis=reduced, keepdims=True)

    bits, bound = (jnp.asarray(v, x.dtype) for v in (quantizer.bits, quantizer.bound))
    local, symmetric = (jnp.asarray(v) != 0 for v in (quantizer.local, quantizer.symmetric))
    low = jnp.where(local, low, -bound)
    high = jnp.where(local, high, bound)
    magnitude = jnp.maximum(jnp.abs(low), jnp.abs(high))

    origin = jnp.where(symmetric, jnp.zeros_like(low), low)
    end = jnp.where(symmetric, magnitude, high)
    # round() only undoes the last-bit error of a power computed through exp and log.
    codes = jnp.round(jnp.exp2(jnp.where(symmetric, bits - 1, bits))) - 1
    # An extent of zero, or so small that codes per unit overflow, leaves no room for a grid.
    codes = jnp.where((bits > 0) & ~jnp.isinf(codes / (end - origin)), codes, 0)
    return Grid(jnp.where(symmetric, -magnitude, low), origin, end, codes)


def _codes(x: Array, grid: Grid, key: Array | None) -> Array:
    """Code of every element, as floats; meaningless where ``grid.codes == 0``."""
    scale = grid.codes / (grid.end - grid.origin)
    position = (jnp.clip(x, grid.low, grid.end) - grid.origin) * scale
    if key is None:
        return jnp.round(position)
    # The sum may round up to a whole number at the top of the range: there is no level above it.
    return jnp.minimum(jnp.floor(position + jax.random.uniform(key, x.shape, x.dtype)), grid.codes)


def _levels(codes: Array, grid: Grid) -> Array:
    t = codes / grid.codes
    return grid.origin * (1 - t) + grid.end * t


def quantize(x: Array, grid: Grid, key: Array | None = None) -> Array:
    """Moves every element of `x` to a level of `grid`.

    Args:
      x: any shape, floating point.
      grid: from `make_grid`.
      key: None rounds to the nearest level (half to even). A PRNG key rounds stochastically: up
        with probability equal to the fraction of the step already covered, so that the
        expectation is the (clipped) value itself (Gupta et al. 2015, "Deep learning with limited
        numerical precision"). The key is consumed.

    Returns:
      Array like `x`. Its gradient with respect to `x` is zero almost everywhere, as the function
      is piecewise constant; use `straight_through` to let gradients pass.
    """
    return jnp.where(grid.codes > 0, _levels(_codes(x, grid, key), grid), x)


def pulse(x: Array, change: Array, grid: Grid, key: Array) -> Array:
    """Moves every element of `x` by at most one level, up or down, at random.

    The probability is the size of the wanted change in levels, at most 1: as long as no change is
    larger than a level, and none leaves the range, the result is ``x + change`` on average.

    Args:
      x: any shape, on `grid` (else it is rounded first).
      change: like `x`.
      grid: from `make_grid`.
      key: PRNG key, consumed.

    Returns:
      Array like `x`, on the grid; ``x + change`` where ``grid.codes == 0``.
    """
    scale = grid.codes / (grid.end - grid.origin)
    moves = jax.random.uniform(key, x.shape, x.dtype) < jnp.abs(change) * scale
    codes = _codes(x, grid, None) + jnp.where(moves, jnp.sign(change), 0)
    lowest = jnp.round((grid.low - grid.origin) * scale)
    levels = _levels(jnp.clip(codes, lowest, grid.codes), grid)
    return jnp.where(grid.codes > 0, levels, x + change)


def code_dtype(bits: int, kind: str) -> jnp.dtype:
    """The smallest integer type for the codes: unsigned for asymm (from 0), signed for symm."""
    make_quantizer(bits, kind)
    sign = "u" if kind == "asymm" else ""
    return jnp.dtype(f"{sign}int{8 if bits <= 8 else 16}")


def encode(x: Array, grid: Grid, dtype=jnp.int32, key: Array | None = None) -> Array:
    """Integer code of every element: what the device would store.

    Args:
      x: any shape.
      grid: from `make_grid`, with ``codes > 0`` (there is no code without a grid: zeros result).
      dtype: integer type that holds the codes, see `code_dtype`.
      key: as in `quantize`.
    """
    return jnp.where(grid.codes > 0, _codes(x, grid, key), 0).astype(dtype)


def decode(codes: Array, grid: Grid) -> Array:
    """The levels that integer `codes` stand for; ``decode(encode(x, g), g) == quantize(x, g)``."""
    return _levels(codes.astype(grid.codes.dtype), grid)


@jax.custom_jvp
def straight_through(x: Array, grid: Grid) -> Array:
    """`quantize(x, grid)` whose derivative with respect to `x` is the identity.

    The straight-through estimator (Bengio, Leonard, Courville 2013); the grid counts as constant.
    """
    return quantize(x, grid)


@straight_through.defjvp
def _straight_through_jvp(primals, tangents):
    return straight_through(*primals), tangents[0]


def quantize_tree(
    tree: Any,
    quantizer: Quantizer,
    *,
    where: Where | None = None,
    axis: int | tuple[int, ...] | None = None,
    key: Array | None = None,
) -> Any:
    """Quantizes the leaves of a parameter tree, each on its own grid.

    Args:
      tree: pytree of floating-point arrays.
      quantizer: scalars.
      where: (path, leaf) -> bool chooses leaves; paths look like "blocks/0/kernel". None: all.
      axis: see `make_grid`; applied to every chosen leaf.
      key: None rounds to nearest, a PRNG key stochastically (a key of its own for each leaf).

    Returns:
      A tree of the same structure; leaves not chosen are returned as they are.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(tree)
    keys = [None] * len(leaves) if key is None else jax.random.split(key, len(leaves))

    def one(path, leaf, leaf_key):
        if where and not where(jax.tree_util.keystr(path, simple=True, separator="/"), leaf):
            return leaf
        return quantize(leaf, make_grid(leaf, quantizer, axis), leaf_key)

    return treedef.unflatten([one(p, x, k) for (p, x), k in zip(leaves, keys, strict=True)])


class KeepOnGridState(NamedTuple):
    key: Array | None


def keep_on_grid(
    quantizer: Quantizer, *, where: Where | None = None, key: Array | None = None
) -> optax.GradientTransformation:
    """Keeps the parameters of any optax training loop on a grid. Put it last in the chain.

    The update is changed so that ``optax.apply_updates`` lands on the quantized parameters (up to
    the rounding of that one addition). Quantize the initial parameters with `quantize_tree`.

    Args:
      quantizer: scalars.
      where: chooses leaves, see `quantize_tree`.
      key: a PRNG key makes the rounding stochastic; a new key is derived for every update.

    Returns:
      A transformation whose `update` needs `params` and raises ValueError without them.
    """

    def init(params):
        del params
        return KeepOnGridState(key)

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("keep_on_grid needs the parameters: update(updates, state, params)")
        now, later = (None, None) if state.key is None else jax.random.split(state.key)
        target = quantize_tree(
            optax.apply_updates(params, updates), quantizer, where=where, key=now
        )
        return jax.tree.map(jnp.subtract, target, params), KeepOnGridState(later)

    return optax.GradientTransformation(init, update)
