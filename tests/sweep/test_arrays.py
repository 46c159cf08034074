"""Bytes of a function's arrays, counted by hand."""

import jax
import jax.numpy as jnp
import pytest

from experiments.sweep.arrays import peak_and_moved
from qjax.trees import nbytes

X = jax.ShapeDtypeStruct((10,), jnp.float32)  # 40 bytes
KERNEL = jax.ShapeDtypeStruct((10, 100), jnp.float32)


def test_all_arrays_of_a_tree_count_and_keys_are_of_two_words():
    assert nbytes({"a": X, "b": [KERNEL, jax.ShapeDtypeStruct((), jnp.int8)]}) == 40 + 4000 + 1
    assert nbytes(jax.eval_shape(lambda: jax.random.key(0))) == 8


def test_a_chain_holds_what_goes_in_and_what_comes_out_of_each_link():
    assert peak_and_moved(lambda x: jnp.sin(jnp.sin(jnp.sin(x))), X) == (80, 3 * 80)


def test_what_is_used_later_is_kept():
    def later(x):
        y = jnp.sin(x)
        z = jnp.cos(y)
        return x + z

    assert peak_and_moved(later, X) == (120, 80 + 80 + 120)


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["inline", "called"])
def test_a_product_reads_its_factors_and_writes_its_result(jit):
    assert peak_and_moved(jit(lambda x, w: x @ w), X, KERNEL) == (4440, 4440)


def test_loops_move_what_a_turn_does_each_time_and_reuse_its_memory():
    def turns(count):
        def loop(x):
            return jax.lax.scan(lambda x, _: (jnp.sin(jnp.cos(x)), None), x, length=count)[0]
        return peak_and_moved(loop, X)

    assert turns(7) == (80, 7 * 2 * 80)
    assert turns(1000)[0] == 80


def test_what_a_loop_stacks_is_there_beside_what_a_turn_needs():
    def stack(x):
        return jax.lax.scan(lambda x, _: (jnp.sin(x), jnp.sin(jnp.cos(x))), x, length=7)[1]

    assert peak_and_moved(stack, X)[0] == 40 + 7 * 40 + 80


def test_of_branches_the_largest_counts():
    def choose(x):
        return jax.lax.cond(x[0] > 0, lambda x: (jnp.ones(100, jnp.float32) * jnp.sum(x))[:10],
                            jnp.sin, x)

    peak, _ = peak_and_moved(choose, X)
    assert 400 + 40 <= peak < 3 * 400
