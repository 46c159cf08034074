"""Quantizers and memories as the command line names them, with their numbers.

A quantizer is a word of `qjax.kinds.KINDS`, or "levels:" and numbers. A memory is a word of
`qjax.memories.MEMORIES`; its numbers are written NAME=VALUE, with blanks between them, in the order
of the names and only where they are not the memory's own: so they outlive new numbers.
"""

import argparse
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from experiments import data
from experiments.cells.own import MEMORY, enter, word_of
from experiments.commandline import options
from qjax.kinds import MAX_BITS, kind_of
from qjax.memories import MEMORIES, about, has_grid, is_memory, named, numbers_of
from qjax.numbers import Number
from qjax.quantize import KINDS, make_quantizer
from qjax.spacings import Table, Uniform

__all__ = [
    "NONE", "More", "Setting", "all_numbers", "bits_of", "check", "check_settings", "combinations",
    "converter_bits", "dataset", "described", "drifts",
    "has_hidden", "has_levels", "held_label", "hidden_bits", "hidden_of", "meet", "memories_with",
    "memory", "number_of", "numbers", "optimizer_bits", "optional_numbers", "own_numbers",
    "program_of", "quantizer", "setting", "takes_floats",
]

_FEW = 6  # numbers of a memory that its line of help has room for
NONE = "none"  # quantizer, scope and memory of a network that is not quantized


def dataset(text: str) -> str:
    """Argument type: a word for a data set."""
    try:
        return data.word(text)
    except data.DataError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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


class _Known(NamedTuple):
    """What a word of the table means; of a word that is none, a memory that is None."""

    memory: Any
    numbers: Mapping[str, Number]


def _known(word: str) -> _Known:
    # The ids tell apart memories that have the same words, at other times.
    return _known_of(word, tuple(MEMORIES), tuple(map(id, MEMORIES.values())))


# Asked for ten times of every combination: the 3,150 cells on devices of `experiments.imperfect`
# are planned in 0.7 s, in 8 without.
@functools.lru_cache(maxsize=1024)
def _known_of(word: str, words: Sequence[str], ids: Sequence[int]) -> _Known:
    del words, ids
    if not is_memory(word):
        return _Known(None, {})
    memory = named(word)
    return _Known(memory, numbers_of(memory))


def has_levels(memory: str) -> bool:
    """Does a quantizer say where this memory's weights may lie?"""
    found = _known(memory).memory
    return found is None or has_grid(found)


def optimizer_bits(text: str) -> int | None:
    """Argument type: 2 to 7 bits, or float."""
    about = kind_of("pow2")
    return options.bits(text, about.least, about.most)


def memory(text: str) -> str:
    """Argument type: a word for a memory, or two with a colon in between."""
    name, colon, _ = text.partition(":")
    if options.is_name(text) and name not in MEMORIES:
        return word_of(MEMORY)(text)
    options.one_of(MEMORIES)(name)
    if colon:
        try:
            named(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return ":".join(_table(part) for part in text.split(":"))


def _table(part: str) -> str:
    """Numbers with commas in one form: equal tables are equal words."""
    try:
        return ",".join(f"{float(number):.9g}" for number in part.split(","))
    except ValueError:
        return part


def converter_bits(text: str) -> int | None:
    """Argument type: 2 to 16 bits, or float."""
    return options.bits(text, 2)


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
    return getattr(_known(memory).memory, "floats_without_bits", False)


def has_hidden(memory: str) -> bool:
    """Does a memory keep more bits of a weight than it shows?"""
    found = _known(memory).memory
    return found is not None and any(f.name == "hidden_bits" for f in fields(found))


def drifts(memory: str, numbers: str) -> bool:
    """Does a weight change while it is not written?"""
    return bool(number_of(memory, numbers, "nu"))


class Setting(NamedTuple):
    """A number of a memory and the values that it shall have."""

    name: str
    values: tuple[float, ...]


def described() -> str:
    """What every memory is, in a line, with its numbers, if they are few."""
    told = []
    for word in MEMORIES:
        known = _known(word).numbers
        more = ", ".join(
            f"{name} ({number.help}; {number.expected}) [{options.spell(number.default)}]"
            for name, number in known.items())
        few = known and len(known) <= _FEW
        told.append(f"{word}: {about(word)}{'; --set ' + more if few else ''}")
    told.append("python -m experiments.devices NAME shows the numbers (--set) of devices and of "
                "what is around them")
    return ". ".join(told).replace("%", "%%").replace("`", "")


def setting(text: str) -> Setting:
    """Argument type: NAME=VALUE or NAME=VALUE,VALUE of a number that some memory has."""
    name, equals, values = text.partition("=")
    known = [_known(word).numbers for word in MEMORIES]
    if not equals or not values:
        raise argparse.ArgumentTypeError(
            f"expected NAME=VALUE or NAME=VALUE,VALUE with the name of a number of the memory; got "
            f"{text!r}; python -m experiments.devices MEMORY lists them"
        )
    options.one_of(all_numbers())(name)
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
    numbers = {name: dict.fromkeys(some) for name, some in values.items()}
    return [_written(dict(zip(numbers, own, strict=True)))
            for own in itertools.product(*numbers.values())]


def check_settings(settings: Iterable[Setting | str], chosen: Iterable[str]) -> None:
    """Refuses numbers that none of the chosen memories has, or that one of them does not allow.

    Raises:
      ValueError: says which, and what it may be.
    """
    for given in settings:
        if not isinstance(given, Setting):
            continue
        name = given.name
        here = [word for word in chosen if name in _known(word).numbers]
        if not here:
            raise ValueError(
                f"--set {name}: a number of {' and '.join(memories_with(name))}; none of these is "
                f"in --memory {' '.join(chosen)}"
            )
        for word in here:
            number = _known(word).numbers[name]
            wrong = [value for value in given.values if not number.allows(value)]
            if wrong:
                raise ValueError(
                    f"--set {name}={wrong[0]:g}: expected {name} of {word}, {number.help}, to be a "
                    f"number {number.expected}"
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
    if any(args.n_bits) and not any(map(has_levels, args.update)):
        raise ValueError(
            f"--n-bits: no levels in {' or '.join(args.update)}; the states of devices follow from "
            "their numbers, such as --set dw_min=0.01. Say --n-bits float")
    if any(args.wait) and not any(drifts(c.update, c.numbers) for c in cells):
        raise ValueError("--wait: nothing drifts here; say by what exponent: --set nu=0.05, of "
                         "a device, such as --memory soft_bounds")
    for word in args.quantizer:
        if ":" in word and not any(args.n_bits):
            raise ValueError(f"{word} says nothing of unquantized networks: add --n-bits "
                             f"{bits_of(word, 0)}")
    used = dict.fromkeys((c.quantizer, c.n_bits, c.update) for c in cells if c.quantizer != NONE)
    for word, n_bits, memory in used:
        try:
            make_quantizer(n_bits, word)
        except ValueError as error:
            other = " (take asymm)" if word == "symm" else ""
            raise ValueError(f"{error.args[0].removesuffix(': use asymm')}: leave {n_bits} out of "
                             f"--n-bits or {word} out of --quantizer{other}") from None
        if has_hidden(memory) and not isinstance(kind_of(word).spacing, Uniform):
            raise ValueError(f"{memory} divides equal distances between levels, which {word} has "
                             f"not: leave {word} out of --quantizer or {memory} out of --memory")


def numbers(text: str) -> dict[str, float]:
    """What a cell says of its memory's numbers; the others are the memory's own."""
    return {name: float(value) for name, _, value in
            (part.partition("=") for part in text.split())}


def number_of(memory: str, text: str, name: str) -> float | None:
    """The value of a number in a cell, its own or the memory's; None where it has none."""
    known = _known(memory).numbers
    return numbers(text).get(name, known[name].default) if name in known else None


def own_numbers(memory: str, text: str) -> str:
    """Of some numbers those that this memory has, and that are not its own values."""
    known = _known(memory).numbers
    return _written({name: value for name, value in numbers(text).items()
                     if name in known and value != known[name].default})


def optional_numbers(text: str) -> str:
    """Of a cell's numbers those that make a program of their own, without their values."""
    if not text:
        return text
    optional = _optional(tuple(MEMORIES), tuple(map(id, MEMORIES.values())))
    return _written({name: 0.0 for name in numbers(text) if name in optional})


@functools.lru_cache(maxsize=8)
def _optional(words: Sequence[str], ids: Sequence[int]) -> frozenset[str]:
    known = [_known_of(word, words, ids).numbers for word in words]
    return frozenset(name for its in known for name, number in its.items() if number.optional)


def _written(values: Mapping[str, float]) -> str:
    return " ".join(f"{name}={values[name]!r}" for name in sorted(values))


def held_label(n_bits: int | None, quantizer: str, scope: str, memory: str) -> str:
    """What holds the weights: '4 bits symm local nearest', a device by its name, or 'float'."""
    if n_bits is None:
        return "float" if memory == NONE else memory
    return f"{n_bits} bits {quantizer} {scope} {memory}"


def meet(words: Iterable[str]) -> None:
    """Enters memories of one's own, package.module:name, as far as they are at hand."""
    enter(MEMORY, words)


def all_numbers() -> list[str]:
    """Names of the numbers of all memories."""
    return sorted({name for word in MEMORIES for name in _known(word).numbers})


def memories_with(name: str) -> Sequence[str]:
    """The memories that have a number of this name."""
    return [word for word in MEMORIES if name in _known(word).numbers]
