"""An algorithm from its gradient rule alone: the way to write a new one.

A rule says what gradient every weight gets on a batch; optimizer, memory, prediction and
diagnostics are the same for all rules.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax
from jax import Array

from qjax import blocks, losses, memories, optimizers
from qjax.algorithms.interface import Algorithm, Batch, Phase, Rules, Settings, TrainState
from qjax.algorithms.passes import activities, true_chain
from qjax.blocks import (
    Network,
    with_activity,
    with_crossbars,
    without_activity,
    without_crossbars,
)
from qjax.diagnostics import Probe

__all__ = ["from_gradient"]


def from_gradient(
    init: Callable[[Array, Settings, Array], TrainState],
    gradient: Callable[[Array, dict, tuple, Batch, Callable], tuple[dict, tuple, Array]],
    network: Network,
    rules: Rules,
    feedback: Callable[[Array, dict, tuple], Sequence[Any]] | None = None,
) -> Algorithm:
    """An algorithm of one phase.

    Args:
      init: as in `Algorithm`; `opt_state` may be left empty.
      gradient: (key, weights, collections, batch, error_at) -> (gradients, collections, loss).
        Weights are those of `TrainState.held` and `fixed`, as the memory shows them; the gradients
        are trees like those of `held`; ``error_at(outputs)`` gives the loss and its gradient at the
        network's outputs.
      network: whose last block gives the outputs.
      rules: optimizer and loss.
      feedback: (key, weights, collections) -> per block the kernels that stand in for its own on
        the way down, for diagnosis; None where the rule has none.
    """

    def known(settings, state):
        return memories.behind(settings.memory, state.held)

    def begin(settings, state):
        return state.replace(opt_state=optimizers.begin(rules.optimizer, known(settings, state)))

    def respond(key, settings, state, batch):
        """(all weights, gradients, sizes of what examples add, collections, loss) on a batch."""
        weights = memories.read(settings.memory, {**state.held, **state.fixed})
        error_at = functools.partial(
            losses.output_error, rules.loss, labels=batch.labels,
            smoothing=settings.label_smoothing,
        )
        seen = weights
        if rules.by_example:
            seen = {**weights, "blocks": tuple(map(with_activity, weights["blocks"]))}
        # 1 and others are drawn from the same key elsewhere; rules split theirs.
        collections = with_crossbars(jax.random.fold_in(key, 2), settings.crossbar,
                                     weights["blocks"], state.collections)
        gradients, after, loss = gradient(key, seen, collections, batch, error_at)
        blocks = tuple(map(without_activity, gradients["blocks"]))
        gradients = {**gradients, "blocks": tuple(g for g, _ in blocks)}
        unknown = jax.tree.map(lambda g: None, gradients)
        sizes = {**unknown, "blocks": tuple(s for _, s in blocks)}
        return weights, gradients, sizes, without_crossbars(after), loss

    def proposed(settings, state, gradients):
        changes, opt_state = optimizers.propose(
            rules.optimizer,
            rules.settle(gradients, settings),
            state.opt_state,
            known(settings, state),
            settings.learning_rate,
            settings.weight_decay,
            dict.fromkeys(gradients, 0.0) | {"blocks": settings.threshold},
        )
        blocks = changes.pop("blocks")
        beside = jax.tree.map(lambda change: settings.beside_rate * change, changes)
        return {"blocks": blocks, **beside}, opt_state

    def felt(settings, sizes, changes):
        return activities(settings, sizes, changes) if rules.by_example else None

    def step(key, settings, state, batch):
        gradient_key = jax.random.fold_in(key, 0)  # most rules draw nothing
        _, gradients, sizes, collections, loss = respond(gradient_key, settings, state, batch)
        changes, opt_state = proposed(settings, state, gradients)
        opt_state = rules.keep(jax.random.fold_in(key, 1), opt_state, settings)
        held = memories.write(key, settings.memory, state.held, changes,
                              felt(settings, sizes, changes))
        return state.replace(held=held, collections=collections, opt_state=opt_state), loss

    def show(settings, state):
        return memories.read(settings.memory, state.held["blocks"])

    def predict(settings, state, inputs):
        return blocks.predict(network, show(settings, state), state.collections,
                              settings.crossbar, inputs)

    def probe(key, settings, state, batch):
        gradient_key = jax.random.fold_in(key, 0)
        weights, gradients, sizes, _, _ = respond(gradient_key, settings, state, batch)
        changes, _ = proposed(settings, state, gradients)
        run, true_gradients = true_chain(
            network, weights["blocks"], state.collections, batch.inputs,
            lambda outputs: losses.output_error(
                rules.loss, outputs, batch.labels, settings.label_smoothing)[1],
        )
        nothing = (None,) * len(network)
        seen = feedback(gradient_key, weights, state.collections) if feedback else nothing
        held = memories.write(key, settings.memory, state.held, changes,
                              felt(settings, sizes, changes))
        outputs = run.outputs[-1]
        return Probe(
            gradients["blocks"],
            true_gradients,
            tuple(seen),
            optax.apply_updates(known(settings, state), changes)["blocks"],
            show(settings, state.replace(held=held)),
            run.outputs,
            changes["blocks"],
            known(settings, state.replace(held=held))["blocks"],
            losses.targets(batch.labels, outputs.shape[-1], outputs.dtype),
        )

    phase = Phase("train", begin, step, predict, show, probe, rules.loss)
    return Algorithm(init, (phase,), network)
