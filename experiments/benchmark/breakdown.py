"""Measures one group of replicas: the whole of it, and where the time of a training step goes.

There is no clock inside a compiled program, and its parts do not run one after the other: the
compiler merges loops across them. So a part is what the epoch gets shorter by without it. What
parts share is counted with each of them or with none, hence they need not add up to the whole; the
line "rest" says by how much.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.shapes import CLASSES, Shape
from experiments.cells import NETWORKS, Cell, kinds, preset_of
from experiments.data import Dataset
from experiments.sweep import Program, make_mesh
from qjax import algorithms, training
from qjax.algorithms import Phase, Rules, TrainState
from qjax.memories import Float
from qjax.optimizers import OPTIMIZERS
from qjax.trees import nbytes

__all__ = [
    "PARTS",
    "REST",
    "TOTAL",
    "break_down",
    "make_program",
    "measure",
    "memory_bytes",
    "parts_of",
    "shortest",
    "step_bytes",
    "variants",
]

TRAIN, TEST = 60_000, 10_000

# In the order of the table; "rest" is what they leave of "total".
PARTS = (
    "forward/backward", "optimizer", "quantization", "weight ranges", "data order", "evaluation",
)
REST, TOTAL = "rest", "total"

def shortest(functions: Mapping[Any, Callable[[], Any]], rounds: int) -> dict[Any, float]:
    """Shortest of `rounds` timings of each function, in seconds: the one least disturbed.

    The functions take turns, so that a busy spell of the machine meets all of them; each is called
    once before, untimed.
    """
    for function in functions.values():
        function()
    best = dict.fromkeys(functions, math.inf)
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def make_program(
    algorithm: str, shape: Shape, replicas: int, steps: int, memory: str = "nearest",
    converters: bool = False,
) -> Program:
    """A group of equal cells on random images, filled up to the same number on every device.

    An epoch has at least `steps` steps: as many as it takes to evaluate in whole chunks. Devices
    are trained by plain gradient descent, with biases that are floats; everything else as in the
    thesis. Converters are aihwkit's: 7 and 9 bits, with noise, both ways.
    """
    preset = preset_of(algorithm).phases[0]
    cell = Cell(
        algorithm, "random", shape.n_layers, shape.hidden_width, 8, "symm", "local", memory,
        preset.optimizer, preset.lr, preset.gamma, preset.weight_decay, None,
        shape.batch_size, 1, 1, network=shape.network,
    )
    if not kinds.has_levels(memory):
        cell = replace(cell, n_bits=None, quantizer=kinds.NONE, scope=kinds.NONE, bias="float",
                       optimizer="sgd", lr=0.1, gamma=1.0)
    if converters:
        cell = replace(cell, dac_bits=7, adc_bits=9, error_dac_bits=7, error_adc_bits=9,
                       read_noise=0.06)
    rng, chunk = np.random.default_rng(0), training.EVALUATION_CHUNK

    def part(count):
        images = rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
        return images, rng.integers(0, CLASSES, count).astype(np.int32)

    train = math.ceil(steps * shape.batch_size / chunk) * chunk
    images, labels = part(train)
    test_images, test_labels = part(chunk)
    dataset = Dataset("random", images, labels, test_images, test_labels, CLASSES,
                      mean=0.1307, std=0.3081)
    mesh = make_mesh(1, replicas)
    fill = -replicas % mesh.shape["configs"]
    return Program((cell,) * (replicas + fill), dataset, mesh)


def _full_size(data: training.Data) -> training.Data:
    """Shapes of a data set of MNIST's size, laid out as `data`."""

    def part(batch, count):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype, sharding=x.sharding),
            batch,
        )

    return training.Data(part(data.train, TRAIN), part(data.test, TEST))


def step_bytes(held: Any, opt_state: Any) -> int:
    """Least bytes that a step moves: ``6 * held + 2 * opt_state``.

    Of memories that hold nothing but the weights. These are read by the forward and by the backward
    pass, gradients written and read once, weights and optimizer state read and written once by the
    update. Images, activations and whatever the compiler writes in between come on top; what stays
    in a cache moves less.
    """
    return 6 * nbytes(held) + 2 * nbytes(opt_state)


def memory_bytes(compiled: Any) -> int | None:
    """Of each device, by XLA's own account of a program; None where it gives none.

    Arguments, outputs and temporaries; a donated argument counts once, though it is both.
    """
    stats = compiled.memory_analysis()
    if stats is None:
        return None
    arguments_and_results = stats.argument_size_in_bytes + stats.output_size_in_bytes
    return arguments_and_results - stats.alias_size_in_bytes + stats.temp_size_in_bytes


def _device_peak() -> int | None:
    """Most bytes in use so far, of all devices together; None where devices do not count (CPU)."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [s.get("peak_bytes_in_use") for s in stats]
    return None if None in peaks else sum(peaks)


def _epoch(program: Program, phase: Phase, settings, states, data) -> Callable[[], None]:
    """A call that trains one epoch further, without evaluation; uses `states` up."""
    run = training.make_epoch(
        phase,
        evaluate_after=False,
        batch_size=program.cells[0].batch_size,
        shuffle=program.preset.shuffle,
        preprocess=program.inputs,
        mesh=program.mesh,
        cache=program.cache,
    )

    def epoch():
        nonlocal states
        states, metrics = run(_keys(), 0, settings, states, data)
        jax.block_until_ready(metrics)

    return epoch


def _evaluation(program: Program, states, data) -> Callable[[], None]:
    """A call that scores `states` on both parts of `data`, in the phase that predicts: the last."""
    last = len(program.algorithm.phases) - 1
    phase, settings = program.algorithm.phases[last], program.settings(last)
    score = training.make_evaluation(phase, preprocess=program.inputs, mesh=program.mesh)
    return lambda: jax.block_until_ready(score(settings, states, data))


def _steps(program: Program, examples: int) -> int:
    return math.ceil(examples / program.cells[0].batch_size)


def _share(data: training.Data) -> float:
    """Times `data` fits into both parts of MNIST."""
    return (TRAIN + TEST) / (len(data.train.labels) + len(data.test.labels))


def _keys() -> jax.Array:
    return jax.vmap(jax.random.key)(jnp.zeros(1, jnp.uint32))


def measure(program: Program, replicas: int, rounds: int = 4) -> dict[str, Any]:
    """Times one group, all on one seed, in the algorithm's first phase.

    Args:
      program: from `make_program`.
      replicas: how many count; the program's others only fill up the devices.
      rounds: timings, of which the shortest counts.

    Returns:
      algorithm, network, n_layers, hidden_width, batch_size, replicas, memory, converters;
      steps: of a timed epoch; ms_per_replica_step;
      evaluation_s: one replica's, of MNIST's training and test set;
      replica_epochs_per_second: with both evaluations, at MNIST's size;
      compile_s: of the first phase's epoch with its evaluations, if it has any;
      memory_bytes: `memory_bytes`, over all devices, of an epoch at MNIST's size with its
      evaluations, in the phase that needs most; memory_bytes_per_replica: the same without the
      data set (each device has its own copy), by replicas;
      device_peak_bytes: of the timed (shorter) epochs, by the devices' own count; None if they
      keep none or if something before needed more;
      bytes_per_replica_step: see `step_bytes`;
      state_bytes_per_replica: of what is held and what the optimizer keeps.
    """
    cell, mesh, phases = program.cells[0], program.mesh, program.algorithm.phases
    data, init, peak_before = program.data, program.init(), _device_peak()
    full = _full_size(data)
    settings = [program.settings(number) for number in range(len(phases))]
    states = [training.make_begin(phase, mesh)(own, init(_keys(), settings[0]))
              for phase, own in zip(phases, settings, strict=True)]
    moved = step_bytes(states[0].held, states[0].opt_state) // len(program.cells)
    kept = nbytes((states[0].held, states[0].opt_state)) // len(program.cells)
    compile_s, memory = [], []
    for number in range(len(phases)):
        start = time.perf_counter()
        jitted: Any = program.epoch(number)
        lowered = jitted.lower(_keys(), 0, settings[number], states[number], full)
        compiled = lowered.compile()
        compile_s.append(time.perf_counter() - start)
        memory.append(memory_bytes(compiled))

    epoch = _epoch(program, phases[0], settings[0], states[0], data)
    evaluation = _evaluation(program, init(_keys(), settings[0]), data)
    best = shortest({"epoch": epoch, "evaluation": evaluation}, rounds)
    steps = _steps(program, len(data.train.labels))
    step_s = best["epoch"] / steps / replicas
    evaluation_s = best["evaluation"] * _share(data) / replicas
    peak = _device_peak()
    total = None if None in memory else max(memory) * mesh.size
    own = None if total is None else (total - nbytes(full) * mesh.size) / replicas
    return {
        "algorithm": cell.algorithm,
        "memory": cell.update,
        "converters": cell.adc_bits is not None,
        "batch_size": cell.batch_size,
        "network": cell.network,
        "n_layers": cell.n_layers,
        "hidden_width": cell.hidden_width,
        "replicas": replicas,
        "steps": steps,
        "ms_per_replica_step": 1e3 * step_s,
        "evaluation_s": evaluation_s,
        "replica_epochs_per_second": 1 / (_steps(program, TRAIN) * step_s + evaluation_s),
        "compile_s": compile_s[0],
        "memory_bytes": total,
        "memory_bytes_per_replica": own,
        "device_peak_bytes": peak if peak is not None and peak > peak_before else None,
        "bytes_per_replica_step": moved,
        "state_bytes_per_replica": kept,
    }


def _altered(program: Program, optimizer: str) -> Phase:
    """The program's first phase with another optimizer."""
    cell = program.cells[0]
    rules = Rules(OPTIMIZERS[optimizer](), cell.gradient_bits is not None)
    network = NETWORKS[cell.network](cell, program.dataset.outputs)
    return algorithms.ALGORITHMS[cell.algorithm](network, rules).phases[0]


def _without_ranges(phase: Phase) -> Phase:
    """The phase with its state where the epoch looks for no weights: no ranges, no finite check."""

    def begin(settings, state):
        inner: Any = phase.begin(settings, state)
        return TrainState({"nothing": jnp.zeros(())}, inner)

    def step(key, settings, state, batch):
        inner, objective = phase.step(key, settings, state.collections, batch)
        return state.replace(collections=inner), objective

    return Phase(phase.name, begin, step)


def _data_only() -> Phase:
    """A phase that trains nothing: its objective is the sum of the batch."""

    def begin(settings, state):
        del settings, state
        return TrainState({"nothing": jnp.zeros(())}, ())

    def step(key, settings, state, batch):
        del key, settings
        # The barrier makes the compiler write the batch out, as it must for a matrix product.
        inputs, labels = jax.lax.optimization_barrier(batch)
        return state, jnp.sum(inputs) + jnp.sum(labels)

    return Phase("data", begin, step)


class Variant(NamedTuple):
    """A phase to time; `floats`: with weights that no memory holds."""

    phase: Phase
    floats: bool = False

    def settings(self, own: Any) -> Any:
        """The program's settings with the memory of this variant."""
        return own.replace(memory=Float()) if self.floats else own


def variants(program: Program) -> dict[str, Variant]:
    """The program's first phase, whole and with parts left out.

    Returns:
      "all": as it runs. "optimizer": plain gradient descent in its place. "quantization": weights
      stay as they are. "weight ranges": not recorded, nor a check for infinities.
      "bare": all three left out. "data order": only batches, nothing trained. Where the
      program has plain gradient descent anyway, "optimizer" is "all".
    """
    own = program.cells[0].optimizer
    whole, plain = program.algorithm.phases[0], "sgd"
    simple = whole if own == plain else _altered(program, plain)
    return {
        "all": Variant(whole),
        "optimizer": Variant(simple),
        "quantization": Variant(whole, floats=True),
        "weight ranges": Variant(_without_ranges(whole)),
        "bare": Variant(_without_ranges(simple), floats=True),
        "data order": Variant(_data_only()),
    }


def parts_of(times: Mapping[str, float]) -> dict[str, float]:
    """Parts from the times of `variants` and of "evaluation", all in one unit.

    A part is "all" less the time without it; forward and backward pass are "bare" less "data
    order", so the plain addition of an update counts with them. Data order and evaluation are
    programs of their own. Any part may come out negative: noise, or a merge that was lost.

    Returns:
      `PARTS`, then "rest" and "total": all that the epoch does, evaluation included.
    """
    left_out = ("optimizer", "quantization", "weight ranges")
    parts = {
        "forward/backward": times["bare"] - times["data order"],
        **{part: times["all"] - times[part] for part in left_out},
        "data order": times["data order"],
        "evaluation": times["evaluation"],
    }
    total = times["all"] + times["evaluation"]
    return {**parts, REST: total - sum(parts.values()), TOTAL: total}


def break_down(program: Program, replicas: int, rounds: int = 8) -> list[dict[str, Any]]:
    """Times the parts of a group's first phase.

    The learning rate is 0, so that no variant diverges: times do not depend on it. Evaluation is
    spread over the steps of an epoch, both at MNIST's size.

    Args:
      program: from `make_program`.
      replicas: how many count; the program's others only fill up the devices.
      rounds: timings of each variant, of which the shortest counts.

    Returns:
      A row per part, see `parts_of`: algorithm, replicas, part, ms_per_replica_step.
    """
    settings, data, init = program.settings(0), program.data, program.init()
    still = replace(settings, learning_rate=jnp.zeros_like(settings.learning_rate))
    phases = variants(program)
    functions: dict[Any, Callable[[], None]] = {}
    for variant in dict.fromkeys(phases.values()):
        own = variant.settings(still)
        states = training.make_begin(variant.phase, program.mesh)(own, init(_keys(), own))
        functions[variant] = _epoch(program, variant.phase, own, states, data)
    functions["evaluation"] = _evaluation(program, init(_keys(), settings), data)
    seconds = shortest(functions, rounds)
    steps = _steps(program, len(data.train.labels))
    times = {name: seconds[variant] / steps for name, variant in phases.items()}
    times["evaluation"] = seconds["evaluation"] * _share(data) / _steps(program, TRAIN)
    return [
        {
            "algorithm": program.cells[0].algorithm,
            "replicas": replicas,
            "part": part,
            "ms_per_replica_step": 1e3 * value / replicas,
        }
        for part, value in parts_of(times).items()
    ]
