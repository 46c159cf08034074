"""What every learning algorithm is to the code that runs it.

An `Algorithm` makes a `TrainState` and lists its phases; a `Phase` steps that state and predicts
from it. Everything is written for one replica and batched from outside by `jax.vmap`. Numbers that
may differ between replicas of one program are in `Settings`; choices that change the program
(network, optimizer, update rule) are fixed when the algorithm is built.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import Array
from jax.typing import ArrayLike

from qjax import updates
from qjax.diagnostics import Probe
from qjax.metrics import at_least_float32
from qjax.networks import Network, apply_block, forward, init_network
from qjax.quantize import Quantizer, quantize_tree
from qjax.schedules import SCHEDULES

__all__ = [
    "Algorithm",
    "Batch",
    "Forward",
    "Phase",
    "Rules",
    "Settings",
    "TrainState",
    "chain",
    "check_labels",
    "from_gradient",
    "init_blocks",
    "output_error",
    "run_blocks",
    "true_chain",
]


class Batch(NamedTuple):
    """inputs [batch, ...] float, labels [batch] integer."""

    inputs: Array
    labels: Array


@struct.dataclass
class Settings:
    """Numbers of one replica in one phase; any of them may be traced or batched.

    Attributes:
      learning_rate: step size of the phase's optimizer at its start.
      schedule: how it falls from there, a value of `qjax.schedules.SCHEDULES`.
      gamma: factor on the learning rate after every epoch, for the exponential schedule.
      epochs: of the whole phase, for the schedules that end with it.
      weight_decay: added to the gradient as ``weight_decay * params``.
      quantizer: grid of all weights (feedback and synthesizer weights included).
      gradient_quantizer: grid of the parameter gradients.
      gain: of blocks that have one: products are multiplied by ``gain / sqrt(fan_in)``.
      beside_rate: factor on the learning rate of what is trained beside the blocks (synthesizers).
      label_smoothing: share of every label that goes to all classes alike, see `output_error`.
    """

    learning_rate: ArrayLike = 1.0
    schedule: ArrayLike = SCHEDULES["exponential"]
    gamma: ArrayLike = 1.0
    epochs: ArrayLike = 1
    weight_decay: ArrayLike = 0.0
    quantizer: Quantizer = Quantizer(bits=0)
    gradient_quantizer: Quantizer = Quantizer(bits=0)
    gain: ArrayLike = 1.0
    beside_rate: ArrayLike = 1.0
    label_smoothing: ArrayLike = 0.0


@struct.dataclass
class TrainState:
    """All that changes while one replica trains.

    Attributes:
      params: trees that optimizers train: ``{"blocks": (tree per block,), ...}``.
      collections: per block what is not trained by an optimizer (feedback, batch statistics).
      opt_state: the optimizer's state in the current phase.
    """

    params: dict[str, Any]
    collections: tuple
    opt_state: Any = ()


class Rules(NamedTuple):
    """Choices that change the program of a phase but not the algorithm.

    Attributes:
      optimizer: a direction, see `qjax.updates.OPTIMIZERS`.
      update: an update rule, see `qjax.updates.UPDATE_RULES`.
      quantize_gradients: apply `Settings.gradient_quantizer` to every parameter gradient.
    """

    optimizer: optax.GradientTransformation = updates.OPTIMIZERS["adadelta"]()
    update: updates.UpdateRule = updates.nearest
    quantize_gradients: bool = False

    def settle(self, gradients: Any, settings: Settings) -> Any:
        """The gradients as the device can hold them."""
        if not self.quantize_gradients:
            return gradients
        return quantize_tree(gradients, settings.gradient_quantizer)


class Phase(NamedTuple):
    """One stretch of training with one optimizer.

    Attributes:
      name: word for reports.
      begin: state -> state, at the start of the phase (fresh optimizer state).
      step: (key, settings, state, batch) -> (state, objective): one update; the objective is the
        scalar it minimizes, on this batch before the update.
      predict: (settings, state, inputs) -> logits [batch, classes]; None where the phase trains
        something that does not classify yet.
      show: (settings, state) -> weights of every block as forward and backward pass see them.
      probe: (key, settings, state, batch) -> what `step` would do with the batch; needs `show`.
        None where a phase has no diagnostics.
    """

    name: str
    begin: Callable[[TrainState], TrainState]
    step: Callable[[Array, Settings, TrainState, Batch], tuple[TrainState, Array]]
    predict: Callable[[Settings, TrainState, Array], Array] | None = None
    show: Callable[[Settings, TrainState], tuple] | None = None
    probe: Callable[[Array, Settings, TrainState, Batch], Probe] | None = None


class Algorithm(NamedTuple):
    """A learning algorithm on one network.

    Attributes:
      init: (key, settings, inputs [batch, ...]) -> state; inputs give shapes only.
      phases: run one after the other, each with epochs and settings of its own.
    """

    init: Callable[[Array, Settings, Array], TrainState]
    phases: tuple[Phase, ...]


class Forward(NamedTuple):
    """A network's forward pass, block by block, ready to be pulled back.

    Attributes:
      outputs: output of every block.
      pullbacks: per block, error at its output -> (gradient of its params, error at its input).
      collections: per block, with running statistics after this batch.
    """

    outputs: tuple[Array, ...]
    pullbacks: tuple[Callable[[Array], tuple[Any, Array]], ...]
    collections: tuple


def run_blocks(network: Network, params: Any, collections: Any, inputs: Array) -> Forward:
    """Forward pass in training mode that keeps each block's vector-Jacobian product."""
    outputs, pullbacks, updated = [], [], []
    x = inputs
    for block, block_params, block_collections in zip(network, params, collections, strict=True):

        def apply(p, x, block=block, block_collections=block_collections):
            return apply_block(block, p, block_collections, x, train=True)

        x, pullback, new_collections = jax.vjp(apply, block_params, x, has_aux=True)
        outputs.append(x)
        pullbacks.append(pullback)
        updated.append(new_collections)
    return Forward(tuple(outputs), tuple(pullbacks), tuple(updated))


def chain(pullbacks: Sequence[Callable], error: Array) -> tuple[tuple, Array]:
    """Sends the error at the last output down through all blocks.

    Returns:
      (gradient of each block's params, error at the first block's input).
    """
    gradients = []
    for pullback in reversed(pullbacks):
        gradient, error = pullback(error)
        gradients.append(gradient)
    return tuple(reversed(gradients)), error


def true_chain(
    network: Network, params: Any, collections: Any, inputs: Array, error: Callable
) -> tuple[Forward, tuple]:
    """Forward pass and backpropagation through the weights themselves, whatever the feedback.

    Args:
      error: output of the last block -> gradient of the loss there.

    Returns:
      (forward pass, gradient of each block's params).
    """
    own = tuple({k: v for k, v in c.items() if k != "feedback"} for c in collections)
    run = run_blocks(network, params, own, inputs)
    gradients, _ = chain(run.pullbacks, error(run.outputs[-1]))
    return run, gradients


def check_labels(labels: Array, classes: int) -> None:
    """Refuses labels that are not whole numbers from 0 to classes - 1.

    Values inside of `jax.jit` cannot be looked at: there such a label makes the loss nan.

    Raises:
      TypeError: not integers.
      ValueError: out of range.
    """
    if not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        raise TypeError(f"labels must be integers, got {jnp.result_type(labels)}")
    try:
        values = np.asarray(labels)
    except jax.errors.TracerArrayConversionError:
        return
    if values.size and (values.min() < 0 or values.max() >= classes):
        raise ValueError(
            f"labels from {values.min()} to {values.max()}, where the network has {classes} "
            f"outputs: expected 0 to {classes - 1}"
        )


def output_error(
    logits: Array, labels: Array, smoothing: ArrayLike = 0.0
) -> tuple[Array, Array]:
    """Batch-mean cross-entropy of [batch, classes] against [batch], and its gradient.

    With label smoothing (Szegedy et al. 2016, "Rethinking the inception architecture for computer
    vision") the target is ``(1 - smoothing) one_hot + smoothing / classes``.
    """
    check_labels(labels, logits.shape[-1])

    def loss(logits):
        logits = at_least_float32(logits)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    plain, error = jax.value_and_grad(loss)(logits)
    # Over all classes alike cross-entropy is ``logsumexp - mean``: as the label's, with another
    # logit. That is linear, and stays apart: without it nothing changes, to the last bit.
    wide = at_least_float32(logits)
    one_hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=wide.dtype)
    softer = smoothing * (one_hot - 1 / logits.shape[-1]) / len(logits)
    apart = jnp.where(smoothing > 0, jnp.sum(softer * wide), 0)
    return (plain + apart).astype(plain.dtype), (error + softer).astype(error.dtype)


def init_blocks(key: Array, network: Network, rules: Rules, settings: Settings, inputs: Array):
    """(params, collections) of a network, its weights placed where the update rule keeps them."""
    init_key, place_key = jax.random.split(key)
    params, collections = init_network(init_key, network, inputs)

    def scaled(gain):
        return (settings.gain * gain).astype(gain.dtype)

    collections = tuple(
        {**c, "device": {"gain": scaled(c["device"]["gain"])}} if "device" in c else c
        for c in collections
    )
    return rules.update.place(place_key, params, settings.quantizer), collections


def from_gradient(
    init: Callable[[Array, Settings, Array], TrainState],
    gradient: Callable[[Array, dict, tuple, Batch, Callable], tuple[dict, tuple, Array]],
    network: Network,
    rules: Rules,
    feedback: Callable[[Array, dict, tuple], Sequence[Array]] | None = None,
) -> Algorithm:
    """An algorithm of one phase from its gradient rule alone.

    Args:
      init: as in `Algorithm`; `opt_state` may be left empty.
      gradient: (key, weights, collections, batch, error_at) -> (gradients like weights,
        collections, loss); ``error_at(logits)`` gives the loss and its gradient at the logits.
      network: whose last block gives the logits.
      rules: optimizer and update rule.
      feedback: (key, weights, collections) -> the kernel that stands in for each block's own on the
        way down, for diagnosis; None where the rule has none.
    """

    def begin(state):
        return state.replace(opt_state=rules.optimizer.init(state.params))

    def respond(key, settings, state, batch):
        """(weights, gradients, collections, loss) on a batch."""
        weights = rules.update.read(state.params, settings.quantizer)
        error_at = functools.partial(
            output_error, labels=batch.labels, smoothing=settings.label_smoothing
        )
        return weights, *gradient(key, weights, state.collections, batch, error_at)

    def propose(settings, state, gradients):
        changes, opt_state = updates.propose(
            rules.optimizer,
            rules.settle(gradients, settings),
            state.opt_state,
            state.params,
            settings.learning_rate,
            settings.weight_decay,
        )
        blocks = changes.pop("blocks")
        beside = jax.tree.map(lambda change: settings.beside_rate * change, changes)
        return {"blocks": blocks, **beside}, opt_state

    def step(key, settings, state, batch):
        gradient_key = jax.random.fold_in(key, 0)  # most rules draw nothing
        _, gradients, collections, loss = respond(gradient_key, settings, state, batch)
        proposed, opt_state = propose(settings, state, gradients)
        params = rules.update.write(key, state.params, proposed, settings.quantizer)
        return TrainState(params, collections, opt_state), loss

    def show(settings, state):
        return rules.update.read(state.params["blocks"], settings.quantizer)

    def predict(settings, state, inputs):
        return forward(network, show(settings, state), state.collections, inputs)

    def probe(key, settings, state, batch):
        gradient_key = jax.random.fold_in(key, 0)
        weights, gradients, _, _ = respond(gradient_key, settings, state, batch)
        proposed, _ = propose(settings, state, gradients)
        run, true_gradients = true_chain(
            network, weights["blocks"], state.collections, batch.inputs,
            lambda logits: output_error(logits, batch.labels, settings.label_smoothing)[1],
        )
        nothing = (None,) * len(network)
        seen = feedback(gradient_key, weights, state.collections) if feedback else nothing
        params = rules.update.write(key, state.params, proposed, settings.quantizer)
        return Probe(
            gradients["blocks"],
            true_gradients,
            tuple(seen),
            optax.apply_updates(state.params, proposed)["blocks"],
            show(settings, state.replace(params=params)),
            run.outputs,
            jax.nn.one_hot(
                batch.labels, run.outputs[-1].shape[-1], dtype=run.outputs[-1].dtype
            ),
        )

    return Algorithm(init, (Phase("train", begin, step, predict, show, probe),))
