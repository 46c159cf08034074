"""What tables make of a study of one's own, and of none. The thesis's: tests/studies."""

from dataclasses import replace

import pytest
from examples import CELL, FLOAT, HSIC, row

from experiments.report import NO_STUDY, Study, position
from experiments.report.panels import architectures, trained
from experiments.report.tables import float_table

OURS = Study("our study", algorithms=("fa", "backprop"), architectures=((2, 50), (1, 50)),
             has=lambda cell: cell.lr == 1.0, full=lambda cell: (20,))


@pytest.mark.parametrize(("cell", "label"), [(CELL, "10"), (FLOAT, "10"), (HSIC, "30 + 20")])
def test_without_a_study_cells_are_as_long_as_they_are(cell, label):
    assert NO_STUDY.epochs_label(cell) == label
    assert not NO_STUDY.shortened(cell)
    assert not NO_STUDY.has(cell)
    assert NO_STUDY.published(row(cell)) is None


def test_a_study_says_what_is_short():
    assert OURS.epochs_label(CELL) == "10 of 20"
    assert OURS.epochs_label(replace(CELL, epochs=20)) == "20"
    assert OURS.epochs_label(replace(CELL, lr=0.5)) == "10"
    assert trained([row(CELL)], OURS) == "10 of 20 epochs (shortened)"


def test_tables_have_the_order_of_the_study_and_name_it():
    cells = [replace(FLOAT, algorithm=a, n_layers=n) for a in ("backprop", "dni", "fa")
             for n in (0, 1, 2)]
    rows = [row(cell) for cell in cells]
    table = float_table(rows, "digits", OURS)
    assert [line[0] for line in table.rows] == ["fa", "backprop", "dni"]
    assert [c.name for c in table.columns][1:4] == ["(2,50)", "(1,50)", "(0,50)"]
    assert "Shortened runs: 'n of m' epochs are n where our study had m." in table.notes
    assert [n for _, n, _ in architectures(rows, OURS)] == [2, 1, 0]
    assert [n for _, n, _ in architectures(rows)] == [0, 1, 2]


def test_what_an_order_does_not_know_comes_last():
    words = ["z", "b", "a", "y"]
    assert sorted(words, key=lambda w: position("yz", w)) == ["y", "z", "a", "b"]
