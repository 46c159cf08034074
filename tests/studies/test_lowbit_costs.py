"""The figure of accuracy against all memory, and lines of hidden bits in that of few bits."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from examples import CELL, row

from experiments.cells import NONE
from experiments.studies.lowbit import TUNING_SEED, costs, report
from experiments.studies.lowbit import figure as lowbit_figure
from experiments.studies.thesis import Key, Published

BITS = replace(CELL, dataset="mnist", n_layers=2, hidden_width=100, n_bits=2, scope="global",
               update="hidden", hidden_bits=4, optimizer="normalized", lr=0.01, gain=1.5,
               bias="float", epochs=30)
FLOAT = replace(BITS, n_bits=None, quantizer=NONE, scope=NONE, update=NONE, bias="quantized",
                hidden_bits=None)
BIASES = 310 / 99400  # of 784-100-100-100-10, per weight


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def points(*pairs):
    return report.points([row(cell, seed, accuracy) for cell, accuracies in pairs
                          for seed, accuracy in enumerate(accuracies)])


SEVERAL = (
    (BITS, (96.0, 97.0)),  # 2 + 4 bits
    (replace(BITS, hidden_bits=2), (92.0,)),  # 2 + 2, worse than the next
    (replace(BITS, update="stochastic", hidden_bits=None), (94.0, 95.0)),  # 2 + 0
    (replace(BITS, optimizer="adam"), (96.4,)),  # 2 + 4 + 64, worse than the first
    (FLOAT, (98.0,)),
    (replace(BITS, algorithm="dfa"), (90.0,)),
)


def test_the_front_is_what_no_other_with_as_few_bits_beats():
    found = points(*SEVERAL)
    ours = [(round(p.memory - 32 * BIASES, 1), p.accuracy) for p in report.front(found)]
    assert ours == [(2, 94.5), (6, 96.5), (32, 98.0)]
    assert report.front(points((BITS, (None,)))) == []


def test_a_cell_of_unknown_memory_has_no_place_on_it():
    stranger = points((replace(BITS, update="magic", hidden_bits=None), (99.9,)), *SEVERAL[:1])
    assert [p.accuracy for p in report.front(stranger)] == [96.5]


def test_lines_markers_and_rings_are_where_they_belong():
    found = points(*SEVERAL)
    known = [costs.Known(66.0, 20.0, 2)]
    (axis,) = costs.plot_cost(found, costs.COSTS[0], "title", known).axes
    lines = {line.get_label(): line for line in axis.get_lines()}
    xs, ys = lines["backprop"].get_data()
    np.testing.assert_allclose(np.subtract(xs, 32 * BIASES), [2, 6, 32], atol=1e-3)
    np.testing.assert_allclose(ys, [94.5, 96.5, 98.0])
    (x,), (y,) = lines["dfa"].get_data()
    assert y == 90
    assert 6.1 < x < 7  # its feedback matrices too
    crosses = lines["thesis, the best of all its networks by bits"].get_data()
    assert [list(values) for values in crosses] == [[66.0], [20.0]]
    rings = [tuple(map(float, np.ravel(line.get_data()))) for line in axis.get_lines()
             if line.get_markersize() == 11 and len(line.get_xdata())]
    assert sorted(y for _, y in rings) == [94.5, 96.5, 98.0]
    assert axis.get_xscale() == "log"


def test_published_networks_have_their_optimizers_memory_counted():
    published = {
        Key("backprop", "mnist", 2, 100, 8, "symm", "local"): Published(97.3),
        Key("fa", "mnist", 2, 100, 8, "symm", "local"): Published(90.0),
        Key("fa", "mnist", 2, 100): Published(98.0),
        Key("fa", "fashion_mnist", 2, 100, 8, "symm", "local"): Published(99.0),
        Key("fa", "mnist", 2, 77): Published(99.5),  # not of the study: nothing is known of it
    }
    eight, floats = costs.published_by_memory(published, "mnist")
    # Adadelta keeps two floats a weight; biases are quantized, and have two floats as well.
    np.testing.assert_allclose(eight.memory, (8 + 64) * (1 + BIASES), rtol=1e-6)
    assert (eight.accuracy, eight.n_bits) == (97.3, 8)
    assert (floats.accuracy, floats.n_bits) == (98.0, None)
    assert floats.memory > 3 * 32  # fa's matrices come on top


def test_a_figure_for_every_network_says_what_it_is_of():
    found = points(*SEVERAL, (replace(BITS, network="lenet", n_layers=0, hidden_width=0), (99.0,)))
    drawn = dict(costs.figures_of(found, {}))
    assert list(drawn) == ["memory-mnist-2-100", "memory-mnist-lenet"]
    title = drawn["memory-mnist-2-100"].get_suptitle().replace("\n", " ")
    for part in ("mnist", "3 hidden layers of 100", "1-2 seeds", "30 epochs", "all memory"):
        assert part in title


def test_writes_are_a_figure_where_they_are_known():
    few = row(BITS, 0, 96.0, writes=20.0)
    many = row(replace(BITS, hidden_bits=2), 0, 97.0, writes=300.0)
    floats = row(FLOAT, 0, 98.0, writes=1800.0)
    unknown = row(replace(BITS, algorithm="fa"), 0, 50.0)
    never = row(replace(BITS, algorithm="dfa"), 0, 10.0, writes=0.0)
    drawn = dict(costs.figures_of(report.points([few, many, floats, unknown, never]), {}))
    assert list(drawn) == ["memory-mnist-2-100", "writes-mnist-2-100"]
    (axis,) = drawn["writes-mnist-2-100"].axes
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert list(lines["backprop"].get_xdata()) == [20, 300]
    assert list(lines["backprop"].get_ydata()) == [96, 97]
    assert "fa" not in lines
    assert list(lines["dfa"].get_xdata()) == [0]


def test_of_trials_alone_there_is_nothing_to_draw():
    trial = row(replace(BITS, dataset="mnist_holdout"), TUNING_SEED, 90.0)
    assert list(costs.figures_of(report.points([trial]), {})) == []


def test_hidden_bits_are_lines_of_their_own_and_optimizers_figures():
    found = points(
        (replace(BITS, hidden_bits=2), (90.0,)), (BITS, (96.0,)), (FLOAT, (98.0,)),
        (replace(BITS, hidden_bits=None), (97.0,)), (replace(BITS, n_bits=3, hidden_bits=5),
                                                     (97.5,)),
        (replace(BITS, optimizer="adam"), (97.8,)))
    drawn = dict(lowbit_figure.figures_of(found, {}))
    assert list(drawn) == ["lowbit-mnist-2-100-adam", "lowbit-mnist-2-100-normalized"]
    (axis,) = drawn["lowbit-mnist-2-100-normalized"].axes
    lines = {line.get_label(): list(line.get_ydata()) for line in axis.get_lines()}
    assert {name: lines[name] for name in ("hidden +0", "hidden +2", "hidden float")} == {
        "hidden +0": [90.0], "hidden +2": [96.0, 97.5], "hidden float": [97.0]}
    colors = [line.get_color() for line in axis.get_lines() if "hidden" in str(line.get_label())]
    assert len(set(colors)) == 3
