"""Figures in words: which replicas are in which point, what is said of it, and what is drawn."""

import statistics
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from examples import CELL, FLOAT, ORIGIN, accuracy, csv_of, refused, row, store_of

from experiments import plot
from experiments.cells import Replica, account_of, kinds
from experiments.report import choice, graphs, look
from experiments.report.relation import Words, relate, title_of
from experiments.report.scales import places, scale_of
from experiments.store import Store

RATES = (0.01, 0.1, 1.0)
CELLS = [replace(CELL, algorithm=a, update=u, lr=lr, gain=gain) for a in ("backprop", "fa")
         for u in ("nearest", "latent") for lr in RATES for gain in (1.0, None)]
ROWS = [row(cell, seed, accuracy(cell, seed)) for cell in CELLS for seed in range(3)]
LR = Words("lr", hue="update", panels="algorithm")


def where(rows, **values):
    return [r for r in rows if all(r[name] == value for name, value in values.items())]


def drawn(found, draw=graphs.draw_lines):
    figure = draw(found, "title")
    figure.canvas.draw()
    plt.close(figure)
    return figure


# What is in a point


def test_every_replica_is_in_its_point():
    found = relate(ROWS, LR)
    assert list(found.panels) == ["backprop", "fa"]
    for algorithm, lines in found.panels.items():
        assert list(lines) == ["nearest", "latent"]
        for update, points in lines.items():
            assert [p.x for p in points] == list(RATES)
            for point in points:
                here = where(ROWS, algorithm=algorithm, update=update, lr=point.x)
                assert sorted(point.values) == sorted(r["test_accuracy"] for r in here)
                assert len(here) == 6


def test_what_is_aggregated_over_is_said():
    found = relate(ROWS, LR)
    assert found.over == "over seeds and over: gain (1, none)"
    (said,) = found.said
    assert said == ("aggregated over gain: on no axis of the figure. To choose, add --where "
                    "gain=VALUE, or --best for the best cell of each point")
    assert relate(where(ROWS, gain=1.0), LR)[2:5] == ("over 3 seeds", "", [])
    assert relate(where(ROWS, gain=1.0, seed=0), LR).over == ""
    assert relate([*where(ROWS, gain=1.0, seed=0), *where(ROWS, gain=1.0, lr=0.1)[1:]],
                  LR).over == "over 1-3 seeds"
    assert relate(ROWS, Words("seed", hue="algorithm")).over == (
        "over: update (nearest, latent), lr (0.01, 0.1, 1), gain (1, none)")


def test_what_differs_between_points_is_said_too():
    rows = [row(CELL), row(replace(CELL, n_bits=2, lr=2.0)), row(replace(FLOAT, epochs=3))]
    found = relate(rows, Words("n_bits"))
    assert found[2:5] == ("", "", ["besides, some points differ in lr, epochs"])
    shown = graphs.draw_lines(found, "title").get_suptitle()
    assert shown.endswith("one network each; some differ also in lr, epochs")


def test_what_says_something_of_one_algorithm_alone_is_no_difference():
    cells = [replace(FLOAT, lr=0.1), replace(FLOAT, algorithm="tbptt", truncation=7)]
    assert relate(list(map(row, cells)), Words("lr", hue="algorithm")).said == []


def test_many_columns_are_only_named():
    cells = [CELL, replace(CELL, n_layers=2, hidden_width=7, scope="global", batch_size=9,
                           epochs=11)]
    found = relate([row(cell) for cell in cells], Words("lr"))
    assert found.over == "over: n_layers, hidden_width, scope, batch_size, epochs"


def test_a_network_that_is_not_quantized_differs_in_its_bits_alone():
    rows = [row(cell) for cell in (CELL, FLOAT)]
    assert relate(rows, Words("lr")).over == "over: n_bits (4, float)"
    devices = replace(FLOAT, update="soft_bounds")
    assert relate([row(FLOAT), row(devices)], Words("lr")).over == "over: n_bits (devices, float)"
    points = relate([*rows, row(devices)], Words("n_bits")).panels[None][None]
    assert [p.x for p in points] == [4, "devices", "float"]


def test_numbers_of_memories_and_what_follows_from_a_cell_are_columns():
    cells = [replace(FLOAT, update="soft_bounds", numbers=n)
             for n in ("dw_min=0.01", "dw_min=0.02", "")] + [CELL]
    rows = [row(cell) for cell in cells]
    points = relate(rows, Words("dw_min", hue="update")).panels[None]
    usual = kinds.number_of("soft_bounds", "", "dw_min")
    assert [p.x for p in points["soft_bounds"]] == sorted((usual, 0.01, 0.02))
    assert [p.x for p in points["nearest"]] == ["none"]
    (point,) = relate(rows[-1:], Words("total_bits")).panels[None][None]
    assert point.x == sum(account_of(CELL))


def test_a_number_that_is_called_as_an_axis_is_not_lost():
    cells = [replace(FLOAT, update="tiki_taka:reram_es", numbers=n) for n in ("gamma=0.5", "")]
    rows = [row(cell) for cell in cells]
    assert relate(rows, Words("lr")).over == "over: numbers.gamma (0, 0.5)"
    points = relate(rows, Words("numbers.gamma")).panels[None][None]
    assert [p.x for p in points] == [0, 0.5]
    assert [p.x for p in relate(rows, Words("gamma")).panels[None][None]] == [CELL.gamma]


def test_a_replica_without_a_number_is_left_out_and_said():
    rows = [row(CELL), row(CELL, 1, accuracy=None), row(CELL, 2, accuracy=float("nan"))]
    found = relate(rows, Words("lr"))
    assert [p.values for p in found.panels[None][None]] == [(50.0,)]
    assert found.said == ["left out: 2 of 3 networks, without a finite test_accuracy"]


def test_along_what_is_measured_every_cell_has_a_point():
    rows = [r | {"seconds": 1.0 + r["seed"]} for r in where(ROWS, algorithm="fa")]
    lines = relate(rows, Words("seconds", hue="update")).panels[None]
    assert [p.x for p in lines["latent"]] == [2.0] * 6
    assert {len(p.values) for p in lines["latent"]} == {3}


def test_curves_are_of_epochs(tmp_path):
    store_of(tmp_path, CELLS[:2], seeds=3, epochs=3)
    with Store(tmp_path, create=False) as store:
        rows, epochs = store.replicas(), store.history("epochs")
    points = relate(rows, Words("epoch", hue="gain"), epochs).panels[None]["none"]
    assert [p.x for p in points] == [1, 2, 3]
    for n, point in enumerate(points):
        assert sorted(point.values) == sorted(accuracy(CELLS[1], s, n) for s in range(3))


# The best cell


def test_the_best_cell_is_chosen_on_held_out_data():
    final = [replace(CELL, dataset="mnist", lr=lr, epochs=20) for lr in RATES]
    rows = [row(c, s, accuracy=80 + i + s) for i, c in enumerate(final) for s in range(2)]
    tried = [row(replace(c, dataset="mnist_holdout", epochs=e), 9, accuracy=v)
             for c, v in zip(final[:2], (70.0, 60.0), strict=True) for e in (2, 8)]
    found = relate(rows, Words("n_bits"), trials=choice.Trained(tried))
    assert [p.values for p in found.panels[None][None]] == [(80.0, 81.0)]
    assert found.over == "over 2 seeds"
    assert found.chosen == "of each point the cell that is best by held-out accuracy"
    assert found.said == ["cells without held-out accuracy, where others of a point have one: 1; "
                          "these were not among the candidates"]
    found = relate(rows, Words("n_bits"), trials=choice.Trained([]))
    assert [p.values for p in found.panels[None][None]] == [(82.0, 83.0)]
    assert found.chosen == (
        "of each point the cell that is best on the test set, which is optimistic")
    mixed = [*rows, *(row(replace(c, n_bits=2)) for c in final)]
    assert "but of 1 of 2 points on the test set, which is optimistic" in relate(
        mixed, Words("n_bits"), trials=choice.Trained(tried)).chosen


def test_of_a_curve_one_cell_is_the_best(tmp_path):
    store_of(tmp_path, CELLS[:2], epochs=3)
    with Store(tmp_path, create=False) as store:
        rows, epochs = store.replicas(), store.history("epochs")
    found = relate(rows, Words("epoch"), epochs, choice.Trained([]))
    best = max(CELLS[:2], key=lambda c: statistics.fmean(accuracy(c, s, 2 - 1) for s in range(3)))
    for n, point in enumerate(found.panels[None][None]):
        assert sorted(point.values) == sorted(accuracy(best, s, n) for s in range(3))
    assert found.chosen.startswith("of each line the cell")


# Axes


@pytest.mark.parametrize(("values", "scale"), [
    (RATES, "log"), ((0.0, *RATES), "symlog"), ((0.003, 0.3), "log"), ((1.0, 3.0, 10.0), "linear"),
    (range(1, 31), "linear"), ((-1.0, 0.1, 10.0), "linear"), ((5.0,), "linear"),
    ((4, 20, 50, 100), "log"), ((10, 50, 100, 110), "linear"), ((2, 4, 32, "float"), "log"),
    (("fa", "dfa"), "linear"),
])
def test_logarithms_where_the_values_ask_for_them(values, scale):
    assert scale_of(values) == scale


def test_words_have_their_places_at_the_end():
    assert places(["fa", "dfa"]) == {"fa": 0, "dfa": 1}
    found = places([2, 3, 4, "float"])
    assert [found[n] for n in (2, 3, 4)] == [2, 3, 4]
    assert found["float"] == 5
    assert places([0.01, 1.0, "none"])["none"] == pytest.approx(100**0.15)
    assert list(places([3, "devices", "float"])) == [3, "devices", "float"]


def test_what_is_the_same_for_all_is_in_the_title():
    assert title_of(where(ROWS, algorithm="fa"), Words("lr", hue="update")) == (
        "Test accuracy (%) against learning rate: fa, digits, mlp, n_bits 4")


# What is drawn


def test_scores_are_called_what_they_are_on_axes_too():
    rows = [row | {"loss": "squared_error", "dataset": "own.npz"}
            for row in where(ROWS, algorithm="fa")]
    assert title_of(rows, Words("lr")).startswith("Test R² or accuracy (%) against learning rate")
    figure = graphs.draw_lines(relate(rows, Words("lr")), "title")
    assert figure.axes[0].get_ylabel().startswith("test R² or accuracy (%)")


def test_held_out_parts_are_called_so():
    held_out, test = (
        [row(replace(CELL, dataset=name, lr=lr)) for lr in (0.1, 1.0)]
        for name in ("digits_holdout", "digits"))
    for rows, title in ((held_out, "Held-out accuracy"), (test, "Test accuracy"),
                        (held_out + test, "Test or held-out accuracy")):
        assert title_of(rows, Words("lr")).startswith(f"{title} (%) against learning rate")
        figure = graphs.draw_lines(relate(rows, Words("lr", hue="dataset")), "title")
        assert figure.axes[0].get_ylabel().startswith(f"{title.lower()} (%)")


def test_means_and_deviations_are_drawn():
    figure = drawn(relate(ROWS, LR))
    for axis, algorithm in zip(figure.axes, ("backprop", "fa"), strict=True):
        assert axis.get_title() == algorithm
        assert axis.get_xscale() == "log"
        lines = {line.get_label(): line for line in axis.get_lines()}
        for update, band in zip(("nearest", "latent"), axis.collections, strict=True):
            values = [[r["test_accuracy"] for r in where(ROWS, algorithm=algorithm, update=update,
                                                         lr=lr)] for lr in RATES]
            np.testing.assert_allclose(lines[update].get_ydata(), np.mean(values, 1), rtol=1e-12)
            at = {round(y, 9) for _, y in band.get_paths()[0].vertices}
            for mean, deviation in zip(np.mean(values, 1), np.std(values, 1, ddof=1), strict=True):
                assert {round(mean - deviation, 9), round(mean + deviation, 9)} <= at
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert " ".join(figure.get_suptitle().split()) == (
        "title mean ± standard deviation over seeds and over: gain (1, none)")


def test_words_are_points_with_error_bars_and_have_their_labels():
    figure = drawn(relate(ROWS, Words("gain", hue="algorithm")))
    (axis,) = figure.axes
    assert [t.get_text() for t in axis.get_xticklabels()] == ["1", "none"]
    assert len(axis.containers) == 2  # a point of each algorithm at "none"
    figure = drawn(relate(ROWS, Words("algorithm")))
    (container,) = figure.axes[0].containers
    means = [np.mean([r["test_accuracy"] for r in where(ROWS, algorithm=a)])
             for a in ("backprop", "fa")]
    np.testing.assert_allclose(container.lines[0].get_ydata(), means, rtol=1e-12)


def test_of_losses_medians_are_drawn():
    rows = [row(CELL, s, loss=loss) for s, loss in enumerate((1.0, 2.0, 900.0))]
    rows += [row(replace(CELL, lr=2.0), s, loss=loss) for s, loss in enumerate((1.0, 1.0, 1.0))]
    figure = drawn(relate(rows, Words("lr", "test_loss")))
    assert list(figure.axes[0].get_lines()[0].get_ydata()) == [2.0, 1.0]
    assert figure.axes[0].get_yscale() == "log"
    assert "median and extent over 3 seeds" in figure.get_suptitle()


def test_fields_have_their_means_and_what_is_missing_is_blank():
    rows = [r for r in where(ROWS, algorithm="fa") if (r["lr"], r["gain"]) != (0.1, 1.0)]
    figure = drawn(relate(rows, Words("lr", hue="gain")), graphs.draw_fields)
    axis, bar = figure.axes
    assert bar.get_ylabel() == "test accuracy (%)"
    shown = axis.images[0].get_array()
    assert shown.shape == (2, 3)
    for line, gain in enumerate((1.0, None)):
        for place, lr in enumerate(RATES):
            here = [r["test_accuracy"] for r in where(rows, lr=lr, gain=gain)]
            assert bool(here) != bool(np.ma.getmaskarray(shown)[line, place])
            if here:
                assert shown[line, place] == pytest.approx(np.mean(here))
    means = {f"{np.mean([r['test_accuracy'] for r in where(rows, lr=lr, gain=gain)]):.1f}"
             for lr in RATES for gain in (1.0, None) if where(rows, lr=lr, gain=gain)}
    assert {text.get_text() for text in axis.texts} == means


# The command


@pytest.fixture
def titles(monkeypatch):
    """What the figures are called that the command makes, and their files."""
    found = []

    def write(figure, files):
        found.append((" ".join(figure.get_suptitle().split()), [f.name for f in files]))
        plt.close(figure)
        return files

    monkeypatch.setattr(look, "write", write)
    return found


def test_the_command_draws_one_figure_named_from_its_words(tmp_path, capsys):
    path = csv_of(tmp_path / "x.csv", ROWS)
    # memory: as the flag of experiments.run may be spelled.
    words = ["--x", "lr", "--hue", "memory", "--panels", "algorithm", "--where", "gain=1"]
    assert plot.main(["--results", str(path), *words, "--format", "png"]) == 0
    (file,) = capsys.readouterr().out.split()
    assert file == str(tmp_path / "test_accuracy-lr-update-algorithm-gain=1.png")
    assert plt.imread(file).shape[1] > 400
    out = tmp_path / "own.svg"
    assert plot.main(["--results", str(path), *words, "--out", str(out)]) == 0
    assert "<svg" in out.read_text()


def test_the_command_says_what_is_unfinished_and_what_is_aggregated(tmp_path, titles, capsys):
    store_of(tmp_path, CELLS[:2])
    with Store(tmp_path) as store:
        store.claim([Replica(CELL, 9)], ORIGIN)
    assert plot.main(["--results", str(tmp_path), "--x", "epoch", "--title", "Mine"]) == 0
    ((title, _),) = titles
    assert title == ("Mine mean ± standard deviation over seeds and over: gain (1, none) "
                     "unfinished: 6 of 7 networks trained")
    assert ("aggregated over gain: on no axis of the figure. To choose, add --where gain=VALUE, "
            "--hue gain, or --best") in capsys.readouterr().err


def test_held_out_networks_are_not_averaged_with_others(tmp_path, titles, capsys):
    cells = [replace(CELL, dataset=d, lr=lr) for d in ("mnist", "mnist_holdout") for lr in RATES]
    path = csv_of(tmp_path / "x.csv", [row(c, accuracy=50 + c.lr) for c in cells])
    assert plot.main(["--results", str(path), "--x", "n_bits", "--best"]) == 0
    ((title, _),) = titles
    assert "mnist, mlp" in title
    assert title.endswith("one network each; of each point the cell that is best by held-out "
                          "accuracy")
    assert "left out: 3 networks on held-out data" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "message"), [
    ("--x lrr", "did you mean lr?"), ("--x lr --y test_acuracy", "did you mean test_accuracy?"),
    ("--x lr --hue updat", "did you mean update?\n"), ("--x dw_mim", "did you mean dw_min?"),
    ("--y test_loss", "--y is of a figure in words: say what is along x, such as --x lr"),
    ("--kind heatmap", "--kind heatmap is of a figure in words"),
    ("--x lr --kind heatmap", "expected --x and --hue"),
    ("--x lr --kind overview", "with --x expected one of lines, heatmap"),
    ("--x lr --y objective", "add --x epoch"), ("--x lr --hue lr", "lr is said twice"),
    ("--x seconds --best", "leave one of them out"), ("--x epoch", "NAME-epochs.csv"),
    ("--x lr --out x.bmp", "expected a name that ends in .png, .pdf, .svg"),
    ("--x lr --y writes", "no network has a finite writes"),
])
def test_words_that_say_nothing_are_refused(tmp_path, capsys, words, message):
    path = csv_of(tmp_path / "x.csv", ROWS[:2])
    assert message in refused(plot, ["--results", path, *words.split()], capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]
