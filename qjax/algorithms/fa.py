"""Feedback alignment: errors travel down through fixed random matrices."""

import flax.linen as nn
import jax

from qjax.algorithms import interface
from qjax.algorithms.backprop import chain_gradient
from qjax.networks import Network, uniform_range
from qjax.quantize import quantize_tree

__all__ = ["fa"]


def fa(network: Network, rules: interface.Rules = interface.Rules()) -> interface.Algorithm:
    """Lillicrap et al. 2016, "Random synaptic feedback weights support error backpropagation".

    Every block, the output included, has a fixed matrix of its kernel's shape, Xavier-uniform and
    on the weights' grid; the error passed down meets it where backpropagation uses the kernel.
    """
    xavier = nn.initializers.xavier_uniform()

    def init(key, settings, inputs):
        blocks_key, feedback_key = jax.random.split(key)
        params, collections = interface.init_blocks(blocks_key, network, rules, settings, inputs)
        keys = jax.random.split(feedback_key, len(network))
        with_feedback = []
        for block, collection, block_key in zip(params, collections, keys, strict=True):
            # Where the device has a gain, it is the feedback's too.
            draw = uniform_range if "device" in collection else xavier
            feedback = {"kernel": draw(block_key, block["kernel"].shape)}
            feedback = quantize_tree(feedback, settings.quantizer)
            with_feedback.append({**collection, "feedback": feedback})
        return interface.TrainState({"blocks": params}, tuple(with_feedback))

    return interface.from_gradient(init, chain_gradient(network), network, rules)
