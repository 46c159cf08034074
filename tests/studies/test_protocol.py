"""The thesis's study: its cells, how long it trained them, and what counts as shortened."""

from dataclasses import replace

import pytest
from examples import CELL, FLOAT

from experiments.cells import preset_of
from experiments.studies.thesis import THESIS
from experiments.studies.thesis.protocol import (
    ALGORITHMS,
    ARCHITECTURES,
    BITS,
    DATASETS,
    thesis_epochs,
)

STUDY = replace(CELL, dataset="mnist")
STUDY_FLOAT = replace(FLOAT, dataset="mnist")
STUDY_HSIC = replace(STUDY, algorithm="hsic", optimizer="sgd", gamma=1.0, weight_decay=1e-3,
                     epochs=30, readout_epochs=20)


@pytest.mark.parametrize(
    ("algorithm", "quantized", "counts"),
    [("backprop", True, (30,)), ("fa", False, (10,)), ("dni", True, (30,)), ("dni", False, (10,)),
     ("hsic", True, (30, 20)), ("hsic", False, (30, 20))],
)
def test_epochs_of_the_thesis(algorithm, quantized, counts):
    assert thesis_epochs(algorithm, quantized) == counts


def test_the_thesis_has_1344_cells():
    cells = len(ALGORITHMS) * len(DATASETS) * len(ARCHITECTURES) * len(BITS) * 2 * 2
    assert cells == 1344
    assert all(preset_of(a).phases for a in ALGORITHMS)


@pytest.mark.parametrize(
    ("cell", "label", "short"),
    [
        (replace(STUDY, epochs=30), "30", False), (replace(STUDY, epochs=10), "10 of 30", True),
        (replace(STUDY_FLOAT, epochs=10), "10", False),
        (replace(STUDY_FLOAT, epochs=9), "9 of 10", True),
        (replace(STUDY, epochs=31), "31", False), (STUDY_HSIC, "30 + 20", False),
        (replace(STUDY_HSIC, readout_epochs=5), "30 + 5 of 30 + 20", True),
        (replace(STUDY_HSIC, **{k: getattr(FLOAT, k) for k in ("n_bits", "quantizer", "scope",
                                                               "update")},
                 batch_size=128, epochs=10), "10 + 20 of 30 + 20", True),
        # Networks of somebody's own have no study to be shorter than.
        (replace(STUDY, dataset="digits", epochs=10), "10", False),
        (replace(STUDY, lr=0.5, epochs=10), "10", False),
        (replace(STUDY, update="stochastic", epochs=10), "10", False),
        (replace(STUDY, hidden_width=51, epochs=10), "10", False),
        (replace(STUDY_HSIC, gain=1.5, epochs=3), "3 + 20", False),
    ],
)
def test_shortened_runs_are_labelled(cell, label, short):
    assert THESIS.epochs_label(cell) == label
    assert THESIS.shortened(cell) is short
