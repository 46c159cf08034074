"""What replicas cost by XLA's own account: memory, so how many fit; bytes moved, so how long."""

import functools
import itertools
import math
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.cells import Cell
from experiments.data import Dataset
from experiments.sweep import devices
from experiments.sweep.program import Program
from qjax import training
from qjax.replicas import fitting, replicate, turn_of

__all__ = ["Footprint", "available", "footprint", "is_exhausted", "size"]

# Replicas that the estimate is made from. More than one, as they share what depends on the batch.
_SAMPLE = 8
# Memory is planned before machine code is generated: no need for that to be fast.
_QUICKLY: dict[str, Any] = {"xla_backend_optimization_level": 0}
# More than this on a device does not train faster (docs/performance.md).
_SATURATED = {"cpu": 16, "other": 1024}
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Footprint(NamedTuple):
    """What replicas need on a device.

    Attributes:
      fixed: bytes of the data set and the like.
      replica: bytes of every replica while it trains.
      moved: for each phase the bytes that an epoch of a replica reads and writes, evaluations
        included: not a time, but in proportion to it within a factor of 2 or so.
      held: bytes of `replica` that it keeps between steps.
      at_once: about how many train at the same time, others after them; then states are held twice,
        as they were and as they are. None: all.
    """

    fixed: int
    replica: int
    moved: tuple[float, ...] = ()
    held: int = 0
    at_once: int | None = None

    def of(self, replicas: int) -> int:
        """Bytes that so many replicas on one device take."""
        turn = replicas if self.at_once is None else turn_of(replicas, self.at_once)
        if turn == replicas:
            return self.fixed + replicas * self.replica
        places = -(-replicas // turn) * turn  # of results: the last turn is filled up
        return self.fixed + (replicas + places) * self.held + turn * self.replica

    def fitting(self, limit: int) -> int:
        """Replicas that fit into `limit` bytes on one device and are worth having there."""
        most = _SATURATED.get(jax.devices()[0].platform, _SATURATED["other"])
        # Up to the first that does not: a count that divides well may need less than a lower one.
        fit = itertools.takewhile(lambda count: self.of(count) <= limit, range(1, most + 1))
        return max(fit, default=1)


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _cost(function: Callable, *arguments: Any, donate: tuple = ()) -> tuple[int, float]:
    """What XLA reserves beyond the arguments, and what it moves, in bytes, for abstract arrays."""
    compiled = jax.jit(function, donate_argnums=donate).lower(*arguments).compile(_QUICKLY)
    analysis = compiled.memory_analysis()
    new = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    moved = (compiled.cost_analysis() or {}).get("bytes accessed", 1.0)
    return analysis.temp_size_in_bytes + max(0, new), moved


def footprint(cells: Sequence[Cell], dataset: Dataset, diagnose: bool = False) -> Footprint:
    """Estimates what a group needs: states, and the largest of step, evaluation and diagnosis.

    One step and one chunk of the evaluation are compiled, as XLA alone knows what it keeps in
    memory at the same time; the loops around them only repeat them. Within 30 % of what the whole
    program reserves (tests/sweep/test_footprint.py).
    """
    return _footprint(Program((cells[0].program,) * _SAMPLE, dataset, None), diagnose)


@functools.lru_cache(maxsize=64)
def _footprint(program: Program, diagnose: bool) -> Footprint:
    shape: Any = jax.ShapeDtypeStruct
    dataset = program.dataset
    examples = len(dataset.train_labels)
    batch = min(program.cells[0].batch_size, examples)
    chunk = min(training.EVALUATION_CHUNK, examples)
    steps = math.ceil(examples / batch)
    scored = math.ceil(examples / chunk) + math.ceil(len(dataset.test_labels) / chunk)
    keys = jax.eval_shape(lambda: jax.vmap(jax.random.key)(jnp.zeros(1, jnp.uint32)))
    inputs = jax.eval_shape(program.inputs, dataset.train_images[:1])

    def images(count):
        return shape((count, *inputs.shape[1:]), inputs.dtype)

    states = jax.eval_shape(program.init(), keys, program.settings(0))
    most, moved, held = 0, [], 0
    for number, phase in enumerate(program.algorithm.phases):
        settings = program.settings(number)
        states = jax.eval_shape(training.make_begin(phase), settings, states)
        labels = shape((batch, *dataset.train_labels.shape[1:]), dataset.train_labels.dtype)
        examples_of_step = training.Batch(images(batch), labels)
        step = replicate(functools.partial(training.counted_step, phase), "r.r.", ".rr.")
        needed, a_step = _cost(step, keys, settings, states, examples_of_step, donate=(2,))
        moved.append(steps * a_step / _SAMPLE)
        if phase.predict is not None:
            predict = replicate(phase.predict, ".r.", "rr.")
            for_scores, a_chunk = _cost(predict, settings, states, images(chunk))
            needed = max(needed, for_scores)
            moved[-1] += scored * a_chunk / _SAMPLE
        if diagnose and phase.probe is not None:
            before = jax.eval_shape(replicate(phase.show, ".r", "rr"), settings, states)
            look = replicate(functools.partial(training.look, phase), "r.rr.", ".rrr.")
            to_look, _ = _cost(look, keys, settings, states, before, examples_of_step)
            needed = _bytes(before) + max(needed, to_look)
        most, held = max((most, held), (_bytes(states) + needed, _bytes(states)))
    data = sum(a.nbytes for a in (
        dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels
    ))
    order = 3 * 4 * examples  # the epoch's permutation, while it is drawn
    held, fast = held // _SAMPLE, devices.cache()
    at_once = None if fast is None else fitting(fast, held)
    return Footprint(data + order, -(-most // _SAMPLE), tuple(moved), held, at_once)


def available() -> int:
    """Bytes a device may use: most of what it reports; on a CPU its share of half the memory."""
    devices = jax.local_devices()
    stats = devices[0].memory_stats() if devices[0].platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(0.9 * stats["bytes_limit"])
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return machine // 2 // len(devices)


def size(text: str) -> int:
    """Bytes of a text like 500M or 1.5G; raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    if not match:
        raise ValueError(text)
    return int(float(match[1]) * _UNITS[match[2].upper()])


def is_exhausted(error: Exception) -> bool:
    """Does a runtime error say that a device is out of memory?"""
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()
