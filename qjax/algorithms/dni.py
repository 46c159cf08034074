"""Decoupled neural interfaces: a synthesizer's guess arrives at every hidden block."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from qjax import memories
from qjax.algorithms.gradient import from_gradient
from qjax.algorithms.interface import Algorithm, Rules, Settings, TrainState
from qjax.algorithms.passes import Forward, init_blocks, run_blocks
from qjax.blocks import Network, shapes_of
from qjax.losses import targets
from qjax.synthetic import (
    InputSynthesizer,
    Synthesizer,
    init_synthesizers,
    synthesizer_gradient,
)

__all__ = ["blended", "dni", "with_share"]


def with_share(settings: Settings, collections: Sequence[Any]) -> tuple:
    """Collections of every block, with `Settings.bp_lambda` for `blended`."""
    share = jnp.asarray(settings.bp_lambda, float)
    return tuple({**own, "boundary": {"share": share}} for own in collections)


def blended(collection: Any, guess: Array, arrived: Array) -> Array:
    """What a block learns from at a boundary: BP(lambda).

    With what arrived formed likewise at the boundary above it is to backpropagation what TD(lambda)
    is to Monte Carlo returns (Czarnecki et al. 2017, "Understanding synthetic gradients and
    decoupled neural interfaces"; Pemberton and Costa 2024, "BP(lambda)", have an online form of
    it, with eligibility traces, which this is not).

    Args:
      collection: of the block, with its share lambda.
      guess: of the gradient at the boundary.
      arrived: the error that comes down to it.
    """
    if "boundary" not in collection:  # of a state that was not made by `init`
        return guess
    share = collection["boundary"]["share"].astype(guess.dtype)
    # What has no share must not reach the block where it is not finite.
    mixed = (1 - share) * guess + share * arrived
    return jnp.where(share == 0, guess, jnp.where(share == 1, arrived, mixed))


def dni(
    network: Network,
    rules: Rules = Rules(),
    synthesizer: Synthesizer = Synthesizer(),
    label_context: bool = True,
    synthetic_inputs: bool = False,
) -> Algorithm:
    """Jaderberg et al. 2017; conditional on the label (cDNI) unless `label_context` is False.

    Hidden block l is trained on g_l = synthesizer_l(h_l, y) alone. The synthesizer is trained on
    what block l+1 sends down: formed from g_{l+1} or, at the last boundary, from the loss. With
    `Settings.bp_lambda` a share of g_l is what block l+1 sends down, see `blended`.

    With `synthetic_inputs` no block waits for those below either ("bidirectional"): in training it
    gets what an `InputSynthesizer` makes of the network's inputs, which is trained on what the
    block below gives. Predictions go through the network as always.

    One optimizer trains all, with another learning rate for synthesizers if
    `Settings.beside_rate` is not 1; `TrainState.held` has them as "blocks", "synthesizers" and
    "input_synthesizers", by which `qjax.memories.by_leaf` can tell them apart
    (`qjax.synthetic.is_synthesizer`).
    """

    def context(labels, classes, inputs):
        return targets(labels, classes, inputs.dtype) if label_context else None

    def init(key, settings, inputs):
        blocks_key, synthesizer_key, place_key = jax.random.split(key, 3)
        held, weights, collections = init_blocks(blocks_key, network, settings, inputs)
        *hidden, last = (jnp.zeros(out.shape, out.dtype)
                         for out in shapes_of(network, weights, collections, inputs))
        given = context(jnp.zeros(len(inputs), int), last.shape[-1], inputs)
        beside: dict[str, Any] = {
            "synthesizers": init_synthesizers(synthesizer_key, synthesizer, hidden, given)
        }
        if synthetic_inputs:
            keys = jax.random.split(jax.random.fold_in(synthesizer_key, 0), len(network))
            beside["input_synthesizers"] = tuple(
                of_inputs(h).init(k, inputs)["params"]
                for k, h in zip(keys, hidden, strict=False))
        return TrainState(
            {"blocks": held, **memories.hold(place_key, settings.memory, beside)},
            with_share(settings, collections),
        )

    def of_inputs(h):
        return InputSynthesizer(h.shape[1:])

    def forward(weights, collections, inputs):
        """(forward pass, gradients of what guesses inputs)."""
        if not synthetic_inputs:
            return run_blocks(network, weights["blocks"], collections, inputs), {}
        runs, gradients, given = [], [], inputs
        for number, block in enumerate(network):
            own = slice(number, number + 1)
            run = run_blocks((block,), weights["blocks"][own], collections[own], given)
            runs.append(run)
            if number < len(network) - 1:
                (h,) = run.outputs
                params = weights["input_synthesizers"][number]
                given = of_inputs(h).apply({"params": params}, inputs)
                gradients.append(synthesizer_gradient(of_inputs(h), params, inputs, None, h))
        whole = Forward(*(tuple(chain.from_iterable(each)) for each in zip(*runs, strict=True)))
        return whole, {"input_synthesizers": tuple(gradients)}

    def gradient(key, weights, collections, batch, error_at):
        del key
        run, beside = forward(weights, collections, batch.inputs)
        loss, error = error_at(run.outputs[-1])
        given = context(batch.labels, error.shape[-1], batch.inputs)

        last_gradient, arrived = run.pullbacks[-1](error)
        block_gradients, synthesizer_gradients = [last_gradient], []
        for params, collection, h, pullback in zip(
            reversed(weights["synthesizers"]),
            reversed(collections[:-1]),
            reversed(run.outputs[:-1]),
            reversed(run.pullbacks[:-1]),
            strict=True,
        ):
            synthesizer_gradients.append(
                synthesizer_gradient(synthesizer, params, h, given, arrived)
            )
            guess: Any = synthesizer.apply({"params": params}, h, given)
            block_gradient, arrived = pullback(blended(collection, guess, arrived))
            block_gradients.append(block_gradient)

        gradients = {
            "blocks": tuple(reversed(block_gradients)),
            "synthesizers": tuple(reversed(synthesizer_gradients)),
            **beside,
        }
        return gradients, run.collections, loss

    return from_gradient(init, gradient, network, rules)
