"""Backpropagation: the true gradient arrives at every block."""

from qjax.algorithms import interface
from qjax.networks import Network

__all__ = ["backprop", "chain_gradient"]


def chain_gradient(network: Network):
    """Gradient rule that sends the output error down block by block.

    Whether that gives the true gradient or another is up to the blocks: those with a ``feedback``
    collection pass the error on through it.
    """

    def gradient(key, weights, collections, batch, error_at):
        del key
        run = interface.run_blocks(network, weights["blocks"], collections, batch.inputs)
        loss, error = error_at(run.outputs[-1])
        gradients, _ = interface.chain(run.pullbacks, error)
        return {"blocks": gradients}, run.collections, loss

    return gradient


def backprop(network: Network, rules: interface.Rules = interface.Rules()) -> interface.Algorithm:
    """Rumelhart, Hinton and Williams 1986, on `network`."""

    def init(key, settings, inputs):
        params, collections = interface.init_blocks(key, network, rules, settings, inputs)
        return interface.TrainState({"blocks": params}, collections)

    return interface.from_gradient(init, chain_gradient(network), network, rules)
