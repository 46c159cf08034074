"""Which networks the study of few bits tries on held-out data, and which of them it reports.

Held out is the last sixth of the training set. Seeds from `TUNING_SEED` on are of trials only, so
that no network is both chosen by and reported on.
"""

import statistics
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from experiments.cells import AXES, Cell, product
from experiments.data import HOLDOUT
from experiments.store import results
from qjax.kinds import kind_of
from qjax.memories import MEMORIES

__all__ = ["GIVEN", "TUNED", "TUNING_SEED", "candidates", "chosen"]

# What is tried where nothing is said; of other axes what is usual.
GIVEN: Mapping[str, Sequence[Any]] = {
    "algorithm": ["backprop", "fa", "dfa", "usf", "dni", "dni_linear", "hsic"],
    "dataset": ["mnist"],
    "n_layers": [2],
    "hidden_width": [100],
    "n_bits": [1, 2, 3, 4, None],
    "scope": ["global"],
    "update": list(MEMORIES),
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
      args: values of every axis by its name, and `tune_epochs`; as `experiments.lowbit` has them.

    Returns:
      Cells of one task side by side; a task is what differs in an axis that is not tuned. With few
      bits, a kind of grid that has none there gives way to asymm.
    """
    axes = {name: getattr(args, name) for name in (*TASKS, *TUNED)}
    axes |= {name: about.expand(axes[name]) for name, about in AXES.items() if about.expand}
    axes["dataset"] = [name + HOLDOUT for name in axes["dataset"]]
    axes |= {name: [args.tune_epochs] for name in _EPOCHS}
    return product(axes, _with_levels)


def _with_levels(cell: Cell) -> Cell:
    few = cell.n_bits is not None and cell.n_bits < kind_of(cell.quantizer).least
    return replace(cell, quantizer="asymm") if few and ":" not in cell.quantizer else cell


def chosen(
    tried: Iterable[Cell], finished: Iterable[Mapping[str, Any]], epochs: int
) -> list[Cell]:
    """Of cells that differ only in what is tuned the best one, on the whole data set.

    Args:
      tried: see `candidates`.
      finished: replicas, with those of `tried`; of several seeds the mean counts, and as 0 what
        has no accuracy.
      epochs: to train the chosen ones for.
    """
    tuned = results.by_cell(row for row in finished if row["seed"] >= TUNING_SEED)
    accuracy = {
        cell: statistics.fmean(row["test_accuracy"] or 0.0 for row in rows)
        for cell, rows in tuned.items()
    }
    best: dict[Cell, Cell] = {}
    for cell in tried:
        if cell in accuracy:
            task = replace(cell, **dict.fromkeys(TUNED))
            if task not in best or accuracy[cell] > accuracy[best[task]]:
                best[task] = cell
    return [
        replace(cell, dataset=cell.dataset.removesuffix(HOLDOUT), epochs=epochs,
                readout_epochs=epochs if cell.readout_epochs else 0)
        for cell in best.values()
    ]
