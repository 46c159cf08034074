"""The numbers of a memory or device: fields with a default, bounds and a line of help.

A field made by `number` is what the command line offers under ``--set NAME=VALUE``, and so are the
numbers of structs that are fields (of a device in a memory, say). A field called ``grid`` is a
`Quantizer`, which has words of its own there. All may be traced and batched. What costs time or
memory in a program, and is not needed by most, is None unless a number of it is given: a number
whose default is None, one that is `left_out`, or a struct that `optional` declares.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from qjax import structs

__all__ = [
    "Number", "check_numbers", "has_grid", "number", "numbers_of", "optional", "with_numbers",
]


class Number(NamedTuple):
    """What is said of a number.

    Attributes:
      default: what it is if nothing is said; None: the program does without.
      help: one line; with the unit.
      low, high: bounds, both included.
      optional: it belongs to what is None by default: given, it makes another program.
    """

    default: float | None
    help: str
    low: float
    high: float
    optional: bool = False

    @property
    def expected(self) -> str:
        """The bounds in words."""
        if self.low > -math.inf and self.high < math.inf:
            return f"from {self.low:g} to {self.high:g}"
        if self.low > -math.inf:
            return f"of at least {self.low:g}"
        return f"of at most {self.high:g}" if self.high < math.inf else "that is finite"

    def allows(self, value: float) -> bool:
        """Is it finite and within the bounds?"""
        return math.isfinite(value) and self.low <= value <= self.high


def number(
    default: float | None, help: str, low: float = -math.inf, high: float = math.inf, *,
    left_out: bool = False
) -> Any:
    """A field of a memory or device that is a number; see `Number`.

    With `left_out` the field is None unless the number is given: the program does without, and
    `default` is what that counts as.
    """
    about = Number(default, help, low, high, optional=default is None or left_out)
    return structs.field(default=None if left_out else default, metadata={"number": about})


def optional(kind: type) -> Any:
    """A field that is None, or a struct of numbers of this kind if any of them is given."""
    return structs.field(default=None, metadata={"optional": kind})


def _fields(memory: Any) -> dict[str, tuple[Number | None, Any, Any]]:
    """Per field (what is said of it if it is a number, its value, its kind if it is optional)."""
    told = {}
    for field in dataclasses.fields(memory):
        value = getattr(memory, field.name, None)
        told[field.name] = (field.metadata.get("number"), value, field.metadata.get("optional"))
    return told


def _is_struct(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def numbers_of(memory: Any) -> dict[str, Number]:
    """What is said of the numbers of a memory, or of a class of them, by name.

    Those of structs in it are among them; of several with one name the first one's words count.
    Defaults are the values that the memory has.
    """
    found: dict[str, Number] = {}
    for name, (about, value, kind) in _fields(memory).items():
        if about is not None:
            there = {} if value is None else {"default": value, "optional": False}
            found.setdefault(name, about._replace(**there))
        elif name != "grid" and (_is_struct(value) or kind is not None):
            inner = numbers_of(value if _is_struct(value) else kind)
            for own, told in inner.items():
                found.setdefault(own, told._replace(optional=told.optional or value is None))
    return found


def with_numbers(memory: Any, **values: Any) -> Any:
    """A memory with other numbers, wherever in it they are.

    Raises:
      TypeError: it has no such number; names those it has.
    """
    known = numbers_of(memory)
    strange = [name for name in values if name not in known]
    if strange:
        raise TypeError(f"{type(memory).__name__} has no number {strange[0]!r}; it has "
                        f"{', '.join(sorted(known)) or 'none'}")
    changed = {}
    for name, (about, value, kind) in _fields(memory).items():
        if about is not None:
            if name in values:
                changed[name] = values[name]
        elif name != "grid" and (_is_struct(value) or kind is not None):
            inner = value if _is_struct(value) else kind()
            own = {n: v for n, v in values.items() if n in numbers_of(inner)}
            if own:
                changed[name] = with_numbers(inner, **own)
    return memory.replace(**changed)


def has_grid(memory: Any) -> bool:
    """Has a memory, or class of them, levels that a quantizer gives?"""
    return any(f.name == "grid" for f in dataclasses.fields(memory))


def check_numbers(memory: Any) -> None:
    """Refuses numbers out of their bounds, also in structs; traced ones are not looked at.

    Raises:
      ValueError: with the name of the number, what it is and what it may be.
    """
    for name, (about, given, _) in _fields(memory).items():
        if about is None:
            if name != "grid" and _is_struct(given):
                check_numbers(given)
            continue
        if given is None:
            continue
        try:
            values = np.asarray(given, float).ravel()
        except jax.errors.TracerArrayConversionError:
            continue
        wrong = [v for v in values if not about.allows(v)]
        if wrong:
            raise ValueError(
                f"{type(memory).__name__}: expected {name}, {about.help}, to be a number "
                f"{about.expected}, got {wrong[0]:g}"
            )
