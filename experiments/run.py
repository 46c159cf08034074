"""Trains every combination of the given values, grouped and batched, into a result store."""

import signal

if __name__ == "__main__":
    # The imports below take a second or two. There is nothing to lose yet: end without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
from collections.abc import Sequence
from dataclasses import fields

from experiments import commandline, sweep
from experiments.cells import (
    AXES,
    NONE,
    UNQUANTIZED,
    Cell,
    Replica,
    add_flag,
    by_flag,
    kinds,
    product,
    usual_of,
)
from experiments.commandline import options
from experiments.data import shape_of
from experiments.report import FEW_BITS, tell
from qjax.algorithms import ALGORITHMS

__all__ = ["cells_of", "main", "parser"]

_EPOCHS = ("epochs", "readout_epochs")  # one value each: a shorter training is another study


def parser() -> options.Parser:
    """The command line of `python -m experiments.run`."""
    p = options.Parser(prog="experiments.run", description=__doc__)
    axes = p.add_argument_group(
        "axes (one or several values each, [default]; all combinations are trained)"
    )
    for column in fields(Cell):
        if column.name not in _EPOCHS:
            add_flag(axes, column)
    p.add_argument("--seeds", type=options.whole(1), default=3, help="replicas of every cell [3]")
    p.add_argument("--first-seed", type=options.whole(0), default=0, help="seed of the first [0]")
    for name in _EPOCHS:
        about = AXES[name]
        (count,) = about.given
        p.add_argument("--" + name.replace("_", "-"), type=about.parse, default=count,
                       help=f"{about.help} [{count}]")
    sweep.add_arguments(p, ALGORITHMS)
    return p


def cells_of(args) -> list[Cell]:
    """The cells that parsed arguments ask for; what is not given comes from the presets."""
    cells = []
    for algorithm in args.algorithm:
        asked = {name: getattr(args, name) for name in AXES} | args.by_table.get(algorithm, {})
        asked |= {name: [asked[name]] for name in _EPOCHS}
        for n_bits in asked["n_bits"]:
            for optimizer in asked["optimizer"] or [None]:
                own = usual_of(algorithm, n_bits, optimizer)
                values = {name: asked[name] or [own[name]] for name in AXES}
                values |= {"algorithm": [algorithm], "n_bits": [n_bits],
                           "optimizer": [own["optimizer"]]}
                values |= {name: about.expand(values[name]) for name, about in AXES.items()
                           if about.expand}
                cells += product(values)
    return list(dict.fromkeys(cells))


def _loses_steps(cell: Cell) -> bool:
    return cell.update == "nearest" and cell.n_bits is not None and cell.n_bits <= FEW_BITS


def _idle(args, cells: Sequence[Cell]) -> list[str]:
    """Flags that were given and say nothing to any of the cells, unquantized ones apart."""
    names = {flag: by_flag(flag) for flag in args.config.flags}
    held = [cell for cell in cells if cell.update != NONE]

    def silent(name):
        asked = held if name in UNQUANTIZED else cells
        return asked and all(getattr(cell, name) == AXES[name].off for cell in asked)

    return [f"--{flag}" for flag, name in names.items()
            if name in AXES.keys() - {*_EPOCHS} and AXES[name].only
            and any(value != AXES[name].off for value in getattr(args, name) or ())
            and silent(name)]


def _fewer_than_visible(args, cells: Sequence[Cell]) -> list[tuple[int, int]]:
    """(hidden bits that were asked for, bits) where the first are less."""
    asked = [*(args.hidden_bits or ()), *(bits for own in args.by_table.values()
                                          for bits in own.get("hidden_bits", ()))]
    visible = sorted({cell.n_bits for cell in cells if cell.hidden_bits is not None})
    return [(bits, n_bits) for bits in dict.fromkeys(asked) if isinstance(bits, int)
            for n_bits in visible if bits < n_bits]


def _never_cut(cell: Cell) -> bool:
    shape = shape_of(cell.dataset)
    return shape is not None and cell.truncation >= shape[0][0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = parser()
    args = p.parse_args(arguments)
    if "learned" in args.gain_rule and not any(args.gain):
        p.error("--gain-rule learned needs a gain to start from: add --gain 1, for example")
    cells = cells_of(args)
    try:
        kinds.check(args, cells)
    except ValueError as error:
        p.error(str(error))
    if not {"memory", "recipe"} & args.config.flags.keys() and any(map(_loses_steps, cells)):
        print(f"note: with up to {FEW_BITS} bits and these settings, the thesis's, most steps are "
              "lost to rounding; --recipe few-bits has what trains there", file=sys.stderr)
    idle = _idle(args, cells)
    if idle:
        print(f"note: {' and '.join(idle)} {'says' if len(idle) == 1 else 'say'} nothing to any of "
              "these networks; see --help", file=sys.stderr)
    if "truncation" in args.config.flags and any(map(_never_cut, cells)):
        print("note: --truncation is as long as some of these sequences, or longer: nothing of "
              "them is cut", file=sys.stderr)
    for asked, n_bits in _fewer_than_visible(args, cells):
        print(f"note: --hidden-bits {asked} counts as {n_bits} with --n-bits {n_bits}: a weight "
              "has no fewer bits than it shows", file=sys.stderr)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    wanted = [Replica(cell, seed) for cell in cells for seed in seeds]
    return sweep.main(p, args, tell, lambda finished: wanted)


if __name__ == "__main__":
    commandline.run(main, sweep.leave)
