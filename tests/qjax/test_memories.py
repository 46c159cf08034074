"""Memories against statements of their own, and what the interface promises of any."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import ArrayLike

from qjax import memories, structs
from qjax.algorithms import Batch, Rules, Settings, backprop, hsic
from qjax.memories import (
    MEMORIES,
    Bits,
    Float,
    Held,
    Latent,
    Nearest,
    Pulse,
    Stochastic,
    by_leaf,
    number,
)
from qjax.networks import is_bias, mlp
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import make_quantizer, quantize_tree
from qjax.replicas import stack
from qjax.training import Data, make_begin, make_epoch, make_init

# By name: a memory that comes may hold more than an array on a grid.
OURS = ("nearest", "stochastic", "pulse", "latent", "hidden", "counter")
KEY = jax.random.key(0)
QUANTIZER = make_quantizer(3, "asymm", "global")  # 8 levels, 2/7 apart
STEP = 2 / 7
PARAMS = {"kernel": jnp.array([[-1.0, -1 + STEP], [1.0, 1 - STEP]]), "bias": jnp.array([1.0])}


def on_grid(tree):
    return all(
        np.allclose(np.round((np.asarray(x) + 1) / STEP), (np.asarray(x) + 1) / STEP, atol=1e-5)
        for x in jax.tree.leaves(tree)
    )


def kept(held):
    """The states: a number for each weight, in the memories of `MEMORIES`."""
    return jax.tree.map(lambda node: node.state, held, is_leaf=memories.is_held)


def write(memory, changes, key=KEY):
    """What is kept after a change of weights that are kept as PARAMS."""
    return kept(memories.write(key, memory, jax.tree.map(Held, PARAMS), changes))


def shifts(size):
    return jax.tree.map(lambda x: jnp.full_like(x, size), PARAMS)


def test_nearest_takes_the_step_and_rounds():
    changes = {"kernel": jnp.full((2, 2), -0.6 * STEP), "bias": jnp.array([-5.0])}
    ours = write(Nearest(QUANTIZER), changes)
    expected = {"kernel": np.array([[-1, -1], [1 - STEP, 1 - 2 * STEP]]), "bias": np.array([-1])}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, expected)


def test_nearest_loses_steps_below_half_a_level():
    ours = write(Nearest(QUANTIZER), shifts(-0.49 * STEP))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, PARAMS)


def test_stochastic_lands_on_the_grid_next_to_the_proposal():
    ours = write(Stochastic(QUANTIZER), shifts(-0.3 * STEP))
    assert on_grid(ours)
    for new, old in zip(jax.tree.leaves(ours), jax.tree.leaves(PARAMS), strict=True):
        assert np.all(np.abs(new - jnp.clip(old - 0.3 * STEP, -1)) < STEP + 1e-6)


def test_stochastic_is_right_on_average():
    keys = jax.random.split(KEY, 4000)
    memory, changes = Stochastic(QUANTIZER), shifts(-0.1 * STEP)
    many = jax.jit(jax.vmap(lambda key: write(memory, changes, key)))(keys)
    sigma = STEP * np.sqrt(0.1 * 0.9 / 4000)
    for new, old in zip(jax.tree.leaves(many), jax.tree.leaves(PARAMS), strict=True):
        expected = np.maximum(np.asarray(old) - 0.1 * STEP, -1)
        assert np.all(np.abs(np.mean(new, 0) - expected) < 4 * sigma)


@pytest.mark.parametrize("size", [0.2, 1.0, 7.5])
@pytest.mark.parametrize("sign", [-1, 1])
def test_pulses_move_by_at_most_one_level(size, sign):
    for seed in range(5):
        ours = write(Pulse(QUANTIZER), shifts(sign * size * STEP), jax.random.key(seed))
        assert on_grid(ours)
        for new, old in zip(jax.tree.leaves(ours), jax.tree.leaves(PARAMS), strict=True):
            moved = np.asarray((new - old) / STEP)
            assert np.all(np.isclose(moved, 0, atol=1e-5) | np.isclose(moved, sign, atol=1e-5))
            if size >= 1:  # certain, but at the range's ends
                inside = np.abs(old + sign * STEP) <= 1 + 1e-6
                np.testing.assert_allclose(moved, np.where(inside, sign, 0), atol=1e-5)


def test_pulses_are_right_on_average():
    keys = jax.random.split(KEY, 4000)
    memory, changes = Pulse(QUANTIZER), shifts(-0.1 * STEP)
    many = jax.jit(jax.vmap(lambda key: write(memory, changes, key)))(keys)
    sigma = STEP * np.sqrt(0.1 * 0.9 / 4000)
    for new, old in zip(jax.tree.leaves(many), jax.tree.leaves(PARAMS), strict=True):
        expected = np.maximum(np.asarray(old) - 0.1 * STEP, -1)
        assert np.all(np.abs(np.mean(new, 0) - expected) < 4 * sigma)


def test_pulses_stay_within_a_symmetric_range():
    memory = Pulse(make_quantizer(2, "symm", "global"))
    weights = jnp.array([-1.0, 0.0, 1.0])
    for sign in (-1, 1):
        ours = memory.write(KEY, weights, jnp.full(3, 9.0 * sign))
        np.testing.assert_array_equal(ours, jnp.clip(weights + sign, -1, 1))


@pytest.mark.parametrize("name", OURS)
def test_a_memory_for_some_leaves_leaves_floats_to_the_others(name):
    own = MEMORIES[name](QUANTIZER)
    memory = by_leaf((lambda path, leaf: path.endswith("kernel"), own), Float())
    key, free = jax.random.key(3), {"kernel": jnp.full((2, 2), 0.3), "bias": jnp.array([0.3])}
    held = memories.hold(key, memory, free)
    assert on_grid(memories.read(memory, held)["kernel"])
    np.testing.assert_array_equal(kept(held)["bias"], free["bias"])
    ours = memories.write(key, memory, held, jax.tree.map(lambda x: 0 * x + 0.01, free))
    np.testing.assert_allclose(memories.read(memory, ours)["bias"], 0.31, atol=1e-6)
    all_of_them = memories.hold(key, own, free)
    np.testing.assert_array_equal(kept(held)["kernel"], kept(all_of_them)["kernel"])


def test_latent_keeps_full_precision():
    ours = write(Latent(QUANTIZER), shifts(0.01))
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b + jnp.float32(0.01)), ours, PARAMS
    )


def test_latent_shows_grid_values():
    floats = {"kernel": jnp.array([[0.31, -0.77]]), "bias": jnp.array([0.5])}
    shown = memories.read(Latent(QUANTIZER), jax.tree.map(Held, floats))
    jax.tree.map(np.testing.assert_array_equal, shown, quantize_tree(floats, QUANTIZER))
    assert on_grid(shown)
    assert not on_grid(floats)


def test_latent_collects_steps_below_half_a_level():
    memory, held = Latent(QUANTIZER), jax.tree.map(Held, PARAMS)
    for _ in range(6):
        held = memories.write(KEY, memory, held, shifts(-0.1 * STEP))
    shown = memories.read(memory, held)
    np.testing.assert_allclose(shown["bias"], PARAMS["bias"] - STEP, atol=1e-6)


@pytest.mark.parametrize("name", ["nearest", "stochastic", "pulse"])
def test_weights_kept_on_the_grid_are_shown_as_they_are(name):
    shown = memories.read(MEMORIES[name](QUANTIZER), jax.tree.map(Held, PARAMS))
    jax.tree.map(np.testing.assert_array_equal, shown, PARAMS)


@pytest.mark.parametrize("name", OURS)
def test_hold_and_read_show_the_grid(name):
    memory = MEMORIES[name](QUANTIZER)
    held = memories.hold(KEY, memory, {"w": jnp.linspace(-0.9, 0.8, 20)})
    assert on_grid(memories.read(memory, held))


@pytest.mark.parametrize("name", OURS)
def test_what_draws_is_what_depends_on_the_key(name):
    memory = MEMORIES[name](make_quantizer(6, "symm", "global"))
    weights = {"kernel": jnp.linspace(-0.5, 0.5, 300).reshape(30, 10)}
    held = memories.hold(KEY, memory, weights)
    changes = {"kernel": jnp.full((30, 10), 0.013)}
    one, other = (kept(memories.write(jax.random.key(seed), memory, held, changes))
                  for seed in (1, 2))
    same = jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), one, other))
    assert memories.draws(memory) is not same


def test_one_that_draws_is_enough():
    biases = (is_bias, Float())
    assert not memories.draws(by_leaf(biases, Nearest(QUANTIZER)))
    assert memories.draws(by_leaf(biases, Stochastic(QUANTIZER)))


@pytest.mark.parametrize("name", OURS)
def test_without_bits_every_memory_adds_the_change(name):
    memory = MEMORIES[name](make_quantizer(None))
    held = jax.tree.map(Held, write(memory, shifts(0.0123)))
    ours = memories.read(memory, held)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b + jnp.float32(0.0123)), ours, PARAMS
    )


# --- what holds for every memory ---

# hidden and counter, which show less than they hold, have tests of their own (test_hidden.py).
EVERY = {**{name: MEMORIES[name] for name in ("nearest", "stochastic", "pulse", "latent")},
         "float": lambda grid: Float()}
every_memory = pytest.mark.parametrize("name", EVERY)
GRIDS = [(2, "symm", "local"), (3, "symm", "global"), (3, "asymm", "local"), (5, "asymm", "global")]
WEIGHTS = jnp.linspace(-0.93, 0.81, 30).reshape(5, 6)


def levels_of(words, extent=(-0.93, 0.81)):
    """All levels in float64, from the words."""
    bits, kind, scope = words
    low, high = extent if scope == "local" else (-1.0, 1.0)
    if kind == "symm":
        high = max(-low, high)
        low = -high
    return np.linspace(low, high, 2**bits - (kind == "symm"))


def distances(weights, levels):
    return np.abs(np.asarray(weights, np.float64)[..., None] - levels)


@pytest.mark.parametrize("words", GRIDS)
@every_memory
def test_what_was_put_in_is_shown_as_near_as_the_memory_can(name, words):
    memory, levels = EVERY[name](make_quantizer(*words)), levels_of(words)
    shown = memory.read(memory.init(KEY, WEIGHTS))
    assert (shown.shape, shown.dtype) == (WEIGHTS.shape, WEIGHTS.dtype)
    if name == "float":
        np.testing.assert_array_equal(shown, WEIGHTS)
        return
    assert distances(shown, levels).min(-1).max() < 1e-6
    error = np.abs(np.asarray(shown - WEIGHTS))
    if name in ("nearest", "latent"):
        np.testing.assert_allclose(error, distances(WEIGHTS, levels).min(-1), atol=1e-6)
        return
    assert error.max() < levels[1] - levels[0] + 1e-6
    draws = jax.vmap(lambda key: memory.read(memory.init(key, WEIGHTS)))(jax.random.split(KEY, 900))
    sigma = (levels[1] - levels[0]) / 2 / np.sqrt(900)  # at most
    assert np.abs(np.mean(draws, 0) - WEIGHTS).max() < 5 * sigma


@pytest.mark.parametrize("words", [(None,), *GRIDS])
@every_memory
def test_what_is_shown_can_be_put_in_again_and_no_change_moves_it(name, words):
    """To the last bit of a level; exactly, where there is no grid."""
    memory = EVERY[name](make_quantizer(*words))
    held = memory.init(KEY, WEIGHTS)
    shown, tolerance = memory.read(held), {"rtol": 0, "atol": 0 if words == (None,) else 1e-6}
    if words == (None,):
        np.testing.assert_array_equal(shown, WEIGHTS)
    for key in jax.random.split(KEY, 5):
        np.testing.assert_allclose(memory.read(memory.init(key, shown)), shown, **tolerance)
        held = memory.write(key, held, jnp.zeros_like(WEIGHTS))
        np.testing.assert_allclose(memory.read(held), shown, **tolerance)


def used(memory, key, weights, change):
    """Everything a memory does, once."""
    one, other = jax.random.split(key)
    return memory.read(memory.write(other, memory.init(one, weights), change))


@every_memory
def test_a_batch_of_numbers_is_one_program(name):
    bits, change = jnp.array([0.0, 2.0, 3.0, 8.0]), 0.1 * jnp.cos(jnp.arange(30.0)).reshape(5, 6)

    def one(bits):
        return used(EVERY[name](make_quantizer(3).replace(bits=bits)), KEY, WEIGHTS, change)

    together = jax.jit(jax.vmap(one))(bits)
    assert together.shape == (4, 5, 6)
    for ours, each in zip(together, bits, strict=True):
        np.testing.assert_allclose(ours, one(float(each)), atol=1e-6)
    np.testing.assert_allclose(together[0], WEIGHTS + change, atol=1e-7)


@pytest.mark.thorough(but=2)
@pytest.mark.parametrize("words", [(None,), *GRIDS])
@every_memory
def test_derivatives_are_finite(name, words):
    quantizer, change = make_quantizer(*words), jnp.full_like(WEIGHTS, 0.05)

    @jax.jit
    def value(weights, change, quantizer):
        return jnp.sum(used(EVERY[name](quantizer), KEY, weights, change) ** 2)

    gradients = jax.grad(value, argnums=(0, 1))(WEIGHTS, change, quantizer)
    assert all(np.isfinite(g).all() for g in gradients)
    of_numbers = jax.grad(value, argnums=2)(WEIGHTS, change, quantizer)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(of_numbers))
    if name == "float" or words == (None,):
        for gradient in gradients:
            np.testing.assert_allclose(gradient, 2 * (WEIGHTS + change), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@every_memory
def test_a_memory_keeps_the_weights_type(name, dtype):
    memory, weights = EVERY[name](make_quantizer(3)), WEIGHTS.astype(dtype)
    held = memory.init(KEY, weights)
    after = memory.write(KEY, held, jnp.full_like(weights, 0.1))
    assert {x.dtype for x in jax.tree.leaves((held, after))} == {jnp.dtype(dtype)}
    assert memory.read(after).dtype == dtype


# --- what it costs ---


@pytest.mark.parametrize(("name", "bits", "expected"), [
    ("nearest", 2, (2, 0)), ("stochastic", 5, (5, 0)), ("pulse", 1, (1, 0)), ("latent", 2, (2, 32)),
    *((name, None, (32, 0)) for name in EVERY),
])
def test_bits_of_a_weight(name, bits, expected):
    ours = EVERY[name](make_quantizer(bits, "asymm")).account()
    assert (float(ours.device), float(ours.beside)) == expected


def test_bits_of_a_tree_are_the_mean_over_its_weights():
    weights = {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4), "steps": jnp.arange(9)}
    quantizer = make_quantizer(2)
    for own, device, beside in ((Nearest, (12 * 2 + 4 * 32) / 16, 0),
                                (Latent, (12 * 2 + 4 * 32) / 16, 12 * 32 / 16)):
        memory = by_leaf((is_bias, Float()), own(quantizer))
        held = memories.hold(KEY, memory, weights)
        abstract = jax.eval_shape(lambda m=memory: memories.hold(KEY, m, weights))
        for tree in (held, abstract):
            np.testing.assert_allclose(memories.account(memory, tree), (device, beside))
    assert memories.account(Float(), {"steps": jnp.arange(9)}) == (0, 0)


def test_a_batch_of_bits_costs_what_each_does():
    ours = jax.vmap(lambda bits: Latent(make_quantizer(2).replace(bits=bits)).account())
    np.testing.assert_array_equal(ours(jnp.array([0.0, 2.0, 5.0])), [[32, 2, 5], [0, 32, 32]])


# --- trees ---

TREE = {"blocks": ({"kernel": jnp.linspace(-0.9, 0.7, 6).reshape(2, 3), "bias": jnp.ones(3) / 3},),
        "steps": jnp.arange(2)}


def test_the_first_memory_that_fits_holds_a_leaf():
    seen = []

    def of_kernels(path, leaf):
        seen.append((path, leaf.shape))
        return path.endswith("kernel")

    memory = by_leaf((of_kernels, Nearest(QUANTIZER)), (of_kernels, Float()),
                     (is_bias, Latent(QUANTIZER)), Float())
    held = memories.hold(KEY, memory, TREE)
    assert [node.which for node in jax.tree.leaves(held, is_leaf=memories.is_held)
            if memories.is_held(node)] == [2, 0]  # in jax's order: bias, kernel
    assert set(seen) == {("blocks/0/bias", (3,)), ("blocks/0/kernel", (2, 3))}
    (block,), shown = kept(held["blocks"]), memories.read(memory, held)
    assert on_grid(block["kernel"])
    np.testing.assert_array_equal(block["bias"], TREE["blocks"][0]["bias"])
    assert on_grid(shown["blocks"])
    assert held["steps"] is shown["steps"] is TREE["steps"]
    changes = jax.tree.map(lambda x: 0 * x + 1, TREE)
    after = memories.write(KEY, memory, held, changes)
    np.testing.assert_allclose(after["blocks"][0]["bias"].state, 4 / 3, rtol=1e-6)
    np.testing.assert_array_equal(after["steps"], TREE["steps"])
    assert jax.tree.structure(after) == jax.tree.structure(held)


def test_a_memory_alone_is_for_all_leaves():
    alone, listed = (memories.hold(KEY, m, TREE) for m in (Stochastic(QUANTIZER),
                                                           by_leaf(Stochastic(QUANTIZER))))
    assert jax.tree.structure(alone) == jax.tree.structure(listed)
    jax.tree.map(np.testing.assert_array_equal, alone, listed)


def test_leaves_get_random_numbers_of_their_own():
    same, memory = {"a": jnp.zeros(50), "b": jnp.zeros(50)}, Stochastic(make_quantizer(1, "asymm",
                                                                                       "global"))
    held = memories.hold(KEY, memory, same)
    after = memories.write(KEY, memory, jax.tree.map(Held, same), same)
    for tree in (held, after):
        assert (tree["a"].state != tree["b"].state).any()


def test_a_leaf_that_no_memory_is_for_is_named():
    memory = by_leaf((is_bias, Float()))
    with pytest.raises(ValueError, match=r"no memory is for leaf 'blocks/0/kernel'.*Float\(\)"):
        memories.hold(KEY, memory, TREE)


def test_what_a_memory_refuses_is_told_with_the_leaf():
    half, memory = {"w": jnp.ones(3, jnp.bfloat16)}, Nearest(make_quantizer(12))
    for function in (memories.hold, memories.place):
        with pytest.raises(ValueError, match=r"leaf 'w': .*at most 8 bits"):
            function(KEY, memory, half)


def test_the_grid_of_what_is_shown():
    memory = by_leaf((is_bias, Float()), Latent(QUANTIZER))
    held = memories.hold(KEY, memory, {"bias": WEIGHTS, "kernel": WEIGHTS, "count": 3})
    assert memories.grid_of(memory, held["kernel"]) is QUANTIZER
    assert memories.grid_of(memory, held["bias"]).bits == 0
    assert memories.grid_of(memory, {"count": 3, "kernel": held["kernel"]}) is QUANTIZER
    assert memories.grid_of(Float(), memories.hold(KEY, Float(), WEIGHTS)).bits == 0
    assert memories.grid_of(memory, {}).bits == 0


PLACED = [*GRIDS, (3, "pow2", "local"), (3, "pow2", "global"), (2, "levels:-1:-0.2:0.3:1", "local")]


@pytest.mark.thorough(but=12)
@pytest.mark.parametrize("words", PLACED)
@every_memory
def test_what_is_written_once_is_at_the_nearest_level(name, words):
    quantizer = make_quantizer(*words)
    expected = {"w": WEIGHTS} if name == "float" else quantize_tree({"w": WEIGHTS}, quantizer)
    memory = EVERY[name](quantizer)
    for key in jax.random.split(KEY, 3):
        placed = memories.read(memory, memories.place(key, memory, {"w": WEIGHTS}))
        np.testing.assert_allclose(placed["w"], expected["w"], rtol=0, atol=1e-6)


def test_what_is_written_once_by_leaf():
    memory = by_leaf((is_bias, Float()), Stochastic(QUANTIZER))
    placed = memories.read(memory, memories.place(KEY, memory, TREE))["blocks"][0]
    (nearest,) = quantize_tree(TREE["blocks"], QUANTIZER)
    np.testing.assert_allclose(placed["kernel"], nearest["kernel"], atol=1e-6)
    np.testing.assert_array_equal(placed["bias"], TREE["blocks"][0]["bias"])
    draws = [memories.read(memory, memories.hold(key, memory, TREE))["blocks"][0]["kernel"]
             for key in jax.random.split(KEY, 9)]  # at random
    assert (np.abs(jnp.stack(draws) - nearest["kernel"]) > 0.1).any()


@pytest.mark.parametrize("tree", [{}, {"direct": ()}, {"nothing": None}])
def test_nothing_is_held_by_nothing(tree):
    for function in (memories.hold, memories.place):
        assert function(KEY, Stochastic(QUANTIZER), tree) == tree
    assert memories.write(KEY, Stochastic(QUANTIZER), tree, tree) == tree
    assert memories.read(Stochastic(QUANTIZER), tree) == tree


# --- memories of one's own, with numbers ---


@structs.dataclass
class Worn:
    """Takes a share of every step and counts the steps of each weight."""

    share: ArrayLike = number(0.5, "share of a step that is taken", low=0, high=1)
    slack: ArrayLike = number(0.0, "offset of what is shown")
    most: ArrayLike = number(1e9, "steps that a weight can take", low=1)

    def init(self, key, weights):
        return {"weight": weights, "steps": jnp.zeros(weights.shape, jnp.int32)}

    def read(self, held):
        return held["weight"] + self.slack

    def write(self, key, held, change):
        moves = (change != 0) & (held["steps"] < self.most)
        return {"weight": held["weight"] + jnp.where(moves, self.share * change, 0),
                "steps": held["steps"] + moves}

    def account(self):
        return Bits(32, 32)


def test_numbers_are_fields_with_a_word_on_each():
    for memory in (Worn, Worn(share=0.1)):
        about = memories.numbers_of(memory)
        assert {name: n.default for name, n in about.items()} == {
            "share": getattr(memory, "share", 0.5), "slack": 0.0, "most": 1e9}
        assert about["share"].help == "share of a step that is taken"
        assert (about["share"].low, about["share"].high) == (0, 1)
    assert [n.expected for n in about.values()] == ["from 0 to 1", "that is finite",
                                                    "of at least 1"]
    assert memories.numbers_of(Nearest) == memories.numbers_of(Float) == {}
    assert not memories.has_grid(Worn)
    assert memories.has_grid(Nearest)
    assert memories.has_grid(Nearest())


@pytest.mark.parametrize(("name", "value", "expected", "got"), [
    ("share", -0.1, "from 0 to 1", "-0.1"), ("share", 1.5, "from 0 to 1", "1.5"),
    ("share", np.nan, "from 0 to 1", "nan"), ("share", jnp.array([0.5, 2.0]), "from 0 to 1", "2"),
    ("slack", np.inf, "that is finite", "inf"), ("most", 0, "of at least 1", "0"),
])
def test_a_number_out_of_bounds_is_refused_by_name(name, value, expected, got):
    memory = Worn(**{name: value})
    help = memories.numbers_of(Worn)[name].help
    message = f"Worn: expected {name}, {help}, to be a number {expected}, got {got}"
    weights = {"w": WEIGHTS}
    for call in (lambda: memories.check_numbers(memory),
                 lambda: memories.hold(KEY, memory, weights),
                 lambda: memories.place(KEY, by_leaf((is_bias, memory), Float()), weights)):
        with pytest.raises(ValueError) as refusal:  # noqa: PT011
            call()
        assert str(refusal.value) == message


def test_bounds_are_included_and_traced_numbers_not_looked_at():
    for share in (0, 1, 0.5, np.float32(1), jnp.array([0.0, 1.0])):
        memories.check_numbers(Worn(share))
    shown = jax.jit(lambda share: memories.read(Worn(share), memories.hold(KEY, Worn(share), TREE)))
    jax.tree.map(np.testing.assert_array_equal, shown(7.0), TREE)


def test_the_derivative_in_a_number_of_ones_own():
    def value(share):
        return jnp.sum(used(Worn(share), KEY, WEIGHTS, jnp.full_like(WEIGHTS, 0.2)) ** 2)

    expected = np.sum(2 * (np.asarray(WEIGHTS) + 0.3 * 0.2) * 0.2)
    np.testing.assert_allclose(jax.grad(value)(0.3), expected, rtol=1e-5)


X = jax.random.normal(KEY, (40, 6))
BATCH = Batch(X, jnp.argmax(X[:, :3], axis=-1))
SEEDS = jax.random.split(KEY, 2)
SGD = Rules(OPTIMIZERS["sgd"]())


def epoch_of(algorithm, settings, diagnose_after=False):
    """(state before an epoch, state after it, its report) of two seeds, [seeds, cells]."""
    (phase,) = algorithm.phases
    state = make_init(algorithm, X.shape)(SEEDS, settings)
    state = make_begin(phase)(settings, state)
    before = jax.tree.map(np.asarray, state)
    epoch = make_epoch(phase, batch_size=8, shuffle=True, preprocess=lambda x: x,
                       diagnose_after=diagnose_after)
    return before, *epoch(SEEDS, 0, settings, state, Data(BATCH, BATCH))


def test_a_memory_of_ones_own_trains():
    """With the half of every step it is the float with half the rate; it counts all steps."""
    algorithm = backprop(mlp([5], 3), SGD)
    (phase,) = algorithm.phases

    def trained(settings, count=4):
        state = phase.begin(settings, algorithm.init(KEY, settings, X))
        step = jax.jit(phase.step)
        for _ in range(count):
            state, loss = step(KEY, settings, state, BATCH)
        return state, memories.read(settings.memory, state.held), loss

    own, shown, loss = trained(Settings(learning_rate=0.6, memory=Worn(0.5)))
    _, expected, expected_loss = trained(Settings(learning_rate=0.3))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), shown, expected)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    assert [int(node.state["steps"].max()) for node in jax.tree.leaves(
        own.held, is_leaf=memories.is_held)] == [4] * 4
    tired, _, _ = trained(Settings(learning_rate=0.6, memory=Worn(0.5, most=2)))
    rested, _, _ = trained(Settings(learning_rate=0.6, memory=Worn(0.5)), count=2)
    jax.tree.map(np.testing.assert_array_equal, tired.held, rested.held)


@pytest.mark.thorough
def test_epochs_of_many_replicas_with_a_memory_of_ones_own():
    """Numbers differ between replicas; biases are floats."""
    settings = stack([Settings(learning_rate=0.5, memory=by_leaf((is_bias, Float()), Worn(share)))
                      for share in (0.0, 0.4, 1.0)])
    before, after, report = epoch_of(backprop(mlp([5], 3), SGD), settings, diagnose_after=True)
    then, kernel = (state.held["blocks"][0]["kernel"].state for state in (before, after))
    np.testing.assert_array_equal(kernel["weight"][:, 0], then["weight"][:, 0])
    assert (kernel["weight"][:, 1:] != then["weight"][:, 1:]).any((2, 3)).all()
    np.testing.assert_array_equal(kernel["steps"].max((2, 3)), np.full((2, 3), 5))
    assert report.finite.all()
    low, least = report.ranges.low["blocks"][0]["kernel"], then["weight"].min((2, 3))
    np.testing.assert_allclose(low[:, 0], least[:, 0], rtol=1e-6)
    assert np.isnan(report.diagnosis.at_ends).all()  # no grid
    assert (report.diagnosis.changed[:, 0] == 0).all()
    assert (report.diagnosis.changed[:, 2] > 0.5).all()
    assert (report.train.loss[:, 2] < report.train.loss[:, 0]).all()


@structs.dataclass
class Codes:
    """Nothing but integers, 15 levels of [-1, 1]."""

    def init(self, key, weights):
        return jnp.round(7 * jnp.clip(weights, -1, 1)).astype(jnp.int8)

    def read(self, held):
        return held.astype(jnp.float32) / 7

    def write(self, key, held, change):
        return self.init(key, self.read(held) + change)

    def account(self):
        return Bits(4, 0)


def test_a_memory_may_hold_nothing_but_integers():
    network, quantizer = mlp([5], 3), make_quantizer(4, "symm", "global")
    settings = [stack([Settings(learning_rate=0.5, memory=memory)])
                for memory in (Codes(), Nearest(quantizer))]
    (_, ours, report), (_, floats, expected) = (epoch_of(backprop(network, SGD), s)
                                                for s in settings)
    assert {x.dtype for x in jax.tree.leaves(ours.held)} == {jnp.dtype(jnp.int8)}
    kernel = floats.held["blocks"][0]["kernel"]
    assert kernel.turned  # Nearest treats its elements alike, Codes does not say so
    np.testing.assert_allclose(ours.held["blocks"][0]["kernel"].state / 7,
                               kernel.state.swapaxes(-1, -2), atol=1e-6)
    np.testing.assert_allclose(report.train.loss, expected.train.loss, rtol=1e-5)
    assert report.finite.all()


@pytest.mark.thorough
def test_leaves_chosen_by_what_they_are_are_diagnosed_too():
    quantizer = make_quantizer(2, "symm", "global")
    by_path, by_shape = (
        stack([Settings(learning_rate=0.5, memory=by_leaf((where, Float()), Nearest(quantizer)))])
        for where in (is_bias, lambda path, leaf: leaf.ndim == 1)
    )
    expected, ours = (epoch_of(backprop(mlp([5], 3), SGD), settings, diagnose_after=True)[2]
                      for settings in (by_path, by_shape))
    jax.tree.map(np.testing.assert_array_equal, ours.diagnosis, expected.diagnosis)


def test_hsics_readout_has_the_path_of_its_place():
    where = {"asked": []}

    def readout(path, leaf):
        where["asked"].append(path)
        return path.startswith("blocks/2/")

    quantizer = make_quantizer(2, "symm", "global")
    settings = Settings(memory=by_leaf((readout, Float()), Nearest(quantizer)))
    state = hsic(mlp([5], 3)).init(jax.random.key(0), settings, jnp.ones((4, 6)))
    assert {p.split("/")[1] for p in where["asked"]} == {"0", "1", "2"}
    assert [b["kernel"].which for b in state.held["blocks"]] == [1, 1, 0]


def test_memories_that_treat_elements_alike_hold_matrices_turned():
    tree = {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.arange(3.0),
            "cube": jnp.zeros((2, 3, 4))}
    held = memories.hold(KEY, Float(), tree)
    assert [held[name].turned for name in ("kernel", "bias", "cube")] == [True, False, False]
    np.testing.assert_array_equal(held["kernel"].state, tree["kernel"].T)
    changes = jax.tree.map(lambda x: 0.5 * x, tree)
    after = memories.write(KEY, Float(), held, changes)
    jax.tree.map(np.testing.assert_array_equal, memories.read(Float(), after),
                 jax.tree.map(lambda x: 1.5 * x, tree))
    # Of two replicas, outside of vmap.
    several = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), after)
    for way in (memories.read, memories.behind):
        np.testing.assert_array_equal(way(Float(), several)["kernel"][1], 3 * tree["kernel"])
