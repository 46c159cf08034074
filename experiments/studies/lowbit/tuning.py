"""Which networks the study of few bits tries on held-out data, and which of them it reports.

Held out is the last sixth of the training set. Seeds from `TUNING_SEED` on are of trials only, so
that no network is both chosen by and reported on. The best share of the candidates goes on to
longer trials (successive halving: Jamieson and Talwalkar 2016, "Non-stochastic best arm
identification and hyperparameter optimization"); each trial starts anew, as a learning rate that
falls to zero takes another course in a longer training.
"""

import math
import statistics
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from experiments.cells import AXES, Cell, kinds, product
from experiments.data import HOLDOUT
from experiments.store import results
from qjax.kinds import kind_of
from qjax.memories import MEMORIES

__all__ = ["GIVEN", "TUNED", "TUNING_SEED", "candidates", "chosen", "promoted"]

# What is tried where nothing is said; of other axes what is usual.
GIVEN: Mapping[str, Sequence[Any]] = {
    "algorithm": ["backprop", "fa", "dfa", "usf", "dni", "dni_linear", "hsic"],
    "dataset": ["mnist"],
    "n_layers": [2],
    "hidden_width": [100],
    "n_bits": [1, 2, 3, 4, None],
    "scope": ["global"],
    "update": [word for word in MEMORIES if kinds.has_levels(word)],
    "optimizer": ["adam"],
    "lr": [0.006, 0.02, 0.06],
    "gamma": [1.0],
    "weight_decay": [0.0],
    "batch_size": [256],
    "schedule": ["linear"],
    "gain": [0.75, 1.0, 1.5, 2.0],
    "bias": ["float"],
    "synthesizer_lr": [5e-5, 1.5e-4, 5e-4],
}
_EPOCHS = ("epochs", "readout_epochs")
# Axes of which the best value is chosen, and those that make tasks of their own; the last one's
# values change first.
TUNED = (*(first := ("lr", "gain", "batch_size", "schedule", "synthesizer_lr")),
         *(name for name, about in AXES.items() if about.tuned and name not in first))
TASKS = (*(first := ("network", "dataset", "algorithm", "n_bits", "update")),
         *(name for name in AXES if name not in (*first, *TUNED, *_EPOCHS)))
TUNING_SEED = 1000  # and those above: of none of the networks that are reported


def candidates(args: Namespace) -> list[Cell]:
    """All cells among which the held-out data decide.

    Args:
      args: values of every axis by its name, and `tune_epochs`, of which the first counts; as
        `experiments.lowbit` has them.

    Returns:
      Cells of one task side by side; a task is what differs in an axis that is not tuned. With few
      bits, a kind of grid that has none there gives way to asymm.
    """
    axes = {name: getattr(args, name) for name in (*TASKS, *TUNED)}
    axes |= {name: about.expand(axes[name]) for name, about in AXES.items() if about.expand}
    axes["dataset"] = [name + HOLDOUT for name in axes["dataset"]]
    axes |= {name: args.tune_epochs[:1] for name in _EPOCHS}
    return product(axes, _with_levels)


def _with_levels(cell: Cell) -> Cell:
    few = cell.n_bits is not None and cell.n_bits < kind_of(cell.quantizer).least
    return replace(cell, quantizer="asymm") if few and ":" not in cell.quantizer else cell


def promoted(
    tried: Iterable[Cell], finished: Iterable[Mapping[str, Any]], epochs: int, one_in: int
) -> list[Cell]:
    """Of cells that differ only in what is tuned the best ones, to be tried for longer.

    Args:
      tried: see `candidates`.
      finished: replicas, with those of `tried`; of several seeds the mean counts, and as 0 what
        has no accuracy. Cells without any are left out.
      epochs: to train them for now.
      one_in: of so many one goes on, and always one.
    """
    return [
        replace(cell, epochs=epochs, readout_epochs=epochs if cell.readout_epochs else 0)
        for ranked in _ranked(tried, finished)
        for cell in ranked[: math.ceil(len(ranked) / one_in)]
    ]


def chosen(
    tried: Iterable[Cell], finished: Iterable[Mapping[str, Any]], epochs: int
) -> list[Cell]:
    """The best one of every task, on the whole data set; see `promoted`."""
    return [
        replace(ranked[0], dataset=ranked[0].dataset.removesuffix(HOLDOUT), epochs=epochs,
                readout_epochs=epochs if ranked[0].readout_epochs else 0)
        for ranked in _ranked(tried, finished)
    ]


def _ranked(
    tried: Iterable[Cell], finished: Iterable[Mapping[str, Any]]
) -> list[list[Cell]]:
    """Per task its cells that have an accuracy, the best first; of equal ones the first tried."""
    tuned = results.by_cell(row for row in finished if row["seed"] >= TUNING_SEED)
    accuracy = {
        cell: statistics.fmean(row["test_accuracy"] or 0.0 for row in rows)
        for cell, rows in tuned.items()
    }
    tasks: dict[Cell, list[Cell]] = {}
    for cell in tried:
        if cell in accuracy:
            tasks.setdefault(replace(cell, **dict.fromkeys(TUNED)), []).append(cell)
    return [sorted(cells, key=accuracy.__getitem__, reverse=True) for cells in tasks.values()]
