"""Shows what is inside of one trained network: what it gets wrong, its weights, what it looks at.

The network is one that a run kept (--save final), by the beginning of its id or by --only, or any
file of one. Pictures (PNG) and numbers (.npz, .csv) go to a folder; what the data set or the
network does not have is left out, with a line that says why.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments import commandline

commandline.require("matplotlib", "experiments.inspect")

from experiments.commandline import options
from experiments.data import DataError, load
from experiments.inside import choosing, numbers, writing
from experiments.report import Column, Table, markdown
from experiments.store import StoreError, selection
from qjax import saved

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    selection.meet(arguments)
    p = options.Parser(prog="experiments.inspect", description=__doc__)
    p.add_argument("run", nargs="?", default="", metavar="RUN",
                   help="beginning of a replica's id, or a network's file, FILE.npz")
    p.add_argument("--results", type=Path, default=Path("results"), metavar="DIR",
                   help="folder of the run, its --out [results]")
    selection.add_only(p)
    p.add_argument("--best", action="store_true",
                   help="of several networks the one with the best test accuracy")
    p.add_argument("--out", type=Path, default=None, metavar="FOLDER",
                   help="to write to [DIR/inspect/ID]")
    p.add_argument("--data-dir", type=Path, default=None, help="as for experiments.run")
    p.add_argument("--steps", type=options.whole(1, 10_000), default=50,
                   help="points on the way of integrated gradients [50]")
    p.add_argument("--examples", type=options.whole(1, 200), default=None, metavar="N",
                   help="examples in a picture [24 mistakes; attributions: one a class, 4 to 12]")
    args = p.parse_args(arguments)
    try:
        file = choosing.chosen(args.run, args.results, args.only, args.best)
        trained = saved.load(file)
        name = trained.about.get("config", {}).get("dataset")
        if name is None:
            p.error(f"{file} does not say what it was trained on: expected the data set's name in "
                    "about['config']['dataset'], as experiments.run writes it")
        data = load(name, args.data_dir)
        numbers.check(trained, data)
    except (choosing.ChoiceError, StoreError, DataError, ValueError, OSError, ImportError,
            AttributeError) as error:  # the last two: blocks of one's own that are gone
        p.error(str(error))
    folder = args.out or choosing.folder_of(file, trained.about.get("id", file.stem))
    try:
        written = writing.write(trained, data, folder, args.steps, args.examples)
    except OSError as error:
        p.error(f"cannot write to {folder}: {error.strerror or error}")
    print(_told(trained, written, numbers.score_name(data.test_labels, numbers.loss_of(trained))))
    print(*written.files, sep="\n")
    for said in written.left_out:
        print(f"left out: {said}")
    return 0


def _told(trained: saved.Trained, written: writing.Written, score: str) -> str:
    rows = []
    for layer in written.layers:
        levels = "floats" if layer.levels is None else f"{layer.used} of {layer.levels}"
        ends = None if layer.at_ends is None else 100 * layer.at_ends
        rows.append((layer.path, "x".join(map(str, layer.shape)), layer.weights, levels,
                     100 * layer.at_zero, ends))
    recorded = trained.about.get("test_accuracy")
    on = numbers.tested_on(trained).capitalize()
    note = f"{on} {score} {written.score:.2f} %, recorded " + (
        "none" if recorded is None else f"{recorded:.2f} %")
    names = ("kernel", "shape", "weights", "levels used", "at zero %", "at the ends %")
    table = Table(numbers.name_of(trained), (f"{note}.",), tuple(Column(n, 1) for n in names),
                  tuple(rows))
    return markdown(table)


if __name__ == "__main__":
    commandline.run(main)
