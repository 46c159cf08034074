"""What every learning algorithm is to the code that runs it.

An `Algorithm` makes a `TrainState` and lists its phases; a `Phase` steps that state and predicts
from it. Everything is written for one replica and batched from outside by `jax.vmap`. Numbers that
may differ between replicas of one program are in `Settings`, those of the weights' memory included;
choices that change the program (network, optimizer, loss) are fixed when the algorithm is built.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax
from jax import Array
from jax.typing import ArrayLike

from qjax import structs
from qjax.blocks import Network
from qjax.devices import Crossbar
from qjax.diagnostics import Probe
from qjax.losses import Loss, cross_entropy
from qjax.memories import Float
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import Quantizer, quantize_tree
from qjax.schedules import SCHEDULES

__all__ = ["Algorithm", "Batch", "Phase", "Rules", "Settings", "TrainState"]


class Batch(NamedTuple):
    """inputs [batch, ...] float, labels [batch] integer or as the loss takes them."""

    inputs: Array
    labels: Array


@structs.dataclass
class Settings:
    """Numbers of one replica in one phase; any of them may be traced or batched.

    Attributes:
      learning_rate: step size of the phase's optimizer at its start.
      schedule: how it falls from there, a value of `qjax.schedules.SCHEDULES`.
      gamma: factor on the learning rate after every epoch, for the exponential schedule.
      epochs: of the whole phase, for the schedules that end with it.
      weight_decay: added to the gradient as ``weight_decay * weights``.
      memory: what holds all weights (feedback and synthesizer weights included): one of
        `qjax.memories`, or a `ByLeaf` of them. Of one class for all replicas of a program.
      gradient_quantizer: grid of the parameter gradients.
      state_quantizer: grid of every tensor that the optimizer keeps.
      gain: of blocks that have one: products are multiplied by ``gain / sqrt(fan_in)``.
      beside_rate: factor on the learning rate of what is trained beside the blocks (synthesizers).
      label_smoothing: share of every label that goes to all classes alike.
      threshold: entries of the optimizer's direction for the blocks' kernels that are below it
        count as zero.
      crossbar: converters of every product with a kernel; None: products are exact.
      bp_lambda: share of the error from above in what dni's blocks learn from, the rest being their
        synthesizers': 0 is dni, 1 backpropagation. Read when a state is made.
    """

    learning_rate: ArrayLike = 1.0
    schedule: ArrayLike = SCHEDULES["exponential"]
    gamma: ArrayLike = 1.0
    epochs: ArrayLike = 1
    weight_decay: ArrayLike = 0.0
    memory: Any = Float()
    gradient_quantizer: Quantizer = Quantizer(bits=0)
    state_quantizer: Quantizer = Quantizer(bits=0)
    gain: ArrayLike = 1.0
    beside_rate: ArrayLike = 1.0
    label_smoothing: ArrayLike = 0.0
    threshold: ArrayLike = 0.0
    crossbar: Crossbar | None = None
    bp_lambda: ArrayLike = 0.0


@structs.dataclass
class TrainState:
    """All that changes while one replica trains, and what it needs besides.

    Attributes:
      held: trees of what holds the trained weights: ``{"blocks": (tree per block,), ...}``;
        `qjax.memories.read` gives the weights.
      collections: per block what is neither held nor trained by an optimizer (batch statistics,
        gains).
      opt_state: the optimizer's state in the current phase.
      fixed: trees like `held` of weights that are never written (feedback matrices).
    """

    held: dict[str, Any]
    collections: tuple
    opt_state: Any = ()
    fixed: dict[str, Any] = structs.field(default_factory=dict)


class Rules(NamedTuple):
    """Choices that change the program of a phase but not the algorithm.

    Attributes:
      optimizer: a direction, see `qjax.optimizers.OPTIMIZERS`; it sees matrices transposed,
        [outputs, inputs], and keeps its state so (`qjax.trees.turned`).
      quantize_gradients: apply `Settings.gradient_quantizer` to every parameter gradient.
      quantize_state: apply `Settings.state_quantizer`, at random, to what the optimizer keeps.
      by_example: tell the memory what every example adds to a change, of which only the sum is in
        the gradient (`qjax.memories.Activity`); for plain gradient descent alone.
      loss: what the outputs are compared with, see `qjax.losses.LOSSES`.
    """

    optimizer: optax.GradientTransformation = OPTIMIZERS["adadelta"]()
    quantize_gradients: bool = False
    loss: Loss = cross_entropy
    quantize_state: bool = False
    by_example: bool = False

    def keep(self, key: Array, opt_state: Any, settings: Settings) -> Any:
        """The optimizer's state as few bits can hold it; the key is consumed."""
        if not self.quantize_state:
            return opt_state
        return quantize_tree(opt_state, settings.state_quantizer, key=key)

    def settle(self, gradients: Any, settings: Settings) -> Any:
        """The gradients as the device can hold them."""
        if not self.quantize_gradients:
            return gradients
        return quantize_tree(gradients, settings.gradient_quantizer)


class Phase(NamedTuple):
    """One stretch of training with one optimizer.

    Attributes:
      name: word for reports.
      begin: (settings, state) -> state, at the start of the phase (fresh optimizer state).
      step: (key, settings, state, batch) -> (state, objective): one update; the objective is the
        scalar it minimizes, on this batch before the update.
      predict: (settings, state, inputs) -> outputs [batch, classes]; None where the phase trains
        something that does not predict yet.
      show: (settings, state) -> weights of every block as forward and backward pass see them.
      probe: (key, settings, state, batch) -> what `step` would do with the batch; needs `show`.
        None where a phase has no diagnostics.
      loss: by which predictions are scored.
    """

    name: str
    begin: Callable[[Settings, TrainState], TrainState]
    step: Callable[[Array, Settings, TrainState, Batch], tuple[TrainState, Array]]
    predict: Callable[[Settings, TrainState, Array], Array] | None = None
    show: Callable[[Settings, TrainState], tuple] | None = None
    probe: Callable[[Array, Settings, TrainState, Batch], Probe] | None = None
    loss: Loss = cross_entropy


class Algorithm(NamedTuple):
    """A learning algorithm on one network.

    Attributes:
      init: (key, settings, inputs [batch, ...]) -> state; inputs give shapes only.
      phases: run one after the other, each with epochs and settings of its own.
      network: the blocks that predictions go through, after the last phase (`blocks.predict`).
    """

    init: Callable[[Array, Settings, Array], TrainState]
    phases: tuple[Phase, ...]
    network: Network
