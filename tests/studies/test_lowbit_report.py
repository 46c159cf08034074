"""The report of the study of few bits: which replicas count, tables, figures, the command."""

import csv
import io
from dataclasses import replace
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.stats
from examples import CELL, csv_of, row
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from experiments import lowbit_report
from experiments.cells import NONE, kinds
from experiments.report import look
from experiments.studies.lowbit import TUNING_SEED, report
from experiments.studies.lowbit import figure as lowbit_figure
from experiments.studies.thesis import Key, Published
from qjax.algorithms import ALGORITHMS
from qjax.memories import MEMORIES

BITS = replace(CELL, dataset="mnist", n_layers=2, hidden_width=100, n_bits=2, scope="global",
               update="pulse", optimizer="adam", lr=0.01, gain=1.5, bias="float", epochs=30)
FLOAT = replace(BITS, n_bits=None, quantizer=NONE, scope=NONE, update=NONE, bias="quantized")
WITH_LEVELS = list(filter(kinds.has_levels, MEMORIES))
PUBLISHED = {
    Key("backprop", "mnist", 0, 4, 2, "symm", "local"): Published(20.0),
    Key("hsic", "mnist", 1, 50, 2, "asymm", "global"): Published(31.0),
    Key("fa", "mnist", 2, 100, 2, "symm", "local"): Published(25.0),
    Key("fa", "mnist", 2, 100, 8, "symm", "local"): Published(97.0),
    Key("fa", "fashion_mnist", 2, 100, 2, "symm", "local"): Published(80.0),
    Key("fa", "mnist", 2, 100): Published(98.0),
}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def seeds(cell, *accuracies, **more):
    return [row(cell, seed, accuracy, **more) for seed, accuracy in enumerate(accuracies)]


def tuned(cell, accuracy, seed=TUNING_SEED, epochs=10):
    cell = replace(cell, dataset=cell.dataset + "_holdout", epochs=epochs)
    return row(cell, seed, accuracy)


def chosen(rows):
    (point,) = report.points(rows)
    return point


def lines_of(table):
    names = [c.name for c in table.columns]
    return [dict(zip(names, r, strict=True)) for r in table.rows]


# Which replicas count


def test_the_best_on_held_out_data_counts_whatever_the_test_set_says():
    cells = [replace(BITS, lr=lr) for lr in (0.1, 0.2, 0.3)]
    rows = [r for cell, test in zip(cells, (99.0, 60.0, 98.0), strict=True)
            for r in seeds(cell, test, test)]
    rows += [tuned(c, a) for c, a in zip(cells, (70.0, 80.0, 75.0), strict=True)]
    point = chosen(rows)
    assert point.cell == cells[1]
    assert point.held_out == (10, 80.0)
    assert [m["test_accuracy"] for m in point.members] == [60.0, 60.0]


@given(st.lists(st.one_of(st.none(), st.floats(0, 100)), min_size=4, max_size=4))
def test_test_accuracy_has_no_part_in_the_choice(accuracies):
    cells = [replace(BITS, gain=gain) for gain in (1.0, 2.0, 3.0, None)]
    rows = [row(c, 0, a) for c, a in zip(cells, accuracies, strict=True)]
    assert chosen([*rows, tuned(cells[2], 50.0), tuned(cells[0], 40.0)]).cell == cells[2]
    assert chosen(rows).cell == cells[0]  # nothing to go by: the first


def test_held_out_results_count_for_their_own_settings_only():
    one, other = BITS, replace(BITS, batch_size=128)
    rows = [*seeds(one, 1.0), *seeds(other, 1.0), tuned(one, 50.0)]
    for stranger in (replace(other, lr=0.7), replace(other, update="latent"),
                     replace(other, dataset="digits"), replace(other, algorithm="fa")):
        assert chosen([*rows, tuned(stranger, 90.0)]).cell == one
    # Nor does any other seed decide, as in the study.
    assert chosen([*rows, tuned(other, 90.0, seed=0)]).cell == one
    assert chosen([*rows, tuned(other, 90.0)]).cell == other


def test_of_own_runs_any_seed_on_held_out_data_decides():
    one, other = BITS, replace(BITS, batch_size=128)
    rows = [*seeds(one, 1.0), *seeds(other, 1.0), tuned(one, 50.0, seed=0)]
    assert chosen([*rows, tuned(other, 90.0, seed=0)]).cell == other


def test_readout_epochs_need_not_agree_with_those_of_the_tuning():
    cell = replace(BITS, algorithm="hsic", readout_epochs=30)
    rows = [*seeds(cell, 1.0), tuned(replace(cell, readout_epochs=10), 66.0)]
    assert chosen(rows).held_out == (20, 66.0)


def test_tuned_settings_come_before_others_even_without_an_accuracy():
    other = replace(BITS, lr=0.5)
    rows = [*seeds(other, 99.0, 99.0, 99.0), *seeds(BITS, 10.0), tuned(BITS, None)]
    assert chosen(rows).cell == BITS
    assert chosen(rows).held_out == (10, 0.0)


def test_ties_go_to_more_seeds_then_to_more_epochs():
    longer, other = replace(BITS, epochs=60), replace(BITS, lr=0.5)
    rows = [*seeds(BITS, 9.0, 9.0), *seeds(longer, 5.0), tuned(BITS, 70.0)]
    assert chosen(rows).cell == BITS
    assert chosen([*rows, row(longer, 1)]).cell == longer
    assert chosen([*seeds(other, 9.0), *seeds(BITS, 1.0, 1.0)]).cell == BITS


def test_a_number_of_epochs_that_was_tried_comes_before_others():
    tried, longer = replace(BITS, epochs=10), BITS
    rows = [*seeds(tried, 90.0), *seeds(longer, 99.0, 99.0), tuned(BITS, 80.0, epochs=10)]
    assert chosen(rows).cell == tried


def test_of_several_tuning_seeds_the_mean_counts():
    rows = [*seeds(BITS, 1.0), tuned(BITS, 50.0), tuned(BITS, 70.0, TUNING_SEED + 1)]
    assert chosen(rows).held_out == (10, 60.0)


def test_of_trials_on_held_out_data_the_longest_count():
    other = replace(BITS, lr=0.5)
    rows = [*seeds(BITS, 9.0), *seeds(other, 3.0), tuned(BITS, 90.0), tuned(other, 95.0)]
    assert chosen(rows).cell == other
    # What falls apart later, or was not tried for as long, is not chosen, as in the study itself.
    rows.append(tuned(BITS, 80.0, epochs=20))
    assert chosen(rows).cell == BITS
    assert chosen(rows).held_out == (20, 80.0)
    assert chosen([*rows, tuned(other, 79.0, epochs=20)]).cell == BITS
    assert chosen([*rows, tuned(other, 81.0, epochs=20)]).cell == other


def test_held_out_networks_are_never_reported():
    rows = [tuned(BITS, 70.0), tuned(BITS, 70.0, seed=0), tuned(FLOAT, 99.0)]
    assert report.points(rows) == []
    assert len(report.points([*rows, *seeds(BITS, 1.0)])) == 1


def test_points_are_in_order():
    cells = [
        *(replace(BITS, algorithm=a) for a in ALGORITHMS),
        *(replace(BITS, algorithm="zz"[: n + 1]) for n in (1, 0)),
    ]
    wanted = [*ALGORITHMS, "z", "zz"]
    found = report.points([row(c) for c in reversed(cells)])
    assert [p.cell.algorithm for p in found] == wanted
    cells = [replace(BITS, n_bits=b, update=u) for b in (1, 2, 10) for u in WITH_LEVELS]
    found = report.points([row(c) for c in (FLOAT, *reversed(cells))])
    assert [p.cell for p in found] == [*cells, FLOAT]
    lenet = replace(BITS, network="lenet", n_layers=0, hidden_width=0)
    cells = [replace(BITS, n_layers=1), BITS, lenet, replace(BITS, dataset="fashion_mnist")]
    assert [p.cell for p in report.points(map(row, reversed(cells)))] == cells


# The table


def test_table_has_estimates_settings_and_counts():
    rows = [*seeds(BITS, 90.0, 92.0, 97.0), *seeds(FLOAT, 98.0), tuned(BITS, 1.0), tuned(FLOAT, 2)]
    lossy = replace(BITS, algorithm="hsic", gain=None, readout_epochs=20)
    rows += [row(lossy, 0, 10.0, status="diverged"), row(lossy, 1, None, status="diverged"),
             tuned(lossy, 1.0)]
    table = report.table_of(report.points(rows), "mnist")
    one, network, other = lines_of(table)
    assert list(one) == ["network", "algorithm", "bits", "update", "accuracy", "error",
                         "device bits", "bits beside", "lr",
                         "synthesizer lr", "schedule", "gain", "batch", "epochs", "seeds",
                         "diverged"]
    half = scipy.stats.t.ppf(0.975, 2) * np.sqrt(13) / np.sqrt(3)  # deviations -3, -1, 4
    np.testing.assert_allclose(one.pop("accuracy"), (93.0, half, 3))
    assert one.pop("error") == pytest.approx(7.0)
    # Adam keeps two floats for each of 99,400 weights and 310 float biases.
    assert one.pop("device bits") == pytest.approx(2)
    assert one.pop("bits beside") == pytest.approx(64 + 3 * 32 * 310 / 99400)
    assert list(one.values()) == ["(2,100)", "backprop", "2", "pulse", "0.01", None,
                                  BITS.schedule, "1.5", str(BITS.batch_size), "30", 3, 0]
    assert (network["bits"], network["update"], network["accuracy"]) == (
        "float", NONE, (98.0, None, 1))
    assert other["accuracy"] == (10.0, None, 1)
    assert (other["epochs"], other["gain"], other["seeds"], other["diverged"]) == (
        "30 + 20", None, 2, 2)


def test_a_point_without_any_accuracy_has_no_error():
    found = report.points(seeds(BITS, None, status="diverged"))
    (line,) = lines_of(report.table_of(found, "mnist"))
    assert line["accuracy"].mean is None
    assert line["error"] is None
    assert list(lowbit_figure.figures_of(found, {})) == []


def test_a_table_has_the_points_of_its_data_set():
    lenet = replace(BITS, network="lenet", n_layers=0, hidden_width=0)
    rows = map(row, (BITS, lenet, replace(BITS, dataset="digits")))
    lines = lines_of(report.table_of(report.points(rows), "mnist"))
    assert [line["network"] for line in lines] == ["(2,100)", "lenet"]


def test_grids_are_points_of_their_own():
    other = replace(BITS, quantizer="asymm")
    rows = [*seeds(BITS, 90.0, 92.0), *seeds(other, 70.0, 72.0), *seeds(FLOAT, 97.0)]
    found = report.points(rows)
    assert {(p.cell.quantizer, len(p.members)) for p in found} == {
        ("symm", 2), ("asymm", 2), (NONE, 1)}
    lines = lines_of(report.table_of(found, "mnist"))
    assert [line["quantizer"] for line in lines] == ["asymm", "symm", NONE]
    figure = drawn([r for p in found for r in p.members])
    (axis,) = visible(figure)
    for label, mean in (("pulse symm global", 91.0), ("pulse asymm global", 71.0)):
        np.testing.assert_allclose(line(axis, label).get_xydata(), [[2, mean]])


def test_a_table_says_what_it_leaves_out():
    rows = [*seeds(BITS, 90.0), *seeds(replace(BITS, lr=0.5), 80.0)]
    table = report.table_of(report.points(rows), "mnist")
    assert any(note.startswith("Left out: 1 cells") for note in table.notes)
    assert "All grids are symm global." in table.notes


def test_writes_are_a_column_where_some_are_known():
    def table(*rows):
        return report.table_of(report.points(rows), "mnist")

    known = table(row(BITS, 0, writes=30.0), row(BITS, 1, writes=50.0), row(FLOAT))
    assert [line["writes"] for line in lines_of(known)] == [40.0, None]
    assert report.WRITES_NOTE in known.notes
    assert "writes" not in [c.name for c in table(row(BITS)).columns]


def test_notes_say_what_the_points_bear_out():
    def notes(*rows):
        return report.table_of(report.points(rows), "mnist").notes

    plain = notes(row(BITS), tuned(BITS, 1.0))
    assert {report.TUNED, report.FREE_BIASES, report.DIVERGED} < set(plain)
    assert "±" in plain[0]
    assert not any("latent" in note or "not known to be tuned" in note for note in plain)
    latent = replace(BITS, update="latent", bias="quantized")
    mixed = notes(row(BITS), tuned(BITS, 1.0), row(latent), row(FLOAT))
    assert (f"{report.UNTUNED}(2,100) backprop 2 bits symm global latent; "
            "(2,100) backprop float."
            in mixed)
    assert f"{report.BOUND_BIASES}(2,100) backprop 2 bits symm global latent." in mixed
    assert report.FREE_BIASES not in mixed
    assert report.TUNED not in notes(row(BITS))


def test_notes_say_which_synthesizers_are_quantized():
    bound = replace(BITS, algorithm="dni")
    free = replace(bound, n_bits=3, synthesizer_lr=0.001)

    def notes(*cells):
        return report.table_of(report.points(map(row, cells)), "mnist").notes

    assert not any("Synthesizers" in note for note in notes(BITS, replace(FLOAT, algorithm="dni")))
    assert report.FREE_SYNTHESIZERS in notes(BITS, free)
    bound_in = f"{report.BOUND_SYNTHESIZERS}(2,100) dni 2 bits symm global pulse."
    assert bound_in in notes(bound, free)


# The figure


def test_the_best_published_accuracy_of_every_width():
    assert lowbit_figure.best_published(PUBLISHED, "mnist") == {2: 31.0, 8: 97.0}
    assert lowbit_figure.best_published(PUBLISHED, "digits") == {}


def drawn(rows, best=None):
    figure = lowbit_figure.plot_lowbit(rows, "the title", best or {})
    figure.canvas.draw()
    return figure


def visible(figure):
    return [axis for axis in figure.axes if axis.get_visible()]


def line(axis, label):
    (found,) = [ln for ln in axis.lines if ln.get_label() == label]
    return found


def test_lines_bands_level_and_crosses_are_where_they_belong():
    rows = [*seeds(replace(BITS, n_bits=3), 90.0, 94.0), *seeds(BITS, 40.0, 50.0),
            *seeds(replace(BITS, update="nearest"), 10.0), *seeds(FLOAT, 97.0, 98.0)]
    (axis,) = visible(drawn(rows, {2: 31.0, 8: 97.0}))
    pulse = line(axis, "pulse")
    np.testing.assert_allclose(pulse.get_xydata(), [[2, 45], [3, 92]])
    np.testing.assert_allclose(line(axis, "nearest").get_xydata(), [[2, 10]])
    deviation = {2: np.sqrt(50), 3: np.sqrt(8)}
    (band,) = [c for c in axis.collections if len(c.get_facecolor())
               and to_hex(c.get_facecolor()[0]) == to_hex(pulse.get_color())]
    corners = {tuple(np.round(v, 6)) for v in band.get_paths()[0].vertices}
    for bits, mean in ((2, 45.0), (3, 92.0)):
        for side in (-1, 1):
            assert (bits, np.round(mean + side * deviation[bits], 6)) in corners
    np.testing.assert_allclose(line(axis, "float").get_ydata(), [97.5, 97.5])
    cross = line(axis, lowbit_figure.THESIS)
    np.testing.assert_allclose(cross.get_xydata(), [[2, 31]])
    assert (cross.get_marker(), cross.get_color(), cross.get_linestyle()) == ("x", "black", "None")


def test_a_panel_per_algorithm_at_most_three_in_a_row():
    algorithms = ("dfa", "backprop", "usf", "fa")
    rows = [row(replace(BITS, algorithm=a)) for a in algorithms]
    figure = drawn(rows)
    panels = visible(figure)
    assert [axis.get_title() for axis in panels] == ["backprop", "fa", "usf", "dfa"]
    assert len(figure.axes) == 6
    assert len({axis.get_position().y0 for axis in panels[:3]}) == 1
    assert panels[3].get_position().y0 < panels[0].get_position().y0
    assert len({axis.get_ylim() for axis in panels}) == 1
    assert {axis.get_xlabel() for axis in panels} == {"bits per weight"}
    assert panels[0].get_ylabel().startswith("test accuracy (%)")
    assert figure.get_suptitle() == "the title"


def test_every_update_rule_has_its_own_color_and_marker():
    known = set(WITH_LEVELS)
    assert set(lowbit_figure.STYLES) == known, "a new rule needs a look of its own"
    colors, markers = zip(*lowbit_figure.STYLES.values(), strict=True)
    assert len(set(colors)) == len(set(markers)) == len(known)
    rules = ["latent", "of another version", "nearest"]
    figure = drawn([row(replace(BITS, update=u)) for u in rules])
    (axis,) = visible(figure)
    for rule, style in lowbit_figure.STYLES.items():
        if rule in rules:  # the same whichever others are there
            assert (line(axis, rule).get_color(), line(axis, rule).get_marker()) == style
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["nearest", "latent", "of another version"]


def test_the_axis_tells_95_from_97_and_shows_45():
    rows = [row(replace(BITS, n_bits=b, update=u), 0, a)
            for b, u, a in ((2, "nearest", 45.0), (2, "latent", 95.0), (3, "latent", 97.0))]
    (axis,) = visible(drawn(rows))
    places = {a: axis.transAxes.inverted().transform(axis.transData.transform((2, a)))[1]
              for a in (45.0, 95.0, 97.0)}
    assert 0 < places[45.0] < places[95.0] < places[97.0] < 1
    assert places[97.0] - places[95.0] > 0.1


def test_the_scale_is_logarithmic_in_the_error():
    fifty, most, better, none = lowbit_figure.error_scale([50, 75, 95, 97.5]).tolist()
    assert most - fifty == pytest.approx(none - better)
    assert np.isfinite(lowbit_figure.error_scale([100.0, 120.0])).all()


@pytest.mark.parametrize("accuracies", [(10, 98), (85.2, 88.1), (97.91, 97.95), (50, 50),
                                        (100, 100), (0, 100), (9.8, 99.7)])
def test_ticks_label_accuracies_without_overlap(accuracies):
    rows = [row(replace(BITS, n_bits=2 + i), 0, float(a)) for i, a in enumerate(accuracies)]
    figure = drawn(rows)
    (axis,) = visible(figure)
    low, high = lowbit_figure.error_scale(axis.get_ylim())
    ticks = axis.get_yticks()
    assert len(ticks) >= (1 if accuracies[0] == accuracies[1] else 2)
    assert all(low <= lowbit_figure.error_scale(tick) <= high for tick in ticks)
    labels = axis.get_yticklabels()
    assert [float(text.get_text()) for text in labels] == pytest.approx(ticks)
    boxes = sorted((text.get_window_extent() for text in labels), key=lambda b: b.y0)
    assert all(a.y1 <= b.y0 for a, b in pairwise(boxes))
    for spot in line(axis, "pulse").get_ydata():
        assert low <= lowbit_figure.error_scale(spot) <= high


def test_wide_bands_near_100_do_not_take_the_axis():
    (axis,) = visible(drawn([*seeds(BITS, 92.0, 100.0), *seeds(replace(BITS, n_bits=3), 50.0)]))
    assert 96 < axis.get_ylim()[1] < 99


def test_figures_are_of_what_counts_and_say_so():
    lenet = replace(BITS, network="lenet", n_layers=0, hidden_width=0)
    float_only = replace(FLOAT, dataset="fashion_mnist")
    worse = replace(BITS, lr=0.5)
    hsic = replace(BITS, algorithm="hsic", readout_epochs=20)
    rows = [*seeds(BITS, 50.0, 60.0), *seeds(worse, 99.0), tuned(BITS, 70.0), tuned(worse, 60.0),
            *seeds(lenet, 80.0), *seeds(hsic, 20.0), row(hsic, 1, None, status="diverged"),
            *seeds(float_only, 88.0)]
    found = dict(lowbit_figure.figures_of(report.points(rows), PUBLISHED))
    assert list(found) == ["lowbit-mnist-2-100", "lowbit-mnist-lenet"]
    backprop, _ = visible(found["lowbit-mnist-2-100"])
    np.testing.assert_allclose(line(backprop, "pulse").get_xydata(), [[2, 55]])
    np.testing.assert_allclose(line(backprop, lowbit_figure.THESIS).get_xydata(), [[2, 31]])
    title = found["lowbit-mnist-2-100"].get_suptitle()
    assert "mnist, 3 hidden layers of 100\n1-2 seeds, 30 or 30 + 20 epochs" in title
    assert "mnist, lenet\n1 seed, 30 epochs" in found["lowbit-mnist-lenet"].get_suptitle()


def test_nothing_of_a_small_figure_is_cut_off(tmp_path):
    rows = [row(replace(BITS, update=u, n_layers=19), 0, 90.0) for u in WITH_LEVELS]
    rows += [row(replace(FLOAT, n_layers=19), s, 98.0) for s in range(10)]
    ((stem, figure),) = lowbit_figure.figures_of(report.points(rows), PUBLISHED)
    figure.canvas.draw()
    box = figure.bbox
    for artist in (figure._suptitle, figure.legends[0]):
        extent = artist.get_window_extent()
        assert extent.x0 >= box.x0
        assert extent.x1 <= box.x1
    assert all(f.stat().st_size for f in look.save(figure, tmp_path, stem, ("png", "pdf")))


# The command


@pytest.fixture
def exported(tmp_path):
    digits = replace(BITS, dataset="digits")
    return csv_of(tmp_path / "study.csv", [
        *seeds(BITS, 90.0, 91.0), *seeds(FLOAT, 97.0, 98.0), *seeds(digits, 80.0),
        tuned(BITS, 77.77), tuned(FLOAT, 88.88), tuned(digits, 66.66),
    ])


def test_command_writes_tables_and_figures(exported, tmp_path, capsys):
    assert lowbit_report.main(["--results", str(exported)]) == 0
    out = capsys.readouterr().out
    names = [f"table-{d}.{end}" for d in ("digits", "mnist") for end in ("md", "csv", "tex")]
    names += [f"{kind}-{d}-2-100.{end}" for kind in ("lowbit", "memory")
                  for d in ("digits", "mnist") for end in ("png", "pdf")]
    assert sorted(f.name for f in (tmp_path / "lowbit").iterdir()) == sorted(names)
    assert {tmp_path / "lowbit" / name for name in names} == set(
        map(type(tmp_path), out.split()[-len(names):]))
    text = (tmp_path / "lowbit" / "table-mnist.md").read_text()
    assert text in out
    line = ("| (2,100) | backprop | 2 | pulse | 90.50 | 9.50 | 2.00 | 64.30 "
            "| 0.01 | - | exponential | 1.5 | 64 | 30 | 2 | 0 |")
    assert line in text
    assert "holdout" not in out
    assert "88.88" not in out
    table = (tmp_path / "lowbit" / "table-mnist.csv").read_text()
    two, network = csv.DictReader(io.StringIO(table, newline=""))
    assert (float(two["accuracy"]), float(two["error"]), two["accuracy_values"]) == (90.5, 9.5, "2")
    assert network["bits"] == "float"
    assert (tmp_path / "lowbit" / "table-mnist.tex").read_text().count("pulse") == 1


def test_command_merges_sources_and_takes_a_folder_and_published_results(tmp_path, monkeypatch):
    told = csv_of(tmp_path / "a.csv", [*seeds(BITS, 10.0), *seeds(replace(BITS, lr=0.5), 90.0)])
    held = csv_of(tmp_path / "b.csv", [tuned(BITS, 60.0), tuned(replace(BITS, lr=0.5), 50.0)])
    published = tmp_path / "published.csv"
    published.write_text("algorithm,dataset,n_layers,hidden_width,n_bits,quantizer,scope,accuracy\n"
                         "fa,mnist,2,100,2,symm,local,31\n")
    marked = []
    plot = lowbit_figure.plot_lowbit
    monkeypatch.setattr(lowbit_figure, "plot_lowbit",
                        lambda rows, title, best: marked.append(best) or plot(rows, title, best))
    folder = tmp_path / "deep" / "er"
    assert lowbit_report.main(["--results", str(told), str(held), "--published", str(published),
                               "--folder", str(folder)]) == 0
    assert marked == [{2: 31.0}]
    assert "| 10.00 | 90.00 | 2.00 | 64.30 | 0.01 |" in (folder / "table-mnist.md").read_text()


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        lowbit_report.main(list(map(str, arguments)))
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_refusals(exported, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no file figures/lowbit.csv" in refused([], capsys)
    assert "did you mean --results" in refused(["--result", "x"], capsys)
    message = refused(["--results", exported, "--folder", exported], capsys)
    assert "Choose another --folder" in message
    message = refused(["--results", exported, "--published", tmp_path / "none.csv"], capsys)
    assert "give it with --published FILE" in message
    unfinished = csv_of(tmp_path / "x.csv", [tuned(BITS, 1.0)])
    message = refused(["--results", unfinished], capsys)
    assert "finish the study with 'python -m experiments.lowbit'" in message
    assert not (tmp_path / "lowbit").exists()
