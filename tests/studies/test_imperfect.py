"""The study of imperfect devices: its grid, its report, the command."""

from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
from examples import csv_of, row

from experiments import imperfect as command
from experiments.cells import kinds
from experiments.cells.memories import memory_of
from experiments.studies import imperfect
from experiments.studies.imperfect import measured, report
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
    assert "| median accuracy on ideal devices | 90.5 | 80.5 |" in out
    assert "smaller than steps up by (share) | 0.03 to 0.1 | none up to 0.1 |" in out
    assert "| stuck: stuck devices (share) | none up to 0.01 | - |" in out
    names = {f.name for f in (tmp_path / "out").iterdir()}
    assert names == {"imperfect-digits.png", "imperfect-digits.pdf", "tolerance-digits.md",
                     "tolerance-digits.csv", "tolerance-digits.tex"}


def test_of_several_settings_those_with_most_networks_count():
    more = rows_of("fa", 80.0, {("asymmetry", 0.1): 70.0})
    few = [row(replace(IDEAL, algorithm="fa", lr=7.0), 0, 20.0)]
    for rows in (more + few, few + more):
        assert report.accuracies_of(rows, "digits") == {
            "fa": {"ideal": {0.0: [80.0, 81.0]}, "asymmetry": {0.1: [70.0, 71.0]}}}


def test_a_network_that_diverged_is_not_left_out_of_its_mean():
    rows = rows_of("fa", 80.0, {("asymmetry", 0.1): 70.0})
    rows[-1] = rows[-1] | {"test_accuracy": None, "status": "diverged"}
    found = report.accuracies_of(rows, "digits")
    assert found["fa"]["asymmetry"] == {0.1: [70.0, 0.0]}


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
    out = capsys.readouterr().out
    assert "| asymmetry: steps down" in out


# --- measured devices ---


def planned(words):
    """What the command tries: algorithms on ideal devices; (algorithm, memory) on measured ones."""
    ideals, on_devices = command._tried(command.parser().parse_args(words.split()))
    return ({c.algorithm for c in ideals}, {(c.algorithm, c.update) for c in on_devices})


def test_what_is_asked_for_is_trained_and_all_of_it_if_nothing_is():
    ideals, on_devices = planned("")
    assert ideals == set(imperfect.ALGORITHMS)
    assert {a for a, memory in on_devices if memory == "ecram"} == ideals
    assert {a for a, memory in on_devices if memory == "agad:ecram"} == {"backprop", "fa"}
    assert {m for _, m in on_devices if "pcm" in m} == {
        "one_sided:pcm", "mixed_precision:one_sided:pcm"}
    assert planned("--imperfection stuck")[1] == set()
    assert planned("--device ecram --scheme plain --algorithm fa") == (set(), {("fa", "ecram")})
    assert planned("--scheme ttv2 --device ecram --algorithm dfa")[1] == {("dfa", "ttv2:ecram")}
    ideals, on_devices = planned("--imperfection stuck --device ecram --scheme plain")
    assert ideals == {a for a, _ in on_devices} == set(imperfect.ALGORITHMS)


def test_without_a_gain_other_rates_are_tried_by_schemes_that_have_some():
    def tried(scheme, *rates):
        cells = imperfect.tried_on("fa", "ecram", scheme, "digits", [None, 1.0], 2, rates)
        return {(c.gain, c.lr) for c in cells}

    with_gain = {(1.0, 1.0), (1.0, 3.0), (1.0, 10.0)}
    assert tried("plain") == with_gain | {(None, 0.03), (None, 0.1), (None, 0.3)}
    assert tried("agad") == {(1.0, 1.0), (1.0, 3.0)}
    assert tried("plain", 0.5) == {(None, 0.5), (1.0, 0.5)}
    assert tried("agad", 0.5) == {(1.0, 0.5)}


def test_schedules_are_tried_where_a_scheme_has_several():
    def tried(scheme):
        return [cell.schedule for cell in imperfect.tried_on("fa", "ecram", scheme, "digits", [1.0],
                                                             2)]

    assert set(tried("cttv2")) == {"linear"}
    assert tried("ttv2").count("linear") == tried("ttv2").count("constant") == len(tried("cttv2"))


@pytest.mark.parametrize("scheme", imperfect.SCHEMES)
@pytest.mark.parametrize("device", imperfect.DEVICES)
def test_every_device_and_scheme_is_found_again_and_can_be_made(device, scheme):
    cells = imperfect.tried_on("fa", device, scheme, "digits", [1.0], 2)
    assert bool(cells) == (device != "pcm" or scheme in ("plain", "mixed_precision"))
    assert len(set(cells)) == len(cells)
    for cell in cells:
        assert imperfect.device_of(cell) == (device, scheme)
        assert memory_of(cell, cell)
        assert imperfect.device_of(replace(cell, optimizer="adam")) is None
        assert imperfect.found_in(cell) is None


def test_other_numbers_of_a_scheme_are_not_the_studys():
    first, *_ = imperfect.tried_on("fa", "ecram", "ttv2", "digits", [1.0], 2)
    assert imperfect.device_of(replace(first, numbers="")) is None


def test_numbers_and_rates_are_chosen_for_every_memory_and_algorithm():
    tried = [cell for scheme in ("plain", "ttv2") for algorithm in ("backprop", "fa")
             for cell in imperfect.tried_on(algorithm, "ecram", scheme, "digits", [1.0], 2)]
    rows = [row(cell, TUNING_SEED, 50.0 + place) for place, cell in enumerate(tried)]
    best = imperfect.chosen(tried, rows, 7)
    assert [(c.algorithm, c.update) for c in best] == [
        (a, m) for m in ("ecram", "ttv2:ecram") for a in ("backprop", "fa")]
    last = {(c.algorithm, c.update): (c.lr, c.numbers) for c in tried}
    assert all((c.lr, c.numbers) == last[c.algorithm, c.update] for c in best)


def on_devices():
    """Rows of backprop on ecram and reram_es, of fa on ecram."""
    told = [("backprop", "ecram", "plain", 90.0), ("backprop", "reram_es", "plain", 40.0),
            ("backprop", "reram_es", "agad", 80.0), ("fa", "ecram", "plain", 85.0)]
    rows = []
    for algorithm, device, scheme, accuracy in told:
        cell = imperfect.tried_on(algorithm, device, scheme, "digits", [1.0], 2)[0]
        cell = replace(cell, dataset="digits")
        rows += [row(cell, seed, accuracy + seed) for seed in range(3)]
        rows.append(row(replace(cell, lr=7.0), 0, 1.0))  # another setting, with fewer seeds
    return rows


def test_devices_are_tabulated_and_drawn(tmp_path, capsys):
    study = csv_of(tmp_path / "study.csv", on_devices())
    assert command.main(["--report", "--results", str(study), "--out", str(tmp_path / "out"),
                         "--dataset", "digits"]) == 0
    out = capsys.readouterr().out
    assert "| reram_es | agad | 81.0 ± 1.0 | - |" in out
    assert "| ecram | plain | 91.0 ± 1.0 | 86.0 ± 1.0 |" in out
    assert {f.name for f in (tmp_path / "out").iterdir()} == {
        f"devices-digits.{ending}" for ending in ("png", "pdf", "md", "csv", "tex")}
    found = measured.accuracies_on(reversed(on_devices()), "digits")
    assert list(found) == ["backprop", "fa"]
    figure = measured.plot_devices(found, "title")
    panels = {axis.get_title(): [t.get_text() for t in axis.texts] for axis in figure.axes
              if axis.get_title()}
    assert panels == {"pulses as they come": ["41.0", "91.0", "86.0"],
                      "backprop, by scheme": ["41.0", "81.0", "91.0"]}


def test_settings_that_are_best_on_held_out_data_count():
    cells = [replace(cell, dataset="digits", epochs=9) for cell in imperfect.tried_on(
        "fa", "ecram", "plain", "digits", [1.0], 2)]
    rows = [row(cell, seed, 90.0 - place) for place, cell in enumerate(cells) for seed in (0, 1)]
    rows += [row(cells[0], 2, 90.0)]
    assert measured.accuracies_on(rows, "digits") == {"fa": {("ecram", "plain"): [90.0] * 3}}
    rows += [row(replace(cell, dataset="digits_holdout", epochs=2), 1000, 50.0 + place)
             for place, cell in enumerate(cells[:2])]
    assert measured.accuracies_on(rows, "digits") == {"fa": {("ecram", "plain"): [89.0] * 2}}


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["--report", "--out", str(tmp_path)])
    assert end.value.code == 2
    with pytest.raises(SystemExit):
        command.main(["--device", "pcm", "--scheme", "agad", "--out", str(tmp_path)])
    err = capsys.readouterr().err
    assert "pcm can be stepped one way only" in err
    assert "--scheme plain mixed_precision" in err
    with pytest.raises(SystemExit):
        command.main(["--scheme", "agad", "--gain", "none", "--out", str(tmp_path)])
    assert "without a gain: add --gain 1 2" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["--imperfection", "stuck", "--gain", "none", "--out", str(tmp_path)])
    assert "ideal devices need a gain" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["--imperfection", "asymetry"])
    assert "did you mean asymmetry" in capsys.readouterr().err
