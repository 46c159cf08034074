"""Which learning algorithm stands a real circuit best? Trains on ideal and on imperfect devices.

For every algorithm rate and gain are chosen on ideal devices, on held-out data; networks are then
trained, with other seeds, on these and on devices with one imperfection at a time. On measured
devices, plainly and with every scheme for devices like them, they are chosen anew, with the
scheme's numbers. Say nothing to train all of it; --report draws what there is.
"""

import signal

if __name__ == "__main__":
    # The imports below take a second or two. There is nothing to lose yet: end without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import itertools
from collections.abc import Sequence
from pathlib import Path

from experiments import commandline, sweep
from experiments.cells import Cell, Replica, kinds
from experiments.commandline import options
from experiments.data import HOLDOUT
from experiments.report import FORMATS, in_file, markdown, tell
from experiments.store import results
from experiments.studies import imperfect
from experiments.studies.lowbit import TUNING_SEED
from qjax.algorithms import ALGORITHMS

__all__ = ["main", "parser"]

_SCHEMES = tuple(imperfect.SCHEMES)
_SCHEMED = ("backprop", "fa")  # trained with every scheme if nothing is said


def parser() -> options.Parser:
    """The command line of `python -m experiments.imperfect`."""
    p = options.Parser(prog="experiments.imperfect", description=__doc__)
    p.add_argument("--algorithm", nargs="+", type=options.one_of(ALGORITHMS), default=None,
                   help=f"[{' '.join(imperfect.ALGORITHMS)}; with a scheme {' '.join(_SCHEMED)}]")
    p.add_argument("--imperfection", nargs="+", type=options.one_of(imperfect.IMPERFECTIONS),
                   default=[], help=f"train with these only, of "
                   f"{', '.join(imperfect.IMPERFECTIONS)} [all]")
    p.add_argument("--device", nargs="+", type=options.one_of(imperfect.DEVICES), default=[],
                   help=f"train on these only, of {', '.join(imperfect.DEVICES)} [all]")
    p.add_argument("--scheme", nargs="+", type=options.one_of(imperfect.SCHEMES), default=[],
                   help=f"how gradients get to measured devices, of {', '.join(imperfect.SCHEMES)} "
                   "[all]")
    p.add_argument("--dataset", type=kinds.dataset, default="mnist", help="[mnist]")
    p.add_argument("--lr", nargs="+", type=options.positive, default=[],
                   help="to choose from [0.3 1 3 10, less where that is too much]")
    p.add_argument("--synthesizer-lr", nargs="+", type=options.positive, default=[],
                   help="of dni's synthesizers, to choose from [0.0001 0.0003 0.001]")
    p.add_argument("--gain", nargs="+", type=options.positive_or_none, default=[],
                   help="to choose from [1 2; on measured devices, plainly and by mixed precision, "
                   "also none]")
    p.add_argument("--epochs", type=options.whole(1), default=5, help="of the report [5]")
    p.add_argument("--tune-epochs", type=options.whole(1), default=2, help="of the choice [2]")
    p.add_argument("--tune-seeds", type=options.whole(1), default=1, help="of the choice [1]")
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
    if None in args.gain and _asked(args)[0]:
        p.error("--gain none: ideal devices need a gain; for measured ones say --device or "
                "--scheme")
    ideals, measured = _tried(args)
    if not ideals and not measured:
        if None in args.gain:
            p.error(f"nothing to train: {' '.join(args.scheme)} is not tried without a gain: add "
                    "--gain 1 2")
        p.error(f"nothing to train: {', '.join(args.device)} can be stepped one way only, in "
                f"pairs: --scheme {' '.join(imperfect.OF_PAIRS)}")

    def trial(finished):
        return [Replica(cell, TUNING_SEED + number) for cell in ideals + measured
                for number in range(args.tune_seeds)]

    def report(finished):
        cells = [cell for ideal in imperfect.chosen(ideals, finished, args.epochs)
                 for cell in imperfect.cells_of(ideal, _asked(args)[0])]
        cells += imperfect.chosen(measured, finished, args.epochs)
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


def _asked(args) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    """(imperfections, devices, schemes) to train: what is named, all where nothing is."""
    if args.device or args.scheme:
        return args.imperfection, args.device or imperfect.DEVICES, args.scheme or _SCHEMES
    if args.imperfection:
        return args.imperfection, (), ()
    return tuple(imperfect.IMPERFECTIONS), imperfect.DEVICES, _SCHEMES


def _tried(args) -> tuple[list[Cell], list[Cell]]:
    """Cells on held-out data: on ideal devices, and on measured ones."""
    imperfections, devices, schemes = _asked(args)
    names = args.algorithm or imperfect.ALGORITHMS
    ideals = imperfect.ideals(names if imperfections else (), args.dataset, args.lr,
                              args.gain or (1.0, 2.0), args.tune_epochs, args.synthesizer_lr)
    measured = [
        cell
        for device, scheme in itertools.product(devices, schemes)
        for name in (names if args.algorithm or scheme == imperfect.PLAIN else _SCHEMED)
        for cell in imperfect.tried_on(name, device, scheme, args.dataset,
                                       args.gain or (None, 1.0, 2.0), args.tune_epochs, args.lr,
                                       args.synthesizer_lr)]
    return ideals, measured


def _report(p, args) -> int:
    commandline.require("matplotlib", "experiments.imperfect --report")
    from experiments.report import look, panels
    from experiments.studies.imperfect import measured, report

    sources, name = args.results or [args.out], args.dataset
    try:
        everything = results.merge(sources)
        rows = [r for r in everything if r["dataset"] == name]
        imperfections = report.accuracies_of(rows, name)
        devices = measured.accuracies_on(everything, name)
        if not imperfections and not devices:
            p.error(f"no networks of this study on {name} in {' '.join(map(str, sources))}")
        args.out.mkdir(parents=True, exist_ok=True)
        about = f"3 hidden layers of 100, {panels.seeds_of(rows)}"
        drawn, tables = {}, {}
        if not devices or any(len(own) > 1 for own in imperfections.values()):
            drawn["imperfect"] = report.plot_imperfections(
                imperfections, f"Test accuracy on {name} with one imperfection at a time, {about}\n"
                "means and ±1 standard deviation; dotted: ideal devices; a network that diverged "
                "counts as 0")
            tables["tolerance"] = report.tolerance_table(imperfections, name)
        if devices:
            drawn["devices"] = measured.plot_devices(
                devices, f"Test accuracy on {name} by device, {about}, means; "
                "white: not trained")
            tables["devices"] = measured.device_table(devices, name)
        files: list[Path] = []
        for stem, figure in drawn.items():
            files += look.save(figure, args.out, f"{stem}-{name}", ("png", "pdf"))
        for stem, table in tables.items():
            for ending, render in FORMATS.items():
                files.append(args.out / in_file(f"{stem}-{name}.{ending}"))
                files[-1].write_text(render(table), encoding="utf-8")
    except (results.ResultsError, OSError) as error:
        p.error(str(error))
    print("\n".join([*map(markdown, tables.values()), *map(str, files)]))
    return 0


if __name__ == "__main__":
    commandline.run(main, sweep.leave)
