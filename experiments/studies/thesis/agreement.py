"""How published accuracies, one run a cell, agree with ours over seeds."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from experiments.cells import DEFAULTS, NONE, Cell, preset_of
from experiments.report import estimate
from experiments.store import results
from experiments.studies.thesis.published import Key, Published
from experiments.studies.thesis.study import THESIS

__all__ = [
    "MARGIN", "Comparison", "Summary", "compare", "lengths", "rank_correlation", "select",
    "summarize", "worst",
]

MARGIN = 3.0  # percentage points by which the range over our seeds is widened on each side


def _has_thesis_settings(cell: Cell, gradient_bits: int | None) -> bool:
    preset = preset_of(cell.algorithm)
    first = preset.phases[0]
    batch_size = preset.float_batch_size if cell.n_bits is None else preset.batch_size
    return (
        cell.update in ("nearest", NONE)
        and cell.batch_size == batch_size
        and cell.gradient_bits == (gradient_bits if cell.algorithm == "dni" else None)
        and all(getattr(cell, name) == getattr(first, name)
                for name in ("optimizer", "lr", "gamma", "weight_decay"))
        and all(getattr(cell, name) == value for name, value in DEFAULTS.items())
    )


def select(
    rows: Iterable[Mapping[str, Any]], gradient_bits: int | None = None
) -> dict[Key, tuple[Cell, list[Mapping[str, Any]]]]:
    """Our replicas by what a published file tells apart: only the thesis's settings.

    Args:
      rows: finished replicas.
      gradient_bits: of dni; the others have no quantized gradients.

    Returns:
      For every key the cell trained for the most epochs, and its replicas.
    """
    return {key: found[0] for key, found in lengths(rows, gradient_bits).items()}


def lengths(
    rows: Iterable[Mapping[str, Any]], gradient_bits: int | None = None
) -> dict[Key, list[tuple[Cell, list[Mapping[str, Any]]]]]:
    """As `select`, with the cells of a key that were trained for fewer epochs: longest first."""
    found: dict[Key, list[tuple[Cell, list]]] = {}
    for cell, members in results.by_cell(rows).items():
        if _has_thesis_settings(cell, gradient_bits):
            key = Key(*(getattr(cell, name) for name in Key._fields))
            found.setdefault(key, []).append((cell, members))
    for several in found.values():
        several.sort(key=lambda each: _length(each[0]), reverse=True)
    return found


def _length(cell: Cell) -> tuple[int, int]:
    return cell.epochs + cell.readout_epochs, cell.epochs


@dataclass(frozen=True)
class Comparison:
    """A published accuracy beside ours over seeds, in percent.

    Attributes:
      mean, deviation, low, high, count: of our accuracies; `deviation` None for a single seed.
      loss: mean of ours.
      diverged: how many of these did; they count with their last finite metrics;
      lost: how many more have no finite accuracy, and are left out.
      epochs, shortened: of our cell.
    """

    key: Key
    published: Published
    mean: float
    deviation: float | None
    low: float
    high: float
    count: int
    loss: float | None
    diverged: int
    lost: int
    epochs: str
    shortened: bool

    @property
    def difference(self) -> float:
        """Ours minus published."""
        return self.mean - self.published.accuracy

    @property
    def inside(self) -> bool:
        """Does the published value lie in our range over seeds, widened by `MARGIN`?"""
        return self.low - MARGIN <= self.published.accuracy <= self.high + MARGIN


def compare(
    published: Mapping[Key, Published],
    ours: Mapping[Key, tuple[Cell, Sequence[Mapping[str, Any]]]],
) -> list[Comparison]:
    """Comparisons of all published results for which we have an accuracy, in their order."""
    found = []
    for key, value in published.items():
        cell, members = ours.get(key, (None, ()))
        known = [m for m in members if m["test_accuracy"] is not None]
        values = [m["test_accuracy"] for m in known]
        if values:
            found.append(Comparison(
                key, value, statistics.fmean(values),
                statistics.stdev(values) if len(values) > 1 else None,
                min(values), max(values), len(values),
                estimate(m["test_loss"] for m in members).mean,
                sum(m["status"] == "diverged" for m in known), len(members) - len(known),
                THESIS.epochs_label(cell), THESIS.shortened(cell),
            ))
    return found


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's: Pearson's correlation of the ranks, ties at their mean rank.

    None where it does not exist: fewer than two values, or all the same.
    """
    if len(set(x)) < 2 or len(set(y)) < 2:
        return None
    from scipy.stats import rankdata  # slow to import

    return statistics.correlation(list(rankdata(x)), list(rankdata(y)))


class Summary(NamedTuple):
    """How comparisons of several cells turned out; `inside` is a share in percent."""

    cells: int
    mean_difference: float
    mean_absolute_difference: float
    rank_correlation: float | None
    inside: float


def summarize(comparisons: Sequence[Comparison]) -> Summary:
    """The summary of at least one comparison."""
    differences = [c.difference for c in comparisons]
    return Summary(
        len(comparisons),
        statistics.fmean(differences),
        statistics.fmean(map(abs, differences)),
        rank_correlation([c.published.accuracy for c in comparisons],
                         [c.mean for c in comparisons]),
        100 * statistics.fmean(c.inside for c in comparisons),
    )


def worst(comparisons: Iterable[Comparison], count: int = 10) -> list[Comparison]:
    """Those with the largest absolute difference, largest first."""
    return sorted(comparisons, key=lambda c: -abs(c.difference))[:count]
