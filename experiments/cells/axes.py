"""Axes of the grid of cells: what there is to say of one, where `cells.Cell` declares its field.

From it follow the flags of the command lines, ids, groups, the columns of the store and of tables.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, Field, dataclass, field
from typing import Any

from experiments.commandline import options

__all__ = ["Axis", "add_flag", "axis", "axis_of"]


_SHORT = 20  # letters of the words that a flag's line has room for


@dataclass(frozen=True)
class Axis:
    """What there is to say of a field of `Cell` besides its name, type and default.

    Attributes:
      help: one line.
      parse: text on the command line -> value; ValueError or ArgumentTypeError says what it
        expects.
      words: the valid values, where they are words.
      flags: how it is spelled on the command line; none: by its name.
      tuned: is it chosen on held-out data where a study chooses?
      given: values without a flag; None: what `preset` gives.
      preset: (preset, is it quantized?) -> value without a flag.
      shown: what the help says of the value without a flag; None: `given`.
      blank: value -> the one that stands for all others of its program: given, the axis is only a
        number, and its values share a program; None: each has a program of its own.
      only: cell -> does the axis say anything there? Where not, its value is `off`.
      off: see `only`.
      settle: cell -> the value that the axis has where it says anything, if not what was given.
      expand: values of the flag -> values of the axis, where they are not the same.
    """

    help: str
    parse: Callable[[str], Any]
    words: Collection[str] = ()
    flags: Sequence[str] = ()
    tuned: bool = False
    given: Sequence[Any] | None = None
    preset: Callable[[Any, bool], Any] | None = None
    shown: str | None = None
    blank: Callable[[Any], Any] | None = None
    only: Callable[[Any], bool] | None = None
    off: Any = None
    settle: Callable[[Any], Any] | None = None
    expand: Callable[[Sequence[Any]], Sequence[Any]] | None = None

    def settled(self, cell: Any, name: str) -> Any:
        """The value that the axis of that name has in a cell that may say too much."""
        if self.only is not None and not self.only(cell):
            return self.off
        return self.settle(cell) if self.settle else getattr(cell, name)


def axis(help: str, parse: Any = None, *, default: Any = MISSING, number: Any = MISSING,
         words: Collection[str] = (), blank: Any = None, **more: Any) -> Any:
    """A dataclass field with its `Axis`.

    Args:
      help: one line.
      parse: see `Axis`; for words it is made, unless it is given.
      default: of an axis that has come since the first results were stored: the value that all
        older ones have. It takes no part in ids, so that they outlive the axis.
      number: for an axis that is only a number, the value that stands for all others (but None,
        which stands for itself).
      words, blank, more: see `Axis`.
    """
    if number is not MISSING:
        def blank(value):
            return None if value is None else number

    about = Axis(help, parse or options.one_of(words), words, blank=blank, **more)
    return field(metadata={"axis": about}, **({} if default is MISSING else {"default": default}))


def axis_of(column: Field) -> Axis:
    """What was said of a field of `Cell`."""
    return column.metadata["axis"]


def add_flag(p: Any, column: Field, given: Sequence[Any] | None = None, help: str = "") -> None:
    """Adds the flag of an axis, for one or several values.

    Args:
      p: parser, or group of one.
      column: field of `Cell`.
      given: another default than the axis' own.
      help: another line.
    """
    about = axis_of(column)
    given = about.given if given is None else given
    shown = about.shown if about.shown and given is about.given else (
        "" if given is None else " ".join(options.spell(v, column.name) for v in given))
    flags = about.flags or ["--" + column.name.replace("_", "-")]
    help = help or about.help
    metavar = column.name.upper()
    if about.words:
        short = len(listed := ",".join(about.words)) <= _SHORT
        metavar = f"{{{listed}}}" if short else flags[0][2:].replace("-", "_").upper()
        if not short and not all(f"{word}:" in help for word in about.words):
            help = f"{', '.join(about.words)}: {help}"
    p.add_argument(
        *flags, dest=column.name, nargs="+", type=about.parse, default=given, metavar=metavar,
        help=help + (f" [{shown}]" if shown else ""),
    )
