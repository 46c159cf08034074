"""The numbers of a memory or device: fields with a default, bounds and a line of help.

A field made by `number` is what the command line offers under ``--set NAME=VALUE``. A field called
``grid`` is a `Quantizer`, which has words of its own there. All may be traced and batched.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import struct

__all__ = ["Number", "check_numbers", "has_grid", "number", "numbers_of"]


class Number(NamedTuple):
    """What is said of a number: its default, one line of help, and the bounds, both included."""

    default: float
    help: str
    low: float
    high: float

    @property
    def expected(self) -> str:
        """The bounds in words."""
        return f"from {self.low:g} to {self.high:g}" if self.high < math.inf else (
            f"of at least {self.low:g}" if self.low > -math.inf else "that is finite")

    def allows(self, value: float) -> bool:
        """Is it finite and within the bounds?"""
        return math.isfinite(value) and self.low <= value <= self.high


def number(default: float, help: str, low: float = -math.inf, high: float = math.inf) -> Any:
    """A field of a memory that is a number.

    Args:
      default: what it is if nothing is said.
      help: one line; with the unit.
      low, high: bounds, both included.
    """
    return struct.field(default=default, metadata={"number": Number(default, help, low, high)})


def numbers_of(memory: Any) -> dict[str, Number]:
    """What is said of the numbers of a memory, or of a class of them, by name."""
    return {f.name: f.metadata["number"] for f in dataclasses.fields(memory)
            if "number" in f.metadata}


def has_grid(memory: Any) -> bool:
    """Has a memory, or class of them, levels that a quantizer gives?"""
    return any(f.name == "grid" for f in dataclasses.fields(memory))


def check_numbers(memory: Any) -> None:
    """Refuses numbers out of their bounds; traced ones are not looked at.

    Raises:
      ValueError: with the name of the number, what it is and what it may be.
    """
    for name, about in numbers_of(memory).items():
        try:
            values = np.asarray(getattr(memory, name), float).ravel()
        except jax.errors.TracerArrayConversionError:
            continue
        wrong = [v for v in values if not about.allows(v)]
        if wrong:
            raise ValueError(
                f"{type(memory).__name__}: expected {name}, {about.help}, to be a number "
                f"{about.expected}, got {wrong[0]:g}"
            )
