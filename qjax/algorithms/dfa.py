"""Direct feedback alignment: the output error reaches every block through its own matrix."""

import flax.linen as nn
import jax

from qjax.algorithms import interface
from qjax.networks import Network, uniform_range
from qjax.quantize import quantize_tree

__all__ = ["dfa"]


def dfa(network: Network, rules: interface.Rules = interface.Rules()) -> interface.Algorithm:
    """Nokland 2016, "Direct feedback alignment provides learning in deep neural networks".

    The signal at the output of hidden block l is ``e @ B_l``, e the gradient of the loss at the
    logits and B_l [classes, units] fixed and random: Xavier-uniform, or uniform in [-1, 1] times
    ``gain / sqrt(classes)`` where the device has a gain; on the weights' grid.
    """

    def init(key, settings, inputs):
        blocks_key, feedback_key = jax.random.split(key)
        params, collections = interface.init_blocks(blocks_key, network, rules, settings, inputs)
        outputs = interface.run_blocks(network, params, collections, inputs).outputs
        classes = outputs[-1].shape[-1]
        keys = jax.random.split(feedback_key, len(network))
        with_feedback = []
        for out, collection, block_key in zip(
            outputs[:-1], collections[:-1], keys[:-1], strict=True
        ):
            device = "device" in collection
            draw = uniform_range if device else nn.initializers.xavier_uniform()
            matrix = draw(block_key, (classes, out[0].size), out.dtype)
            matrix = quantize_tree(matrix, settings.quantizer)
            scale = settings.gain * classes**-0.5 if device else 1.0
            kernel = (scale * matrix).astype(out.dtype)
            with_feedback.append({**collection, "direct": {"kernel": kernel}})
        return interface.TrainState({"blocks": params}, (*with_feedback, collections[-1]))

    def gradient(key, weights, collections, batch, error_at):
        del key
        run = interface.run_blocks(network, weights["blocks"], collections, batch.inputs)
        loss, error = error_at(run.outputs[-1])
        signals = [
            (error @ c["direct"]["kernel"]).reshape(out.shape)
            for c, out in zip(collections[:-1], run.outputs[:-1], strict=True)
        ]
        gradients = tuple(
            pullback(signal)[0]
            for pullback, signal in zip(run.pullbacks, (*signals, error), strict=True)
        )
        return {"blocks": gradients}, run.collections, loss

    return interface.from_gradient(init, gradient, network, rules)
