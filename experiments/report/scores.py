"""What was measured of replicas, as people call it: accuracy or R², on a test set or held out."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from experiments.cells import DEFAULTS
from experiments.data import HOLDOUT, has_targets

__all__ = ["Scored", "is_held_out", "scored"]


class Scored(NamedTuple):
    """How to call it.

    Attributes:
      score: what the share of right answers is with their losses, in a word or two.
      on: the data that networks were not trained on: the test set, a held-out part, or either.
    """

    score: str = "accuracy"
    on: str = "test"

    def title(self, usual: str) -> str:
        """What "test accuracy" is here, and other words with these in them, capital or not."""
        words = usual.replace("accuracy", self.score).replace("test", self.on)
        return words.replace("Test", self.on.capitalize())


def is_held_out(row: Mapping[str, Any]) -> bool:
    """Was it trained on a part of the training set, and tested on the rest?"""
    return row["dataset"].endswith(HOLDOUT)


def _score_of(row: Mapping[str, Any]) -> str:
    """In a word: R² of targets; data with classes have accuracies under that loss too."""
    if (row.get("loss") or DEFAULTS["loss"]) != "squared_error":
        return "accuracy"
    return {True: "R²", False: "accuracy", None: "R² or accuracy"}[has_targets(row["dataset"])]


def scored(rows: Iterable[Mapping[str, Any]]) -> Scored:
    """How to call what was measured of these replicas."""
    rows = list(rows)
    words = {_score_of(row) for row in rows} or {"accuracy"}
    score = words.pop() if len(words) == 1 else "score"
    held_out = {is_held_out(row) for row in rows}
    on = "held-out" if held_out == {True} else "test or held-out" if True in held_out else "test"
    return Scored(score, on)
