"""More bits or more units: accuracy against the memory of a whole network."""

from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
from examples import CELL, csv_of, row

from experiments import lowbit_report
from experiments.cells import account_of, weights_of
from experiments.studies.lowbit import TUNING_SEED, report, widths

BITS = replace(CELL, dataset="mnist", n_layers=2, hidden_width=100, n_bits=2, scope="global",
               update="stochastic", optimizer="balanced", lr=0.01, gain=1.5, bias="float",
               epochs=30)
TUNED = replace(BITS, dataset="mnist_holdout", epochs=10)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def points(*pairs):
    return report.points([row(cell, seed, accuracy) for cell, accuracies in pairs
                          for seed, accuracy in enumerate(accuracies)])


def drawn_lines(found):
    ((stem, figure),) = widths.figures_of(found, {})
    (axis,) = figure.axes
    return stem, figure, {line.get_label(): line for line in axis.get_lines()}


def test_weights_are_the_elements_of_all_kernels():
    assert weights_of(BITS) == 784 * 100 + 2 * 100 * 100 + 100 * 10
    assert weights_of(replace(BITS, n_layers=0, hidden_width=7)) == 784 * 7 + 70
    # Feedback is not of the network; a convolution's kernel is.
    assert weights_of(replace(BITS, algorithm="fa")) == weights_of(BITS)
    assert weights_of(replace(BITS, network="lenet")) > 0
    assert weights_of(replace(BITS, update="magic")) is None


def test_a_line_for_each_number_of_bits_along_the_widths():
    wide = replace(BITS, hidden_width=200)
    found = points((BITS, (96.0, 97.0)), (wide, (97.5,)), (replace(BITS, n_bits=4), (98.0,)),
                   (replace(BITS, update="hidden", hidden_bits=4), (97.0,)))
    stem, figure, lines = drawn_lines(found)
    assert stem == "widths-mnist-2-backprop"
    xs, ys = lines["2 bits"].get_data()
    # 2 bits a weight on the device, and biases as floats beside it.
    assert list(xs) == pytest.approx([(2 * 99_400 + 32 * 310) / 1e3,
                                      (2 * 238_800 + 32 * 610) / 1e3])
    assert list(ys) == [96.5, 97.5]
    assert list(lines["4 bits"].get_xdata()) == pytest.approx([(4 * 99_400 + 32 * 310) / 1e3])
    assert list(lines["2 bits and 2 hidden"].get_ydata()) == [97.0]
    assert {text.get_text() for text in figure.axes[0].texts} == {"100", "200"}
    title = figure.get_suptitle().replace("\n", " ")
    for part in ("mnist", "backprop", "3 hidden layers", "1-2 seeds", "30 epochs"):
        assert part in title


def test_numbers_of_points_upon_each_other_stand_above_and_below():
    few, many = replace(BITS, hidden_width=172), replace(BITS, n_bits=4)  # 408 kbit each
    for upper, above in ((97.2, False), (99.0, True)):  # near the other one, and far from it
        _, figure, _ = drawn_lines(points((few, (97.0,)), (many, (upper,))))
        stands = {text.xy[1]: text.xyann[1] > 0 for text in figure.axes[0].texts}
        assert stands == {upper: True, 97.0: above}


def test_held_out_data_choose_among_optimizers_not_the_test_set():
    other = replace(BITS, optimizer="normalized")
    rows = [row(BITS, 0, 96.0), row(other, 0, 97.0), row(replace(BITS, hidden_width=50), 0, 90.0),
            row(TUNED, TUNING_SEED, 96.5),
            row(replace(TUNED, optimizer="normalized"), TUNING_SEED, 96.4)]
    _, _, lines = drawn_lines(report.points(rows))
    assert list(lines["2 bits"].get_ydata()) == [90.0, 96.0]


def test_one_width_and_what_is_not_known_are_no_figure():
    stranger = replace(BITS, hidden_width=50, update="magic")
    lost = replace(BITS, hidden_width=50)
    assert list(widths.figures_of(points((BITS, (96.0,)), (stranger, (99.0,)), (lost, (None,))),
                                  {})) == []


def test_tables_of_several_widths_tell_kilobits():
    table = report.table_of(points((BITS, (96.0,)), (replace(BITS, hidden_width=50), (90.0,))),
                            "mnist")
    place = [column.name for column in table.columns].index("kbit")
    small = replace(BITS, hidden_width=50)
    assert [entry[place] for entry in table.rows] == pytest.approx(
        [account_of(cell).total * weights_of(cell) / 1e3 for cell in (small, BITS)])
    assert report.KILOBITS_NOTE in table.notes
    one = report.table_of(points((BITS, (96.0,))), "mnist")
    assert "kbit" not in [column.name for column in one.columns]


def test_the_command_draws_what_is_asked_for(tmp_path):
    study = csv_of(tmp_path / "study.csv",
                   [row(replace(BITS, hidden_width=width), 0, 90.0 + width / 100)
                    for width in (50, 100)])
    assert lowbit_report.main(["--results", str(study), "--figures", "widths"]) == 0
    drawn = sorted(f.stem for f in (tmp_path / "lowbit").glob("*.png"))
    assert drawn == ["widths-mnist-2-backprop"]
    assert lowbit_report.main(["--results", str(study)]) == 0
    drawn = sorted(f.stem for f in (tmp_path / "lowbit").glob("*.png"))
    assert drawn == ["lowbit-mnist-2-100", "lowbit-mnist-2-50", "memory-mnist-2-100",
                     "memory-mnist-2-50", "widths-mnist-2-backprop"]
