"""The independence criterion against the original's numbers, formulas and its own properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import vectors

from qjax import hsic as library
from qjax.hsic import center, dependence, gaussian_kernel

# Compiled: without jit these are many small programs, each compiled on its own.
hsic, hsic_normalized, nhsic, normalized_kernel, bottleneck_target, median_sigma = map(
    jax.jit,
    (
        library.hsic,
        library.hsic_normalized,
        library.nhsic,
        library.normalized_kernel,
        library.bottleneck_target,
        library.median_sigma,
    ),
)
MEASURES = {
    measure.__name__: jax.jit(jax.value_and_grad(measure))
    for measure in (library.hsic, library.hsic_normalized, library.nhsic)
}


@jax.jit
def everything(x, y, sigma):
    value, gradient = jax.value_and_grad(library.nhsic)(x, y, sigma)
    return {
        "hsic": library.hsic(x, y, sigma),
        "hsic_normalized": library.hsic_normalized(x, y, sigma),
        "nhsic": value,
        "nhsic_grad_x": gradient,
    }


def pair(m=13, seed=0, dtype=np.float64, width=4):
    """Dependent vectors and one-hot labels."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(m, width))
    labels = (x[:, 0] > 0) + (x[:, 1] > 1).astype(int)
    return x.astype(dtype), np.eye(3, dtype=dtype)[labels]


def relative(ours, expected):
    return np.abs(np.asarray(ours) - expected).max() / np.abs(expected).max()


# --- float64 NumPy, written as in the paper ---


def kernel_in_numpy(x, sigma):
    distances = ((x[:, None] - x[None]) ** 2).sum(-1)
    return np.exp(-distances / (2 * sigma**2 * x.shape[1]))


def resolvent_in_numpy(x, sigma=5.0, epsilon=1e-5):
    """With the original's K H, which is not symmetric."""
    m = len(x)
    k = kernel_in_numpy(x, sigma) @ (np.eye(m) - 1 / m)
    return k @ np.linalg.inv(k + epsilon * m * np.eye(m))


def hsic_in_numpy(x, y, sigma=5.0):
    m = len(x)
    h = np.eye(m) - 1 / m
    return np.trace(kernel_in_numpy(x, sigma) @ h @ kernel_in_numpy(y, sigma) @ h) / m**2


# --- the original's numbers ---


def published(dtype):
    """(name, ours, expected) of all vectors of HSIC."""
    v = vectors.vectors()
    for tensor in range(3):
        x = v[f"hsic/{tensor}/x"].astype(dtype)
        y = np.eye(10, dtype=dtype)[v[f"hsic/{tensor}/labels"]]
        for sigma in (5, 2, 1):
            ours = everything(x, y, dtype(sigma))
            for name, value in ours.items():
                assert value.dtype == dtype
                at = f"hsic/{tensor}/sigma{sigma}/{name}"
                yield at, value, v[at]


def test_float64_equals_the_originals():
    with jax.enable_x64(True):
        for name, ours, expected in published(np.float64):
            assert relative(ours, expected) < 1e-6, name


def test_float32_is_near_the_originals():
    for name, ours, expected in published(np.float32):
        limit = 2e-3 if name.endswith("nhsic_grad_x") else 2e-4
        assert relative(ours, expected) < limit, name


# --- formulas ---


def test_kernel_formula():
    x, _ = pair(dtype=np.float32)
    ours = gaussian_kernel(x, 0.7)
    np.testing.assert_allclose(ours, kernel_in_numpy(x, 0.7), rtol=1e-5)
    np.testing.assert_array_equal(ours, ours.T)
    np.testing.assert_array_equal(jnp.diag(ours), np.ones(len(x)))


def test_center_is_h_k_h():
    kernel = np.random.default_rng(0).normal(size=(5, 5))
    h = np.eye(5) - 1 / 5
    np.testing.assert_allclose(center(kernel), h @ kernel @ h, atol=1e-6)


def test_hsic_formula():
    x, y = pair(dtype=np.float32)
    np.testing.assert_allclose(hsic(x, y, 1.0), hsic_in_numpy(x, y, 1.0), rtol=1e-4)


def test_hsic_normalized_formula():
    x, y = pair(dtype=np.float32)
    scale = np.sqrt(hsic_in_numpy(x, x, 1.0) * hsic_in_numpy(y, y, 1.0))
    ours = hsic_normalized(x, y, 1.0)
    np.testing.assert_allclose(ours, hsic_in_numpy(x, y, 1.0) / scale, rtol=1e-4)


@pytest.mark.thorough(but=2)
@pytest.mark.parametrize("m", [2, 5, 8, 13])  # any size, a multiple of a block or not
def test_nhsic_is_the_trace_of_the_unsymmetric_form(m):
    x, y = pair(m)
    expected = np.trace(resolvent_in_numpy(x) @ resolvent_in_numpy(y))
    with jax.enable_x64(True):
        np.testing.assert_allclose(everything(x, y, 5.0)["nhsic"], expected, rtol=1e-6)
    # Small batches have a small ridge, which magnifies the rounding of the kernel itself.
    ours = everything(np.float32(x), np.float32(y), 5.0)["nhsic"]
    np.testing.assert_allclose(ours, expected, rtol=1e-3)


def test_epsilon_reaches_the_ridge():
    x, y = pair(13)
    expected = np.trace(resolvent_in_numpy(x, 2.0, 0.1) @ resolvent_in_numpy(y, 2.0, 0.1))
    np.testing.assert_allclose(nhsic(np.float32(x), np.float32(y), 2.0, 0.1), expected, rtol=1e-4)


def test_normalized_kernel_is_symmetric_with_eigenvalues_from_0_to_1():
    with jax.enable_x64(True):
        x, _ = pair(13)
        ours = np.asarray(normalized_kernel(x))
    np.testing.assert_allclose(ours, ours.T, atol=1e-12)
    eigenvalues = np.linalg.eigvalsh(ours)
    assert eigenvalues.min() > -1e-9
    assert eigenvalues.max() < 1


@pytest.mark.parametrize("m", [5, 13])
def test_gradient_equals_finite_differences(m):
    with jax.enable_x64(True):
        x, y = pair(m)
        gradient = everything(x, y, 5.0)["nhsic_grad_x"]
        rng = np.random.default_rng(1)
        for _ in range(4):
            step = rng.normal(size=x.shape) * 1e-5
            up, down = (everything(x + d, y, 5.0)["nhsic"] for d in (step, -step))
            change = (up - down) / 2
            np.testing.assert_allclose(np.sum(gradient * step), change, rtol=1e-4)


# --- properties ---


@pytest.mark.parametrize("measure", [hsic, hsic_normalized, nhsic])
@pytest.mark.parametrize("sigma", [5.0, None])
def test_properties(measure, sigma):
    """Symmetric; blind to the order of examples and to translation; at least 0."""
    with jax.enable_x64(True):
        x, y = pair(13)
        y = np.pad(y, ((0, 0), (0, 1)))  # of the shape of x: compiled once for both orders
        value = measure(x, y, sigma)
        order = np.random.default_rng(2).permutation(len(x))
        for other in (
            measure(y, x, sigma),
            measure(x[order], y[order], sigma),
            measure(x + np.arange(4), y - 3, sigma),
        ):
            np.testing.assert_allclose(other, value, rtol=1e-6)
        assert value > 0
        assert measure(x, y[order], sigma) < value  # the pairing matters


def test_translation_does_not_spoil_float32():
    x, y = pair(13, dtype=np.float32)
    np.testing.assert_allclose(nhsic(x + 100, y), nhsic(x, y), rtol=5e-3)


def test_normalized_measures_of_a_variable_with_itself():
    x, _ = pair(13, dtype=np.float32)
    np.testing.assert_allclose(hsic_normalized(x, x), 1, rtol=1e-5)
    assert 0 < nhsic(x, x) < len(x)


@pytest.mark.parametrize("seed", range(5))
def test_hsic_of_independent_noise_is_not_negative(seed):
    x, _ = pair(16, seed, np.float32)
    y, _ = pair(16, seed + 100, np.float32)
    assert hsic(x, y) >= 0
    assert 0 <= hsic_normalized(x, y) <= 1
    assert nhsic(x, y) >= 0


# --- median heuristic ---


@pytest.mark.parametrize("m", [3, 6, 7])  # with an odd number of pairs: the median is a distance
def test_median_sigma_is_the_median_distance_over_root_d(m):
    x, _ = pair(m)
    distances = [np.linalg.norm(x[i] - x[j]) for i in range(m) for j in range(i)]
    expected = np.median(distances) / np.sqrt(4)
    np.testing.assert_allclose(median_sigma(np.float32(x)), expected, rtol=1e-5)


def test_median_kernel_is_the_inverse_root_of_e_at_the_median():
    x, _ = pair(6, dtype=np.float32)
    kernel = gaussian_kernel(x, None)[np.triu_indices(6, 1)]
    np.testing.assert_allclose(jnp.median(kernel), np.exp(-0.5), rtol=1e-5)


def test_median_sigma_is_constant_to_differentiation():
    x, y = pair(6, dtype=np.float32)
    _, gradient = MEASURES["nhsic"](x, y, None)
    sigma, other = median_sigma(x), normalized_kernel(y, None)
    fixed = jax.grad(lambda x: dependence(normalized_kernel(x, sigma), other))(x)
    assert relative(gradient, fixed) < 1e-3


def test_median_sigma_needs_two_examples():
    with pytest.raises(ValueError, match="at least 2"):
        median_sigma(jnp.ones((1, 3)))


def test_batches_must_be_flat():
    with pytest.raises(ValueError, match=r"shape \(4, 2, 2\)"):
        gaussian_kernel(jnp.ones((4, 2, 2)))


# --- degenerate batches ---


@pytest.mark.thorough(but=2)
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("sigma", [5.0, None])
def test_constant_inputs_give_finite_values_and_gradients(measure, sigma):
    _, y = pair(6, dtype=np.float32)
    for x in (jnp.zeros((6, 4)), jnp.full((6, 4), 3.7)):
        value, gradient = MEASURES[measure](x, y, sigma)
        assert abs(value) < 1e-2
        assert np.isfinite(gradient).all()


def test_repeated_examples_give_finite_values_and_gradients():
    x, y = pair(13, dtype=np.float32)
    x[1::2], y[1::2] = x[:-1:2], y[:-1:2]
    value, gradient = MEASURES["nhsic"](x, y, 5.0)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


# --- as it is used ---


def test_vmap_over_batches_equals_a_loop():
    pairs = [pair(13, seed, np.float32) for seed in range(20)]
    x, y = map(np.stack, zip(*pairs, strict=True))
    one = MEASURES["nhsic"]
    values, gradients = jax.jit(jax.vmap(one, in_axes=(0, 0, None)))(x, y, 5.0)
    for i in range(20):
        value, gradient = one(x[i], y[i], 5.0)
        np.testing.assert_allclose(values[i], value, rtol=1e-3)
        assert relative(gradients[i], gradient) < 2e-3


def test_bottleneck_target_gives_the_objective():
    with jax.enable_x64(True):
        (x, y), (z, _) = pair(13), pair(13, 1)

        def short(z):
            return dependence(normalized_kernel(z), bottleneck_target(x, y))

        def long(z):
            return nhsic(z, x) - 500 * nhsic(z, y)

        ours, expected = (jax.jit(jax.value_and_grad(f))(z) for f in (short, long))
        np.testing.assert_allclose(ours[0], expected[0], rtol=1e-9)
        assert relative(ours[1], expected[1]) < 1e-9


def test_bottleneck_target_is_symmetric_and_constant():
    x, y = pair(5, dtype=np.float32)
    target = bottleneck_target(x, y, 3.0)
    np.testing.assert_allclose(target, target.T, atol=1e-5)
    expected = normalized_kernel(x) - 3 * normalized_kernel(y)
    np.testing.assert_allclose(target, expected, atol=1e-5)
    gradient = jax.grad(lambda x: jnp.sum(bottleneck_target(x, y) ** 2))(x)
    np.testing.assert_array_equal(gradient, np.zeros_like(x))
