"""Hidden bits: both ends bit for bit, right on average in between, and what hardware would do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.memories import Counter, Hidden, Latent, Stochastic
from qjax.quantize import make_quantizer

KEY = jax.random.key(4)
RNG = np.random.default_rng(4)
W = jnp.asarray(RNG.uniform(-1.1, 1.1, (30, 20)), jnp.float32)
GRIDS = [(1, "asymm", "global"), (2, "symm", "global"), (3, "symm", "local"), (2, "asymm", "local")]
MEMORIES = [Hidden, Counter]


def trained(memory, weights=W, steps=6):
    """What is shown at first and after each of a few random changes."""
    held = memory.init(KEY, weights)
    found = [memory.read(held)]
    for n in range(steps):
        change = 0.2 * jax.random.normal(jax.random.fold_in(KEY, n), weights.shape, weights.dtype)
        held = memory.write(jax.random.fold_in(KEY, 100 + n), held, change)
        found.append(memory.read(held))
    return jnp.stack(found)


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("words", GRIDS, ids=str)
@pytest.mark.parametrize("memory", MEMORIES)
def test_the_ends_are_stochastic_and_latent_bit_for_bit_in_one_program(memory, words):
    grid, hidden = make_quantizer(*words), jnp.array([words[0], 0.0])
    ours = jax.jit(jax.vmap(lambda h: trained(memory(grid, h))))(hidden)
    for ends, expected in zip(ours, (Stochastic(grid), Latent(grid)), strict=True):
        np.testing.assert_array_equal(ends, jax.jit(trained)(expected))


@pytest.mark.parametrize("memory", MEMORIES)
def test_narrow_types_have_the_same_ends(memory):
    # Not as one program: there XLA leaves roundings to bfloat16 out as it likes.
    grid, weights = make_quantizer(3, "symm", "global"), W.astype(jnp.bfloat16)
    for bits, expected in ((3, Stochastic(grid)), (0, Latent(grid))):
        ours = trained(memory(grid, float(bits)), weights, 2)
        np.testing.assert_array_equal(ours, trained(expected, weights, 2))


@pytest.mark.thorough(but=3)
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("hidden", [2, 3, 4, 8, 16])
def test_writes_are_right_on_average_and_stay_in_the_range(memory, hidden):
    memory = memory(make_quantizer(2, "symm", "global"), float(hidden))
    weights = jnp.linspace(-1, 1, 41)
    held = memory.init(KEY, weights)
    count, change = 4000, jnp.full_like(weights, 0.013)
    after = jax.jit(jax.vmap(lambda k: memory.write(k, held, change)))(
        jax.random.split(KEY, count))
    codes = {Hidden: 2.0 ** (hidden - 1) - 1, Counter: 2.0 ** (hidden - 2)}[type(memory)]
    error = np.asarray(after, np.float64).mean(0) - np.clip(held + change, -1, 1)
    assert np.max(np.abs(error)) < 5 * 0.5 / codes / np.sqrt(count) + 1e-6
    assert jnp.max(jnp.abs(after)) <= 1
    assert np.max(np.abs(np.asarray(after) * codes - np.round(np.asarray(after) * codes))) < 1e-2
    assert set(np.unique(memory.read(after))) <= {-1.0, 0.0, 1.0}


@pytest.mark.parametrize(("bits", "more"), [(2, 2), (3, 1), (2, 4)])
def test_a_counter_is_a_device_and_k_bits_that_never_read_it(bits, more):
    """A model of the hardware: level and counter as integers, the level moved by overflow alone."""
    memory = Counter(make_quantizer(bits, "symm", "global"), float(bits + more))
    top, parts = 2 ** (bits - 1) - 1, 2**more
    held = memory.init(KEY, W)
    whole = np.round(np.asarray(held, np.float64) * top * parts).astype(int)
    level = np.round(np.asarray(memory.read(held), np.float64) * top).astype(int)
    counter = whole - level * parts
    lowest = -(parts // 2) + 1
    for n in range(8):
        change = 0.3 * jax.random.normal(jax.random.fold_in(KEY, n), W.shape)
        new = memory.write(jax.random.fold_in(KEY, 50 + n), held, change)
        moved = np.round(np.asarray(new, np.float64) * top * parts).astype(int) - whole
        # The circuit: add to the counter, step the level while it is out of its k bits.
        counter = counter + moved
        steps = -((-(counter - parts // 2)) // parts)  # ceil
        level, counter = level + steps, counter - steps * parts
        held, whole = new, whole + moved
        np.testing.assert_array_equal(level, np.round(np.asarray(memory.read(held)) * top))
        assert counter.min() >= lowest
        assert counter.max() <= parts // 2
    assert len(np.unique(counter)) == parts


@pytest.mark.parametrize(("memory", "expected"), [
    (Hidden(make_quantizer(2), 2.0), (2, 0)), (Hidden(make_quantizer(2), 4.0), (2, 4)),
    (Hidden(make_quantizer(2), 0.0), (2, 32)), (Hidden(make_quantizer(None), 4.0), (32, 0)),
    (Counter(make_quantizer(2), 2.0), (2, 0)), (Counter(make_quantizer(2), 4.0), (2, 2)),
    (Counter(make_quantizer(3), 0.0), (3, 29)), (Counter(make_quantizer(None), 4.0), (32, 0)),
    (Latent(make_quantizer(2)), (2, 32)), (Latent(make_quantizer(None)), (32, 0)),
])
def test_every_bit_is_counted(memory, expected):
    assert tuple(map(float, memory.account())) == expected
    assert float(memory.account().total) == sum(expected)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize(("bits", "kind"), [(3, "pow2"), (2, "levels:-1:0:0.5:1")])
def test_distances_that_are_not_equal_are_refused(memory, bits, kind):
    with pytest.raises(ValueError, match="expected a grid of the kind asymm or symm, got"):
        memory(make_quantizer(bits, kind), 6.0).init(KEY, W)
