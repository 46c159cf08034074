"""Runs the thesis's study or a part: 4 algorithms, 2 data sets, 6 architectures, 29 cells each.

Say nothing to train all of it. What is in the result folder already is not trained again, so parts
add up; interrupt it whenever you like, and go on with --resume.
"""

import signal

if __name__ == "__main__":
    # The imports below take a second or two. There is nothing to lose yet: end without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from collections.abc import Sequence

from experiments import commandline, sweep
from experiments.cells import Replica
from experiments.commandline import options
from experiments.report import tell
from experiments.studies import thesis

__all__ = ["main", "parser"]


def parser() -> options.Parser:
    """The command line of `python -m experiments.thesis`."""
    p = options.Parser(prog="experiments.thesis", description=__doc__)
    p.add_argument(
        "--part", nargs="+", type=options.one_of(thesis.PARTS), default=[], metavar="WORD",
        help=f"only these algorithms, data sets, architectures: {' '.join(thesis.PARTS)} [all]",
    )
    p.add_argument("--seeds", type=options.whole(1), default=5, help="replicas of every cell [5]")
    p.add_argument("--first-seed", type=options.whole(0), default=0, help="seed of the first [0]")
    p.add_argument(
        "--epochs", type=options.whole(1), default=None,
        help="at most so many epochs in every phase: a shortened study, labelled as such "
             "[30; float networks 10; hsic 30 + 20]",
    )
    sweep.add_arguments(p)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = parser()
    args = p.parse_args(arguments)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    wanted = [Replica(c, seed) for c in thesis.cells(args.part, args.epochs) for seed in seeds]
    return sweep.main(p, args, tell, lambda finished: wanted)


if __name__ == "__main__":
    commandline.run(main, sweep.leave)
