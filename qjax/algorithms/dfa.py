"""Direct feedback alignment: the output error reaches every block through its own matrix."""

import math
from typing import Any

import flax.linen as nn
import jax
from jax import Array

from qjax import memories
from qjax.algorithms.gradient import from_gradient
from qjax.algorithms.interface import Algorithm, Rules, TrainState
from qjax.algorithms.passes import init_blocks, run_blocks
from qjax.blocks import Network, shapes_of
from qjax.devices import Crossbar, product
from qjax.networks import uniform_range

__all__ = ["dfa"]


def dfa(network: Network, rules: Rules = Rules()) -> Algorithm:
    """Nokland 2016, "Direct feedback alignment provides learning in deep neural networks".

    The signal at the output of hidden block l is ``e @ B_l``, e the gradient of the loss at the
    outputs and B_l [outputs, units] fixed and random: Xavier-uniform, or uniform in [-1, 1] times
    ``gain / sqrt(outputs)`` where the device has a gain; held as the weights are.
    """

    def init(key, settings, inputs):
        blocks_key, feedback_key = jax.random.split(key)
        held, weights, collections = init_blocks(blocks_key, network, settings, inputs)
        *hidden, last = shapes_of(network, weights, collections, inputs)
        classes = last.shape[-1]
        matrices, scaled = [], []
        keys = jax.random.split(feedback_key, len(network))
        for out, collection, block_key in zip(hidden, collections[:-1], keys[:-1], strict=True):
            device = "device" in collection
            draw = uniform_range if device else nn.initializers.xavier_uniform()
            units = math.prod(out.shape[1:])
            matrices.append({"kernel": draw(block_key, (classes, units), out.dtype)})
            gain = settings.gain * classes**-0.5 if device else 1.0
            scaled.append({**collection, "direct": {"gain": jax.numpy.asarray(gain)}})
        place_key = jax.random.fold_in(feedback_key, 0)
        fixed = memories.place(place_key, settings.memory, {"direct": tuple(matrices)})
        return TrainState({"blocks": held}, (*scaled, collections[-1]), fixed=fixed)

    def gradient(key, weights, collections, batch, error_at):
        del key
        run = run_blocks(network, weights["blocks"], collections, batch.inputs)
        loss, error = error_at(run.outputs[-1])
        signals = []
        for matrix, c, out in zip(
            weights["direct"], collections[:-1], run.outputs[:-1], strict=True
        ):
            sent = _sent(error, matrix["kernel"], c.get("crossbar"))
            signals.append((c["direct"]["gain"] * sent).astype(out.dtype).reshape(out.shape))
        gradients = tuple(
            pullback(signal)[0]
            for pullback, signal in zip(run.pullbacks, (*signals, error), strict=True)
        )
        return {"blocks": gradients}, run.collections, loss

    return from_gradient(init, gradient, network, rules)


def _sent(error: Array, matrix: Array, crossbars: Any) -> Array:
    """``error @ matrix``, through the converters of a block's errors if it has any."""
    found = jax.tree.leaves(crossbars, is_leaf=lambda x: isinstance(x, Crossbar))
    if not found or found[0].backward is None:
        return error @ matrix
    key = None if found[0].key is None else jax.random.fold_in(found[0].key, 2)
    return product(key, found[0].backward, error, matrix)
