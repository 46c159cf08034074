"""What a chunk leaves of an epoch: rows for the store."""

import itertools
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.cells import Chunk
from qjax import training
from qjax.trees import paths_of

__all__ = ["EpochReport", "report"]


class EpochReport(NamedTuple):
    """An epoch that a chunk has finished.

    Attributes:
      phase, epoch: name of the phase; epochs before this one, over all phases.
      rows: one mapping per replica for the store's table `epochs`; accuracies in percent.
      ranges: rows for the store's table `ranges`.
      diagnostics: rows for the store's table `diagnostics`; none where they were not asked for.
    """

    phase: str
    epoch: int
    rows: list[dict[str, Any]]
    ranges: list[tuple]
    diagnostics: list[tuple]

    @property
    def accuracies(self) -> list[float]:
        """Test accuracies in percent; empty in a phase that does not classify."""
        values = (row["test_accuracy"] for row in self.rows)
        return [value for value in values if value is not None]


def _paths(tree: Any) -> dict[str, np.ndarray]:
    return dict(zip(paths_of(tree), jax.tree.leaves(tree), strict=True))


def report(chunk: Chunk, phase: str, epoch: int, metrics: training.EpochMetrics) -> EpochReport:
    """Host arrays [seeds, configs] (with fill) as rows."""
    places = list(itertools.product(range(len(chunk.seeds)), range(len(chunk.cells))))

    def score(score, place):
        if score is None:
            return None, None
        return float(score.loss[place]), 100 * float(score.accuracy[place])

    rows, ranges, diagnostics = [], [], []
    lows, highs = _paths(metrics.ranges.low), _paths(metrics.ranges.high)
    for replica, place in zip(chunk.replicas, places, strict=True):
        train_loss, train_accuracy = score(metrics.train, place)
        test_loss, test_accuracy = score(metrics.test, place)
        rows.append(
            {
                "replica": replica.id,
                "epoch": epoch,
                "phase": phase,
                "objective": float(metrics.objective[place]),
                "train_loss": train_loss,
                "train_accuracy": train_accuracy,
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
                "finite": bool(metrics.finite[place]),
                "writes": None if metrics.writes is None else float(metrics.writes[place]),
            }
        )
        ranges += [
            (replica.id, epoch, name, float(low[place]), float(highs[name][place]))
            for name, low in lows.items()
        ]
        if metrics.diagnosis is not None:
            per_block = np.stack([figure[place] for figure in metrics.diagnosis], axis=-1)
            diagnostics += [
                (replica.id, epoch, block, *map(float, figures))
                for block, figures in enumerate(per_block)
            ]
    return EpochReport(phase, epoch, rows, ranges, diagnostics)

