"""Tables, CSV files and figures made of a store whose numbers are known."""

import csv
import io
import math
import struct
from dataclasses import fields, replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from rich.console import Console
from test_cells import CELL, FLOAT
from test_store import ORIGIN, epoch

from experiments import export, plot, report
from experiments.cells import Cell, Replica
from experiments.store import Store

COLUMNS = [f.name for f in fields(Cell)]
NAN = math.nan
REQUIRED = [
    "algorithm", "dataset", "n_layers", "hidden_width", "n_bits", "quantizer", "scope", "update",
    "seed", "epochs", "status", "test_accuracy", "test_loss", "train_accuracy", "train_loss",
    "seconds",
]
ALGORITHMS = ("backprop", "fa", "dni", "hsic")
GRID = [(bits, kind, scope) for bits in (2, 4, 8) for kind in ("asymm", "symm")
        for scope in ("global", "local")]


def accuracy(cell, seed, number=1):
    """A number of its own for every replica and epoch."""
    text = f"{cell} {number}"
    return 10.0 + sum(text.encode()) % 70 + 3.5 * seed * (1 + (cell.n_bits or 0)) / 10 + number


def store_of(folder, cells, seeds=3, epochs=2, sound=True):
    """A store in which every cell was trained; where not `sound`, all diverged at once."""
    with Store(folder) as store:
        for cell in cells:
            for seed in range(seeds):
                replica = Replica(cell, seed)
                store.claim([replica], ORIGIN)
                for n in range(epochs):
                    loss = 1.0 / (1 + n) + seed if sound else NAN
                    row = epoch(replica, n, loss, accuracy(cell, seed, n), finite=sound)
                    store.record([row], [(replica.id, n, "blocks/0/kernel", -1.0, 1.0)])
                store.finish([replica.id], 2.5)
    return folder


def sweep(algorithm="backprop", **more):
    cells = [
        replace(CELL, algorithm=algorithm, n_bits=bits, quantizer=kind, scope=scope, **more)
        for bits, kind, scope in GRID
    ]
    return [*cells, replace(FLOAT, algorithm=algorithm, **more)]


def rows_of(folder):
    with Store(folder, create=False) as store:
        return store.replicas()


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """One algorithm, three widths, all quantizers and float; three seeds, two epochs."""
    return store_of(tmp_path_factory.mktemp("swept"), sweep())


# Numbers


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [97.25, 96.5], [0.1] * 7])
def test_mean_and_deviation_agree_with_numpy(values):
    found = report.mean_and_deviation(iter(values))
    np.testing.assert_allclose(found, (np.mean(values), np.std(values, ddof=1)), atol=1e-12)


def test_deviation_by_hand():
    assert report.mean_and_deviation([2.0, 4.0, 9.0]) == (5.0, pytest.approx(math.sqrt(13)))


def test_a_single_value_has_no_deviation():
    assert report.mean_and_deviation([5.0]) == (5.0, 0.0)


def test_no_values_have_no_mean():
    assert all(math.isnan(v) for v in report.mean_and_deviation([]))


@pytest.mark.parametrize(
    ("values", "text"),
    [([1.0, 3.0], "2.00 ± 1.41"), ([None, 5.0], "5.00 ± 0.00"), ([], "-"), ([None], "-")],
)
def test_spread(values, text):
    assert report.spread(values) == text


def test_by_cell_keeps_together_what_differs_only_in_the_columns_named():
    rows = [{"a": 1, "seed": 0}, {"a": 2, "seed": 0}, {"a": 1, "seed": 1}]
    members = list(report.by_cell(rows, ["seed"]).values())
    assert members == [[rows[0], rows[2]], [rows[1]]]


# The summary


def row(cell=CELL, seed=0, test_accuracy=50.0, status="done"):
    return vars(cell) | {
        "id": Replica(cell, seed).id, "seed": seed, "status": status,
        "test_accuracy": test_accuracy, "seconds": 1.0 + seed,
    }


def rendered(rows):
    console = Console(width=200, file=io.StringIO(), color_system=None)
    title, table, line = report.summary(rows, COLUMNS)
    console.print(title)
    console.print(table)
    return console.file.getvalue(), line


def body(text):
    """Cells of the table's rows."""
    return [[c.strip() for c in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]


def test_summary_shows_mean_and_deviation_over_seeds():
    text, _ = rendered([row(seed=s, test_accuracy=a) for s, a in enumerate([90.0, 92.0, 97.0])])
    assert body(text) == [["93.0 ± 3.6"]]
    assert "3 seeds" in text


def test_summary_has_a_column_per_width_and_float_last():
    cells = [FLOAT, replace(CELL, n_bits=16), replace(CELL, n_bits=2)]
    text, _ = rendered([row(c) for c in cells])
    positions = [text.index(word) for word in ("2 bits", "16 bits", "float")]
    assert positions == sorted(positions)


def test_summary_has_a_row_per_setting():
    cells = [replace(CELL, update=u, n_bits=b) for u in ("nearest", "latent") for b in (2, 4)]
    values = [10.0, 20.0, 30.0, 40.0]
    text, _ = rendered([row(c, test_accuracy=v) for c, v in zip(cells, values, strict=True)])
    assert body(text) == [
        ["nearest", "10.0 ± 0.0", "20.0 ± 0.0"], ["latent", "30.0 ± 0.0", "40.0 ± 0.0"],
    ]


@pytest.mark.parametrize(
    ("name", "values"),
    [("lr", [0.5, 1.0]), ("optimizer", ["sgd", "adam"]), ("batch_size", [32, 64]),
     ("gradient_bits", [4, None]), ("dataset", ["digits", "mnist"]), ("epochs", [1, 2])],
)
def test_summary_shows_the_columns_that_differ(name, values):
    text, line = rendered([row(replace(CELL, **{name: v})) for v in values])
    assert name in text
    assert f" {name} " not in line
    assert len(body(text)) == 2


def test_what_is_the_same_stands_below_the_summary():
    _, line = rendered([row(), row(seed=1)])
    for name in set(COLUMNS) - {"n_bits"}:
        assert f" {name} " in line
    assert "lr 1.0" in line


def test_summary_counts_diverged_replicas():
    rows = [row(test_accuracy=40.0), row(seed=1, test_accuracy=60.0, status="diverged")]
    assert body(rendered(rows)[0]) == [["50.0 ± 14.1 (1 diverged)"]]


def test_summary_of_replicas_that_never_had_a_number():
    rows = [row(seed=s, test_accuracy=None, status="diverged") for s in (0, 1)]
    assert body(rendered(rows)[0]) == [["- (2 diverged)"]]


def test_summary_of_nothing():
    assert body(rendered([])[0]) == []


# CSV


def exported(folder, table="replicas"):
    path = folder / f"{table}.csv"
    assert export.main(["--out", str(folder), "--table", table, "--csv", str(path)]) == 0
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_row_per_replica(swept):
    lines = exported(swept)
    assert len(lines) == 3 * 13
    assert len({(r["n_bits"], r["quantizer"], r["scope"], r["seed"]) for r in lines}) == 3 * 13


def test_csv_begins_with_the_promised_columns(swept):
    assert list(exported(swept)[0])[: len(REQUIRED)] == REQUIRED


def test_csv_says_float_where_there_are_no_bits(swept):
    lines = exported(swept)
    assert {r["n_bits"] for r in lines} == {"2", "4", "8", "float"}
    assert {r["quantizer"] for r in lines if r["n_bits"] == "float"} == {"none"}


def test_csv_has_the_stores_numbers(swept):
    stored = {r["id"]: r for r in rows_of(swept)}
    for line in exported(swept):
        for name in ("test_accuracy", "test_loss", "train_accuracy", "train_loss", "seconds"):
            assert float(line[name]) == stored[line["id"]][name]


@pytest.mark.parametrize("table", ["epochs", "ranges"])
def test_csv_of_other_tables_names_the_replica(swept, table):
    lines = exported(swept, table)
    assert len(lines) == 3 * 13 * 2
    assert {r["replica"] for r in lines} == {r["id"] for r in rows_of(swept)}
    assert {r["epoch"] for r in lines} == {"0", "1"}


def test_csv_keeps_diverged_replicas(tmp_path):
    store_of(tmp_path, [CELL], seeds=2, sound=False)
    lines = exported(tmp_path)
    assert [(r["status"], r["test_accuracy"]) for r in lines] == [("diverged", "")] * 2


def test_csv_goes_to_stdout(swept, capsys):
    assert export.main(["--out", str(swept)]) == 0
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))) == 3 * 13


def test_csv_of_an_empty_store_still_has_its_header(tmp_path, capsys):
    store_of(tmp_path, [])
    assert export.main(["--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip().split(",")[: len(REQUIRED)] == REQUIRED


def refused(program, arguments, capsys):
    """The message of a command that must exit with 2."""
    with pytest.raises(SystemExit) as stop:
        program.main(list(map(str, arguments)))
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


@pytest.mark.parametrize("program", [export, plot])
def test_a_missing_store_is_refused(program, tmp_path, capsys):
    message = refused(program, ["--out", tmp_path / "nowhere"], capsys)
    assert f"no results at {tmp_path / 'nowhere'}" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", [export, plot])
def test_a_mistyped_flag_is_refused_with_the_right_one(program, capsys):
    assert "did you mean --out" in refused(program, ["--ot", "x"], capsys)


def test_an_unknown_table_is_refused_with_the_right_one(capsys):
    assert "did you mean epochs" in refused(export, ["--table", "epoch"], capsys)


def test_a_csv_file_that_cannot_be_written_is_named(swept, capsys):
    path = swept / "no" / "such" / "x.csv"
    message = refused(export, ["--out", swept, "--csv", path], capsys)
    assert f"cannot write {path}" in message


# Figures


def png_size(path):
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def drawn(folder, capsys):
    """Paths of the figures that the command names and leaves, all of them sensible."""
    figures = folder / "figures"
    assert plot.main(["--out", str(folder), "--figures", str(figures)]) == 0
    named = capsys.readouterr().out.split()
    assert sorted(named) == sorted(str(p) for p in figures.iterdir())
    for path in figures.iterdir():
        width, height = png_size(path)
        assert 400 <= width <= 4000
        assert 400 <= height <= 4000
        image = plt.imread(path)
        assert 0.001 < (image[..., :3] < 0.9).any(axis=-1).mean() < 0.8  # neither blank nor black
    return sorted(p.name for p in figures.iterdir())


def test_figures_of_all_algorithms(tmp_path, capsys):
    cells = [c for algorithm in ALGORITHMS for c in sweep(algorithm)]
    store_of(tmp_path, cells, seeds=2)
    assert drawn(tmp_path, capsys) == ["bits-digits-1-50.png", "epochs-digits-1-50.png"]


def test_figures_of_one_replica(tmp_path, capsys):
    store_of(tmp_path, [CELL], seeds=1, epochs=1)
    assert len(drawn(tmp_path, capsys)) == 2


def test_figures_of_unquantized_networks_only(tmp_path, capsys):
    store_of(tmp_path, [FLOAT])
    assert "epochs-digits-1-50.png" in drawn(tmp_path, capsys)


def test_figures_of_replicas_that_diverged_at_once(tmp_path, capsys):
    store_of(tmp_path, [CELL], sound=False)
    assert "epochs-digits-1-50.png" in drawn(tmp_path, capsys)


def test_figures_for_every_shape_and_data_set(tmp_path, capsys):
    cells = [replace(CELL, dataset=d, n_layers=n) for d in ("digits", "mnist") for n in (0, 2)]
    store_of(tmp_path, cells, seeds=1)
    assert drawn(tmp_path, capsys) == sorted(
        f"{kind}-{d}-{n}-50.png" for kind in ("bits", "epochs")
        for d in ("digits", "mnist") for n in (0, 2)
    )


def test_figures_of_an_unfinished_run_are_refused(tmp_path, capsys):
    with Store(tmp_path) as store:
        store.claim([Replica(CELL, 0)], ORIGIN)
    assert "no finished replica" in refused(plot, ["--out", tmp_path], capsys)


def test_figures_of_an_empty_store_are_refused(tmp_path, capsys):
    store_of(tmp_path, [])
    assert "no finished replica" in refused(plot, ["--out", tmp_path], capsys)
    assert not list(tmp_path.glob("*.png"))


def test_figures_land_in_the_result_folder_by_default(tmp_path):
    store_of(tmp_path, [CELL], seeds=1)
    assert plot.main(["--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_a_figure_folder_that_cannot_be_made_is_refused(swept, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    message = refused(plot, ["--out", swept, "--figures", tmp_path / "file"], capsys)
    assert str(tmp_path / "file") in message


@pytest.fixture
def bits_figure(swept):
    figure = plot.plot_bits(rows_of(swept), "title")
    yield figure
    plt.close(figure)


def lines_of(axis):
    return {line.get_label(): line for line in axis.get_lines()}


@pytest.mark.parametrize(("kind", "scope"), [c[1:] for c in GRID[:4]])
def test_a_line_is_the_mean_over_seeds(bits_figure, kind, scope):
    line = lines_of(bits_figure.axes[0])[f"{kind} {scope}"]
    cells = [c for c in sweep() if (c.quantizer, c.scope) == (kind, scope)]
    assert list(line.get_xdata()) == [2, 4, 8]
    means = [np.mean([accuracy(c, seed) for seed in range(3)]) for c in cells]
    np.testing.assert_allclose(line.get_ydata(), means, rtol=1e-12)


def test_the_unquantized_network_is_a_horizontal_line(bits_figure):
    line = lines_of(bits_figure.axes[0])["float"]
    mean = np.mean([accuracy(FLOAT, seed) for seed in range(3)])
    np.testing.assert_allclose(line.get_ydata(), mean, rtol=1e-12)


def test_a_band_is_one_deviation_to_either_side(tmp_path):
    store_of(tmp_path, [c for c in sweep() if (c.quantizer, c.scope) == ("symm", "local")])
    rows = rows_of(tmp_path)
    figure = plot.plot_bits(rows, "title")
    (band,) = figure.axes[0].collections
    heights = band.get_paths()[0].vertices
    for bits in (2, 4, 8):
        values = [r["test_accuracy"] for r in rows if r["n_bits"] == bits]
        at = {round(y, 9) for x, y in heights if x == bits}
        mean, deviation = np.mean(values), np.std(values, ddof=1)
        assert {round(mean - deviation, 9), round(mean + deviation, 9)} <= at
    plt.close(figure)


def test_a_panel_per_algorithm(tmp_path):
    store_of(tmp_path, [c for a in ALGORITHMS for c in sweep(a)], seeds=1)
    figure = plot.plot_bits(rows_of(tmp_path), "title")
    assert sorted(a.get_title() for a in figure.axes) == sorted(ALGORITHMS)
    plt.close(figure)


def test_update_rules_are_not_averaged_together(tmp_path):
    cells = [replace(CELL, update=u) for u in ("nearest", "latent")]
    store_of(tmp_path, cells)
    figure = plot.plot_bits(rows_of(tmp_path), "title")
    found = {a.get_title(): float(lines_of(a)["symm local"].get_ydata()[0]) for a in figure.axes}
    for cell in cells:
        (title,) = (t for t in found if cell.update in t)
        assert found[title] == pytest.approx(np.mean([accuracy(cell, s) for s in range(3)]))
    plt.close(figure)


def test_the_floats_of_an_algorithm_are_in_all_its_panels(tmp_path):
    cells = [replace(CELL, update=u) for u in ("nearest", "latent")]
    cells.append(replace(FLOAT, batch_size=9))
    store_of(tmp_path, cells, seeds=1)
    figure = plot.plot_bits(rows_of(tmp_path), "title")
    assert len(figure.axes) == 2
    for axis in figure.axes:
        assert set(lines_of(axis)) == {"float", "symm local"}
    plt.close(figure)


def epochs_figure(folder):
    with Store(folder, create=False) as store:
        return plot.plot_epochs(store.replicas(), store.epochs(), "title")


def test_curves_are_means_of_accuracy_and_medians_of_loss(tmp_path):
    store_of(tmp_path, [CELL], seeds=3, epochs=3)
    figure = epochs_figure(tmp_path)
    above, below = figure.axes
    line = lines_of(above)["4 bits"]
    means = [np.mean([accuracy(CELL, s, n) for s in range(3)]) for n in range(3)]
    assert list(line.get_xdata()) == [1, 2, 3]
    np.testing.assert_allclose(line.get_ydata(), means, rtol=1e-12)
    medians = [1.0 / (1 + n) + 1 for n in range(3)]
    np.testing.assert_allclose(lines_of(below)["4 bits"].get_ydata(), medians, rtol=1e-12)
    plt.close(figure)


def test_curves_show_the_best_quantizer_and_name_it(tmp_path):
    cells = [c for c in sweep() if c.n_bits == 4]
    store_of(tmp_path, cells)
    best = max(cells, key=lambda c: np.mean([accuracy(c, s) for s in range(3)]))
    figure = epochs_figure(tmp_path)
    assert figure.axes[0].get_title() == f"backprop\n{best.quantizer} {best.scope}"
    plt.close(figure)


def test_curves_of_every_panel_are_drawn(tmp_path):
    cells = [replace(CELL, update=u, lr=r) for u in ("nearest", "latent") for r in (1.0, 2.0, 3.0)]
    store_of(tmp_path, cells, seeds=1)
    figure = epochs_figure(tmp_path)
    assert sum(bool(a.get_lines()) for a in figure.axes) == 2 * len(cells)
    plt.close(figure)
