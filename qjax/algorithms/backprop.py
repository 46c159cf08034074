"""Backpropagation: the true gradient arrives at every block."""

from qjax.algorithms.gradient import from_gradient
from qjax.algorithms.interface import Algorithm, Rules, TrainState
from qjax.algorithms.passes import chain, init_blocks, run_blocks
from qjax.blocks import Network

__all__ = ["backprop", "chain_gradient"]


def chain_gradient(network: Network):
    """Gradient rule that sends the output error down block by block.

    Whether that gives the true gradient or another is up to the blocks: those with a ``feedback``
    collection pass the error on through it.
    """

    def gradient(key, weights, collections, batch, error_at):
        del key
        run = run_blocks(network, weights["blocks"], collections, batch.inputs)
        loss, error = error_at(run.outputs[-1])
        gradients, _ = chain(run.pullbacks, error)
        return {"blocks": gradients}, run.collections, loss

    return gradient


def backprop(network: Network, rules: Rules = Rules()) -> Algorithm:
    """Rumelhart, Hinton and Williams 1986, on `network`."""

    def init(key, settings, inputs):
        held, _, collections = init_blocks(key, network, settings, inputs)
        return TrainState({"blocks": held}, collections)

    return from_gradient(init, chain_gradient(network), network, rules)
