"""Decoupled neural interfaces: a synthesizer's guess arrives at every hidden block."""

import jax

from qjax.algorithms import interface
from qjax.networks import Network
from qjax.synthetic import Synthesizer, init_synthesizers, synthesizer_gradient

__all__ = ["dni"]


def dni(
    network: Network,
    rules: interface.Rules = interface.Rules(),
    synthesizer: Synthesizer = Synthesizer(),
    label_context: bool = True,
) -> interface.Algorithm:
    """Jaderberg et al. 2017; conditional on the label (cDNI) unless `label_context` is False.

    Hidden block l is trained on g_l = synthesizer_l(h_l, y) alone. The synthesizer is trained on
    what block l+1 sends down: formed from g_{l+1} or, at the last boundary, from the loss.
    One optimizer trains both, with another learning rate for synthesizers if
    `Settings.beside_rate` is not 1; `TrainState.params` holds them as "blocks" and "synthesizers",
    by which an update rule can tell them apart (`qjax.updates.only`).
    """
    classes = network[-1].features

    def context(labels, inputs):
        return jax.nn.one_hot(labels, classes, dtype=inputs.dtype) if label_context else None

    def init(key, settings, inputs):
        blocks_key, synthesizer_key, place_key = jax.random.split(key, 3)
        params, collections = interface.init_blocks(blocks_key, network, rules, settings, inputs)
        hidden = interface.run_blocks(network, params, collections, inputs).outputs[:-1]
        given = context(jax.numpy.zeros(len(inputs), int), inputs)
        beside = {
            "synthesizers": init_synthesizers(synthesizer_key, synthesizer, hidden, given)
        }
        placed = rules.update.place(place_key, beside, settings.quantizer)
        return interface.TrainState({"blocks": params, **placed}, collections)

    def gradient(key, weights, collections, batch, error_at):
        del key
        run = interface.run_blocks(network, weights["blocks"], collections, batch.inputs)
        loss, error = error_at(run.outputs[-1])
        given = context(batch.labels, batch.inputs)

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

    return interface.from_gradient(init, gradient, network, rules)
