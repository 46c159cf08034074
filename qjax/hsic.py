"""The Hilbert-Schmidt independence criterion: how much one set of vectors tells about another.

All functions take whole batches, since the criterion compares pairs of examples: `x` is [m, d],
a kernel matrix [m, m]. Kernels of half-precision batches are computed, and results given, in
float32. Sources: Gretton et al. 2005 (HSIC); Ma, Lewis and Kleijn 2020, "The HSIC bottleneck: deep
learning without back-propagation" (nHSIC and the layer-local objective).
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from qjax.metrics import at_least_float32

__all__ = [
    "bottleneck_target",
    "center",
    "dependence",
    "gaussian_kernel",
    "hsic",
    "hsic_normalized",
    "median_sigma",
    "nhsic",
    "normalized_kernel",
]

SIGMA = 5.0
EPSILON = 1e-5


def _square_distances(x: Array) -> Array:
    """|x_i - x_j|^2, [m, d] -> [m, m]."""
    if x.ndim != 2:
        raise ValueError(f"expected a batch of vectors [m, d], got shape {x.shape}")
    x = at_least_float32(x)
    # Distances do not change when the batch is centered, and cancellation is milder around zero.
    x = x - jnp.mean(x, axis=0)
    norms = jnp.sum(x * x, axis=1)
    distances = norms[:, None] + norms[None, :] - 2 * (x @ x.T)
    return jnp.where(jnp.eye(len(x), dtype=bool), 0, jnp.maximum(distances, 0))


def median_sigma(x: Array) -> Array:
    """The median heuristic: kernel width = median distance between two examples, over sqrt(d).

    Args:
      x: [m, d], m >= 2.

    Returns:
      A scalar, constant to differentiation. With it `gaussian_kernel` is 1/sqrt(e) at the median
      distance (more exactly: at the root of the median squared distance). Never zero, so that
      equal inputs, as a dead layer gives them, have finite kernels and gradients.
    """
    m, d = x.shape
    if m < 2:
        raise ValueError(f"the median heuristic needs at least 2 examples, got {m}")
    pairs = _square_distances(jax.lax.stop_gradient(x))[jnp.triu_indices(m, 1)]
    # 1 / sigma^2 must not overflow, nor its product with a gradient.
    return jnp.maximum(jnp.sqrt(jnp.median(pairs) / d), jnp.finfo(pairs.dtype).tiny ** 0.25)


def gaussian_kernel(x: Array, sigma: ArrayLike | None = SIGMA) -> Array:
    """K_ij = exp(-|x_i - x_j|^2 / (2 sigma^2 d)).

    Args:
      x: [m, d].
      sigma: width per square root of dimension; None for the median heuristic.

    Returns:
      [m, m], symmetric, ones on the diagonal.
    """
    sigma = median_sigma(x) if sigma is None else sigma
    return jnp.exp(-_square_distances(x) / (2 * sigma**2 * x.shape[1]))


def center(kernel: Array) -> Array:
    """H K H with H = I - 1/m, [m, m] -> [m, m]; symmetric kernels stay symmetric."""
    rows = jnp.mean(kernel, axis=1, keepdims=True)
    columns = jnp.mean(kernel, axis=0, keepdims=True)
    return kernel - rows - columns + jnp.mean(kernel)


def hsic(x: Array, y: Array, sigma: ArrayLike | None = SIGMA) -> Array:
    """Biased HSIC estimate tr(K H L H) / m^2 of `x` [m, d] and `y` [m, e]. Scalar, >= 0."""
    centered_x, centered_y = (center(gaussian_kernel(v, sigma)) for v in (x, y))
    return jnp.mean(centered_x * centered_y)


def hsic_normalized(x: Array, y: Array, sigma: ArrayLike | None = SIGMA) -> Array:
    """HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)): scalar in [0, 1], also known as CKA.

    (Kornblith et al. 2019, "Similarity of neural network representations revisited".)
    """
    centered_x, centered_y = (center(gaussian_kernel(v, sigma)) for v in (x, y))
    squares = jnp.sum(centered_x**2) * jnp.sum(centered_y**2)
    # A constant argument has no dependence to normalize: 0, with a finite gradient.
    scale = jnp.sqrt(jnp.where(squares > 0, squares, 1))
    return jnp.sum(centered_x * centered_y) / scale


def _whitening(matrix: Array, floor: float) -> Array:
    """L^-1 of a symmetric positive definite A = L L^T: elimination on [A | I], a row at a time."""
    n = len(matrix)
    table = jnp.concatenate([matrix, jnp.eye(n, dtype=matrix.dtype)], axis=1)
    rows = []
    for k in range(n):
        row = table[k] / jnp.sqrt(jnp.maximum(table[k, k], floor))
        table -= row[:n, None] * row
        rows.append(row[n:])
    return jnp.stack(rows)


def _inverse(matrix: Array, floor: float, block: int = 8) -> Array:
    """Inverse of a symmetric positive definite [m, m] with no eigenvalue below `floor`.

    The same elimination with `block` rows at a time, so that most of the work is matrix products.
    Not `jnp.linalg`: its batched LAPACK calls dead-lock when several devices share a CPU's threads
    (seen with jaxlib 0.10), and this is as fast there.
    """
    m = len(matrix)
    size = -(-m // block) * block
    padding = jnp.diag(jnp.where(jnp.arange(size) < m, 0, 1).astype(matrix.dtype))
    padded = jnp.pad(matrix, (0, size - m)) + padding
    table = jnp.concatenate([padded, jnp.eye(size, dtype=matrix.dtype)], axis=1)

    def eliminate(table, start):
        rows = jax.lax.dynamic_slice_in_dim(table, start, block, axis=0)
        pivot = jax.lax.dynamic_slice_in_dim(rows, start, block, axis=1)
        rows = _whitening(pivot, floor) @ rows
        return table - rows[:, :size].T @ rows, rows[:, size:]

    _, factor = jax.lax.scan(eliminate, table, jnp.arange(0, size, block))
    factor = factor.reshape(size, size)[:m, :m]
    return factor.T @ factor


@jax.custom_vjp
def _resolvent(kernel: Array, ridge: float) -> Array:
    """R = K (K + ridge I)^-1 of a centered kernel, without cancellation and with its own gradient.

    R = I - ridge A^-1 with A = K + ridge I needs only the inverse, and so does the gradient,
    dR = ridge A^-1 dK A^-1. Centering makes the vector of ones an eigenvector of A whose tiny
    eigenvalue (the ridge) spoils float32, while its part in R is exactly zero: 1 is added to that
    eigenvalue before inverting and its known contribution taken out after. The gradient then lacks
    only what centering projects away in any case.
    """
    return _resolvent_forward(kernel, ridge)[0]


def _resolvent_forward(kernel, ridge):
    m = len(kernel)
    eye = jnp.eye(m, dtype=kernel.dtype)
    inverse = _inverse(kernel + ridge * eye + 1 / m, ridge)
    return eye - ridge * inverse - (1 - ridge / (1 + ridge)) / m, (inverse, ridge)


def _resolvent_backward(residual, cotangent):
    inverse, ridge = residual
    m = len(inverse)
    centered = inverse - 1 / ((1 + ridge) * m)  # without the eigenvalue that was added
    by_ridge = jnp.sum(cotangent * (ridge * (centered @ centered) - centered))
    return ridge * (inverse @ cotangent @ inverse), by_ridge.astype(jnp.result_type(ridge))


_resolvent.defvjp(_resolvent_forward, _resolvent_backward)


def normalized_kernel(
    x: Array, sigma: ArrayLike | None = SIGMA, epsilon: float = EPSILON
) -> Array:
    """R_X = K (K + epsilon m I)^-1 of the centered Gaussian kernel K of `x` [m, d].

    Returns:
      [m, m], symmetric, eigenvalues in [0, 1).
    """
    return _resolvent(center(gaussian_kernel(x, sigma)), epsilon * len(x))


def dependence(normalized_x: Array, normalized_y: Array) -> Array:
    """tr(R_X R_Y) of two symmetric matrices [m, m]: nHSIC from kernels already at hand."""
    return jnp.sum(normalized_x * normalized_y)


def nhsic(
    x: Array, y: Array, sigma: ArrayLike | None = SIGMA, epsilon: float = EPSILON
) -> Array:
    """Normalized HSIC tr(R_X R_Y) (the CCA form; Fukumizu et al. 2008, NOCCO) of [m, d], [m, e].

    Scalar, 0 <= nHSIC < m. With float32 inputs values are good to about 1e-4 relative (1e-3 for a
    dozen examples), gradients to about 2e-3.
    """
    return dependence(normalized_kernel(x, sigma, epsilon), normalized_kernel(y, sigma, epsilon))


def bottleneck_target(
    inputs: Array,
    one_hot: Array,
    weight: ArrayLike = 500.0,
    sigma: ArrayLike | None = SIGMA,
    epsilon: float = EPSILON,
) -> Array:
    """M = R_X - weight R_Y, so that every layer's objective is ``dependence(R_Z, M)``.

    It equals nHSIC(Z, X) - weight nHSIC(Z, Y) (Ma et al. 2020, eq. 8) and depends on the batch
    alone: compute it once, use it for all layers.

    Args:
      inputs: [m, d], the flattened input batch.
      one_hot: [m, classes].
      weight: lambda of the paper.

    Returns:
      [m, m], symmetric, constant to differentiation.
    """
    target = normalized_kernel(inputs, sigma, epsilon) - weight * normalized_kernel(
        one_hot, sigma, epsilon
    )
    return jax.lax.stop_gradient(target)
