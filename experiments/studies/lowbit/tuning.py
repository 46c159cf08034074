"""Which networks the study of few bits tries on held-out data, and which of them it reports.

Held out is the last sixth of the training set. Seeds from `TUNING_SEED` on are of trials only, so
that no network is both chosen by and reported on.
"""

import itertools
import statistics
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from experiments.cells import NONE, Cell, preset_of
from experiments.data import HOLDOUT
from experiments.store import results

__all__ = ["ALGORITHMS_STUDIED", "TUNING_SEED", "candidates", "chosen"]

ALGORITHMS_STUDIED = ("backprop", "fa", "dfa", "usf", "dni", "dni_linear", "hsic")
TUNING_SEED = 1000  # and those above: of none of the networks that are reported


def candidates(args: Namespace) -> list[Cell]:
    """All cells among which the held-out data decide; `args` as `experiments.lowbit` has them."""
    cells = []
    tasks = itertools.product(
        args.network, args.dataset, args.algorithm, args.n_bits, args.update
    )
    choices = list(itertools.product(
        args.lr, args.gain, args.batch_size, args.schedule, args.synthesizer_lr
    ))
    for (network, dataset, algorithm, n_bits, update), choice in itertools.product(tasks, choices):
        lr, gain, batch_size, schedule, synthesizer_lr = choice
        quantized = n_bits is not None
        preset = preset_of(algorithm)
        later = preset.phases[1:]
        shape = (args.n_layers, args.hidden_width) if network == "mlp" else (0, 0)
        cells.append(Cell(
            algorithm, dataset + HOLDOUT, *shape, n_bits,
            ("asymm" if n_bits == 1 else "symm") if quantized else NONE,
            "global" if quantized else NONE, update if quantized else NONE,
            optimizer="adam", lr=lr, gamma=1.0, weight_decay=0.0, gradient_bits=None,
            batch_size=batch_size, epochs=args.tune_epochs,
            readout_epochs=args.tune_epochs if later else 0, schedule=schedule, gain=gain,
            bias="float" if quantized else "quantized", network=network,
            synthesizer_lr=synthesizer_lr if preset.synthesizers else None,
        ))
    return list(dict.fromkeys(cells))


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
            task = replace(cell, lr=0.0, schedule="", gain=None, batch_size=0, synthesizer_lr=None)
            if task not in best or accuracy[cell] > accuracy[best[task]]:
                best[task] = cell
    return [
        replace(cell, dataset=cell.dataset.removesuffix(HOLDOUT), epochs=epochs,
                readout_epochs=epochs if cell.readout_epochs else 0)
        for cell in best.values()
    ]
