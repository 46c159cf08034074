"""How training's cost grows with width, depth and the number of networks trained at once.

Times groups on random images of MNIST's size, quantized to 8 bits as in the thesis, and draws
milliseconds, memory and compilation against each, beside the least that the machine could need for
them: products at its best, or weights and optimizer state moved once, whichever takes longer.
--stored fills a result store with that many made-up networks instead.
"""

import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments import benchmark, commandline
from experiments.benchmark import growth, stores
from experiments.cells import preset_of
from experiments.commandline import options
from experiments.report import Column, Table, markdown
from experiments.store import FILE_NAME, StoreError
from qjax.algorithms import ALGORITHMS

__all__ = ["main"]


def _parser() -> options.Parser:
    p = options.Parser(prog="experiments.growth", description=__doc__)
    for_vectors = [word for word in ALGORITHMS if not preset_of(word).cuts]
    p.add_argument("--algorithm", type=options.one_of(for_vectors), default="backprop",
                   help="to train by [backprop]")
    for name, axis in growth.AXES.items():
        usual = " ".join(map(str, axis.values))
        p.add_argument(f"--{name}", nargs="*", type=options.whole(1), default=list(axis.values),
                       help=f"{axis.label} [{usual}]")
    p.add_argument("--stored", type=options.whole(1), default=None, metavar="N",
                   help="no training: seconds to claim, record and export N networks, rounded up "
                   "to a multiple of 200, in a new store in OUT, on which plot, tables and others "
                   "can be timed")
    p.add_argument("--out", type=Path, default=None,
                   help="folder of the picture and of the numbers [figures/growth], or of the "
                   "store")
    return p


def _table(rows: Sequence[dict]) -> Table:
    """Exponents, first and last of an axis, since caches make them change on the way."""
    lines = []
    for name in growth.AXES:
        values = sorted(row["value"] for row in rows if row["axis"] == name)
        if len(values) > 1:
            found = [growth.exponents(rows, name, column) for column in growth.COSTS]
            lines.append((name, f"{values[0]} to {values[-1]}", *(
                "-" if math.isnan(own[-1]) else f"{own[0]:.2f} ... {own[-1]:.2f}"
                for own in found)))
    columns = ("along", "values", *(cost.label for cost in growth.COSTS.values()))
    return Table("How costs grow", ("p of cost ~ value^p between the first two and the last two "
                                    "values.",), tuple(map(Column, columns)), tuple(lines))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = _parser()
    args = p.parse_args(arguments)
    if args.stored:
        if args.out is None:
            p.error("--stored: expected a folder for the store, --out FOLDER")
        if (args.out / FILE_NAME).exists():
            p.error(f"{args.out} has a result store already: choose another folder with --out")
        try:
            found = stores.fill(args.out, args.stored)
        except (OSError, StoreError) as error:
            p.error(str(error))
        for name, value in found.items():
            print(f"{name}: {value:,}" if isinstance(value, int) else
                  f"{name}: {value:.3g}{'' if name == 'MiB' else ' s'}")
        return 0
    axes = {name: list(dict.fromkeys(getattr(args, name))) for name in growth.AXES}
    if not any(axes.values()):
        p.error("nothing to measure: give some of --width, --depth, --replicas a value")
    args.out = args.out or Path("figures/growth")
    commandline.require("matplotlib", "experiments.growth")
    from experiments.benchmark import growth_figure
    from experiments.report import look

    console = Console(emoji=False, width=None if sys.stdout.isatty() else 140)
    start = time.perf_counter()

    def tell(text):
        console.print(f"{time.perf_counter() - start:4.0f} s: {text}", highlight=False)

    try:
        args.out.mkdir(parents=True, exist_ok=True)
        machine = benchmark.about_machine()
        rows = growth.grown(args.algorithm, axes, machine, tell)
        numbers = args.out / f"growth-{args.algorithm}.json"
        numbers.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
        title = (f"What {args.algorithm} costs: 784 inputs, 10 classes, batch "
                 f"{benchmark.Shape().batch_size}, {machine['cores']} cores\ndotted: products at "
                 "the machine's best or bytes moved once, the slower; weights and optimizer state")
        files = look.save(growth_figure.plot_growth(rows, title), args.out,
                          f"growth-{args.algorithm}", ("png", "pdf"))
    except OSError as error:
        p.error(f"cannot write to {args.out}: {error.strerror}")
    print("\n".join([markdown(_table(rows)), *map(str, (numbers, *files))]))
    return 0


if __name__ == "__main__":
    commandline.run(main)
