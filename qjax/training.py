"""Epochs as one program, for one replica and for many.

`train_epoch` and `evaluate` are written for one replica. `make_epoch` compiles a whole epoch -
steps, weight ranges, evaluation - over many (`qjax.replicas`), with nothing left to Python in
between.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh
from jax.stages import Wrapped
from jax.typing import ArrayLike

from qjax import memories, metrics
from qjax.algorithms.interface import Algorithm, Batch, Phase, Settings, TrainState
from qjax.blocks import kernels_of
from qjax.diagnostics import Diagnosis, diagnose, share_written
from qjax.losses import Loss, check_labels, cross_entropy
from qjax.quantize import Quantizer
from qjax.replicas import check_axes, compile_replicated, replicate
from qjax.schedules import factor
from qjax.trees import turned

__all__ = [
    "Data",
    "EpochMetrics",
    "Score",
    "counted_step",
    "evaluate",
    "look",
    "make_begin",
    "make_epoch",
    "make_evaluation",
    "make_init",
    "make_wait",
    "train_epoch",
]

# A CPU keeps the activations of so many images of a convolutional network in its cache: 500 take a
# third longer, and make no difference to an MLP.
EVALUATION_CHUNK = 100


class Data(NamedTuple):
    """A data set as the programs take it: raw images [n, ...] of any dtype and labels [n, ...]."""

    train: Batch
    test: Batch


class Score(NamedTuple):
    """Mean loss and the score that goes with it, of classes the share of right ones; scalars."""

    loss: Array
    accuracy: Array


class EpochMetrics(NamedTuple):
    """What one epoch of one replica reports.

    Attributes:
      objective: mean over the epoch's steps of what the phase minimizes.
      writes: how often a kernel's weight was programmed to another level in the epoch, on average;
        without levels, to another value; a device, moved. None if weights are not shown.
      train, test: scores after the epoch; None in a phase that does not predict.
      ranges: of every trained tensor as its memory knows it, over all steps of the epoch.
      finite: no weight is inf or nan after the epoch.
      diagnosis: arrays [blocks] on the first `batch_size` training examples; None if not asked for,
        or not to be had from this phase.
    """

    objective: Array
    writes: Array | None
    train: Score | None
    test: Score | None
    ranges: metrics.Ranges
    finite: Array
    diagnosis: Diagnosis | None = None


def _now(settings: Settings, epoch: ArrayLike, fraction: ArrayLike) -> Settings:
    """Settings with the learning rate that the schedule has at that time."""
    rate = settings.learning_rate * factor(
        settings.schedule, settings.gamma, epoch, fraction, settings.epochs
    )
    return replace(settings, learning_rate=rate)


def counted_step(
    phase: Phase, key: Array, settings: Settings, state: TrainState, batch: Batch
) -> tuple[TrainState, Array, Array | None]:
    """A step, its objective, and the share of the kernels' weights that it wrote.

    Written is what shows another level, or what a memory says; see `EpochMetrics.writes`.
    """
    after, objective = phase.step(key, settings, state, batch)
    if phase.show is None:
        return after, objective, None
    then, now = (turned(phase.show(settings, s)) for s in (state, after))
    known = [memories.programmed(settings.memory, kernels_of(b)) for b in after.held["blocks"]]
    return after, objective, share_written(then, now, _grids(settings, after), known)


def train_epoch(
    phase: Phase,
    key: Array,
    settings: Settings,
    state: TrainState,
    examples: Batch,
    *,
    batch_size: int,
    shuffle: bool,
    preprocess: Callable[[Array], Array],
    epoch: ArrayLike = 0,
) -> tuple[TrainState, Array, Array | None, metrics.Ranges]:
    """One pass over the training examples.

    Every example is used at least once. All batches have `batch_size` examples: the last one is
    filled up from the start of the epoch's order where the count does not divide.

    Args:
      phase: whose `step` is repeated.
      key: consumed; decides the order and the updates' random numbers.
      settings: of the phase, with the learning rate it starts with.
      state: of one replica.
      examples: raw images [n, ...] and labels [n].
      batch_size: examples a step.
      shuffle: a new order for every key, else the order of `examples`.
      preprocess: raw images -> float inputs, applied to each batch.
      epoch: epochs of the phase that are over, for the schedule of the learning rate.

    Returns:
      (state, mean objective, writes as in `EpochMetrics`, ranges of every tensor in `state.held`
      over all steps).
    """
    _check_counts(examples)
    count = len(examples.labels)
    steps = -(-count // batch_size)
    order_key, step_key = jax.random.split(key)
    order = jax.random.permutation(order_key, count) if shuffle else jnp.arange(count)
    order = jnp.resize(order, (steps, batch_size))

    def step(carry, turn):
        state, ranges = carry
        index, rows = turn
        batch = Batch(preprocess(examples.inputs[rows]), examples.labels[rows])
        key = jax.random.fold_in(step_key, index)
        now = _now(settings, epoch, index / steps)
        state, *told = counted_step(phase, key, now, state, batch)
        return (state, metrics.widen(ranges, weights(state))), told

    def weights(state):
        return turned(memories.behind(settings.memory, state.held))

    start = (state, metrics.empty_ranges(jax.eval_shape(weights, state)))
    (state, ranges), told = jax.lax.scan(step, start, (jnp.arange(steps), order))
    objectives, shares = told
    return state, jnp.mean(objectives), None if shares is None else jnp.sum(shares), ranges


def _grids(settings: Settings, state: TrainState) -> list[Quantizer]:
    """Of every block's kernels."""
    return [memories.grid_of(settings.memory, kernels_of(b)) for b in state.held["blocks"]]


def evaluate(
    predict: Callable[[Array], Array],
    examples: Batch,
    preprocess: Callable[[Array], Array],
    chunk: int = EVALUATION_CHUNK,
    loss: Loss = cross_entropy,
) -> Score:
    """Loss and score of a network on all examples, `chunk` at a time.

    Args:
      predict: inputs [chunk, ...] -> outputs [chunk, k].
      examples: raw images [n, ...] and labels [n, ...].
      preprocess: raw images -> float inputs.
      chunk: examples at a time.
      loss: what outputs are compared with.
    """
    _check_counts(examples)
    count = len(examples.labels)
    chunk = min(chunk, count)
    chunks = -(-count // chunk)
    rows = jnp.arange(chunks * chunk).reshape(chunks, chunk)

    def score(sums, rows):
        real = rows < count
        labels = examples.labels[rows % count]
        outputs = metrics.at_least_float32(predict(preprocess(examples.inputs[rows % count])))
        each = (loss.each(outputs, labels), loss.hits(outputs, labels))
        new = (jnp.sum(x, where=real, dtype=x.dtype) for x in each)
        return tuple(map(jnp.add, sums, new)), None

    outputs = jax.eval_shape(lambda x: predict(preprocess(x)), examples.inputs[:chunk])
    check_labels(loss, examples.labels, outputs.shape[-1])
    wide = jax.ShapeDtypeStruct(outputs.shape, metrics.wide_type(outputs.dtype))
    kinds = (jax.eval_shape(f, wide, examples.labels[:chunk]) for f in (loss.each, loss.hits))
    zeros = tuple(jnp.zeros((), kind.dtype) for kind in kinds)
    (total, hits), _ = jax.lax.scan(score, zeros, rows)
    return Score(total / count, loss.score(hits, examples.labels).astype(total.dtype))


def _check_counts(examples: Batch) -> None:
    inputs, labels = map(jnp.shape, examples)
    if len(labels) not in (1, 2) or inputs[0] != labels[0] or not labels[0]:
        raise ValueError(
            f"expected as many labels [n] (or [n, outputs]) as inputs [n, ...], at least one; got "
            f"inputs of shape {inputs} and labels of shape {labels}"
        )


def _scores(phase, settings, state, data, preprocess) -> tuple[Score, Score]:
    def predict(inputs):
        return phase.predict(settings, state, inputs)

    train, test = (evaluate(predict, part, preprocess, loss=phase.loss) for part in data)
    return train, test


# Random numbers are long straight code: at the highest level it takes seconds to compile, and draws
# them no faster.
_INIT_OPTIONS = {"xla_backend_optimization_level": 1}


def make_init(
    algorithm: Algorithm, inputs_shape: tuple, mesh: Mesh | None = None, dtype: Any = jnp.float32
) -> Callable:
    """(keys [seeds], settings [configs]) -> states [seeds, configs].

    Args:
      inputs_shape: [batch, ...] of preprocessed inputs.
      mesh: with axes "seeds" and "configs"; None for one device.
      dtype: of the preprocessed inputs, which weights take on.
    """

    def init(key, settings):
        return algorithm.init(key, settings, jnp.zeros(inputs_shape, dtype))

    return compile_replicated(init, "r.", ".r", mesh, options=_INIT_OPTIONS)


def make_begin(phase: Phase, mesh: Mesh | None = None) -> Callable:
    """(settings [configs], states [seeds, configs]) -> states ready for `phase`.

    The states passed in are donated.
    """
    return compile_replicated(phase.begin, ".r", "rr", mesh, donate=(1,))


def look(
    phase: Phase, key: Array, settings: Settings, state: TrainState, before: Any, batch: Batch
) -> Diagnosis:
    """What goes on inside a network at this point of its training.

    Args:
      phase: with a `probe`.
      key: consumed; of the update that is looked at and not taken.
      settings: of now, with the learning rate of that update.
      state: of one replica.
      before: what `phase.show` gave at some earlier point, for the share of weights that changed.
      batch: examples to look at.
    """
    if phase.probe is None or phase.show is None:
        raise ValueError(f"phase {phase.name!r} cannot be looked at: expected one with show and "
                         "probe")
    probe, after = phase.probe(key, settings, state, batch), phase.show(settings, state)
    return diagnose(probe, before, after, _grids(settings, state), batch.inputs)


def _check_data(phase, preprocess, settings, state, data) -> None:
    """Refuses labels that the network has no output for; they would make the loss nan."""
    if phase.predict is None:
        return
    check_axes((settings, state), ".r", "rr")

    def logits(settings, state, images):
        return phase.predict(settings, state, preprocess(images))

    some = jax.tree.map(lambda x: x[:1], data.train.inputs)
    shape = jax.eval_shape(replicate(logits, ".r.", "rr."), settings, state, some).shape
    for part in data:
        _check_counts(part)
        check_labels(phase.loss, part.labels, shape[-1])


def _checked(compiled: Wrapped, check: Callable) -> Wrapped:
    """`compiled`, whose arguments are looked at before the first time it sees their labels."""
    seen: list[Any] = []

    @functools.wraps(compiled)
    def call(*arguments):
        labels = [part.labels for part in arguments[-1]]
        if not (seen and all(a is b for a, b in zip(seen, labels, strict=True))):
            check(*arguments)
            seen[:] = labels
        return compiled(*arguments)

    checked: Any = call
    checked.lower, checked.trace = compiled.lower, compiled.trace
    return checked


def make_epoch(
    phase: Phase,
    *,
    batch_size: int,
    shuffle: bool,
    preprocess: Callable[[Array], Array],
    evaluate_after: bool = True,
    diagnose_after: bool = False,
    mesh: Mesh | None = None,
    cache: int | None = None,
) -> Callable[[Array, Any, Settings, TrainState, Data], tuple[TrainState, EpochMetrics]]:
    """Compiles one epoch of a phase with its evaluations, over [seeds, configs].

    Args:
      phase: what to run.
      batch_size, shuffle, preprocess: see `train_epoch`.
      evaluate_after: score both parts of the data after the epoch, if the phase predicts.
      diagnose_after: look inside after the epoch, if the phase can be, see `qjax.diagnostics`.
      mesh: with axes "seeds" and "configs"; None for one device.
      cache: bytes of fast memory that a device has, see `qjax.replicas.fitting`; replicas that do
        not fit in are trained after the others. None: all at once.

    Returns:
      A jitted function of (keys [seeds], epoch number from 0, settings [configs], states [seeds,
      configs], data), giving states and metrics [seeds, configs]. The states passed in are donated.
      Pass the data as an argument: captured as a constant it costs many seconds of compilation.
    """

    def epoch(key, number, settings, state, data):
        key = jax.random.fold_in(key, number)
        looking = diagnose_after and phase.probe is not None
        before = phase.show(settings, state) if looking and phase.show is not None else None
        state, objective, writes, ranges = train_epoch(
            phase,
            key,
            settings,
            state,
            data.train,
            batch_size=batch_size,
            shuffle=shuffle,
            preprocess=preprocess,
            epoch=number,
        )
        train = test = None
        if evaluate_after and phase.predict is not None:
            train, test = _scores(phase, settings, state, data, preprocess)
        diagnosis = None
        if looking:
            images, labels = (part[:batch_size] for part in data.train)
            batch = Batch(preprocess(images), labels)
            steps = -(-len(data.train.labels) // batch_size)
            last = _now(settings, number, (steps - 1) / steps)
            # The epoch splits its key in two: 2 is a number that it has not used.
            diagnosis = look(phase, jax.random.fold_in(key, 2), last, state, before, batch)
        finite = metrics.all_finite(memories.behind(settings.memory, state.held))
        return state, EpochMetrics(objective, writes, train, test, ranges, finite, diagnosis)

    compiled = compile_replicated(epoch, "r..r.", "..rr.", mesh, donate=(3,), cache=cache)

    def check(key, number, settings, state, data):
        del key, number
        _check_data(phase, preprocess, settings, state, data)

    return _checked(compiled, check)


def make_evaluation(
    phase: Phase, *, preprocess: Callable[[Array], Array], mesh: Mesh | None = None
) -> Callable[[Settings, TrainState, Data], tuple[Score, Score]]:
    """(settings [configs], states [seeds, configs], data) -> scores on training and test part."""

    def evaluation(settings, state, data):
        return _scores(phase, settings, state, data, preprocess)

    compiled = compile_replicated(evaluation, ".r.", "rr.", mesh)
    return _checked(compiled, functools.partial(_check_data, phase, preprocess))


def make_wait(mesh: Mesh | None = None) -> Callable[[Array, Array, Settings, TrainState], Any]:
    """(keys [seeds], seconds [configs], settings [configs], states [seeds, configs]) -> states.

    So long after the last write as `seconds` say, see `qjax.memories.wait`. Only the trained
    weights drift: predictions need no others.
    """

    def wait(key, seconds, settings, state):
        held = memories.wait(key, settings.memory, state.held, seconds)
        return state.replace(held=held)

    return compile_replicated(wait, "r..r", ".rrr", mesh)
