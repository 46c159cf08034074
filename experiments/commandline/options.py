"""Command-line plumbing shared by the programs: words with a nearest match, numbers with bounds."""

import argparse
import difflib
import sys
from collections.abc import Callable, Collection, Iterable
from typing import NoReturn

__all__ = [
    "Parser", "bits", "not_negative", "one_of", "plus_minus", "positive", "positive_or_none",
    "share", "spell", "whole",
]


class Parser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations that suggests the flag that was probably meant."""

    def __init__(self, **kwargs):
        super().__init__(allow_abbrev=False, **kwargs)

    def parse_args(self, args=None, namespace=None):
        """As in argparse; unknown flags are refused with the nearest known one."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(f"unknown argument {unknown[0]}{nearest(unknown[0], self.flags())}")
        return parsed

    def flags(self) -> list[str]:
        """All flags this program knows."""
        return [flag for action in self._actions for flag in action.option_strings]

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with status 2."""
        self.exit(2, f"error: {message}\n(see python -m {self.prog} --help)\n")


def nearest(word: str, words: Iterable[str]) -> str:
    """': did you mean X?' or '' where nothing is near."""
    match = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f": did you mean {match[0]}?" if match else ""


def one_of(words: Collection[str]) -> Callable[[str], str]:
    """Argument type: one of some words, as they are when a text is parsed: tables of them grow."""

    def parse(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(
                f"unknown value {text!r}{nearest(text, words)} (valid: {', '.join(words)})"
            )
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


def bits(text: str) -> int | None:
    """Argument type: 1 to 16 bits, or the word float for no quantization."""
    if text == "float":
        return None
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or not 1 <= value <= 16:
        raise argparse.ArgumentTypeError(
            f"expected a whole number of bits from 1 to 16, or float; got {text!r}"
            f"{nearest(text, ['float'])}"
        )
    return value


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
