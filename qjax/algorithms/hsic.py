"""The HSIC bottleneck: every block minimizes a loss of its own, no signal crosses blocks."""

from collections.abc import Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from qjax import blocks, losses, memories
from qjax.algorithms.backprop import backprop
from qjax.algorithms.interface import Algorithm, Batch, Phase, Rules, TrainState
from qjax.algorithms.passes import activities, init_blocks, run_blocks, true_chain
from qjax.blocks import (
    Network,
    forward,
    key_of,
    with_activity,
    with_crossbars,
    without_activity,
    without_crossbars,
)
from qjax.diagnostics import Probe
from qjax.hsic import EPSILON, SIGMA, bottleneck_target, dependence, normalized_kernel
from qjax.networks import Dense, identity
from qjax.optimizers import OPTIMIZERS, begin, propose
from qjax.readouts import Assigned, Average, observed, side_by_side

__all__ = ["bottleneck_body", "hsic"]


def bottleneck_body(network: Network) -> Network:
    """`network` with every block batch-normalized, and with an activation.

    A linear last block, which gave logits, is rectified, as the paper's; all others keep theirs.

    Raises:
      TypeError: a block has no fields `normalize` and `activation`.
    """
    for block in network:
        if not (hasattr(block, "normalize") and hasattr(block, "activation")):
            raise TypeError(
                f"hsic batch-normalizes every block, and {type(block).__name__} has no fields "
                "`normalize` and `activation` as qjax.networks.Dense and Conv have: give it "
                "these, or take another algorithm"
            )
    *hidden, last = (block.clone(normalize=True) for block in network)
    return (*hidden, last.clone(activation=nn.relu) if last.activation is identity else last)


def hsic(
    network: Network,
    rules: Rules = Rules(OPTIMIZERS["sgd"]()),
    readout_rules: Rules = Rules(),
    dependence_weight: float = 500.0,
    sigma: float | Sequence[float] | Array | None = SIGMA,
    epsilon: float = EPSILON,
    formatted: bool = True,
) -> Algorithm:
    """Ma, Lewis and Kleijn 2020, in two phases.

    "bottleneck": block by block, minimize nHSIC(Z, X) - dependence_weight * nHSIC(Z, Y) over the
    block's own parameters, Z computed with the blocks below as just updated on this batch; weights
    go back on the grid once the batch is done. "readout": with that body frozen (batch
    normalization by running statistics), a linear layer on top is trained on the loss of its rules.

    Args:
      network: turned into a body by `bottleneck_body`; the readout is added.
      rules: of the first phase; its optimizer keeps a state per block.
      readout_rules: of the second phase.
      dependence_weight: lambda of the paper.
      sigma: kernel width, None for the median heuristic. Several: a body is trained with each, and
        the readout sees the mean of their last representations (the paper's combined network).
      epsilon: ridge of the normalized kernels.
      formatted: if not, there is no second phase and no trained readout (the paper's unformatted
        training): the units of the last block are the classes, in the best one-to-one assignment
        by their mean activations, see `qjax.readouts.Assigned`.

    Raises:
      TypeError: see `bottleneck_body`.
      ValueError: unformatted, with a loss that is not for classes; no sigma.
    """
    body = bottleneck_body(network)
    depth, outputs = len(body), network[-1].features
    several = sigma is not None and np.ndim(sigma) > 0
    sigmas = tuple(cast(Sequence, sigma)) if several else (sigma,)
    if not sigmas:
        raise ValueError("hsic got no kernel width: expected one or more numbers for sigma, or "
                         "None for the median heuristic")
    loss_of_outputs = (readout_rules if formatted else rules).loss
    if several:
        body = side_by_side(body, len(sigmas))
    if formatted:
        last: nn.Module = Dense(outputs, activation=identity, gain=network[-1].gain)
    elif loss_of_outputs is losses.cross_entropy:
        last = Assigned(outputs)
    else:
        raise ValueError("unformatted hsic finds out which unit is which class, and its loss has "
                         "none: expected cross_entropy, or formatted training (hsic)")
    readout = (*((Average(),) if several else ()), last)
    whole = body + readout
    classifier = backprop(readout, readout_rules)
    classify: Any = classifier.phases[0]  # it shows, probes and predicts

    def init(key, settings, inputs):
        body_key, readout_key = jax.random.split(key)
        held, weights, collections = init_blocks(body_key, body, settings, inputs)
        features = forward(body, weights, collections, inputs)
        top, _, own = init_blocks(readout_key, readout, settings, features, first=depth)
        return TrainState({"blocks": held + top}, collections + own)

    def join(held, collections, top):
        trees = {"blocks": held + top.held["blocks"]}
        return TrainState(trees, collections + top.collections, top.opt_state)

    def split(state):
        """What is held of the body, its collections, the readout as a train state of its own."""
        blocks, collections = state.held["blocks"], state.collections
        top = TrainState({"blocks": blocks[depth:]}, collections[depth:], state.opt_state)
        return blocks[:depth], collections[:depth], top

    def features(settings, held, collections, inputs):
        weights = memories.read(settings.memory, held)
        seen = with_crossbars(
            key_of(inputs, weights), settings.crossbar, weights, collections)
        return forward(body, weights, seen, inputs)

    def objective(z, target):
        copies = [z[:, number] for number in range(len(sigmas))] if several else [z]
        return sum(dependence(normalized_kernel(one.reshape(len(z), -1), width, epsilon), own)
                   for one, width, own in zip(copies, sigmas, target, strict=True))

    def targets_of(batch):
        losses.check_labels(loss_of_outputs, batch.labels, outputs)
        return losses.targets(batch.labels, outputs, batch.inputs.dtype)

    def target_of(batch):
        """For every width."""
        flat, labels = batch.inputs.reshape(len(batch.inputs), -1), targets_of(batch)
        return [bottleneck_target(flat, labels, dependence_weight, width, epsilon)
                for width in sigmas]

    def noted(top, z, batch):
        """The readout after another batch of the first phase."""
        if formatted:
            return top
        *below, own = top.collections
        z = jnp.mean(z, axis=1) if several else z
        return top.replace(collections=(*below, observed(own, z, targets_of(batch))))

    def proposed(settings, gradient, opt_state, weights):
        return propose(
            rules.optimizer,
            rules.settle(gradient, settings),
            opt_state,
            weights,
            settings.learning_rate,
            settings.weight_decay,
            settings.threshold,
        )

    def show(settings, state):
        held, _, top = split(state)
        return (*memories.read(settings.memory, held), *classify.show(settings, top))

    def begin_bottleneck(settings, state):
        held, _, _ = split(state)
        known = memories.behind(settings.memory, held)
        return state.replace(opt_state=tuple(begin(rules.optimizer, own) for own in known))

    def crossbars(key, settings, weights, collections):
        return with_crossbars(jax.random.fold_in(key, 2), settings.crossbar, weights, collections)

    def bottleneck_step(key, settings, state, batch):
        held, collections, top = split(state)
        known = memories.behind(settings.memory, held)
        weights, target = list(memories.read(settings.memory, held)), target_of(batch)
        collections = crossbars(key, settings, weights, collections)

        # The original runs the whole network once before the batch's updates and once more before
        # each of them, and every run moves the running statistics. We do the same (the compiler
        # merges runs of blocks that no update has touched in between).
        collections = run_blocks(body, weights, collections, batch.inputs).collections
        opt_states, changes, felt, losses = [], [], [], []
        for index in range(depth):
            told = [with_activity(w) if rules.by_example and number == index else w
                    for number, w in enumerate(weights)]
            run = run_blocks(body, told, collections, batch.inputs)
            collections = run.collections
            loss, signal = jax.value_and_grad(objective)(run.outputs[index], target)
            gradient, sizes = without_activity(run.pullbacks[index](signal)[0])
            change, opt_state = proposed(
                settings, gradient, state.opt_state[index], known[index]
            )
            felt.append(activities(settings, sizes, change))
            weights[index] = optax.apply_updates(weights[index], change)
            opt_states.append(opt_state)
            changes.append(change)
            losses.append(loss)

        held = memories.write(key, settings.memory, held, tuple(changes), tuple(felt))
        collections = without_crossbars(collections)
        top = noted(top, run.outputs[-1], batch)
        kept = rules.keep(jax.random.fold_in(key, 1), tuple(opt_states), settings)
        state = join(held, collections, top.replace(opt_state=kept))
        return state, sum(losses)

    def probe_bottleneck(key, settings, state, batch):
        # All blocks from the weights as they are, where a step updates them in turn. The true
        # gradient is that of the last block's objective through all blocks.
        held, collections, top = split(state)
        weights, target = memories.read(settings.memory, held), target_of(batch)
        known = memories.behind(settings.memory, held)
        signal = jax.grad(objective)
        _, true_gradients = true_chain(
            body, weights, collections, batch.inputs, lambda z: signal(z, target)
        )
        told = tuple(map(with_activity, weights)) if rules.by_example else weights
        run = run_blocks(body, told, crossbars(key, settings, weights, collections), batch.inputs)
        gradients, sizes = zip(*(
            without_activity(pullback(signal(z, target))[0])
            for pullback, z in zip(run.pullbacks, run.outputs, strict=True)
        ), strict=True)
        changes = tuple(
            proposed(settings, *each)[0]
            for each in zip(gradients, state.opt_state, known, strict=True)
        )
        felt = activities(settings, sizes, changes)
        written = memories.write(key, settings.memory, held, changes, felt)
        own = Probe(
            gradients,
            true_gradients,
            (None,) * depth,
            optax.apply_updates(known, changes),
            memories.read(settings.memory, written),
            run.outputs,
            changes,
            memories.behind(settings.memory, written),
            targets_of(batch),
        )
        rest = (None,) * len(top.collections)
        return Probe._make((*(trees + rest for trees in own[:-1]), own.targets))

    def begin_readout(settings, state):
        held, collections, top = split(state)
        return join(held, collections, classify.begin(settings, top))

    def readout_step(key, settings, state, batch):
        held, collections, top = split(state)
        inputs = features(settings, held, collections, batch.inputs)
        top, loss = classify.step(key, settings, top, Batch(inputs, batch.labels))
        return join(held, collections, top), loss

    def probe_readout(key, settings, state, batch):
        held, collections, top = split(state)
        inputs = features(settings, held, collections, batch.inputs)
        own = classify.probe(key, settings, top, Batch(inputs, batch.labels))
        return Probe._make((*((None,) * depth + trees for trees in own[:-1]), own.targets))

    def predict(settings, state, inputs):
        return blocks.predict(whole, show(settings, state), state.collections, settings.crossbar,
                              inputs)

    bottleneck = Phase("bottleneck", begin_bottleneck, bottleneck_step,
                       None if formatted else predict, show, probe_bottleneck, loss_of_outputs)
    if not formatted:
        return Algorithm(init, (bottleneck,), whole)
    trained = Phase("readout", begin_readout, readout_step, predict, show, probe_readout,
                    loss_of_outputs)
    return Algorithm(init, (bottleneck, trained), whole)
