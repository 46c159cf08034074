"""Synthetic gradients against explicit NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.synthetic import Synthesizer, init_synthesizers, synthesizer_gradient

RNG = np.random.default_rng(0)
H = RNG.normal(size=(6, 4)).astype(np.float32)
Y = np.eye(3, dtype=np.float32)[RNG.integers(0, 3, 6)]
TARGET = RNG.normal(size=(6, 4)).astype(np.float32)
VARIANTS = list(itertools.product((0, 1, 2), (True, False)))  # hidden layers, context?


def filled(synthesizer, context):
    """Parameters with nothing left at zero."""
    params = synthesizer.init(jax.random.key(0), H, context)["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), params)


def in_numpy(params, h, context):
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def affine(name, x):
        return x @ params[name]["kernel"] + params[name]["bias"]

    out = affine("activation", h)
    if context is not None:
        out = out + affine("context", context)
    for index in range(len([name for name in params if name.startswith("layer_")])):
        out = affine(f"layer_{index}", np.maximum(out, 0))
    return out


@pytest.mark.parametrize(("hidden_layers", "conditional"), VARIANTS)
def test_prediction_is_the_formula(hidden_layers, conditional):
    synthesizer, context = Synthesizer(hidden_layers, width=5), Y if conditional else None
    params = filled(synthesizer, context)
    names = {"activation", *(f"layer_{i}" for i in range(hidden_layers))}
    assert set(params) == names | ({"context"} if conditional else set())
    ours = synthesizer.apply({"params": params}, H, context)
    np.testing.assert_allclose(ours, in_numpy(params, H, context), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hidden_layers", [0, 1, 2])
def test_width_defaults_to_the_activation(hidden_layers):
    params = filled(Synthesizer(hidden_layers), Y)
    assert params["activation"]["kernel"].shape == (4, 4)
    assert params["context"]["kernel"].shape == (3, 4)
    assert all(params[f"layer_{i}"]["kernel"].shape == (4, 4) for i in range(hidden_layers))


@pytest.mark.parametrize("hidden_layers", [0, 1, 2])
def test_first_predictions_do_not_depend_on_the_activation(hidden_layers):
    synthesizer = Synthesizer(hidden_layers)
    variables = synthesizer.init(jax.random.key(3), H, Y)
    ours = synthesizer.apply(variables, H, Y)
    np.testing.assert_array_equal(ours, synthesizer.apply(variables, 2 * H + 1, Y))
    if hidden_layers:
        np.testing.assert_array_equal(ours, np.broadcast_to(ours[0], ours.shape))


def test_initial_bounds_are_one_over_root_fan_in():
    h, y = jnp.ones((2, 100)), jnp.ones((2, 4))
    params = Synthesizer().init(jax.random.key(0), h, y)["params"]
    for name, limit in {"activation": 0.1, "context": 0.5, "layer_0": 0.1}.items():
        bias = np.abs(params[name]["bias"])
        assert 0.9 * limit < bias.max() <= limit
    assert 0.09 < np.abs(params["activation"]["kernel"]).max() <= 0.1
    assert 0.45 < np.abs(params["context"]["kernel"]).max() <= 0.5
    assert not params["layer_0"]["kernel"].any()


def test_images_keep_their_shape():
    images = jnp.asarray(RNG.normal(size=(3, 2, 2, 5)), jnp.float32)
    synthesizer, context = Synthesizer(), jnp.eye(3)
    params = synthesizer.init(jax.random.key(0), images, context)["params"]
    params = jax.tree.map(lambda x: x + 0.1, params)
    ours = synthesizer.apply({"params": params}, images, context)
    assert ours.shape == images.shape
    flat = synthesizer.apply({"params": params}, images.reshape(3, 20), context)
    np.testing.assert_allclose(ours.reshape(3, 20), flat, rtol=1e-6)


def test_gradient_of_a_linear_synthesizer_is_the_rule_written_out():
    synthesizer = Synthesizer(0)
    params = filled(synthesizer, Y)
    ours = synthesizer_gradient(synthesizer, params, H, Y, TARGET)
    error = 2 / len(H) * (in_numpy(params, H, Y) - TARGET)
    for name, source in {"activation": H, "context": Y}.items():
        np.testing.assert_allclose(ours[name]["kernel"], source.T @ error, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(ours[name]["bias"], error.sum(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("hidden_layers", "conditional"), [(1, True), (2, False)])
def test_gradient_equals_finite_differences(hidden_layers, conditional):
    synthesizer, context = Synthesizer(hidden_layers), Y if conditional else None
    params = filled(synthesizer, context)
    ours = synthesizer_gradient(synthesizer, params, H, context, TARGET)
    rng = np.random.default_rng(2)
    step = jax.tree.map(lambda x: 1e-6 * rng.normal(size=x.shape), params)

    def error(sign):
        moved = jax.tree.map(lambda p, s: np.float64(p) + sign * s, params, step)
        return np.sum((in_numpy(moved, H, context) - TARGET) ** 2) / len(H)

    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, s: np.sum(g * s), ours, step)))
    np.testing.assert_allclose(slope, (error(1) - error(-1)) / 2, rtol=1e-4)


def test_following_the_gradient_learns_the_target():
    synthesizer = Synthesizer(0)
    params = synthesizer.init(jax.random.key(0), H, Y)["params"]
    target = jnp.asarray(H @ RNG.normal(size=(4, 4)), jnp.float32)

    @jax.jit
    def step(params):
        gradient = synthesizer_gradient(synthesizer, params, H, Y, target)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)

    for _ in range(300):
        params = step(params)
    ours = synthesizer.apply({"params": params}, H, Y)
    assert np.mean((ours - target) ** 2) < 0.05 * np.mean(target**2)


def test_one_tree_per_activation_each_with_its_own_numbers():
    trees = init_synthesizers(jax.random.key(0), Synthesizer(), [H, H, H[:, :2]], Y)
    assert [tree["activation"]["kernel"].shape for tree in trees] == [(4, 4), (4, 4), (2, 2)]
    assert (trees[0]["activation"]["kernel"] != trees[1]["activation"]["kernel"]).any()


def test_no_activations_give_no_trees():
    assert init_synthesizers(jax.random.key(0), Synthesizer(), [], Y) == ()


# --- feature maps ---

MAPS = RNG.normal(size=(6, 5, 4, 3)).astype(np.float32)  # height 5, width 4, 3 channels


def convolved(layer, x):
    """NumPy: every place sees the window around it, of zeros beyond the border."""
    kernel, size = np.float64(layer["kernel"]), len(layer["kernel"])
    before = (size - 1) // 2
    padded = np.pad(x, ((0, 0), *((before, size - 1 - before),) * 2, (0, 0)))
    out = np.zeros((*x.shape[:3], kernel.shape[-1]))
    for row, column in np.ndindex(x.shape[1:3]):
        window = padded[:, row : row + size, column : column + size]
        out[:, row, column] = np.tensordot(window, kernel, 3)
    return out + np.float64(layer["bias"])


@pytest.mark.thorough(but=3)
@pytest.mark.parametrize("size", [1, 3, 4])
@pytest.mark.parametrize("hidden_layers", [0, 1, 2])
def test_with_a_size_feature_maps_are_convolved(hidden_layers, size):
    synthesizer = Synthesizer(hidden_layers, width=2, size=size)
    params = synthesizer.init(jax.random.key(0), MAPS, Y)["params"]
    params = jax.tree.map(lambda p: RNG.normal(size=p.shape).astype(np.float32), params)
    expected = convolved(params["activation"], MAPS)
    expected += (Y @ params["context"]["kernel"] + params["context"]["bias"])[:, None, None]
    for index in range(hidden_layers):
        expected = convolved(params[f"layer_{index}"], np.maximum(expected, 0))
    ours = synthesizer.apply({"params": params}, MAPS, Y)
    assert ours.shape == MAPS.shape
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_convolving_needs_few_parameters():
    maps, context = jnp.zeros((2, 14, 14, 6)), jnp.zeros((2, 10))

    def count(synthesizer):
        shapes = jax.eval_shape(synthesizer.init, jax.random.key(0), maps, context)
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    # Two 5x5 kernels of 6 by 6 channels, the labels' map to 6 channels, three biases.
    assert count(Synthesizer(size=5)) == 2 * 25 * 36 + 60 + 3 * 6
    assert count(Synthesizer()) == 2 * 1176**2 + 10 * 1176 + 3 * 1176


def test_with_a_size_vectors_are_as_without():
    with_size, without = Synthesizer(size=5), Synthesizer()
    params = filled(without, Y)
    ours = with_size.apply({"params": params}, H, Y)
    np.testing.assert_array_equal(ours, without.apply({"params": params}, H, Y))


def test_a_map_of_one_place_is_not_convolved():
    maps = jnp.zeros((len(Y), 1, 1, 7))
    shapes = jax.eval_shape(Synthesizer(size=5).init, jax.random.key(0), maps, Y)
    assert shapes["params"]["activation"]["kernel"].shape == (7, 7)


def test_a_convolutional_synthesizers_gradient_equals_finite_differences():
    synthesizer = Synthesizer(size=3)
    params = synthesizer.init(jax.random.key(0), MAPS, Y)["params"]
    rng = np.random.default_rng(3)
    params = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), params)
    target = rng.normal(size=MAPS.shape).astype(np.float32)
    ours = synthesizer_gradient(synthesizer, params, MAPS, Y, target)
    step = jax.tree.map(lambda p: 1e-6 * rng.normal(size=p.shape), params)

    def error(sign):
        moved = jax.tree.map(lambda p, s: np.float64(p) + sign * s, params, step)
        out = convolved(moved["activation"], MAPS)
        out += (Y @ moved["context"]["kernel"] + moved["context"]["bias"])[:, None, None]
        out = convolved(moved["layer_0"], np.maximum(out, 0))
        return np.sum((out - target) ** 2) / len(MAPS)

    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, s: np.sum(g * s), ours, step)))
    np.testing.assert_allclose(slope, (error(1) - error(-1)) / 2, rtol=1e-4)
