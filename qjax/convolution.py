"""Convolution as matrix products: of many networks at once, whose kernels differ, it stays that."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from qjax.feedback import on_mesh

__all__ = ["convolve", "convolve_planes", "from_planes", "pool_planes", "to_planes"]


def convolve(x: Array, kernel: Array) -> Array:
    """Two-dimensional convolution (cross-correlation), stride 1, no padding.

    Args:
      x: [batch, height, width, in].
      kernel: [rows, columns, in, out].

    Returns:
      [batch, height - rows + 1, width - columns + 1, out].
    """
    return from_planes(convolve_planes(to_planes(x), kernel))


def to_planes(x: Array) -> Array:
    """Images [batch, height, width, channels] as `convolve_planes` wants them."""
    return jnp.transpose(x, (1, 3, 2, 0))


def from_planes(planes: Array) -> Array:
    """[height, channels, width, batch] -> [batch, height, width, channels]."""
    return jnp.transpose(planes, (3, 0, 2, 1))


def convolve_planes(planes: Array, kernel: Array) -> Array:
    """`convolve` of images that lie as a processor likes to go through them.

    A row of all images is one long line, and all that a row of outputs needs lies side by side once
    the inputs are repeated for every column of the kernel: so it is one matrix product, batched
    over replicas, whose kernels differ, too (where a convolution becomes one of many groups).

    Args:
      planes: [height, in, width, batch].
      kernel: [rows, columns, in, out].

    Returns:
      [height - rows + 1, out, width - columns + 1, batch].
    """
    if on_mesh(planes, kernel):
        names = jax.lax.ConvDimensionNumbers((3, 1, 0, 2), (3, 2, 0, 1), (3, 1, 0, 2))
        dtype = jnp.result_type(planes, kernel)
        return jax.lax.conv_general_dilated(
            planes.astype(dtype), kernel.astype(dtype), (1, 1), "VALID", dimension_numbers=names)
    return _convolved(planes, kernel)


@jax.custom_vjp
def _convolved(planes, kernel):
    y = _rows_of(_repeated(planes, kernel.shape[1]), kernel)
    return y.reshape(*y.shape[:2], planes.shape[2] - kernel.shape[1] + 1, planes.shape[3])


def _convolve_forward(planes, kernel):
    return _convolved(planes, kernel), (planes, kernel)


def _convolve_backward(residual, error):
    planes, kernel = residual
    repeated, sum_up = jax.vjp(lambda x: _repeated(x, kernel.shape[1]), planes)
    error = error.reshape(*error.shape[:2], -1)
    inputs_error = _to_inputs(error, kernel).astype(planes.dtype)
    gradient = _to_kernel(repeated, error, kernel.shape).astype(kernel.dtype)
    return *sum_up(inputs_error), gradient


_convolved.defvjp(_convolve_forward, _convolve_backward)


def _repeated(planes: Array, columns: int) -> Array:
    """[height, in, width, batch] -> [height, columns * in, width' * batch]: moved by 0, 1, ..."""
    height, inputs, width, batch = planes.shape
    width = width - columns + 1
    moved = [planes[:, :, j : j + width] for j in range(columns)]
    return jnp.concatenate(moved, axis=1).reshape(height, columns * inputs, width * batch)


def _by_rows(one_by_one: Callable[[], Array], at_once: Callable[[], Array]) -> Array:
    """A CPU takes one row of outputs after the other, whose inputs stay in its cache."""
    return jax.lax.platform_dependent(cpu=one_by_one, default=at_once)


def _needed(repeated: Array, number: ArrayLike, rows: int) -> Array:
    """By a row of outputs: [rows * columns * in, width' * batch]."""
    _, lines, places = repeated.shape
    return jax.lax.dynamic_slice_in_dim(repeated, number, rows).reshape(rows * lines, places)


def _rows_of(repeated: Array, kernel: Array) -> Array:
    """[height', out, width' * batch]."""
    rows, out = len(kernel), kernel.shape[-1]
    matrix, height = kernel.reshape(-1, out).T, len(repeated) - rows + 1

    def row(number):
        return matrix @ _needed(repeated, number, rows)

    def one_by_one():
        dtype = jnp.result_type(repeated, kernel)
        nothing = jnp.zeros((height, out, repeated.shape[-1]), dtype)
        put = jax.lax.dynamic_update_index_in_dim
        return jax.lax.fori_loop(0, height, lambda i, y: put(y, row(i), i, 0), nothing)

    return _by_rows(one_by_one, lambda: jax.vmap(row)(jnp.arange(height)))


def _to_inputs(error: Array, kernel: Array) -> Array:
    """Of `_rows_of`, the error [height', out, width' * batch] at what was repeated."""
    rows, columns, inputs, out = kernel.shape
    matrix, lines, places = kernel.reshape(-1, out), columns * inputs, error.shape[-1]

    def one_by_one():
        def add(number, sums):
            there = jax.lax.dynamic_slice_in_dim(sums, number, rows)
            there += (matrix @ error[number]).reshape(there.shape)
            return jax.lax.dynamic_update_slice_in_dim(sums, there, number, 0)

        nothing = jnp.zeros((len(error) + rows - 1, lines, places), error.dtype)
        return jax.lax.fori_loop(0, len(error), add, nothing)

    def at_once():
        each = (matrix @ error).reshape(len(error), rows, lines, places)
        sides = [(i, rows - 1 - i) for i in range(rows)]
        return sum(jnp.pad(each[:, i], (sides[i], (0, 0), (0, 0))) for i in range(rows))

    return _by_rows(one_by_one, at_once)


def _to_kernel(repeated: Array, error: Array, shape: tuple[int, ...]) -> Array:
    """Of `_rows_of`, the gradient of the kernel."""
    def of_row(number):
        return _needed(repeated, number, shape[0]) @ error[number].T

    def one_by_one():
        nothing = jnp.zeros((math.prod(shape[:-1]), shape[-1]), error.dtype)
        return jax.lax.fori_loop(0, len(error), lambda i, sums: sums + of_row(i), nothing)

    return _by_rows(
        one_by_one, lambda: jax.vmap(of_row)(jnp.arange(len(error))).sum(0)).reshape(shape)


@jax.custom_vjp
def pool_planes(planes: Array) -> Array:
    """The largest of every 2x2 values; a last odd row or column is left out.

    Equal ones share what comes back, as `jnp.max` has it; in fewer passes than its derivative.

    Args:
      planes: [height, channels, width, batch].

    Returns:
      [height // 2, channels, width // 2, batch].
    """
    (a, b), (c, d) = _corners(planes)
    return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))


def _corners(planes: Array) -> list[list[Array]]:
    height, width = planes.shape[0] // 2 * 2, planes.shape[2] // 2 * 2
    return [[planes[i:height:2, :, j:width:2] for j in range(2)] for i in range(2)]


def _pool_forward(planes):
    largest = pool_planes(planes)
    return largest, (planes, largest)


def _pool_backward(residual, error):
    planes, largest = residual
    count = sum((corner == largest).astype(error.dtype)
                for row in _corners(planes) for corner in row)
    odd = [(0, side % 2) for side in planes.shape[0:3:2]]

    def spread(values):
        each = jnp.repeat(jnp.repeat(values, 2, axis=0), 2, axis=2)
        return jnp.pad(each, (odd[0], (0, 0), odd[1], (0, 0)))

    # Not less, for equal: where one is nan none is, and errors by a count of 0 come back to all.
    return (jnp.where(~(planes < spread(largest)), spread(error / count), 0),)


pool_planes.defvjp(_pool_forward, _pool_backward)
