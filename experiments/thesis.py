"""Runs the thesis's study or a part: 4 algorithms, 2 data sets, 6 architectures, 29 cells each.

Say nothing to train all of it. What is in the result folder already is not trained again, so parts
add up; interrupt it whenever you like, and go on with --resume.
"""

import itertools
import signal

if __name__ == "__main__":
    # The imports below take a second or two. There is nothing to lose yet: end without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from collections.abc import Iterable, Sequence

from experiments import commandline
from experiments.cells import Cell, Replica
from experiments.commandline import options
from experiments.studies.thesis import protocol
from experiments.sweep import sweep

__all__ = ["cells", "main", "parser"]

_SHAPES = {f"{n},{width}": (n, width) for n, width in protocol.ARCHITECTURES}


def parser() -> options.Parser:
    """The command line of `python -m experiments.thesis`."""
    p = options.Parser(prog="experiments.thesis", description=__doc__)
    words = [*protocol.ALGORITHMS, *protocol.DATASETS, *_SHAPES]
    p.add_argument(
        "--part", nargs="+", type=options.one_of(words), default=[], metavar="WORD",
        help=f"only these algorithms, data sets, architectures: {' '.join(words)} [all]",
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


def cells(words: Iterable[str] = (), epochs: int | None = None) -> list[Cell]:
    """The study's cells, or those of a part.

    Args:
      words: algorithms, data sets and architectures ("2,100"); of a kind not mentioned, all.
      epochs: most in a phase; None for the thesis's counts.
    """
    words = set(words)

    def chosen(known):
        return [word for word in known if word in words] or list(known)

    found: list[Cell] = []
    for dataset, shape, algorithm in itertools.product(
        chosen(protocol.DATASETS), chosen(_SHAPES), chosen(protocol.ALGORITHMS)
    ):
        found += protocol.cells_of(algorithm, dataset, *_SHAPES[shape], epochs)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = parser()
    args = p.parse_args(arguments)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    wanted = [Replica(c, seed) for c in cells(args.part, args.epochs) for seed in seeds]
    return sweep.main(p, args, lambda finished: wanted)


if __name__ == "__main__":
    commandline.run(main, sweep.leave)
