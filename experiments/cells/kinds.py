"""Quantizers and memories as the command line names them, with their numbers.

A quantizer is a word of `qjax.kinds.KINDS`, or "levels:" and numbers. A memory is a word of
`qjax.memories.MEMORIES`; its numbers are written NAME=VALUE, with blanks between them, in the order
of the names and only where they are not the memory's own: so they outlive new numbers.
"""

import argparse
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from experiments.commandline import options
from qjax.kinds import MAX_BITS, kind_of
from qjax.memories import MEMORIES, has_grid, numbers_of
from qjax.quantize import KINDS, make_quantizer
from qjax.spacings import Table, Uniform

__all__ = [
    "NONE", "More", "Setting", "bits_of", "check", "check_settings", "combinations", "described",
    "has_hidden", "has_levels", "hidden_bits", "hidden_of", "memories_with", "number_of", "numbers",
    "optimizer_bits", "own_numbers", "program_of", "quantizer", "setting", "takes_floats",
]

NONE = "none"  # quantizer, scope and memory of a network that is not quantized


def quantizer(text: str) -> str:
    """Argument type: a word for a quantizer; levels are sorted, from a file where there is one."""
    name, colon, rest = text.partition(":")
    options.one_of(KINDS)(name)
    if not callable(KINDS[name]):
        if colon:
            raise argparse.ArgumentTypeError(f"expected {name} alone, got {text!r}")
        return name
    path = Path(rest)
    # A long list is no name of a file; to ask the system would be an error.
    is_file = 0 < len(rest) < 200 and path.is_file()
    if rest and not is_file and not any(map(str.isdigit, rest)):
        raise argparse.ArgumentTypeError(f"no numbers, and no file of that name: {rest!r}")
    if is_file:
        try:
            rest = ":".join(path.read_text(encoding="utf-8-sig").replace(",", " ").split())
        except (OSError, UnicodeDecodeError) as error:
            raise argparse.ArgumentTypeError(f"cannot read {rest!r} ({error})") from None
    try:
        kind_of(f"{name}:{rest.replace(',', ':')}")
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, or levels:FILE with numbers") from None
    levels = sorted({float(number) for number in rest.replace(",", ":").split(":")})
    return ":".join([name, *(f"{level:.9g}" for level in levels)])


def program_of(word: str) -> str:
    """What stands for a quantizer in a program: kinds of equal distances differ in numbers only."""
    return NONE if word == NONE or isinstance(kind_of(word).spacing, Uniform) else word


def bits_of(word: str, n_bits: int) -> int:
    """The bits of a quantizer: a list of levels has its own, whatever is asked for."""
    kind = None if word == NONE else kind_of(word)
    return kind.least if kind and isinstance(kind.spacing, Table) else n_bits


def has_levels(memory: str) -> bool:
    """Does a quantizer say where this memory's weights may lie?"""
    return memory not in MEMORIES or has_grid(MEMORIES[memory])


def optimizer_bits(text: str) -> int | None:
    """Argument type: 2 to 7 bits, or float."""
    value = options.bits(text)
    about = kind_of("pow2")
    if value is not None and not about.least <= value <= about.most:
        raise argparse.ArgumentTypeError(
            f"expected {about.least} to {about.most} bits, or float; got {text!r}")
    return value


class More(NamedTuple):
    """So many bits more than the visible ones."""

    bits: int


def hidden_bits(text: str) -> int | More | None:
    """Argument type: bits as for weights, or +N for N more than the visible ones."""
    return More(options.whole(0, 15)(text[1:])) if text.startswith("+") else options.bits(text)


def hidden_of(n_bits: int, given: int | More | None) -> int | None:
    """Bits of the weight behind the visible levels: at least as many as these have."""
    if given is None:
        return None
    wanted = n_bits + given.bits if isinstance(given, More) else given
    return min(max(n_bits, wanted), MAX_BITS)


def takes_floats(memory: str) -> bool:
    """Is a network without bits the same under this memory as under any other?"""
    return getattr(MEMORIES.get(memory), "floats_without_bits", False)


def has_hidden(memory: str) -> bool:
    """Does a memory keep more bits of a weight than it shows?"""
    return memory in MEMORIES and any(
        f.name == "hidden_bits" for f in fields(MEMORIES[memory]))


class Setting(NamedTuple):
    """A number of a memory and the values that it shall have."""

    name: str
    values: tuple[float, ...]


def described() -> str:
    """What every memory is, in a line, with its numbers."""
    told = []
    for word, memory in MEMORIES.items():
        more = ", ".join(f"{name} ({about.help}; {about.expected}) [{about.default:g}]"
                         for name, about in numbers_of(memory).items())
        line = memory.__doc__.strip().partition("\n")[0].rstrip(".")
        told.append(f"{word}: {line[0].lower()}{line[1:]}{'; --set ' + more if more else ''}")
    return ". ".join(told).replace("%", "%%")


def setting(text: str) -> Setting:
    """Argument type: NAME=VALUE or NAME=VALUE,VALUE of a number that some memory has."""
    name, equals, values = text.partition("=")
    known = [numbers_of(memory) for memory in MEMORIES.values()]
    names = sorted({number for own in known for number in own})
    if not names:
        raise argparse.ArgumentTypeError(
            f"got {text!r}, but no memory has numbers; one of your own may, see CONTRIBUTING.md")
    if not equals or not values:
        raise argparse.ArgumentTypeError(
            f"expected NAME=VALUE or NAME=VALUE,VALUE with NAME one of {', '.join(names)}; "
            f"got {text!r}"
        )
    options.one_of(names)(name)
    found = []
    for value in values.split(","):
        try:
            found.append(float(value))
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"expected a number for {name}, got {value!r}") from None
        here = [own[name] for own in known if name in own]
        if not any(about.allows(found[-1]) for about in here):
            raise argparse.ArgumentTypeError(
                f"expected {name}, {here[0].help}, to be a number {here[0].expected}, got {value}"
            )
    return Setting(name, tuple(found))


def combinations(settings: Iterable[Setting | str]) -> list[str]:
    """Every combination of the values of some numbers, as cells have them."""
    values: dict[str, list[float]] = {}
    for given in settings:
        if isinstance(given, Setting):
            values.setdefault(given.name, []).extend(given.values)
    settings = [Setting(name, tuple(dict.fromkeys(some))) for name, some in values.items()]
    return [_written(dict(zip((s.name for s in settings), values, strict=True)))
            for values in itertools.product(*(s.values for s in settings))]


def check_settings(settings: Iterable[Setting | str], chosen: Iterable[str]) -> None:
    """Refuses numbers that none of the chosen memories has, or that one of them does not allow.

    Raises:
      ValueError: says which, and what it may be.
    """
    for given in settings:
        if not isinstance(given, Setting):
            continue
        name, here = given.name, [word for word in chosen if word in memories_with(given.name)]
        if not here:
            raise ValueError(
                f"--set {name}: a number of {' and '.join(memories_with(name))}; none of these is "
                f"in --memory {' '.join(chosen)}"
            )
        for word in here:
            about = numbers_of(MEMORIES[word])[name]
            wrong = [value for value in given.values if not about.allows(value)]
            if wrong:
                raise ValueError(
                    f"--set {name}={wrong[0]:g}: expected {name} of {word}, {about.help}, to be a "
                    f"number {about.expected}"
                )


def check(args: argparse.Namespace, cells: Iterable[Any]) -> None:
    """Refuses words that do not go together.

    Args:
      args: with the values of the axes quantizer, n_bits, update and numbers, as they were given.
      cells: the cells that were made of them.

    Raises:
      ValueError: says which do not, and what to leave out.
    """
    check_settings(args.numbers, args.update)
    for word in args.quantizer:
        if ":" in word and not any(args.n_bits):
            raise ValueError(f"{word} says nothing of unquantized networks: add --n-bits "
                             f"{bits_of(word, 0)}")
    used = dict.fromkeys((c.quantizer, c.n_bits, c.update) for c in cells if c.quantizer != NONE)
    for word, n_bits, memory in used:
        try:
            make_quantizer(n_bits, word)
        except ValueError as error:
            raise ValueError(f"{error.args[0].removesuffix(': use asymm')}: leave {n_bits} out of "
                             f"--n-bits or {word} out of --quantizer") from None
        if has_hidden(memory) and not isinstance(kind_of(word).spacing, Uniform):
            raise ValueError(f"{memory} divides equal distances between levels, which {word} has "
                             f"not: leave {word} out of --quantizer or {memory} out of --memory")


def numbers(text: str) -> dict[str, float]:
    """What a cell says of its memory's numbers; the others are the memory's own."""
    return {name: float(value) for name, _, value in
            (part.partition("=") for part in text.split())}


def number_of(memory: str, text: str, name: str) -> float | None:
    """The value of a number in a cell, its own or the memory's; None where it has none."""
    about = numbers_of(MEMORIES[memory]) if memory in MEMORIES else {}
    usual = about[name].default if name in about else None
    return numbers(text).get(name, usual)


def own_numbers(memory: str, text: str) -> str:
    """Of some numbers those that this memory has, and that are not its own values."""
    about = numbers_of(MEMORIES[memory]) if memory in MEMORIES else {}
    return _written({name: value for name, value in numbers(text).items()
                     if name in about and value != about[name].default})


def _written(values: Mapping[str, float]) -> str:
    return " ".join(f"{name}={values[name]!r}" for name in sorted(values))


def memories_with(name: str) -> Sequence[str]:
    """The memories that have a number of this name."""
    return [word for word, memory in MEMORIES.items() if name in numbers_of(memory)]
