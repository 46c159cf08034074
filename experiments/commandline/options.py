"""Command-line plumbing shared by the programs: words with a nearest match, numbers with bounds."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NoReturn

from experiments.commandline import config

__all__ = [
    "Parser", "bits", "counted", "fraction", "is_name", "nearest", "not_negative", "one_of",
    "plus_minus", "positive", "positive_or_none", "share", "spell", "whole",
]


class Parser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations that suggests the flag that was probably meant.

    Flags may come from files, see `add_config`.
    """

    def __init__(self, **kwargs):
        super().__init__(allow_abbrev=False, **kwargs)
        self._tables: Collection[str] = ()
        self._source = ""

    def add_config(self, tables: Collection[str] = ()) -> None:
        """Adds --config, and where there are tables --recipe and --print.

        What `parse_args` gives then has `config`, all flags that were given, and `by_table`: name
        -> values of flags that are others there.
        """
        self.add_argument("--config", type=Path, default=None, metavar="FILE",
                          help="TOML file of flags, which the command line overrides; every run "
                          "writes its own to OUT/config.toml")
        self._tables = tables
        if tables:
            self.add_argument("--recipe", type=one_of(config.recipes()), default=None,
                              metavar="{" + ",".join(config.recipes()) + "}",
                              help="flags that come with the package")
            self.add_argument("--print", action="store_true", help="print the recipe and stop")

    def parse_args(self, args=None, namespace=None):
        """As in argparse; unknown flags are refused with the nearest known one."""
        args = list(sys.argv[1:] if args is None else args)
        for flag in (text.partition("=")[0] for text in args):  # or its value is taken for a word
            if flag.startswith("--") and flag not in (*self.flags(), "--"):
                self._unknown(flag)
        if "--config" not in self.flags():
            return self._parsed(args, namespace)
        asked, _ = self.parse_known_args(args)
        recipe = config.recipe(asked.recipe) if getattr(asked, "recipe", None) else None
        if getattr(asked, "print", False):
            if recipe is None:
                self.error(f"--print prints a recipe: add --recipe {' or '.join(config.recipes())}")
            print(recipe.read_text(encoding="utf-8"), end="")
            self.exit(0)
        found = [self._read(path) for path in (recipe, asked.config) if path is not None]
        own = {flag: values for flag, values in config.given(args).items()
               if flag not in _SOURCES}
        whole = config.merged(*found, config.Config(self._known(own), {}))
        parsed = self._parsed([*config.tokens(whole.flags), *args], namespace)
        parsed.config = whole
        parsed.by_table = {name: self._only(own) for name, own in whole.tables.items()}
        return parsed

    def _parsed(self, args, namespace=None):
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._unknown(unknown[0])
        return parsed

    def _unknown(self, text: str) -> NoReturn:
        self.error(f"unknown argument {text}{nearest(text, self.flags())}")

    def _read(self, path: Path) -> config.Config:
        """The flags of a file, each looked at, so that an error names it."""
        try:
            found = config.read(path)
        except config.ConfigError as error:
            self.error(str(error))
        self._source = f"{path}: "
        for name in found.tables:
            if name not in self._tables:
                self.error(f"unknown table [{name}]{nearest(name, self._tables)}")
        for own in (found.flags, *found.tables.values()):
            for flag in own:
                if "--" + flag not in self.flags() or flag in _SOURCES:
                    known = [other[2:] for other in self.flags() if other[2:] not in _SOURCES]
                    self.error(f"unknown key {flag}{nearest(flag, known)}")
            self._only(own)
        self._source = ""
        return config.Config(self._known(found.flags), {
            name: self._known(own) for name, own in found.tables.items()})

    def _known(self, flags: dict) -> dict:
        """Flags under the first of their names."""
        first = {flag: action.option_strings[0]
                 for action in self._actions for flag in action.option_strings}
        return {first.get("--" + flag, flag).removeprefix("--"): values
                for flag, values in flags.items()}

    def _only(self, flags: dict) -> dict[str, Any]:
        """The values of some flags, parsed, by the names that they have in a namespace."""
        # argparse sets a default only where there is nothing.
        nothing = argparse.Namespace(**{action.dest: None for action in self._actions})
        parsed = vars(self._parsed(config.tokens(flags), nothing))
        wanted = {action.dest for action in self._actions for flag in flags
                  if "--" + flag in action.option_strings}
        return {dest: parsed[dest] for dest in wanted}

    def flags(self) -> list[str]:
        """All flags this program knows."""
        return [flag for action in self._actions for flag in action.option_strings]

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with status 2."""
        self.exit(2, f"error: {self._source}{message}\n(see python -m {self.prog} --help)\n")


_MANY = 50  # words
_SOURCES = ("config", "recipe", "print", "help")


def nearest(word: str, words: Iterable[str]) -> str:
    """': did you mean X?' or '' where nothing is near."""
    match = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f": did you mean {match[0]}?" if match else ""


def is_name(text: str) -> bool:
    """Can this be the name of something in a Python module, package.module:name?"""
    return re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*",
                        text) is not None


def one_of(words: Collection[str]) -> Callable[[str], str]:
    """Argument type: one of some words, as they are when a text is parsed: tables of them grow."""

    def parse(text: str) -> str:
        if text not in words:
            near = nearest(text, words)
            # A hundred words are no help to who meant one of them.
            valid = "" if near and len(words) > _MANY else f" (valid: {', '.join(words)})"
            raise argparse.ArgumentTypeError(f"unknown value {text!r}{near}{valid}")
        return text

    return parse


def whole(least: int, most: int = 2**31) -> Callable[[str], int]:
    """Argument type: a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < least:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of at least {least}, got {text!r}"
            )
        if value > most:
            raise argparse.ArgumentTypeError(f"expected at most {most}, got {text}")
        return value

    return parse


def positive(text: str) -> float:
    """Argument type: a finite number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a finite number above 0, got {text!r}")
    return value


def positive_or_none(text: str) -> float | None:
    """Argument type: a finite number above zero, or the word none."""
    return None if text == "none" else positive(text)


def not_negative(text: str) -> float:
    """Argument type: a finite number of at least zero."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a finite number of at least 0, got {text!r}")
    return value


def share(text: str) -> float:
    """Argument type: a number from 0 to less than 1."""
    value = not_negative(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"expected a share below 1, got {text!r}")
    return value


def fraction(text: str) -> float:
    """Argument type: a number from 0 to 1."""
    value = not_negative(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return value


def bits(text: str, least: int = 1, most: int = 16) -> int | None:
    """Argument type: 1 to 16 bits, or so many, or the word float for no quantization."""
    if text == "float":
        return None
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise argparse.ArgumentTypeError(
            f"expected a whole number of bits from {least} to {most}, or float; got {text!r}"
            f"{nearest(text, ['float'])}"
        )
    return value


def counted(number: int, what: str) -> str:
    """'1 epoch', '2 epochs'."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def plus_minus() -> str:
    """The sign of a deviation, as the output's encoding has it: tables measure their texts."""
    try:
        "±".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return "+-"
    return "±"


def spell(value: int | float | str | None, setting: str = "n_bits") -> str:
    """A setting's value in words: None is float for a number of bits, else none."""
    if value is None:
        return "float" if setting.endswith("bits") else "none"
    return str(value)
