"""Statistics over seeds: means, deviations, confidence intervals, differences seed by seed."""

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["Estimate", "estimate", "mean_and_deviation", "paired_differences"]


def mean_and_deviation(values: Iterable[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (0 for a single value, nan for none)."""
    values = list(values)
    if not values:
        return float("nan"), float("nan")
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


class Estimate(NamedTuple):
    """A mean over seeds and the half width of its confidence interval.

    `mean` is None without values, `half_width` without at least two finite ones.
    """

    mean: float | None
    half_width: float | None
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs


def estimate(values: Iterable[float | None], confidence: float = 0.95) -> Estimate:
    """Mean and Student's t interval: half width = t_{n-1} s / sqrt(n).

    Args:
      values: None and nan are left out.
      confidence: probability that the interval covers the mean of normal values.
    """
    known = [v for v in values if v is not None and not math.isnan(v)]
    count = len(known)
    if not count:
        return Estimate(None, None, 0)
    mean = sum(known) / count if math.inf in map(abs, known) else statistics.fmean(known)
    if count == 1 or not math.isfinite(mean):
        return Estimate(mean, None, count)
    from scipy.special import stdtrit  # slow to import

    quantile = float(stdtrit(count - 1, (1 + confidence) / 2))
    return Estimate(mean, quantile * statistics.stdev(known) / math.sqrt(count), count)


def paired_differences(
    ours: Iterable[Mapping[str, Any]], theirs: Iterable[Mapping[str, Any]], metric: str
) -> list[float]:
    """`ours` minus `theirs` for every seed that has a number in both."""
    other = {row["seed"]: row[metric] for row in theirs if row[metric] is not None}
    return [
        row[metric] - other[row["seed"]]
        for row in ours
        if row[metric] is not None and row["seed"] in other
    ]
