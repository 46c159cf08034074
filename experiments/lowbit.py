"""What trains with weights of 1 to 4 bits: tunes on held-out training data, then reports.

Weights exist only on the levels of a device with the range [-1, 1] (update rule latent excepted,
which keeps a float behind each); biases are floats, and so are dni's synthesizers, with a learning
rate of their own. For every algorithm, data set, width and update rule learning rates, schedule,
gain and batch size are chosen by the accuracy on the last sixth of the training set; networks with
the chosen ones are then trained on all of it, with other seeds.
"""

import itertools
import signal
import statistics

if __name__ == "__main__":
    # The imports below take a second or two. There is nothing to lose yet: end without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from experiments import commandline
from experiments.cells import NETWORKS, NONE, Cell, Replica, preset_of
from experiments.commandline import options
from experiments.data import DATASETS, HOLDOUT
from experiments.store import results
from experiments.sweep import sweep
from qjax.algorithms import ALGORITHMS
from qjax.memories import MEMORIES
from qjax.schedules import SCHEDULES

__all__ = ["candidates", "chosen", "main", "parser"]

ALGORITHMS_STUDIED = ("backprop", "fa", "dfa", "usf", "dni", "dni_linear", "hsic")
TUNING_SEED = 1000  # and those above: of none of the networks that are reported


def parser() -> options.Parser:
    """The command line of `python -m experiments.lowbit`."""
    p = options.Parser(prog="experiments.lowbit", description=__doc__)
    p.add_argument("--algorithm", nargs="+", type=options.one_of(ALGORITHMS),
                   default=ALGORITHMS_STUDIED, help=f"[{' '.join(ALGORITHMS_STUDIED)}]")
    p.add_argument("--dataset", nargs="+", type=options.one_of(DATASETS),
                   default=["mnist"], help="[mnist]")
    p.add_argument("--network", nargs="+", type=options.one_of(NETWORKS),
                   default=["mlp"], help="mlp, lenet (28x28 images) [mlp]")
    p.add_argument("--n-bits", nargs="+", type=options.bits, default=[1, 2, 3, 4, None],
                   help="1 (asymm: -1 and 1) to 16 (symm), or float [1 2 3 4 float]")
    p.add_argument("--update", nargs="+", type=options.one_of(MEMORIES),
                   default=list(MEMORIES), help="[all]")
    p.add_argument("--n-layers", type=options.whole(0), default=2,
                   help="mlp: hidden layers beyond the first [2]")
    p.add_argument("--hidden-width", type=options.whole(1), default=100,
                   help="mlp: units of every hidden layer [100]")
    p.add_argument("--lr", nargs="+", type=options.positive, default=[0.006, 0.02, 0.06],
                   help="Adam's learning rates to choose from, in units of the range "
                        "[0.006 0.02 0.06]")
    p.add_argument("--synthesizer-lr", nargs="+", type=options.positive_or_none,
                   default=[5e-5, 1.5e-4, 5e-4],
                   help="dni: those of the synthesizers to choose from; none: quantized, and "
                        "trained like the weights [5e-5 1.5e-4 5e-4]")
    p.add_argument("--schedule", nargs="+", default=["linear"],
                   type=options.one_of([s for s in SCHEDULES if s != "exponential"]),
                   help="how it may fall: constant, linear, cosine [linear]")
    p.add_argument("--gain", nargs="+", type=options.positive, default=[0.75, 1.0, 1.5, 2.0],
                   help="gains to choose from [0.75 1 1.5 2]")
    p.add_argument("--batch-size", nargs="+", type=options.whole(1), default=[256],
                   help="batch sizes to choose from [256]")
    p.add_argument("--epochs", type=options.whole(1), default=30, help="of the report [30]")
    p.add_argument("--tune-epochs", type=options.whole(1), default=10, help="of the choice [10]; "
                   "with few, what falls apart later is chosen")
    p.add_argument("--seeds", type=options.whole(1), default=3, help="of the report [3]")
    p.add_argument("--tune-seeds", type=options.whole(1), default=1,
                   help="of the choice, by their mean accuracy [1]")
    sweep.add_arguments(p)
    return p


def candidates(args) -> list[Cell]:
    """All cells among which the held-out data decide."""
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = parser()
    args = p.parse_args(arguments)
    tried = candidates(args)

    def tune(finished):
        seeds = range(TUNING_SEED, TUNING_SEED + args.tune_seeds)
        return [Replica(cell, seed) for cell in tried for seed in seeds]

    def report(finished):
        cells = chosen(tried, finished, args.epochs)
        return [Replica(cell, seed) for cell in cells for seed in range(args.seeds)]

    return sweep.main(p, args, tune, report)


if __name__ == "__main__":
    commandline.run(main, sweep.leave)
