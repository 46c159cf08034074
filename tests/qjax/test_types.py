"""What people bring: other floating-point types, x64, mixed types, boxed and foreign parameters."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from qjax import diagnostics, feedback, hsic, memories, networks
from qjax.algorithms import ALGORITHMS, Batch, Rules, Settings, backprop
from qjax.algorithms.hsic import bottleneck_body
from qjax.convolution import convolve
from qjax.memories import Latent, Nearest
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import keep_on_grid, make_grid, make_quantizer, quantize, quantize_tree
from qjax.trees import paths_of

KEY = jax.random.key(0)
RNG = np.random.default_rng(1)
INPUTS, LABELS = RNG.normal(size=(16, 6)).astype(np.float32), RNG.integers(0, 3, 16)
QUANTIZER = make_quantizer(4, "symm", "global")


def as64(tree):
    return jax.tree.map(lambda x: np.asarray(x).astype(np.float64), tree)


@functools.cache
def trained(name, dtype, x64=False, optimizer="sgd", bits=None):
    """(state after two steps, loss of the second, logits) of an algorithm on one batch."""
    with jax.enable_x64(x64):
        rules = [Rules(OPTIMIZERS[optimizer]())] * (2 if name == "hsic" else 1)
        algorithm = ALGORITHMS[name](networks.mlp([5, 4], 3), *rules)
        settings = Settings(learning_rate=0.1, memory=Nearest(make_quantizer(bits)))
        x, labels = jnp.asarray(INPUTS).astype(dtype), jnp.asarray(LABELS)

        @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
        def both(key):
            # Drawn in float32 whatever the type: then all start alike.
            state = algorithm.init(key, settings, x)
            for number, phase in enumerate(algorithm.phases):
                keys = jax.random.split(jax.random.fold_in(key, number), 2)
                state, losses = jax.lax.scan(
                    lambda c, k, phase=phase: phase.step(k, settings, c, Batch(x, labels)),
                    phase.begin(settings, state), keys,
                )
            return state, losses[-1], algorithm.phases[-1].predict(settings, state, x)

        return both(KEY)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("name", ["backprop", "fa", "dni_linear", "hsic"])
def test_x64_changes_nothing_for_float32_inputs(name):
    state, loss, logits = trained(name, "float32", x64=True)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.held)} == {jnp.dtype("float32")}
    assert loss.dtype == logits.dtype == jnp.float32
    expected, expected_loss, expected_logits = trained(name, "float32")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4),
                 as64(state.held), as64(expected.held))
    np.testing.assert_allclose(loss, expected_loss, rtol=2e-3)
    np.testing.assert_allclose(logits, expected_logits, rtol=2e-2, atol=2e-3)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, "bfloat16") for name in ("backprop", "fa", "dfa", "dni_linear", "hsic")),
     ("backprop", "float16")],
)
def test_half_precision_trains_in_its_own_type(name, dtype):
    state, loss, logits = trained(name, dtype, bits=8)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.held)} == {jnp.dtype(dtype)}
    assert logits.dtype == dtype
    assert np.isfinite(loss)
    assert np.all(np.isfinite(as64(logits)))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_optimizers_step_in_half_precision_as_in_float32(optimizer, dtype):
    """Also where gradients are zero: the constants against that vanish in float16."""
    transformation = OPTIMIZERS[optimizer]()
    params = jnp.array([0.5, -1.0, 0.25, 2.0])
    gradients = [jnp.array([0.0, 0.5, -1e-3, 3.0]), jnp.array([0.0, -0.25, 2e-3, 0.0])]

    def steps(dtype):
        state, found = transformation.init(params.astype(dtype)), []
        for gradient in gradients:
            step, state = transformation.update(gradient.astype(dtype), state, params.astype(dtype))
            assert step.dtype == dtype
            found.append(as64(step))
        return np.array(found)

    expected = steps("float32")
    np.testing.assert_allclose(steps(dtype), expected, rtol=0.05, atol=1e-6)


@pytest.mark.thorough(but=2)
@pytest.mark.parametrize("types", [("bfloat16", "bfloat16", "float32"),
                                   ("float32", "float32", "bfloat16"),
                                   ("bfloat16", "float32", "float32"),
                                   ("float32", "bfloat16", "float32")])
@pytest.mark.parametrize("bilinear", [feedback.matmul, convolve])
def test_feedback_takes_mixed_types(types, bilinear):
    x = RNG.normal(size=(2, 5, 5, 3) if bilinear is convolve else (4, 3))
    shape = (2, 2, 3, 4) if bilinear is convolve else (3, 4)
    kernel, down = RNG.normal(size=(2, *shape))
    given = [jnp.asarray(v).astype(t) for v, t in zip((x, kernel, down), types, strict=True)]

    def value(x, kernel, down):
        y = feedback.with_feedback(bilinear, x, kernel, down)
        return jnp.sum(y.astype(jnp.float32) ** 2)

    ours = jax.grad(value, (0, 1, 2))(*given)
    assert [g.dtype for g in ours] == list(types)
    exact = jax.grad(value, (0, 1, 2))(*(jnp.asarray(as64(v), jnp.float32) for v in given))
    for mine, expected in zip(ours, exact, strict=True):
        np.testing.assert_allclose(as64(mine), expected, rtol=0.1, atol=0.3)


@pytest.mark.thorough(but=2)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("measure", ["hsic", "hsic_normalized", "nhsic"])
def test_kernels_of_half_precision_are_those_of_its_values(measure, dtype):
    x = jnp.asarray(RNG.normal(size=(24, 5)) * 3).astype(dtype)
    y = jax.nn.one_hot(jnp.asarray(RNG.integers(0, 3, 24)), 3, dtype=dtype)
    function = jax.jit(jax.value_and_grad(getattr(hsic, measure)))
    ours, gradient = function(x, y)
    expected, expected_gradient = function(x.astype(jnp.float32), y.astype(jnp.float32))
    assert ours.dtype == jnp.float32
    assert gradient.dtype == dtype
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    np.testing.assert_allclose(as64(gradient), expected_gradient, rtol=0.02, atol=1e-6)


# --- derivatives through training ---


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize(("optimizer", "bits"), [
    *((name, None) for name in OPTIMIZERS if name not in ("momentum", "normalized", "sign")),
    ("balanced", 4)])
def test_the_derivative_of_a_training_in_its_learning_rate(bits, optimizer):
    algorithm = backprop(networks.mlp([5], 3), Rules(OPTIMIZERS[optimizer]()))
    x, labels = jnp.asarray(INPUTS), jnp.asarray(LABELS)
    memory = (Latent if bits else Nearest)(make_quantizer(bits))

    @jax.jit
    def loss(rate):
        settings = Settings(learning_rate=rate, memory=memory)
        (phase,) = algorithm.phases
        state = phase.begin(settings, algorithm.init(KEY, settings, x))
        for number in range(2):
            key = jax.random.fold_in(KEY, number)
            state, value = phase.step(key, settings, state, Batch(x, labels))
        return value

    derivative = jax.grad(loss)(0.05)
    assert np.isfinite(derivative)
    if bits is None and optimizer != "sign":
        difference = (loss(0.051) - loss(0.049)) / 2e-3
        np.testing.assert_allclose(derivative, difference, rtol=0.05, atol=1e-3)


# --- parameters of Linen, NNX and boxes ---


class _Boxed(nn.Module):
    @nn.compact
    def __call__(self, x):
        init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
        return nn.Dense(3, kernel_init=init)(x)


def foreign_trees():
    x = jnp.ones((1, 4))
    module = nnx.Sequential(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), nnx.Dropout(0.5, rngs=nnx.Rngs(1)))
    return {
        "linen": nn.Dense(3).init(KEY, x),
        "boxed": _Boxed().init(KEY, x),
        "nnx state": nnx.state(module),
        "nnx params": nnx.state(module, nnx.Param),
        "nnx module": module,
        "pure dict": nnx.to_pure_dict(nnx.state(module)),
    }


def only_kernels(path, leaf):
    return path.endswith("kernel")


@pytest.mark.parametrize("name", foreign_trees())
def test_where_sees_the_same_path_in_every_kind_of_tree(name):
    tree = foreign_trees()[name]
    quantized = quantize_tree(tree, QUANTIZER, where=only_kernels, key=KEY)
    assert jax.tree.structure(quantized) == jax.tree.structure(tree)
    before, after = map(jax.tree.leaves, (tree, quantized))
    touched = 0
    for path, old, new in zip(paths_of(tree), before, after, strict=True):
        assert not path.endswith("value")
        if path.endswith("kernel"):
            touched += 1
            codes = as64(new) * 7
            np.testing.assert_allclose(codes, np.round(codes), atol=1e-5)
            assert np.any(as64(new) != as64(old))
        else:
            assert new is old
    assert touched == 1


@pytest.mark.parametrize("name", ["linen", "boxed", "nnx params", "pure dict"])
def test_keep_on_grid_sees_them_too(name):
    tree = foreign_trees()[name]
    if name == "pure dict":
        tree = tree["layers"][0]
    chain = optax.chain(optax.sgd(0.1), keep_on_grid(QUANTIZER, where=only_kernels, axis=-1))
    params = quantize_tree(tree, QUANTIZER, where=only_kernels)
    gradients = jax.tree.map(lambda x: jnp.full_like(x, 2.0), params)
    changes, _ = chain.update(gradients, chain.init(params), params)
    after = optax.apply_updates(params, changes)
    for path, old, new in zip(paths_of(params), *map(jax.tree.leaves, (params, after)),
                              strict=True):
        expected = as64(old) - 0.2
        if path.endswith("kernel"):
            expected = np.clip(np.round(expected * 7), -7, 7) / 7
        np.testing.assert_allclose(as64(new), expected, atol=1e-5)


class _Attention(NamedTuple):
    query: jax.Array
    value: jax.Array


def test_only_boxes_lose_a_name():
    tree = {"value": jnp.ones(2), "scale": {"value": jnp.ones(2)},
            "attention": _Attention(jnp.ones(2), jnp.ones(2)), "box": nnx.Param({"a": jnp.ones(1)})}
    assert paths_of(tree) == ["attention/query", "attention/value", "box/a", "scale/value", "value"]


@pytest.mark.parametrize("function", ["quantize_tree", "init", "update"])
def test_where_that_matches_nothing_lists_the_paths(function):
    tree = foreign_trees()["linen"]
    chain = keep_on_grid(QUANTIZER, where=lambda path, leaf: path.endswith("Kernel"))
    calls = {
        "quantize_tree": lambda: quantize_tree(tree, QUANTIZER, where=lambda path, leaf: False),
        "init": lambda: chain.init(tree),
        "update": lambda: chain.update(tree, chain.init(None), tree),
    }
    with pytest.raises(ValueError, match=r"chooses no leaf.*'params/bias', 'params/kernel'"):
        calls[function]()


# --- leaves that are no weights ---

FOREIGN = {
    "step": 7, "flag": True, "ids": jnp.arange(3), "key": jax.random.key(1), "nothing": None,
    "word": "relu", "complex": jnp.ones(2, complex), "raw key": jax.random.PRNGKey(0),
}


def test_leaves_that_are_no_weights_stay_what_they_are():
    tree = {**FOREIGN, "w": jnp.array([0.3, -0.9]), "number": 0.3, "empty": jnp.zeros((0, 3)),
            "numpy": np.array([0.3, 0.1])}
    ours = quantize_tree(tree, make_quantizer(3, "symm", "global"), key=KEY)
    for name in FOREIGN:
        assert ours[name] is tree[name]
    assert ours["empty"].shape == (0, 3)
    for name in ("w", "number", "numpy"):
        codes = as64(ours[name]) * 3
        np.testing.assert_allclose(codes, np.round(codes), atol=1e-6)


def test_keep_on_grid_leaves_other_updates_alone():
    params = {"w": jnp.array([0.5, -1.0]), "ids": jnp.arange(3), "step": jnp.int32(7)}
    proposed = {"w": jnp.array([0.1, 0.1]), "ids": jnp.zeros(3, int), "step": jnp.int32(1)}
    chain = keep_on_grid(make_quantizer(3))
    changes, _ = chain.update(proposed, chain.init(params), params)
    assert changes["ids"] is proposed["ids"]
    assert changes["step"] is proposed["step"]
    for word in ("nearest", "stochastic", "latent", "counter", "soft_bounds", "mixed_precision"):
        memory = memories.named(word)
        memory = memory.replace(grid=QUANTIZER) if memories.has_grid(memory) else memory
        held = memories.hold(KEY, memory, params)
        written = memories.read(memory, memories.write(KEY, memory, held, proposed))
        np.testing.assert_array_equal(written["ids"], params["ids"])
        assert written["step"] == 7


# --- axes ---


@pytest.mark.parametrize("axis", [7, -3, (0, 2)])
def test_an_axis_that_no_leaf_has_is_refused_by_name(axis):
    x = jnp.ones((3, 2))
    with pytest.raises(ValueError, match="out of range for a tensor of shape"):
        make_grid(x, QUANTIZER, axis)
    with pytest.raises(ValueError, match="leaf 'kernel': axis"):
        quantize_tree({"kernel": x, "step": 3}, QUANTIZER, axis=axis)
    chain = keep_on_grid(QUANTIZER, axis=axis)
    with pytest.raises(ValueError, match="leaf 'kernel': axis"):
        chain.update({"kernel": x}, chain.init(None), {"kernel": x})


@pytest.mark.parametrize("axis", [-1, 1])
def test_leaves_of_fewer_axes_have_one_range(axis):
    kernel, bias = jax.random.normal(KEY, (4, 3)), jnp.array([0.3, -0.8, 0.1])
    quantizer = make_quantizer(3, "symm", "local")
    tree = {"kernel": kernel, "bias": bias, "scale": jnp.float32(0.7)}
    ours = quantize_tree(tree, quantizer, axis=axis)
    np.testing.assert_array_equal(ours["kernel"], quantize(kernel, make_grid(kernel, quantizer, 1)))
    np.testing.assert_array_equal(ours["bias"], quantize(bias, make_grid(bias, quantizer)))
    np.testing.assert_array_equal(ours["scale"], tree["scale"])


# --- what was meant ---


def test_a_quantizer_for_a_grid_and_a_grid_for_a_quantizer_are_told():
    x = jnp.ones(3)
    for call in (quantize, lambda x, q: quantize(x, q, KEY)):
        with pytest.raises(TypeError, match=r"expected a Grid, got Quantizer.*make_grid"):
            call(x, QUANTIZER)
    with pytest.raises(TypeError, match=r"expected a Quantizer, got Grid.*make_quantizer"):
        make_grid(x, make_grid(x, QUANTIZER))
    with pytest.raises(TypeError, match="floating-point tensor, got int32"):
        quantize(jnp.arange(3), make_grid(x, QUANTIZER))


class _Bare(nn.Module):
    features: int = 3

    @nn.compact
    def __call__(self, x, train=True):
        return nn.Dense(self.features)(x)


def test_hsic_keeps_the_activations_of_blocks():
    network = (networks.Dense(5, jnp.tanh), networks.Dense(4), networks.Dense(3, nn.gelu))
    body = bottleneck_body(network)
    assert [block.activation for block in body] == [jnp.tanh, nn.relu, nn.gelu]
    assert all(block.normalize for block in body)
    *_, last = bottleneck_body(networks.mlp([5], 3))
    assert last.activation is nn.relu  # the thesis's: an output that gave logits
    with pytest.raises(TypeError, match="_Bare has no fields `normalize` and `activation`"):
        bottleneck_body((_Bare(), networks.Dense(3)))


def test_images_too_small_for_a_kernel_are_refused_and_odd_ones_pooled():
    x = jnp.asarray(RNG.normal(size=(2, 7, 9, 1)), jnp.float32)
    block = networks.Conv(2, size=3, pool=True)
    variables = block.init(KEY, x)
    y = block.apply(variables, x)
    assert y.shape == (2, 2, 3, 2)
    cut = block.apply(variables, x[:, :6, :8])  # without the odd row and column: the same
    np.testing.assert_allclose(y, cut, atol=1e-6)
    with pytest.raises(ValueError, match="images of 4x4 are too small for a kernel of 5x5"):
        networks.Conv(2).init(KEY, jnp.ones((1, 4, 4, 1)))
    with pytest.raises(ValueError, match=r"needs images \[batch, height, width, channels\]"):
        networks.Conv(2).init(KEY, jnp.ones((1, 16)))


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_types_of_eight_bits_have_grids_too(dtype):
    x = jnp.linspace(-1, 1, 40).astype(dtype)
    ours = quantize_tree({"w": x}, make_quantizer(3, "symm", "global"), key=KEY)["w"]
    assert ours.dtype == dtype
    expected = jnp.linspace(-1, 1, 7).astype(dtype)
    assert set(as64(ours)) <= set(as64(expected))


def test_bits_are_looked_at_inside_of_jit_where_they_are_known():
    with pytest.raises(ValueError, match="at most 8 bits"):
        jax.jit(lambda x: quantize_tree(x, make_quantizer(12, "asymm")))(jnp.ones(3, jnp.bfloat16))


def test_a_donated_state_does_not_take_the_key_along():
    key = jax.random.key(3)
    chain, params = keep_on_grid(QUANTIZER, key=key), {"w": jnp.ones(3)}
    step = jax.jit(lambda state: chain.update(params, state, params), donate_argnums=0)
    for _ in range(2):
        step(chain.init(params))
    assert not key.is_deleted()


@pytest.mark.parametrize("low", [1000.0, 10.0, 0.0])
def test_stochastic_rounding_is_right_on_average_where_floats_are_coarse(low):
    quantizer, count = make_quantizer(10, "asymm", "local"), 20_000
    x = jnp.linspace(low, low + 1, 41)
    grid = make_grid(x, quantizer)
    draws = jax.jit(jax.vmap(lambda key: quantize(x, grid, key)))(jax.random.split(KEY, count))
    bias = (np.mean(as64(draws), 0) - as64(x)) * 1023
    spacing = np.spacing(np.float32(low + 1)) * 1023  # of floats, in steps
    assert np.all(np.abs(bias) <= 5 * 0.5 / np.sqrt(count) + 1 / 64 + spacing)


def test_angles_and_noise_of_half_precision_are_those_of_its_values():
    a = jnp.ones(10_000, jnp.float16) * 900
    b = jnp.linspace(500, 1000, 10_000).astype(jnp.float16)
    small = jnp.linspace(0.5, 1, 1000).astype(jnp.float16) * 1e-3
    for function, pair in ((diagnostics.angle, (a, b)), (diagnostics.norm_ratio, (a, b)),
                           (diagnostics.sqnr, (small, small * jnp.float16(1.01)))):
        exact = function(*(v.astype(jnp.float32) for v in pair))
        assert np.isfinite(exact)
        np.testing.assert_allclose(function(*pair), exact, rtol=1e-5)


def test_the_derivative_of_nhsic_in_its_ridge_equals_finite_differences():
    x, y = (jnp.asarray(RNG.normal(size=(12, d)), jnp.float32) for d in (4, 3))

    def value(epsilon):
        return hsic.nhsic(x, y, 5.0, epsilon)

    difference = (value(1.02e-2) - value(0.98e-2)) / 4e-4
    np.testing.assert_allclose(jax.grad(value)(1e-2), difference, rtol=2e-2)


@pytest.mark.parametrize(("call", "message"), [
    (lambda x: make_grid(x, QUANTIZER, 1.0), "axis must be a whole number"),
    (lambda x: quantize_tree({"w": x}, QUANTIZER, where="w"), "`where` must be a function"),
    (lambda x: keep_on_grid(make_grid(x, QUANTIZER)), "expected a Quantizer, got Grid"),
])
def test_what_was_meant_is_told(call, message):
    with pytest.raises(TypeError, match=message):
        call(jnp.ones((2, 2)))


@pytest.mark.parametrize("bound", [1e39, 1e-50])
def test_a_bound_that_float32_does_not_have_is_refused(bound):
    with pytest.raises(ValueError, match="bound"):
        make_quantizer(3, "asymm", "global", bound)
