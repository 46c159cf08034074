"""What trains with weights of 1 to 4 bits: tunes on held-out training data, then reports.

Weights exist only on the levels of a device with the range [-1, 1] (update rule latent excepted,
which keeps a float behind each); biases are floats, and so are dni's synthesizers, with a learning
rate of their own. For every algorithm, data set, width and update rule learning rates, schedule,
gain and batch size are chosen by the accuracy on the last sixth of the training set; networks with
the chosen ones are then trained on all of it, with other seeds.
"""

import signal

if __name__ == "__main__":
    # The imports below take a second or two. There is nothing to lose yet: end without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from collections.abc import Sequence

from experiments import commandline, sweep
from experiments.cells import NETWORKS, Replica
from experiments.commandline import options
from experiments.data import DATASETS
from experiments.report import tell
from experiments.studies.lowbit import ALGORITHMS_STUDIED, TUNING_SEED, candidates, chosen
from qjax.algorithms import ALGORITHMS
from qjax.schedules import SCHEDULES
from qjax.updates import UPDATE_RULES

__all__ = ["main", "parser"]


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
    p.add_argument("--update", nargs="+", type=options.one_of(UPDATE_RULES),
                   default=list(UPDATE_RULES), help="[all]")
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

    return sweep.main(p, args, tell, tune, report)


if __name__ == "__main__":
    commandline.run(main, sweep.leave)
