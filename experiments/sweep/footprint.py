"""What replicas cost, by the arrays of a step: memory, so how many fit; bytes, so how long."""

import contextlib
import functools
import itertools
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.cells import Cell
from experiments.data import Dataset
from experiments.sweep.arrays import peak_and_moved
from experiments.sweep.program import Program
from qjax import training
from qjax.replicas import fitting, turn_of
from qjax.trees import nbytes

__all__ = ["Footprint", "available", "footprint", "is_exhausted", "size"]

# More on a device does not train faster where it is a CPU; elsewhere no more were ever timed
# (docs/performance.md).
_SATURATED = {"cpu": 16, "other": 1024}
# What Linux lets a container have, by its control group's second and first version.
_OF_CONTAINER = (Path("/sys/fs/cgroup/memory.max"),
                 Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
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
    moved: tuple[int, ...] = ()
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


def footprint(cells: Sequence[Cell], dataset: Dataset, diagnose: bool = False) -> Footprint:
    """Estimates what a group needs: states, and the largest of step, evaluation and diagnosis.

    One replica is traced and nothing compiled. Within 30 % of what compiled programs reserve for
    dense networks, devices included; for batches from some hundreds on up to twice as much and for
    LeNet three times, as XLA writes fewer of the results; of residual and recurrent networks down
    to 0.6 (tests/sweep/test_footprint.py).
    """
    return _footprint(Program((cells[0].program,), dataset, None), diagnose)


@functools.lru_cache(maxsize=64)
def _footprint(program: Program, diagnose: bool) -> Footprint:
    shape: Any = jax.ShapeDtypeStruct
    dataset = program.dataset
    examples = len(dataset.train_labels)
    batch = program.cells[0].batch_size
    chunk = min(training.EVALUATION_CHUNK, examples)
    steps = math.ceil(examples / batch)
    scored = math.ceil(examples / chunk) + math.ceil(len(dataset.test_labels) / chunk)
    key = jax.eval_shape(lambda: jax.random.key(0))
    inputs = jax.eval_shape(program.inputs, dataset.train_images[:1])

    def images(count):
        return shape((count, *inputs.shape[1:]), inputs.dtype)

    def needed(function: Callable, *arguments: Any) -> tuple[int, int]:
        """Without the last argument, examples, which replicas share."""
        peak, moved = peak_and_moved(function, *arguments)
        return peak - nbytes(arguments[-1]), moved

    def settings_of(phase):
        return jax.tree.map(lambda x: shape(x.shape[1:], x.dtype), program.settings(phase))

    state = jax.eval_shape(program.algorithm.init, key, settings_of(0), images(batch))
    most, moved, held = 0, [], 0
    for number, phase in enumerate(program.algorithm.phases):
        settings = settings_of(number)
        state = jax.eval_shape(phase.begin, settings, state)
        labels = shape((batch, *dataset.train_labels.shape[1:]), dataset.train_labels.dtype)
        examples_of_step = training.Batch(images(batch), labels)
        step = functools.partial(training.counted_step, phase)
        replica, a_step = needed(step, key, settings, state, examples_of_step)
        moved.append(steps * a_step)
        if phase.predict is not None:
            for_scores, a_chunk = needed(phase.predict, settings, state, images(chunk))
            replica = max(replica, for_scores)
            moved[-1] += scored * a_chunk
        if diagnose and phase.probe is not None:
            before = jax.eval_shape(phase.show, settings, state)
            look = functools.partial(training.look, phase)
            to_look, _ = needed(look, key, settings, state, before, examples_of_step)
            replica = max(nbytes(before) + replica, to_look)
        most, held = max((most, held), (replica, nbytes(state)))
    data = sum(a.nbytes for a in (
        dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels
    ))
    order = 3 * 4 * examples  # the epoch's permutation, while it is drawn
    fast = program.cache
    at_once = None if fast is None else fitting(fast, held)
    return Footprint(data + order, most, tuple(moved), held, at_once)


def available() -> int:
    """Bytes a device may use: most of what it reports; on a CPU its share of half the memory."""
    devices = jax.local_devices()
    stats = devices[0].memory_stats() if devices[0].platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(0.9 * stats["bytes_limit"])
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _OF_CONTAINER:
        with contextlib.suppress(OSError, ValueError):  # there is none, or it says "max"
            machine = min(machine, int(limit.read_text()))
    return machine // 2 // len(devices)


def size(text: str) -> int:
    """Bytes of a text like 500M or 1.5G; raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    found = int(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if not found:
        raise ValueError(text)
    return found


def is_exhausted(error: Exception) -> bool:
    """Does a runtime error say that a device is out of memory?"""
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()
