"""What became of a replica, of what it recorded epoch by epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.store.schema import SCORES, WRITES

__all__ = ["ending"]


def ending(epochs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Columns of the table `replicas`: done or diverged, the last finite metrics, all writes.

    Args:
      epochs: all rows of a replica in the table `epochs`, in order.
    """
    sound = [row for row in epochs if _is_sound(row)]
    diverged = None if not epochs or _is_sound(epochs[-1]) else next(
        row["epoch"] for row in epochs if not _is_sound(row))
    known = [row[WRITES] for row in epochs if row[WRITES] is not None]
    whole = diverged is None and known and len(known) == len(epochs)
    return {
        "status": "done" if diverged is None else "diverged",
        **{name: sound[-1][name] if sound else None for name in SCORES},
        "diverged_epoch": diverged,
        WRITES: sum(known) if whole else None,
    }


def _is_sound(epoch: Mapping[str, Any]) -> bool:
    """Finite weights and, where the phase has one, a finite loss (SQLite keeps nan as NULL)."""
    if not epoch["finite"]:
        return False
    if epoch["test_accuracy"] is None:
        return epoch["objective"] is not None and abs(epoch["objective"]) != float("inf")
    losses = (epoch["train_loss"], epoch["test_loss"])
    return all(loss is not None and abs(loss) != float("inf") for loss in losses)
