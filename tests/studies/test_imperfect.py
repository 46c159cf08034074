"""The study of imperfect devices: its grid, its report, the command."""

from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
from examples import csv_of, row

from experiments import imperfect as command
from experiments.cells import kinds
from experiments.cells.memories import memory_of
from experiments.studies import imperfect
from experiments.studies.imperfect import report
from experiments.studies.lowbit import TUNING_SEED

TRIED = imperfect.ideals(["backprop", "fa", "hsic"], "digits", [0.1, 0.3], [1.0], 2)
IDEAL = replace(TRIED[0], dataset="digits", epochs=4)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_the_ideal_device_is_exact_and_like_all_others():
    device = memory_of(IDEAL, IDEAL).memories[-1].device
    assert all(getattr(device, name) == 0 for name in (
        "dw_min_dtod", "dw_min_std", "up_down", "up_down_dtod", "w_max_dtod", "w_min_dtod",
        "corrupt_devices_prob"))
    assert device.states == pytest.approx(1000)


def test_every_imperfection_is_one_change_that_is_found_again():
    cells = imperfect.cells_of(IDEAL, imperfect.IMPERFECTIONS)
    assert len(set(cells)) == len(cells) == 1 + sum(
        len(about.values) for about in imperfect.IMPERFECTIONS.values())
    found = [imperfect.found_in(cell) for cell in cells]
    assert found == [("ideal", 0.0), *((name, value)
                                       for name, about in imperfect.IMPERFECTIONS.items()
                                       for value in about.values)]
    assert imperfect.found_in(replace(IDEAL, numbers="")) is None
    assert imperfect.found_in(replace(IDEAL, update="none", numbers="")) is None


def test_values_are_what_they_say():
    def with_(name, value):
        (cell,) = [c for c in imperfect.cells_of(IDEAL, [name])
                   if imperfect.found_in(c) == (name, value)]
        return memory_of(cell, cell).memories[-1]

    assert with_("states", 10).device.states == pytest.approx(10)
    assert with_("states", 10).counting == "whole"
    noisy = with_("write_noise", 0.1)
    assert noisy.write_noise_std * noisy.device.dw_min == pytest.approx(0.1)
    assert kinds.numbers(imperfect.cells_of(IDEAL, ["stuck"])[-1].numbers)[
        "corrupt_devices_prob"] == 0.3


def test_held_out_accuracy_chooses_for_every_algorithm():
    rows = [row(cell, TUNING_SEED, accuracy)
            for cell, accuracy in zip(TRIED, (50, 60, 70, 65, 20, None), strict=True)]
    rows.append(row(TRIED[0], 0, 99.0))  # a seed of the report
    best = imperfect.chosen(TRIED, rows, 7)
    assert [(c.algorithm, c.lr, c.dataset, c.epochs, c.readout_epochs) for c in best] == [
        ("backprop", 0.3, "digits", 7, 0), ("fa", 0.1, "digits", 7, 0),
        ("hsic", 0.1, "digits", 7, 7)]


def test_tolerance_is_between_the_values_tried():
    assert imperfect.tolerance(90, {1: 89.5, 2: 88.1, 3: 88.0, 4: 50}) == (2, 3)
    assert imperfect.tolerance(90, {1: 80}) == (None, 1)
    assert imperfect.tolerance(90, {1: 91}) == (1, None)


def rows_of(algorithm, ideal, accuracies):
    own = replace(IDEAL, algorithm=algorithm)
    cells = {imperfect.found_in(c): c for c in imperfect.cells_of(own, ["asymmetry", "stuck"])}
    told = {("ideal", 0.0): ideal, **accuracies}
    return [row(cells[key], seed, accuracy + seed) for key, accuracy in told.items()
            for seed in range(2)]


def test_report_by_command(tmp_path, capsys):
    lost = {("asymmetry", 0.03): 90.0, ("asymmetry", 0.1): 80.0, ("stuck", 0.01): 91.0}
    kept = {("asymmetry", 0.03): 80.0, ("asymmetry", 0.1): 79.0}
    rows = [*rows_of("backprop", 90.0, lost), *rows_of("fa", 80.0, kept)]
    study = csv_of(tmp_path / "study.csv", rows)
    assert command.main(["--report", "--results", str(study), "--out", str(tmp_path / "out"),
                         "--dataset", "digits"]) == 0
    out = capsys.readouterr().out
    assert "| accuracy on ideal devices | 90.5 | 80.5 |" in out
    assert "| asymmetry | 0.03 to 0.1 | none up to 0.1 |" in out
    assert "| stuck | none up to 0.01 | - |" in out
    names = {f.name for f in (tmp_path / "out").iterdir()}
    assert names == {"imperfect-digits.png", "imperfect-digits.pdf", "tolerance-digits.md",
                     "tolerance-digits.csv", "tolerance-digits.tex"}


def test_of_several_settings_those_with_most_networks_count():
    more = rows_of("fa", 80.0, {("asymmetry", 0.1): 70.0})
    few = [row(replace(IDEAL, algorithm="fa", lr=7.0), 0, 20.0)]
    for rows in (more + few, few + more):
        assert report.accuracies_of(rows, "digits") == {
            "fa": {"ideal": {0.0: [80.0, 81.0]}, "asymmetry": {0.1: [70.0, 71.0]}}}


def test_lines_are_where_the_accuracies_are():
    found = report.accuracies_of(rows_of("fa", 80.0, {("asymmetry", 0.1): 70.0}), "digits")
    (axis,) = [a for a in report.plot_imperfections(found, "title").axes if a.get_visible()]
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert list(lines["fa"].get_ydata()) == [70.5]
    assert [line.get_ydata()[0] for line in axis.get_lines() if line.get_linestyle() == ":"] == [
        80.5]
    assert report.accuracies_of(rows_of("fa", 80.0, {}), "mnist") == {}


def test_the_command_trains_tunes_and_is_silent_on_names(tmp_path, capsys):
    words = ["--dataset", "digits", "--algorithm", "backprop", "--imperfection", "asymmetry",
             "--lr", "0.3", "--gain", "1", "--epochs", "1", "--tune-epochs", "1", "--seeds", "1",
             "--out", str(tmp_path)]
    assert command.main(words) == 0
    out = capsys.readouterr().out
    assert "6 networks; draw and tabulate" in out
    assert command.main(["--report", "--dataset", "digits", "--out", str(tmp_path)]) == 0
    assert "| asymmetry |" in capsys.readouterr().out


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["--report", "--out", str(tmp_path)])
    assert end.value.code == 2
    with pytest.raises(SystemExit):
        command.main(["--imperfection", "asymetry"])
    assert "did you mean asymmetry" in capsys.readouterr().err
