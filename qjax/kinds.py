"""Kinds of quantizers by name: the spacing of their levels, their range, the bits they may have."""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from qjax.spacings import PowersOfTwo, Spacing, Table, Uniform

__all__ = ["KINDS", "MAX_BITS", "Kind", "kind_of", "table"]

MAX_BITS = 16


class Kind(NamedTuple):
    """What the word for a quantizer stands for.

    Attributes:
      spacing: of the levels.
      symmetric: is the range [-m, m], m the largest magnitude, or from the lowest to the highest?
      least, most: bits it may have.
    """

    spacing: Spacing
    symmetric: bool
    least: int = 1
    most: int = MAX_BITS


def table(text: str) -> Kind:
    """The kind of "levels:-1:-0.2:0.2:1": levels, with colons between them.

    Under the scope "global" they are times the bound, which is 1. Under "local" they are stretched:
    if the outermost ones are each other's negative, to the tensor's largest magnitude, else the
    lowest to its smallest value and the highest to its largest.

    Raises:
      ValueError: not two or more different finite numbers.
    """
    try:
        levels = sorted({float(number) for number in text.split(":")})
    except ValueError:
        levels = []
    large = max(map(abs, levels), default=0.0)
    steps = [high - low for low, high in itertools.pairwise(levels)]
    if levels and large < math.inf and (
            not 1e-30 <= large <= 1e30 or min(steps, default=large) < large * 2**-20):
        raise ValueError(
            f"levels must be told apart by float32: expected the largest magnitude from 1e-30 to "
            f"1e30, and no step below a millionth of it; got {'levels:' + text!r}"
        )
    if not 2 <= len(levels) <= 2**MAX_BITS or not all(map(math.isfinite, levels)):
        raise ValueError(
            f"expected levels:NUMBER:NUMBER... with at least two different numbers, like "
            f"levels:-1:-0.3:0.3:1; got {'levels:' + text!r}"
        )
    low, high = levels[0], levels[-1]
    places = tuple((level - low) / (high - low) for level in levels)
    bits = math.ceil(math.log2(len(levels)))
    return Kind(Table(places, (low, high)), low == -high, bits, bits)


# Kinds of quantizers by name. One that is a function takes what follows the name and a colon.
KINDS: Mapping[str, Kind | Callable[[str], Kind]] = {
    "asymm": Kind(Uniform(), symmetric=False),
    "symm": Kind(Uniform(), symmetric=True, least=2),
    "pow2": Kind(PowersOfTwo(), symmetric=True, least=2, most=7),
    "levels": table,
}


def kind_of(word: str) -> Kind:
    """The kind that a word stands for, such as "symm" or "levels:-1:-0.2:0.2:1".

    Raises:
      ValueError: there is no such kind.
    """
    name, colon, rest = str(word).partition(":")
    kind = KINDS.get(name)
    if kind is None or (colon and not callable(kind)):
        raise ValueError(f"unknown quantizer kind {word!r}: expected one of {', '.join(KINDS)}")
    return kind(rest) if callable(kind) else kind
