"""Linear maps whose error goes down through another matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from qjax.convolution import convolve
from qjax.feedback import biased, linear, matmul, with_feedback

RNG = np.random.default_rng(0)


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


X, KERNEL, FEEDBACK, BIAS, ERROR = draw(5, 3), draw(3, 4), draw(3, 4), draw(4), draw(5, 4)
IMAGES, FILTERS, FILTER_FEEDBACK = draw(2, 5, 5, 2), draw(3, 3, 2, 4), draw(3, 3, 2, 4)


def conv(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def close(ours, expected):
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_forward_value_does_not_see_the_feedback():
    np.testing.assert_array_equal(with_feedback(matmul, X, KERNEL, FEEDBACK), X @ KERNEL)
    np.testing.assert_array_equal(linear(X, KERNEL, BIAS, FEEDBACK), X @ KERNEL + BIAS)


def test_linear_gradients_are_the_rule_written_out():
    def loss(x, kernel, bias, feedback):
        return jnp.sum(ERROR * linear(x, kernel, bias, feedback))

    ours = jax.grad(loss, argnums=(0, 1, 2, 3))(X, KERNEL, BIAS, FEEDBACK)
    x, feedback, error = (np.asarray(v, np.float64) for v in (X, FEEDBACK, ERROR))
    close(ours[0], error @ feedback.T)
    close(ours[1], x.T @ error)
    close(ours[2], error.sum(0))
    np.testing.assert_array_equal(ours[3], np.zeros((3, 4)))


def test_linear_without_feedback_is_backpropagation():
    def loss(x):
        return jnp.sum(ERROR * linear(x, KERNEL, BIAS))

    close(jax.grad(loss)(X), np.asarray(ERROR) @ np.asarray(KERNEL).T)


def test_first_and_second_derivatives_of_a_batch_are_those_of_the_plain_product():
    kernels, biases = draw(5, 3, 4), draw(5, 4)

    def bends(affine):
        def loss(x, kernel, bias):
            return jnp.sum(jnp.sin(affine(x, kernel, bias)))

        def steepness(*arguments):
            slopes = jax.grad(loss, argnums=(0, 1, 2))(*arguments)
            return sum(jnp.sum(slope**2) for slope in slopes), slopes

        both = jax.grad(steepness, argnums=(0, 1, 2), has_aux=True)
        return jax.jit(jax.vmap(both, (None, 0, 0)))(X, kernels, biases)

    ours = bends(lambda x, kernel, bias: biased(matmul(x, kernel), bias, -1))
    plain = bends(lambda x, kernel, bias: x @ kernel + bias)
    jax.tree.map(close, ours, plain)


@pytest.mark.parametrize("bias", [np.float64(2), np.arange(4), BIAS])
def test_a_bias_is_a_number_or_one_of_every_feature_wherever_features_lie(bias):
    assert biased(ERROR, bias, 1).dtype == jnp.float32
    close(biased(ERROR, bias, 1), np.asarray(ERROR) + np.asarray(bias))
    close(biased(ERROR.T, bias, 0), (np.asarray(ERROR) + np.asarray(bias)).T)


@pytest.mark.thorough(but=3)
@pytest.mark.parametrize(("bilinear", "typed", "parted"), [
    (bilinear, typed, parted) for bilinear in (matmul, convolve)
    for typed in ("explicit", "varying") for parted in ("batch", "outputs")
    # JAX's own convolution refuses that: it wants to be told where the outputs lie.
    if (bilinear, typed, parted) != (convolve, "explicit", "outputs")
])
def test_derivatives_follow_arrays_that_lie_on_a_mesh(bilinear, typed, parted):
    """Every device has a part of the batch or of the outputs; one suffices to show that."""
    x, kernel = {matmul: (X, KERNEL), convolve: (IMAGES, FILTERS)}[bilinear]
    specs = {"batch": (P("d"), P(), P()),
             "outputs": (P(), P(*[None] * (kernel.ndim - 1), "d"), P("d"))}[parted]
    kind = {"explicit": AxisType.Explicit, "varying": AxisType.Auto}[typed]
    mesh = jax.make_mesh((1,), ("d",), axis_types=(kind,))

    def gradients(*arrays):
        def loss(x, kernel, bias):
            return jnp.sin(linear(x, kernel, bias, None, bilinear)).sum()

        return jax.grad(loss, argnums=(0, 1, 2))(*arrays)

    arrays = x, kernel, draw(kernel.shape[-1])
    if typed == "explicit":
        with jax.set_mesh(mesh):
            placed = [jax.device_put(a, NamedSharding(mesh, P(*s, *[None] * (a.ndim - len(s)))))
                      for a, s in zip(arrays, specs, strict=True)]
            ours = jax.jit(gradients)(*placed)
    else:
        ours = jax.shard_map(gradients, mesh=mesh, in_specs=specs, out_specs=specs)(*arrays)
    for gradient, expected in zip(ours, gradients(*arrays), strict=True):
        close(gradient, expected)


def test_two_layers_chain_through_their_feedback():
    upper, upper_feedback, top = draw(4, 2), draw(4, 2), draw(5, 2)

    def loss(kernel):
        h = jnp.tanh(linear(X, kernel, BIAS, FEEDBACK))
        return jnp.sum(top * linear(h, upper, jnp.zeros(2), upper_feedback))

    h = np.tanh(np.asarray(X @ KERNEL + BIAS))
    error = np.asarray(top) @ np.asarray(upper_feedback).T * (1 - h**2)
    close(jax.grad(loss)(KERNEL), np.asarray(X).T @ error)


def test_any_leading_axes():
    x, error = draw(2, 5, 3), draw(2, 5, 4)

    def loss(x, kernel):
        return jnp.sum(error * with_feedback(matmul, x, kernel, FEEDBACK))

    x_gradient, kernel_gradient = jax.grad(loss, argnums=(0, 1))(x, KERNEL)
    close(x_gradient, np.einsum("abo,io->abi", error, FEEDBACK))
    close(kernel_gradient, np.einsum("abi,abo->io", x, error))


@pytest.mark.parametrize(
    ("bilinear", "x", "kernel"), [(matmul, X, KERNEL), (conv, IMAGES, FILTERS)],
    ids=["matmul", "conv"],
)
def test_feedback_equal_to_the_kernel_is_backpropagation(bilinear, x, kernel):
    def ours(x, kernel):
        return jnp.sum(jnp.sin(with_feedback(bilinear, x, kernel, kernel)))

    def plain(x, kernel):
        return jnp.sum(jnp.sin(bilinear(x, kernel)))

    for gradient, expected in zip(
        jax.grad(ours, argnums=(0, 1))(x, kernel), jax.grad(plain, argnums=(0, 1))(x, kernel),
        strict=True,
    ):
        close(gradient, expected)


def test_convolution_sends_its_error_through_the_feedback_filters():
    error = draw(2, 3, 3, 4)

    def loss(x, kernel, feedback):
        return jnp.sum(error * with_feedback(conv, x, kernel, feedback))

    def plain(x, kernel):
        return jnp.sum(error * conv(x, kernel))

    ours = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(IMAGES, FILTERS, FILTER_FEEDBACK)
    close(ours[0], jax.grad(plain, argnums=0)(IMAGES, FILTER_FEEDBACK))
    close(ours[1], jax.grad(plain, argnums=1)(IMAGES, FILTERS))
    np.testing.assert_array_equal(ours[2], np.zeros_like(FILTERS))


def test_vmap_and_jit_equal_one_by_one():
    xs, kernels, feedbacks = draw(3, 5, 3), draw(3, 3, 4), draw(3, 3, 4)

    def gradients(x, kernel, feedback):
        def loss(x, kernel):
            return jnp.sum(ERROR * jnp.tanh(linear(x, kernel, BIAS, feedback)))

        return jax.grad(loss, argnums=(0, 1))(x, kernel)

    together = jax.jit(jax.vmap(gradients))(xs, kernels, feedbacks)
    for i in range(3):
        for ours, alone in zip(
            together, gradients(xs[i], kernels[i], feedbacks[i]), strict=True
        ):
            close(ours[i], alone)
