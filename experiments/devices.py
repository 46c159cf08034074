"""Shows what a device is like before anybody trains on it, or finds a model of a measured one.

Without a name: a line for every device. With names: all numbers of each, what they mean together,
and a picture, device-NAME.png. With --fit: models of a measured device, the best first, a
picture of what they are off by, and the flags to train with it.
"""

import sys
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
from qjax.memories import MEMORIES, Pulsed, about, counting_of, named, numbers_of, with_numbers

__all__ = ["main"]

# Words for `circuit.Facts`.
_FACTS = {
    "step": "step at zero", "states": "states",
    "up": "pulses from 5 to 95 % of the range", "down": "and back",
    "symmetry": "symmetry point, where steps up and down are equal,",
    "asymmetry": "asymmetry of steps at zero, (up - down) / (up + down),",
    "cycle": "noise from cycle to cycle, in steps,", "write": "of what is shown after a write",
    "spread": "deviation of steps between devices, as a share,", "stuck": "share of stuck ones",
}


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
    p.add_argument("--pages", action="store_true",
                   help="write all that is said of a device to NAME.md as well; without names: of "
                   "every device, with README.md")
    p.add_argument("--folder", type=Path, default=Path("."), help="to write pictures to [.]")
    args = p.parse_args(arguments)
    if args.set and not args.names:
        p.error("--set says numbers of the named devices: name one")
    for setting in args.set:
        if len(setting.values) > 1:
            p.error(f"--set {setting.name}: expected one value, to show one device; got "
                    f"{len(setting.values)}")
    try:
        kinds.check_settings(args.set, args.names)
        args.folder.mkdir(parents=True, exist_ok=True)
        if args.fit:
            measured = circuit.read_measured(args.fit)
            print(f"fitting {len(fitting.MODELS)} models to {len(measured.directions)} pulses; "
                  "usually a minute or two", file=sys.stderr)
            print(_fitted(measured, args.fit.stem, args.folder))
        own = {s.name: s.values[0] for s in args.set}
        names = args.names
        if args.pages and not names:
            names = [word for word, memory in MEMORIES.items() if isinstance(memory, Pulsed)]
            (args.folder / "README.md").write_text(_listed(links=True), encoding="utf-8")
        for name in names:
            text, files = _shown(name, own, args.folder)
            print("\n".join([text, *map(str, files)]), end="\n\n")
            if args.pages:
                page = "\n".join([f"# {name}\n", text,
                                  *(f"![{name}]({f.name})" for f in files if f.suffix == ".png")])
                (args.folder / f"{name.replace(':', '-')}.md").write_text(page + "\n",
                                                                         encoding="utf-8")
    except (ValueError, OSError) as error:
        p.error(str(error))
    if not names and not args.fit:
        print(_listed())
    return 0


def _listed(links: bool = False) -> str:
    rows = []
    for word, memory in MEMORIES.items():
        if isinstance(memory, Pulsed):
            known = circuit.facts_of(memory)
            name = f"[{word}]({word}.md)" if links else word
            rows.append((name, about(word), known.states, known.up, known.down, known.symmetry,
                         100 * known.cycle, known.write, 100 * known.spread))
    names = ("name", "what it is", "states", "pulses up", "pulses down", "symmetry point",
             "cycle noise %", "write noise, steps", "spread %")
    notes = ("The mean device: pulses from 5 to 95 % of its range, and back; the weight where "
             "steps up and down are equal; noise of a step from cycle to cycle, of what is shown "
             "after a write, and the differences of steps between devices, at zero.",)
    return markdown(Table("Devices", notes, tuple(map(Column, names)), tuple(rows)))


def _shown(name: str, numbers: dict[str, float], folder: Path) -> tuple[str, Sequence[Path]]:
    memory = named(name)
    known = numbers_of(memory)
    memory = with_numbers(memory, **{n: v for n, v in numbers.items() if n in known})
    rows = [(n, "none" if told.default is None else f"{told.default:g}", told.help, told.expected)
            for n, told in numbers_of(memory).items()]
    source = PRESETS[name].source if name in PRESETS else ""
    head, _, _ = name.partition(":")
    title = f"{name}: {about(head)}"
    table = f"**{title}**\n\nIt has no numbers to set.\n" if not rows else markdown(
        Table(title, (source,) if source else (),
              tuple(map(Column, ("number", "value", "what it is", "may be"))), tuple(rows)))
    if not isinstance(memory, Pulsed):
        return table, []
    facts = circuit.facts_of(memory)
    told = f"bounds {facts.low + 0:.4g} and {facts.high:.4g}; " + "; ".join(
        f"{words} {'none' if (value := getattr(facts, key)) is None else f'{value + 0:.4g}'}"
        for key, words in _FACTS.items())
    files = look.save(picture.draw(memory, name), folder, f"device-{name.replace(':', '-')}",
                      ("png",))
    return f"{table}\nThe mean device: {told}.\n", files


def _fitted(measured: fitting.Measured, stem: str, folder: Path) -> str:
    found = circuit.fits(measured)
    rows = [(one.model, 100 * one.later / 2, 100 * one.steps / 2, 100 * one.error / 2,
             100 * one.shown / 2, " ".join(f"{n}={v:.4g}" for n, v in one.numbers.items()))
            for one in found]
    names = ("model", f"after {found[0].ahead}", "after 1", "whole path", "noise of readings",
             "numbers")
    notes = ("What models are off by, root mean square in % of the range: so many pulses later, "
             "beginning where the device was, and along the whole path, beginning with its first "
             "point. Weights are conductances, scaled to -1 to 1. The first is the best for its "
             "numbers. Noise of single steps that the next one takes back is of what is shown, by "
             "writing or by the measurement: write_noise_std; was it your instrument's, leave that "
             "out.",)
    table = markdown(Table(f"Models of {stem}", notes, tuple(map(Column, names)), tuple(rows)))
    files = look.save(picture.draw_fits(measured, found, stem), folder, f"fit-{stem}",
                      ("png", "pdf"))
    lines = ["To train with, the best first (devices as they are: --optimizer sgd --bias float):",
             *map(_flags, found)]
    return "\n".join([table, *lines, *map(str, files)]) + "\n"


def _flags(fit: fitting.Fit) -> str:
    """Of `experiments.run`."""
    # Of one device nothing is known of how others differ.
    alike = {n: 0.0 for n in numbers_of(fit.device) if n.endswith("_dtod")}
    numbers = {**fit.numbers, **alike}
    if not numbers["write_noise_std"]:
        del numbers["write_noise_std"]
    counting = counting_of(fit.device)
    # The name alone counts as the model's own numbers would have it.
    usual = counting == named(fit.word).counting
    memory = fit.word if usual else f"{fit.word}:{counting}"
    return f"--memory {memory} --set " + " ".join(f"{n}={v:.6g}" for n, v in numbers.items())


if __name__ == "__main__":
    commandline.run(main)
