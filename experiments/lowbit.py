"""What trains with weights of 1 to 4 bits: tunes on held-out training data, then reports.

Weights exist only on the levels of a device with the range [-1, 1], with what their memory keeps
behind them; biases are floats, and so are dni's synthesizers, with a learning rate of their own.
For every algorithm, data set, width and memory learning rates, schedule, gain and batch size are
chosen by the accuracy on the last sixth of the training set, the best share of the candidates going
on to longer trials; networks with the chosen ones are then trained on all of it, with other seeds.
"""

import signal

if __name__ == "__main__":
    # The imports below take a second or two. There is nothing to lose yet: end without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from collections.abc import Sequence
from dataclasses import fields

from experiments import commandline, sweep
from experiments.cells import Cell, Replica, add_flag, kinds
from experiments.commandline import options
from experiments.data import HOLDOUT
from experiments.report import tell
from experiments.studies.lowbit import GIVEN, TUNING_SEED, candidates, chosen, promoted

__all__ = ["main", "parser"]

_EPOCHS = ("epochs", "readout_epochs")
# Where the study has more to say of an axis than the axis itself.
_HELP = {
    "lr": "learning rates to choose from, in units of the range",
    "n_bits": "1 (asymm: -1 and 1) to 16 (symm), or float",
    "synthesizer_lr": "dni: those of the synthesizers to choose from; none: quantized, and trained "
                      "like the weights",
}


def parser() -> options.Parser:
    """The command line of `python -m experiments.lowbit`."""
    p = options.Parser(prog="experiments.lowbit", description=__doc__)
    axes = p.add_argument_group(
        "axes (one or several values each, [default]; of rates, schedules, gains, batch sizes and "
        "the like the best is chosen for every combination of the others)"
    )
    for column in fields(Cell):
        if column.name not in _EPOCHS:
            add_flag(axes, column, GIVEN.get(column.name), _HELP.get(column.name, ""))
    p.add_argument("--epochs", type=options.whole(1), default=30, help="of the report [30]")
    p.add_argument("--tune-epochs", type=options.whole(1), nargs="+", default=[3, 10],
                   help="of the choice, one number or rising ones, as the best go on [3 10]; with "
                   "few, what falls apart later is chosen")
    p.add_argument("--one-in", type=options.whole(2), default=4, metavar="N", help="of every N "
                   "candidates the best goes on to the next number of --tune-epochs [4]")
    p.add_argument("--seeds", type=options.whole(1), default=3, help="of the report [3]")
    p.add_argument("--tune-seeds", type=options.whole(1), default=1,
                   help="of the choice, by their mean accuracy [1]")
    sweep.add_arguments(p)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = parser()
    args = p.parse_args(arguments)
    held_out = [name for name in args.dataset if name.endswith(HOLDOUT)]
    if held_out:
        p.error(f"--dataset {held_out[0]}: the study holds data out itself; give "
                f"{held_out[0].removesuffix(HOLDOUT)}")
    if args.tune_epochs != sorted(set(args.tune_epochs)):
        p.error("--tune-epochs: expected rising numbers, got "
                f"{' '.join(map(str, args.tune_epochs))}")
    tried = candidates(args)
    try:
        kinds.check(args, tried)
    except ValueError as error:
        p.error(str(error))

    def survivors(finished, lengths):
        cells = tried
        for epochs in lengths:
            cells = promoted(cells, finished, epochs, args.one_in)
        return cells

    def trial(number):
        def stage(finished):
            seeds = range(TUNING_SEED, TUNING_SEED + args.tune_seeds)
            cells = survivors(finished, args.tune_epochs[1 : number + 1])
            return [Replica(cell, seed) for cell in cells for seed in seeds]

        return stage

    def report(finished):
        cells = chosen(survivors(finished, args.tune_epochs[1:]), finished, args.epochs)
        return [Replica(cell, seed) for cell in cells for seed in range(args.seeds)]

    trials = map(trial, range(len(args.tune_epochs)))
    return sweep.main(p, args, tell, *trials, report)


if __name__ == "__main__":
    commandline.run(main, sweep.leave)
