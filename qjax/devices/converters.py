"""Converters: what a product on a crossbar is made of digital numbers, and what comes back.

Inputs reach a crossbar through digital-to-analog converters, products leave it through
analog-to-digital ones; both have few bits, bounds and noise. Inputs are divided by their largest
(noise management), and where an output leaves its converter's range the sample is run again with
inputs half as large (bound management; Gokmen, Onen, Haensch 2017). Names and defaults are those
of aihwkit, of which this is section by section the mathematics.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from qjax import structs
from qjax.numbers import number

__all__ = ["Converters", "Crossbar", "digitized", "product", "resolution_of"]


@structs.dataclass
class Converters:
    """Numbers of the converters on both sides of a product.

    Resolutions are shares of the whole range, 1 / steps; above 1 they are taken for the number of
    steps, at most 0 is none. Two choices change the program: `noise_management` ("abs_max" or
    "none") and `bound_management` ("iterative" or "none"; of forward products only, as a rule). So
    do noises that are None: there are none.
    """

    inp_bound: ArrayLike = number(1.0, "largest input", 0)
    inp_res: ArrayLike = number(1 / 126, "a step of the inputs, as a share of their range")
    inp_noise: ArrayLike | None = number(None, "deviation of an input", 0)
    out_bound: ArrayLike = number(12.0, "largest output", 0)
    out_res: ArrayLike = number(1 / 510, "a step of the outputs, as a share of their range")
    out_noise: ArrayLike = number(0.06, "deviation of an output", 0)
    out_scale: ArrayLike = number(1.0, "factor on what comes back")
    w_noise: ArrayLike | None = number(None, "deviation of a weight that is read", 0)
    nm_thres: ArrayLike = number(0.0, "inputs above are cut by noise management; 0: none", 0)
    max_bm_factor: ArrayLike = number(1000.0, "inputs are at most so much smaller", 0)
    max_bm_res: ArrayLike = number(0.25, "and have steps of at most this share of their range", 0)
    noise_management: str = structs.field(pytree_node=False, default="abs_max")
    bound_management: str = structs.field(pytree_node=False, default="iterative")
    w_noise_by_weight: bool = structs.field(pytree_node=False, default=False)


@structs.dataclass
class Crossbar:
    """An array's converters on the way up and on the way down.

    Attributes:
      forward, backward: of inputs and of errors; None: exact products.
      key: of the noise; None: no noise.
      noisy: will there be any; part of the program.
    """

    forward: Converters | None = None
    backward: Converters | None = None
    key: Array | None = None
    noisy: bool = structs.field(pytree_node=False, default=True)


def resolution_of(bits: int | None) -> float:
    """A share of the range for converters of so many bits, with as many steps up as down.

    8 bits have 254 steps (aihwkit's 1/126 is 7 bits). None: no converter.
    """
    if bits is None:
        return 0.0
    if not 2 <= bits <= 16:
        raise ValueError(f"expected 2-16 bits or None, got {bits}")
    return 1 / (2**bits - 2)


def _step(resolution: ArrayLike, bound: ArrayLike) -> Array:
    share = jnp.asarray(resolution, jnp.float32)
    share = jnp.where(share > 1, 1 / jnp.where(share > 1, share, 1.0), share)
    return jnp.where(jnp.isinf(bound), 0.0, share * 2 * bound)  # no range can be divided


def _rounded(values: Array, step: Array) -> Array:
    """To multiples of a step; as they are without one."""
    safe = jnp.where(step > 0, step, 1.0)
    return jnp.where(step > 0, safe * jnp.round(values / safe), values)


def digitized(key: Array | None, converters: Converters, values: Array) -> Array:
    """Single values as a converter of outputs gives them back, without any management.

    Args:
      key: consumed; None: no noise.
      converters: of which the numbers of outputs count.
      values: any shape.
    """
    if key is not None:
        noise = jax.random.normal(key, values.shape, values.dtype)
        values = values + converters.out_noise * noise
    step = _step(converters.out_res, converters.out_bound)
    return jnp.clip(_rounded(values, step), -converters.out_bound, converters.out_bound)


def product(
    key: Array | None, converters: Converters, x: Array, weights: Array,
    bilinear: Callable[[Array, Array], Array] = jnp.matmul, axis: int = 0,
) -> Array:
    """``bilinear(x, weights)`` as converters let it through.

    Args:
      key: consumed; None: no noise of any kind.
      converters: numbers and management.
      x: [batch, ...]; samples are managed each by itself (aihwkit: in a convolution each patch).
      weights: as they are read, [in, out] for a matrix product.
      bilinear: linear in both.
      axis: of the inputs and of the outputs, which counts samples.

    Returns:
      [batch, ...], [batch, out] for a matrix product.
    """
    c = converters
    largest = jnp.max(jnp.abs(x), axis=_others(x, axis))
    if c.noise_management == "abs_max":
        limit = jnp.asarray(c.nm_thres, x.dtype)
        scale = jnp.where(limit > 0, jnp.minimum(largest, limit), largest)
    elif c.noise_management == "none":
        scale = jnp.ones_like(largest)
    else:
        raise ValueError(
            f"noise_management: expected 'abs_max' or 'none', got {c.noise_management!r}")
    if c.bound_management not in ("iterative", "none"):
        raise ValueError(
            f"bound_management: expected 'iterative' or 'none', got {c.bound_management!r}")
    inp_step, out_step = _step(c.inp_res, c.inp_bound), _step(c.out_res, c.out_bound)
    has_inp = inp_step > 0
    safe = jnp.where(scale > 0, scale, 1.0)

    def attempt(number, shrink):
        """Outputs before they are bounded, of inputs divided by `shrink` [batch]."""
        keys = None if key is None else jax.random.split(jax.random.fold_in(key, number), 3)
        unit = _for(safe * shrink, x, axis)
        levels = jnp.round(x / (unit * jnp.where(has_inp, inp_step, 1.0)))
        u = jnp.clip(jnp.where(has_inp, levels * inp_step, x / unit), -c.inp_bound, c.inp_bound)
        if keys is not None and c.inp_noise is not None:
            u = u + c.inp_noise * jax.random.normal(keys[0], u.shape, u.dtype)
        z = bilinear(u, weights)
        if keys is not None and c.w_noise is not None:
            # The noise of all weights that meet in an output.
            each = jnp.abs(weights) if c.w_noise_by_weight else jnp.ones_like(weights)
            weight_noise = jax.random.normal(keys[1], z.shape, z.dtype)
            z = z + c.w_noise * jnp.sqrt(bilinear(u**2, each)) * weight_noise
        if keys is not None:
            z = z + c.out_noise * jax.random.normal(keys[2], z.shape, z.dtype)
        return _rounded(z, out_step)

    shrink = jnp.ones_like(scale)
    if c.bound_management == "none":
        z = attempt(0, shrink)
    else:
        finest = jnp.where(has_inp, c.max_bm_res / jnp.where(has_inp, inp_step, 1.0), jnp.inf)

        def again(carry):
            number, z, shrink, redo = carry
            z = jnp.where(_for(redo, z, axis), attempt(number, shrink), z)
            over = jnp.max(jnp.abs(z), axis=_others(z, axis)) > c.out_bound
            # Looked at before it is doubled, as in aihwkit: the last one may be beyond.
            redo = over & (jnp.floor(shrink) <= c.max_bm_factor) & (shrink <= finest)
            return number + 1, z, jnp.where(redo, 2 * shrink, shrink), redo

        shape = jax.eval_shape(attempt, 0, shrink)
        start = (0, jnp.zeros(shape.shape, shape.dtype), shrink, scale > 0)
        _, z, shrink, _ = jax.lax.while_loop(lambda carry: jnp.any(carry[3]), again, start)
    z = jnp.clip(z, -c.out_bound, c.out_bound)
    # Of inputs that are all zero nothing comes back, no noise either; of nan, nan.
    return jnp.where(_for(scale == 0, z, axis), 0.0,
                     c.out_scale * _for(scale * shrink, z, axis) * z)


def _others(x: Array, axis: int) -> tuple[int, ...]:
    return tuple(own for own in range(x.ndim) if own != axis % x.ndim)


def _for(values: Array, like: Array, axis: int) -> Array:
    """[batch] -> to multiply an array with, whose samples lie along `axis`."""
    return jnp.expand_dims(values, _others(like, axis))
