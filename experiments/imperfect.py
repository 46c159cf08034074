"""Which learning algorithm stands a real circuit best? Trains on ideal and on imperfect devices.

For every algorithm rate and gain are chosen on ideal devices, on held-out data; networks are then
trained, with other seeds, on these and on devices with one imperfection at a time. Say nothing to
train all of it; --report draws what there is.
"""

import signal

if __name__ == "__main__":
    # The imports below take a second or two. There is nothing to lose yet: end without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from collections.abc import Sequence
from pathlib import Path

from experiments import commandline, sweep
from experiments.cells import Replica
from experiments.commandline import options
from experiments.data import HOLDOUT, NAMES
from experiments.report import FORMATS, markdown, tell
from experiments.store import results
from experiments.studies import imperfect
from experiments.studies.lowbit import TUNING_SEED
from qjax.algorithms import ALGORITHMS

__all__ = ["main", "parser"]


def parser() -> options.Parser:
    """The command line of `python -m experiments.imperfect`."""
    p = options.Parser(prog="experiments.imperfect", description=__doc__)
    p.add_argument("--algorithm", nargs="+", type=options.one_of(ALGORITHMS),
                   default=list(imperfect.ALGORITHMS),
                   help=f"[{' '.join(imperfect.ALGORITHMS)}]")
    p.add_argument("--imperfection", nargs="*", type=options.one_of(imperfect.IMPERFECTIONS),
                   default=list(imperfect.IMPERFECTIONS),
                   help=f"of {', '.join(imperfect.IMPERFECTIONS)} [all]")
    p.add_argument("--dataset", type=options.one_of(NAMES), default="mnist", help="[mnist]")
    p.add_argument("--lr", nargs="+", type=options.positive, default=[0.3, 1.0, 3.0, 10.0],
                   help="to choose from [0.3 1 3 10]")
    p.add_argument("--gain", nargs="+", type=options.positive, default=[1.0, 2.0],
                   help="to choose from [1 2]")
    p.add_argument("--epochs", type=options.whole(1), default=10, help="of the report [10]")
    p.add_argument("--tune-epochs", type=options.whole(1), default=3, help="of the choice [3]")
    p.add_argument("--seeds", type=options.whole(1), default=5, help="of the report [5]")
    p.add_argument("--report", action="store_true",
                   help="train nothing; draw and tabulate what --results have, to OUT")
    p.add_argument("--results", type=Path, nargs="+", default=None, metavar="PATH",
                   help="for --report: result folders, .sqlite files or exported CSV files [OUT]")
    sweep.add_arguments(p)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = parser()
    args = p.parse_args(arguments)
    if args.report:
        return _report(p, args)
    tried = imperfect.ideals(args.algorithm, args.dataset, args.lr, args.gain, args.tune_epochs)

    def trial(finished):
        return [Replica(cell, TUNING_SEED) for cell in tried]

    def report(finished):
        cells = [cell for ideal in imperfect.chosen(tried, finished, args.epochs)
                 for cell in imperfect.cells_of(ideal, args.imperfection)]
        return [Replica(cell, seed) for cell in cells for seed in range(args.seeds)]

    def told(rows, console):
        """The names of all those numbers are too much for a terminal."""
        held_out = rows and rows[0]["dataset"].endswith(HOLDOUT)
        if held_out:
            return tell(rows, console)
        console.print(f"{len(rows)} networks; draw and tabulate them with\n  python -m "
                      f"experiments.imperfect --report --out {args.out} --dataset {args.dataset}",
                      markup=False, soft_wrap=True, highlight=False)

    return sweep.main(p, args, told, trial, report)


def _report(p, args) -> int:
    commandline.require("matplotlib", "experiments.imperfect --report")
    from experiments.report import look, panels
    from experiments.studies.imperfect import report

    sources = args.results or [args.out]
    try:
        rows = [r for r in results.merge(sources) if r["dataset"] == args.dataset]
        found = report.accuracies_of(rows, args.dataset)
        if not found:
            p.error(f"no networks of this study on {args.dataset} in {' '.join(map(str, sources))}")
        args.out.mkdir(parents=True, exist_ok=True)
        title = (f"Test accuracy on {args.dataset} with one imperfection at a time, "
                 f"3 hidden layers of 100, {panels.seeds_of(rows)}\n"
                 "dotted: ideal devices; bands: ±1 standard deviation")
        files = look.save(report.plot_imperfections(found, title), args.out,
                          f"imperfect-{args.dataset}", ("png", "pdf"))
        table = report.tolerance_table(found, args.dataset)
        for ending, render in FORMATS.items():
            files.append(args.out / f"tolerance-{args.dataset}.{ending}")
            files[-1].write_text(render(table), encoding="utf-8")
    except (results.ResultsError, OSError) as error:
        p.error(str(error))
    print("\n".join([markdown(table), *map(str, files)]))
    return 0


if __name__ == "__main__":
    commandline.run(main, sweep.leave)
