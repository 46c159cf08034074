"""Decoupled neural interfaces: a synthesizer's guess arrives at every hidden block."""

import jax
import jax.numpy as jnp

from qjax import memories
from qjax.algorithms.gradient import from_gradient
from qjax.algorithms.interface import Algorithm, Rules, TrainState
from qjax.algorithms.passes import init_blocks, run_blocks
from qjax.blocks import Network, shapes_of
from qjax.losses import targets
from qjax.synthetic import Synthesizer, init_synthesizers, synthesizer_gradient

__all__ = ["dni"]


def dni(
    network: Network,
    rules: Rules = Rules(),
    synthesizer: Synthesizer = Synthesizer(),
    label_context: bool = True,
) -> Algorithm:
    """Jaderberg et al. 2017; conditional on the label (cDNI) unless `label_context` is False.

    Hidden block l is trained on g_l = synthesizer_l(h_l, y) alone. The synthesizer is trained on
    what block l+1 sends down: formed from g_{l+1} or, at the last boundary, from the loss.
    One optimizer trains both, with another learning rate for synthesizers if
    `Settings.beside_rate` is not 1; `TrainState.held` has them as "blocks" and "synthesizers", by
    which `qjax.memories.by_leaf` can tell them apart (`qjax.synthetic.is_synthesizer`).
    """

    def context(labels, classes, inputs):
        return targets(labels, classes, inputs.dtype) if label_context else None

    def init(key, settings, inputs):
        blocks_key, synthesizer_key, place_key = jax.random.split(key, 3)
        held, weights, collections = init_blocks(blocks_key, network, settings, inputs)
        *hidden, last = (jnp.zeros(out.shape, out.dtype)
                         for out in shapes_of(network, weights, collections, inputs))
        given = context(jnp.zeros(len(inputs), int), last.shape[-1], inputs)
        beside = {
            "synthesizers": init_synthesizers(synthesizer_key, synthesizer, hidden, given)
        }
        return TrainState(
            {"blocks": held, **memories.hold(place_key, settings.memory, beside)}, collections
        )

    def gradient(key, weights, collections, batch, error_at):
        del key
        run = run_blocks(network, weights["blocks"], collections, batch.inputs)
        loss, error = error_at(run.outputs[-1])
        given = context(batch.labels, error.shape[-1], batch.inputs)

        last_gradient, target = run.pullbacks[-1](error)
        block_gradients, synthesizer_gradients = [last_gradient], []
        for params, h, pullback in zip(
            reversed(weights["synthesizers"]),
            reversed(run.outputs[:-1]),
            reversed(run.pullbacks[:-1]),
            strict=True,
        ):
            synthesizer_gradients.append(
                synthesizer_gradient(synthesizer, params, h, given, target)
            )
            guess = synthesizer.apply({"params": params}, h, given)
            block_gradient, target = pullback(guess)
            block_gradients.append(block_gradient)

        gradients = {
            "blocks": tuple(reversed(block_gradients)),
            "synthesizers": tuple(reversed(synthesizer_gradients)),
        }
        return gradients, run.collections, loss

    return from_gradient(init, gradient, network, rules)
