"""Trained networks as files, a `qjax.saved.Trained` for every replica of a chunk."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jaxlib
import numpy as np
from flax.traverse_util import unflatten_dict

import qjax
from experiments.cells import Chunk, Replica, crossbar_of, memory_of
from experiments.sweep import processes
from experiments.sweep.program import Program
from experiments.sweep.reports import EpochReport
from qjax.algorithms import TrainState
from qjax.memories import is_held
from qjax.numbers import has_grid
from qjax.saved import Trained, codes_of
from qjax.trees import paths_of

__all__ = ["FOLDER", "NOTHING", "SAVES", "Keeper", "Save", "file_of"]

FOLDER = "networks"
SAVES = ("none", "final", "best")


_SMALL = 50e6  # numbers of all networks of a sweep together that are kept if nothing is said


class Save(NamedTuple):
    """Which networks are kept.

    Attributes:
      when: of `SAVES`; "best" is the epoch of the best test accuracy.
      most: numbers that may hold the weights of one that is kept.
    """

    when: str = "none"
    most: float = math.inf

    @classmethod
    def of(cls, word: str | None, count: int) -> "Save":
        """What a word asks for; None: the final ones of so many networks, if they are small."""
        return cls("final", _SMALL / max(count, 1)) if word is None else cls(word)

    @property
    def is_asked(self) -> bool:
        """Are all networks to be kept, however large?"""
        return self.when != "none" and self.most == math.inf


def file_of(out: Path, replica: str) -> Path:
    """Where the network of a replica is, if it was kept."""
    return out / FOLDER / f"{replica}.npz"


NOTHING = Save()


class Keeper:
    """Writes the networks of a chunk as they are trained. All processes make the same calls."""

    def __init__(self, out: Path, chunk: Chunk, program: Program, save: Save,
                 best: Mapping[str, float], warn: Callable[[str], None]):
        """`best`: test accuracy of the file that there is, by replica; `warn`: told what fails."""
        self._out, self._chunk, self._program, self._warn = out, chunk, program, warn
        self._best, self._save, self._told = dict(best), save, False

    def offer(self, told: EpochReport, states: TrainState, is_last: bool) -> None:
        """Keeps what is to be kept of an epoch that is over."""
        accuracies = {row["replica"]: row["test_accuracy"] for row in told.rows}
        better = [i for i, accuracy in accuracies.items()
                  if accuracy is not None and accuracy > self._best.get(i, -math.inf)]
        wanted = {"none": [], "best": better, "final": list(accuracies) if is_last else []}
        ids = wanted[self._save.when]
        if ids and _size(states) <= self._save.most:
            self._best |= {i: accuracies[i] for i in better}
            self._write(set(ids), states, told)

    def _write(self, ids: set[str], states: TrainState, told: EpochReport) -> None:
        program = self._program
        host = processes.collect({
            "params": program.weights(states), "collections": states.collections,
            "held": _bare(states.held), "fixed": _bare(states.fixed)})
        if not processes.is_first():
            return
        which = _which(states.held["blocks"])
        scores = {row["replica"]: row for row in told.rows}
        self._out.joinpath(FOLDER).mkdir(parents=True, exist_ok=True)
        places = itertools.product(range(len(self._chunk.seeds)), range(len(self._chunk.cells)))
        for replica, place in zip(self._chunk.replicas, places, strict=True):
            if replica.id in ids:
                own = jax.tree.map(lambda array, place=place: array[place], host)
                network = _trained(program, replica, own, which, scores[replica.id])
                try:
                    network.save(file_of(self._out, replica.id))
                except TypeError as error:
                    # Of the first process alone: the others shall go on as it does.
                    if not self._told:
                        self._warn(f"{replica.cell.label}: not kept: {error}")
                    self._told = True
                    return


def _size(states: TrainState) -> int:
    """Numbers that hold the weights of one replica."""
    return sum(math.prod(leaf.shape[2:]) for leaf in jax.tree.leaves(states.held))


def _bare(tree: Any) -> Any:
    """What is held, without word of who holds it."""
    return jax.tree.map(lambda node: node.state if is_held(node) else node, tree, is_leaf=is_held)


def _which(held: Sequence[Any]) -> dict[str, int]:
    """Path in a network's parameters -> number of the memory that holds that tensor."""
    numbers = jax.tree.map(lambda node: node.which, tuple(held), is_leaf=is_held)
    return dict(zip(paths_of(numbers), jax.tree.leaves(numbers), strict=True))


def _flat(tree: Any) -> dict[str, np.ndarray]:
    return dict(zip(paths_of(tree), map(np.asarray, jax.tree.leaves(tree)), strict=True))


def _trained(program: Program, replica: Replica, own: Mapping[str, Any], which: Mapping[str, int],
             scores: Mapping[str, Any]) -> Trained:
    cell, memories = replica.cell, memory_of(replica.cell, program.kind.cell).memories
    codes = {}
    for path, weights in _flat(own["params"]).items():
        memory = memories[which[path]]
        found = codes_of(weights, memory.grid) if has_grid(memory) else None
        if found is not None:
            codes[path] = found
    held, fixed = (unflatten_dict(_flat(own[name]), sep="/") for name in ("held", "fixed"))
    return Trained(
        network=program.algorithm.network, params=own["params"], collections=own["collections"],
        inputs=program.inputs, crossbar=crossbar_of(cell), codes=codes, held=held, fixed=fixed,
        about=_about(replica, program, scores))


def _about(replica: Replica, program: Program, scores: Mapping[str, Any]) -> dict:
    return {
        "id": replica.id, "config": asdict(replica.cell), "seed": replica.seed,
        "outputs": program.dataset.outputs, "data": program.dataset.fingerprint,
        **{name: scores[name] for name in ("epoch", "test_accuracy", "test_loss",
                                           "train_accuracy", "train_loss")},
        "versions": {"qjax": qjax.__version__, "jax": jax.__version__,
                     "jaxlib": jaxlib.__version__},
    }
