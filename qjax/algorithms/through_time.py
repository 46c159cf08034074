"""Learning through time: a sequence is cut, and a synthesizer guesses what would cross the cuts."""

from typing import Any

import jax
import jax.numpy as jnp

from qjax import memories
from qjax.algorithms.dni import blended, with_share
from qjax.algorithms.gradient import from_gradient
from qjax.algorithms.interface import Algorithm, Rules, TrainState
from qjax.algorithms.passes import chain, init_blocks, run_blocks
from qjax.blocks import Network, apply_block, shapes_of
from qjax.losses import targets
from qjax.networks import Recurrent, Stretch
from qjax.synthetic import Synthesizer, init_synthesizers, synthesizer_gradient

__all__ = ["dni_time", "tbptt"]


def tbptt(network: Network, rules: Rules = Rules()) -> Algorithm:
    """Truncated backpropagation through time: no error crosses a cut (Williams and Peng 1990).

    Where the loss comes at the end of a sequence, as here, steps before the last cut teach nothing.

    Args:
      network: `networks.Recurrent` first, with a truncation.
      rules: optimizer and loss.
    """
    return dni_time(network, rules, None)


def dni_time(
    network: Network,
    rules: Rules = Rules(),
    synthesizer: Synthesizer | None = Synthesizer(quiet=True),
    label_context: bool = True,
) -> Algorithm:
    """Synthetic gradients for recurrent networks: Jaderberg et al. 2017, section 2.1.

    Sequences are cut every `Recurrent.truncation` steps. At a cut one synthesizer, the same for all
    cuts, guesses from the state and, unless `label_context` is False, from the label (the paper's
    sees the state alone) the gradient that would come down from all later steps; it is trained on
    what does come down from the stretch above, which itself began with a guess. The stretch below
    the output gets the true error. With `Settings.bp_lambda` a share of what goes on at a cut is
    what came down, see `dni.blended`: 1 is backpropagation through time.

    A batch of sequences is one step, in which all stretches meet the same weights; `TrainState.
    held` has "blocks" and "synthesizers", as `dni`.

    Args:
      network: `networks.Recurrent` first, with a truncation.
      rules: optimizer and loss.
      synthesizer: None: a guess of zero, and no parameters.
      label_context: see above.

    Raises:
      TypeError: the first block is no `Recurrent` one.
      ValueError: it has no truncation.
    """
    first, *rest = network
    if not isinstance(first, Recurrent):
        raise TypeError(f"sequences are cut for a recurrent network, and the first block is "
                        f"{type(first).__name__}: qjax.networks.recurrent (--network recurrent)")
    every = first.truncation or 0
    if every < 1:
        raise ValueError(f"the recurrent block has truncation={first.truncation}: expected the "
                         "steps after which sequences are cut, 1 or more")
    if not rest:
        raise ValueError("there is no block after the recurrent one: expected at least an output "
                         "layer, as in qjax.networks.recurrent")

    def context(labels, classes, inputs):
        return targets(labels, classes, inputs.dtype) if label_context else None

    def init(key, settings, inputs):
        blocks_key, synthesizer_key, place_key = jax.random.split(key, 3)
        held, weights, collections = init_blocks(blocks_key, network, settings, inputs)
        beside = {}
        if synthesizer is not None:
            state = first.start(first.sequence(inputs))
            outputs = shapes_of(network, weights, collections, inputs)[-1]
            given = context(jnp.zeros(len(inputs), int), outputs.shape[-1], inputs)
            trees = init_synthesizers(synthesizer_key, synthesizer, [state], given)
            beside = memories.hold(place_key, settings.memory, {"synthesizers": trees})
        return TrainState({"blocks": held, **beside}, with_share(settings, collections))

    def stretches(steps):
        """(first step, steps) from a cut to the next; the first may be shorter."""
        length = steps.shape[1]
        starts = sorted({0, *range(length % every, length, every)})
        return [(start, steps[:, start:end])
                for start, end in zip(starts, [*starts[1:], length], strict=True)]

    def gradient(key, weights, collections, batch, error_at):
        del key
        body, *above = weights["blocks"]
        own, *others = collections
        steps = first.sequence(batch.inputs)
        state, states, pullbacks = first.start(steps), [], []
        for start, some in stretches(steps):
            def run(body, state, start=start, some=some):
                return apply_block(first, body, own, Stretch(some, state, start), train=True)

            states.append(state)
            state, pullback, _ = jax.vjp(run, body, state, has_aux=True)
            pullbacks.append(pullback)

        top = run_blocks(tuple(rest), above, others, state)
        loss, error = error_at(top.outputs[-1])
        gradients, error = chain(top.pullbacks, error)
        given = context(batch.labels, top.outputs[-1].shape[-1], batch.inputs)

        found, arrived = pullbacks.pop()(error)
        learned = []
        while pullbacks:
            state = states.pop()
            sent: Any = jnp.zeros_like(state)  # of tbptt, whatever the share
            if synthesizer is not None:
                (params,) = weights["synthesizers"]
                learned.append(synthesizer_gradient(synthesizer, params, state, given, arrived))
                guess: Any = synthesizer.apply({"params": params}, state, given)
                sent = blended(own, guess, arrived)
            more, arrived = pullbacks.pop()(sent)
            found = jax.tree.map(jnp.add, found, more)

        beside = {}
        if synthesizer is not None:
            zero = jax.tree.map(jnp.zeros_like, weights["synthesizers"][0])
            beside = {"synthesizers": (jax.tree.map(lambda *each: sum(each), zero, *learned),)}
        return {"blocks": (found, *gradients), **beside}, (own, *top.collections), loss

    return from_gradient(init, gradient, network, rules)
