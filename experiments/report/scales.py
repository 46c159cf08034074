"""Where values lie on an axis: how it is divided, and the places of what is no number."""

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise

__all__ = ["places", "scale_of"]


def scale_of(values: Iterable[float | str]) -> str:
    """How an axis of some values is divided: "linear", "log", or with a zero "symlog".

    Logarithms are for numbers above zero that span more than a decade and are more evenly spaced as
    logarithms than as they are.
    """
    numbers = sorted({v for v in values if not isinstance(v, str)})
    above = [v for v in numbers if v > 0]
    if len(above) < 2 or numbers[0] < 0 or above[-1] / above[0] <= 10:
        return "linear"
    logarithms = [math.log(v) for v in above]
    if _unevenness(logarithms) >= _unevenness(above) and len(above) > 2:
        return "linear"
    return "symlog" if numbers[0] == 0 else "log"


def _unevenness(values: Sequence[float]) -> float:
    """Deviation of the distances, relative to their mean."""
    distances = [b - a for a, b in pairwise(values)]
    return statistics.pstdev(distances) / statistics.fmean(distances)


def places(values: Iterable[float | str]) -> dict[float | str, float]:
    """Where each of some values lies: numbers where they are, words one after the other.

    Beside numbers words have their places at the end: a tenth of the axis apart.

    Args:
      values: in order.
    """
    values = list(dict.fromkeys(values))
    numbers = [v for v in values if not isinstance(v, str)]
    words = [v for v in values if isinstance(v, str)]
    if not numbers:
        return {word: float(i) for i, word in enumerate(words)}
    low, high = min(numbers), max(numbers)
    if scale_of(values) == "linear":
        step = max((high - low) / 8, min((b - a for a, b in pairwise(sorted(numbers))),
                                         default=1.0))
        ends = [high + step * (i + 1) for i in range(len(words))]
    else:
        ratio = (high / min(v for v in numbers if v > 0)) ** 0.15
        ends = [high * ratio ** (i + 1) for i in range(len(words))]
    return {**{v: float(v) for v in numbers}, **dict(zip(words, ends, strict=True))}
