"""Shows what a device is like before anybody trains on it, or finds a model of a measured one.

Without a name: a line for every device. With names: all numbers of each, what they mean together,
and a picture, device-NAME (PNG, PDF). With --fit: models of a measured device, the best first, a
picture of what they are off by, and the flags to train with it.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments import commandline

commandline.require("matplotlib", "experiments.devices")

from experiments import circuit
from experiments.cells import kinds
from experiments.circuit import fitting, picture
from experiments.commandline import options
from experiments.report import Column, Table, look, markdown
from qjax.devices import PRESETS
from qjax.memories import MEMORIES, Pulsed, about, named, numbers_of, with_numbers

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = options.Parser(prog="experiments.devices", description=__doc__)
    p.add_argument("names", nargs="*", type=kinds.memory, metavar="NAME",
                   help=f"memories, of {', '.join(MEMORIES)}")
    p.add_argument("--set", nargs="+", type=kinds.setting, default=[], metavar="NAME=VALUE",
                   help="other numbers of the devices")
    p.add_argument("--fit", type=Path, metavar="FILE",
                   help="CSV file with the columns direction (up or down) and conductance, a row "
                   "after every pulse; or pulse (a number that rises and falls) and conductance")
    p.add_argument("--folder", type=Path, default=Path("."), help="to write pictures to [.]")
    args = p.parse_args(arguments)
    try:
        kinds.check_settings(args.set, args.names)
        args.folder.mkdir(parents=True, exist_ok=True)
        if args.fit:
            print(_fitted(circuit.read_measured(args.fit), args.fit.stem, args.folder))
        for name in args.names:
            print(_shown(name, {s.name: s.values[-1] for s in args.set}, args.folder))
    except (ValueError, OSError) as error:
        p.error(str(error))
    if not args.names and not args.fit:
        print(_listed())
    return 0


def _listed() -> str:
    rows = []
    for word, memory in MEMORIES.items():
        if isinstance(memory, Pulsed):
            known = circuit.facts_of(memory)
            rows.append((word, about(word), known.states, known.up, known.down, known.symmetry,
                         100 * known.cycle, known.write, 100 * known.spread))
    names = ("name", "what it is", "states", "pulses up", "pulses down", "symmetry point",
             "cycle noise %", "write noise, steps", "spread %")
    notes = ("The mean device: pulses from 5 to 95 % of its range, and back; the weight where "
             "steps up and down are equal; noise of a step from cycle to cycle, of what is shown "
             "after a write, and the differences of steps between devices, at zero.",)
    return markdown(Table("Devices", notes, tuple(map(Column, names)), tuple(rows)))


def _shown(name: str, numbers: dict[str, float], folder: Path) -> str:
    memory = named(name)
    known = numbers_of(memory)
    memory = with_numbers(memory, **{n: v for n, v in numbers.items() if n in known})
    rows = [(n, "none" if told.default is None else f"{told.default:g}", told.help, told.expected)
            for n, told in numbers_of(memory).items()]
    source = PRESETS[name].source if name in PRESETS else ""
    head, _, _ = name.partition(":")
    table = markdown(Table(f"{name}: {about(head)}", (source,) if source else (),
                           tuple(map(Column, ("number", "value", "what it is", "may be"))),
                           tuple(rows)))
    lines = [table]
    if isinstance(memory, Pulsed):
        told = circuit.facts_of(memory)
        lines.append("  ".join(f"{key} {'none' if value is None else f'{value:.4g}'}"
                               for key, value in told._asdict().items()))
        files = look.save(picture.draw(memory, name), folder, f"device-{name}", ("png", "pdf"))
        lines += map(str, files)
    return "\n".join(lines) + "\n"


def _fitted(measured: fitting.Measured, stem: str, folder: Path) -> str:
    found = circuit.fits(measured)
    rows = [(one.model, 100 * one.later / 2, 100 * one.steps / 2, 100 * one.error / 2,
             " ".join(f"{n}={v:.4g}" for n, v in one.numbers.items())) for one in found]
    names = ("model", f"after {found[0].ahead}", "after 1", "whole path", "numbers")
    notes = ("What models are off by, root mean square in % of the range: so many pulses later than "
             "where the device was, and along the whole path from its first point on. Weights are "
             "conductances, scaled to -1 to 1.",)
    table = markdown(Table(f"Models of {stem}", notes, tuple(map(Column, names)), tuple(rows)))
    best = found[0]
    flags = " ".join(f"{n}={v:.6g}" for n, v in best.numbers.items())
    files = look.save(picture.draw_fits(measured, found, stem), folder, f"fit-{stem}",
                      ("png", "pdf"))
    return "\n".join([table, f"--memory {best.model} --set {flags}", *map(str, files)]) + "\n"


if __name__ == "__main__":
    commandline.run(main)
