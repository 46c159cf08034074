"""The thesis's study as tables and figures need it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from experiments.cells import Cell
from experiments.report import Study
from experiments.studies.thesis.protocol import (
    ALGORITHMS,
    ARCHITECTURES,
    DATASETS,
    in_study,
    thesis_epochs,
)
from experiments.studies.thesis.published import Key, Published

__all__ = ["THESIS", "with_published"]


def _full(cell: Cell) -> tuple[int, ...]:
    return thesis_epochs(cell.algorithm, cell.n_bits is not None)


THESIS = Study("the thesis", ALGORITHMS, DATASETS, ARCHITECTURES, in_study, _full)


def with_published(published: Mapping[Key, Published]) -> Study:
    """`THESIS`, with what a file of published results has."""

    def accuracy(row: Mapping[str, Any]) -> float | None:
        found = published.get(Key(*(row[name] for name in Key._fields)))
        return None if found is None else found.accuracy

    return replace(THESIS, published=accuracy)
