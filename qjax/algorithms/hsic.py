"""The HSIC bottleneck: every block minimizes a loss of its own, no signal crosses blocks."""

import flax.linen as nn
import jax
import optax

from qjax import updates
from qjax.algorithms import interface
from qjax.algorithms.backprop import backprop
from qjax.diagnostics import Probe
from qjax.hsic import EPSILON, SIGMA, bottleneck_target, dependence, normalized_kernel
from qjax.networks import Dense, Network, forward, identity

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
    rules: interface.Rules = interface.Rules(updates.OPTIMIZERS["sgd"]()),
    readout_rules: interface.Rules = interface.Rules(),
    dependence_weight: float = 500.0,
    sigma: float | None = SIGMA,
    epsilon: float = EPSILON,
) -> interface.Algorithm:
    """Ma, Lewis and Kleijn 2020, in two phases.

    "bottleneck": block by block, minimize nHSIC(Z, X) - dependence_weight * nHSIC(Z, Y) over the
    block's own parameters, Z computed with the blocks below as just updated on this batch; weights
    go back on the grid once the batch is done. "readout": with that body frozen (batch
    normalization by running statistics), a linear layer on top is trained on the cross-entropy.

    Args:
      network: turned into a body by `bottleneck_body`; the readout is added.
      rules: of the first phase; its optimizer keeps a state per block.
      readout_rules: of the second phase.
      dependence_weight: lambda of the paper.
      sigma: kernel width, None for the median heuristic.
      epsilon: ridge of the normalized kernels.
    """
    body = bottleneck_body(network)
    depth = len(body)
    readout = (Dense(network[-1].features, activation=identity, gain=network[-1].gain),)
    classifier = backprop(readout, readout_rules)
    (classify,) = classifier.phases

    def init(key, settings, inputs):
        body_key, readout_key = jax.random.split(key)
        params, collections = interface.init_blocks(body_key, body, rules, settings, inputs)
        top = classifier.init(readout_key, settings, forward(body, params, collections, inputs))
        return join(params, collections, top)

    def join(params, collections, top):
        trees = {"blocks": params + top.params["blocks"]}
        return interface.TrainState(trees, collections + top.collections, top.opt_state)

    def split(state):
        """The body's params and collections, and the readout as a train state of its own."""
        blocks, collections = state.params["blocks"], state.collections
        top = interface.TrainState(
            {"blocks": blocks[depth:]}, collections[depth:], state.opt_state
        )
        return blocks[:depth], collections[:depth], top

    def features(settings, params, collections, inputs):
        return forward(body, rules.update.read(params, settings.quantizer), collections, inputs)

    def objective(z, target):
        return dependence(normalized_kernel(z.reshape(len(z), -1), sigma, epsilon), target)

    def one_hot_of(batch):
        interface.check_labels(batch.labels, network[-1].features)
        return jax.nn.one_hot(batch.labels, network[-1].features, dtype=batch.inputs.dtype)

    def target_of(batch):
        flat = batch.inputs.reshape(len(batch.inputs), -1)
        return bottleneck_target(flat, one_hot_of(batch), dependence_weight, sigma, epsilon)

    def propose(settings, gradient, opt_state, params):
        return updates.propose(
            rules.optimizer,
            rules.settle(gradient, settings),
            opt_state,
            params,
            settings.learning_rate,
            settings.weight_decay,
        )

    def show(settings, state):
        params, _, top = split(state)
        return (*rules.update.read(params, settings.quantizer), *classify.show(settings, top))

    def begin_bottleneck(state):
        params, _, _ = split(state)
        return state.replace(opt_state=tuple(rules.optimizer.init(p) for p in params))

    def bottleneck_step(key, settings, state, batch):
        params, collections, top = split(state)
        weights = list(rules.update.read(params, settings.quantizer))
        target = target_of(batch)

        # The original runs the whole network once before the batch's updates and once more before
        # each of them, and every run moves the running statistics. We do the same (the compiler
        # merges runs of blocks that no update has touched in between).
        collections = interface.run_blocks(body, weights, collections, batch.inputs).collections
        opt_states, changes, losses = [], [], []
        for index in range(depth):
            run = interface.run_blocks(body, weights, collections, batch.inputs)
            collections = run.collections
            loss, signal = jax.value_and_grad(objective)(run.outputs[index], target)
            gradient, _ = run.pullbacks[index](signal)
            change, opt_state = propose(
                settings, gradient, state.opt_state[index], params[index]
            )
            weights[index] = optax.apply_updates(weights[index], change)
            opt_states.append(opt_state)
            changes.append(change)
            losses.append(loss)

        params = rules.update.write(key, params, tuple(changes), settings.quantizer)
        state = join(params, collections, top.replace(opt_state=tuple(opt_states)))
        return state, sum(losses)

    def probe_bottleneck(key, settings, state, batch):
        # All blocks from the weights as they are, where a step updates them in turn. The true
        # gradient is that of the last block's objective through all blocks.
        params, collections, top = split(state)
        weights, target = rules.update.read(params, settings.quantizer), target_of(batch)
        signal = jax.grad(objective)
        run, true_gradients = interface.true_chain(
            body, weights, collections, batch.inputs, lambda z: signal(z, target)
        )
        gradients = tuple(
            pullback(signal(z, target))[0]
            for pullback, z in zip(run.pullbacks, run.outputs, strict=True)
        )
        changes = tuple(
            propose(settings, *each)[0]
            for each in zip(gradients, state.opt_state, params, strict=True)
        )
        written = rules.update.write(key, params, changes, settings.quantizer)
        own = Probe(
            gradients,
            true_gradients,
            (None,) * depth,
            optax.apply_updates(params, changes),
            rules.update.read(written, settings.quantizer),
            run.outputs,
            one_hot_of(batch),
        )
        rest = (None,) * len(top.collections)
        return Probe(*(trees + rest for trees in own[:-1]), own.one_hot)

    def begin_readout(state):
        params, collections, top = split(state)
        return join(params, collections, classify.begin(top))

    def readout_step(key, settings, state, batch):
        params, collections, top = split(state)
        inputs = features(settings, params, collections, batch.inputs)
        top, loss = classify.step(key, settings, top, interface.Batch(inputs, batch.labels))
        return join(params, collections, top), loss

    def probe_readout(key, settings, state, batch):
        params, collections, top = split(state)
        inputs = features(settings, params, collections, batch.inputs)
        own = classify.probe(key, settings, top, interface.Batch(inputs, batch.labels))
        return Probe(*((None,) * depth + trees for trees in own[:-1]), own.one_hot)

    def predict(settings, state, inputs):
        params, collections, top = split(state)
        return classify.predict(settings, top, features(settings, params, collections, inputs))

    return interface.Algorithm(
        init,
        (
            interface.Phase(
                "bottleneck", begin_bottleneck, bottleneck_step, None, show, probe_bottleneck
            ),
            interface.Phase("readout", begin_readout, readout_step, predict, show, probe_readout),
        ),
    )
