"""Programs for accelerators that this machine need not have: lowered ahead of time, run nowhere.

What is only a custom call on one platform may be missing, or slow, on another: there is none.
"""

import jax
import jax.numpy as jnp
import pytest

from qjax import memories, training
from qjax.algorithms import ALGORITHMS, Rules, Settings
from qjax.networks import lenet, mlp, recurrent
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import make_quantizer

PLATFORMS = ("cuda", "tpu")
SEVERAL = 2  # replicas and settings, each
NETWORKS = {"mlp": (mlp([5, 4], 3), (6,)), "lenet": (lenet(3), (28, 28, 1)),
            "recurrent": (recurrent(4, 3, truncation=3), (7, 2))}
# One of each kind: the other words differ in numbers, or are among these. (Tried with all, and with
# LeNet for all that take it.)
CASES = [(name, "mlp") for name in ("backprop", "brsf", "dfa", "dni_inputs", "hsic")]
CASES += [("dni_time", "recurrent"), ("hsic_unformatted", "lenet")]


def texts(algorithm, shape, memory):
    """For every phase and platform the program of an epoch with its evaluations."""
    settings = jax.eval_shape(lambda: jax.tree.map(
        lambda leaf: jnp.stack([jnp.asarray(leaf)] * SEVERAL), Settings(memory=memory)))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), SEVERAL))
    part = training.Batch(jax.ShapeDtypeStruct((10, *shape), jnp.float32),
                          jax.ShapeDtypeStruct((10,), jnp.int32))
    data = training.Data(part, part)
    states = jax.eval_shape(training.make_init(algorithm, (4, *shape)), keys, settings)
    for phase in algorithm.phases:
        states = jax.eval_shape(training.make_begin(phase), settings, states)
        epoch = training.make_epoch(phase, batch_size=4, shuffle=True, preprocess=lambda x: x)
        number = jax.ShapeDtypeStruct((), jnp.int32)
        traced = epoch.trace(keys, number, settings, states, data)
        for platform in PLATFORMS:
            yield platform, traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize(("name", "network"), CASES)
def test_an_epoch_is_lowered_without_a_custom_call(name, network):
    blocks, shape = NETWORKS[network]
    memory = memories.Nearest(make_quantizer(3))
    for platform, text in texts(ALGORITHMS[name](blocks), shape, memory):
        assert "stablehlo.dot_general" in text
        assert "custom_call" not in text, platform


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize("word", ["hidden", "pulse", "soft_bounds", "tiki_taka"])
def test_so_are_memories_that_draw(word):
    blocks, shape = NETWORKS["mlp"]
    memory = memories.named(word)
    if hasattr(memory, "grid"):
        memory = memory.replace(grid=make_quantizer(3))
    algorithm = ALGORITHMS["backprop"](blocks, Rules(OPTIMIZERS["sgd"]()))
    for platform, text in texts(algorithm, shape, memory):
        assert "custom_call" not in text, platform
