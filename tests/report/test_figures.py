"""Figures made of a store whose numbers are known."""

import contextlib
import math
import struct
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from examples import CELL, FLOAT, GRID, ORIGIN, accuracy, refused, row, rows_of, store_of, sweep

from experiments import export, plot
from experiments.cells import Replica
from experiments.report import figures, gallery, look, panels
from experiments.store import Store, history_of
from experiments.studies.thesis import THESIS, Key, Published, with_published

NAN = math.nan
ALGORITHMS = ("backprop", "fa", "dni", "hsic")


def png_size(path):
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def drawn(folder, capsys, *words):
    """Stems of the figures that the command names and leaves, all of them sensible."""
    out = folder / "figures"
    assert plot.main(["--results", str(folder), "--figures", str(out), *words]) == 0
    named = capsys.readouterr().out.split()
    assert sorted(named) == sorted(str(p) for p in out.iterdir())
    pictures = sorted(out.glob("*.png"))
    assert [p.stem for p in pictures] == [p.stem for p in sorted(out.glob("*.pdf"))]
    for path in pictures:
        width, height = png_size(path)
        assert 400 <= width <= 4000
        assert 200 <= height <= 4000
        image = plt.imread(path)
        assert 0.001 < (image[..., :3] < 0.9).any(axis=-1).mean() < 0.8  # neither blank nor black
    assert all(p.read_bytes().startswith(b"%PDF") for p in out.glob("*.pdf"))
    return [p.stem for p in pictures]


def test_figures_of_all_algorithms(tmp_path, capsys):
    cells = [c for algorithm in ALGORITHMS for c in sweep(algorithm)]
    store_of(tmp_path, cells, seeds=2)
    assert drawn(tmp_path, capsys) == sorted(
        ["overview-digits", "epochs-digits-1-50", *(f"bits-{a}-1-50" for a in ALGORITHMS),
         *(f"ranges-{a}-digits-1-50" for a in ALGORITHMS)]
    )


def test_figures_of_one_replica(tmp_path, capsys):
    store_of(tmp_path, [CELL], seeds=1, epochs=1)
    assert len(drawn(tmp_path, capsys)) == 4


def test_figures_of_one_kind_and_some_replicas(tmp_path, capsys):
    store_of(tmp_path, [replace(CELL, n_layers=n) for n in (0, 2)], seeds=1)
    assert drawn(tmp_path, capsys, "--kind", "bits", "--only", "n_layers=2") == [
        "bits-backprop-2-50"
    ]


def test_figures_of_unquantized_networks_only(tmp_path, capsys):
    store_of(tmp_path, [FLOAT])
    assert drawn(tmp_path, capsys) == ["epochs-digits-1-50", "ranges-backprop-digits-1-50"]


def test_figures_of_replicas_that_diverged_at_once(tmp_path, capsys):
    store_of(tmp_path, [CELL], sound=False)
    assert "epochs-digits-1-50" in drawn(tmp_path, capsys)


@pytest.mark.thorough
def test_figures_for_every_shape_and_data_set(tmp_path, capsys):
    cells = [replace(CELL, dataset=d, n_layers=n) for d in ("digits", "mnist") for n in (0, 2)]
    store_of(tmp_path, cells, seeds=1)
    datasets = ("digits", "mnist")
    assert drawn(tmp_path, capsys) == sorted([
        *(f"overview-{d}" for d in datasets), *(f"bits-backprop-{n}-50" for n in (0, 2)),
        *(f"epochs-{d}-{n}-50" for d in datasets for n in (0, 2)),
        *(f"ranges-backprop-{d}-{n}-50" for d in datasets for n in (0, 2)),
    ])


def test_the_same_results_give_the_same_files(swept, tmp_path):
    for name in ("a", "b"):
        arguments = ["--results", str(swept), "--figures", str(tmp_path / name), "--kind", "bits"]
        assert plot.main(arguments) == 0
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_figures_of_an_export_without_histories(swept, tmp_path, capsys):
    path = tmp_path / "x.csv"
    assert export.main(["--out", str(swept), "--csv", str(path)]) == 0
    assert plot.main(["--results", str(path), "--format", "png"]) == 0
    found = {p.name for p in tmp_path.glob("*.png")}
    assert found == {"overview-digits.png", "bits-backprop-1-50.png"}


def test_figures_of_an_unfinished_run_are_refused(tmp_path, capsys):
    with Store(tmp_path) as store:
        store.claim([Replica(CELL, 0)], ORIGIN)
    assert "no finished replica" in refused(plot, ["--results", tmp_path], capsys)


def test_figures_of_an_empty_store_are_refused(tmp_path, capsys):
    store_of(tmp_path, [])
    assert "no finished replica" in refused(plot, ["--results", tmp_path], capsys)
    assert not list(tmp_path.glob("*.png"))


def test_figures_of_no_replica_are_refused(swept, capsys):
    message = refused(plot, ["--results", swept, "--only", "seed=99"], capsys)
    assert "no finished replica has " in message


def test_figures_land_in_the_result_folder_by_default(tmp_path):
    store_of(tmp_path, [CELL], seeds=1)
    assert plot.main(["--results", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("*.png"))) == 4


def test_a_figure_folder_that_cannot_be_made_is_refused(swept, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    message = refused(plot, ["--results", swept, "--figures", tmp_path / "file"], capsys)
    assert str(tmp_path / "file") in message


@pytest.fixture
def bits_figure(swept):
    figure = figures.plot_overview(rows_of(swept), "title", THESIS)
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
    figure = figures.plot_overview(rows, "title", THESIS)
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
    figure = figures.plot_overview(rows_of(tmp_path), "title", THESIS)
    assert [a.get_title().partition("\n")[0] for a in figure.axes] == list(ALGORITHMS)
    plt.close(figure)


def test_update_rules_are_not_averaged_together(tmp_path):
    cells = [replace(CELL, update=u) for u in ("nearest", "latent")]
    store_of(tmp_path, cells)
    figure = figures.plot_overview(rows_of(tmp_path), "title", THESIS)
    found = {a.get_title(): float(lines_of(a)["symm local"].get_ydata()[0]) for a in figure.axes}
    for cell in cells:
        (title,) = (t for t in found if cell.update in t)
        assert found[title] == pytest.approx(np.mean([accuracy(cell, s) for s in range(3)]))
    plt.close(figure)


def test_the_floats_of_an_algorithm_are_in_all_its_panels(tmp_path):
    cells = [replace(CELL, update=u) for u in ("nearest", "latent")]
    cells.append(replace(FLOAT, batch_size=9))
    store_of(tmp_path, cells, seeds=1)
    figure = figures.plot_overview(rows_of(tmp_path), "title", THESIS)
    assert len(figure.axes) == 2
    for axis in figure.axes:
        assert set(lines_of(axis)) == {"float", "symm local"}
    plt.close(figure)


def epochs_figure(folder):
    with Store(folder, create=False) as store:
        return figures.plot_epochs(store.replicas(), store.history("epochs"), "title")


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
    expected = f"backprop\n{best.quantizer} {best.scope}, best of 4 grids"
    assert figure.axes[0].get_title() == expected
    plt.close(figure)


def test_curves_of_every_panel_are_drawn(tmp_path):
    cells = [replace(CELL, update=u, lr=r) for u in ("nearest", "latent") for r in (1.0, 2.0, 3.0)]
    store_of(tmp_path, cells, seeds=1)
    figure = epochs_figure(tmp_path)
    assert sum(bool(a.get_lines()) for a in figure.axes) == 2 * len(cells)
    plt.close(figure)


def test_the_longest_training_of_a_cell_counts(tmp_path):
    cells = [replace(CELL, epochs=e) for e in (2, 9)]
    store_of(tmp_path, cells)
    figure = figures.plot_overview(rows_of(tmp_path), "title", THESIS)
    line = lines_of(figure.axes[0])["symm local"]
    assert line.get_ydata()[0] == pytest.approx(np.mean([accuracy(cells[1], s) for s in range(3)]))
    plt.close(figure)


def test_a_shorter_training_does_not_stand_in_for_a_longer_one_without_an_accuracy(tmp_path):
    cells = [replace(CELL, n_bits=bits, epochs=e) for bits in (2, 3) for e in (2, 9)]
    store_of(tmp_path, [cells[0], *cells[2:]])
    store_of(tmp_path, cells[1:2], sound=False)
    ((_, figure),) = gallery.drawn(rows_of(tmp_path), [], THESIS, ["overview"])
    assert list(lines_of(figure.axes[0])["symm local"].get_xdata()) == [3]
    plt.close(figure)


def test_a_panel_per_quantizer_and_a_line_per_data_set(tmp_path):
    cells = [c for d in ("digits", "mnist") for c in sweep(dataset=d)]
    store_of(tmp_path, cells)
    figure = figures.plot_bits(rows_of(tmp_path), "title")
    assert [axis.get_title() for axis in figure.axes] == ["asymm", "symm"]
    for axis in figure.axes:
        lines = lines_of(axis)
        for dataset in ("digits", "mnist"):
            for scope in ("global", "local"):
                found = lines[f"{dataset} {scope}"].get_ydata()[1]
                cell = replace(CELL, dataset=dataset, quantizer=axis.get_title(), scope=scope)
                mean = np.mean([accuracy(cell, seed) for seed in range(3)])
                assert found == pytest.approx(mean)
            assert f"{dataset} float" in lines
    plt.close(figure)


@pytest.mark.parametrize("draw", [figures.plot_bits, figures.plot_overview])
def test_published_values_are_crosses(swept, draw):
    keys = [Key("backprop", "digits", 1, 50, bits, "symm", "local") for bits in (2, 8)]
    published = {key: Published(10.0 * i + 5) for i, key in enumerate(keys)}
    published[Key("backprop", "mnist", 1, 50, 4, "symm", "local")] = Published(50.0)  # not ours
    figure = draw(rows_of(swept), "title", with_published(published))
    crosses = [line for axis in figure.axes for line in axis.get_lines()
               if line.get_label() == "_published"]
    (cross,) = crosses
    assert list(cross.get_xdata()) == [2, 8]
    assert list(cross.get_ydata()) == [5.0, 15.0]
    assert cross.get_marker() == "x"
    assert cross.get_linestyle() == "None"
    plt.close(figure)


def test_ranges_are_drawn_per_block_and_tensor(tmp_path):
    with Store(store_of(tmp_path, [CELL, FLOAT], seeds=2, epochs=3)) as store:
        rows = store.replicas()
        ranges = [r | {"low": -1.0 - r["epoch"], "high": 2.0 + r["epoch"]}
                  for r in store.history("ranges")]
        # A tensor that belongs to no block is not drawn.
        ranges += [r | {"tensor": "synthesizers/0/bias"} for r in ranges]
    figure = figures.plot_ranges(rows, ranges, "title")
    (axis,) = figure.axes
    assert axis.get_title() == "block 1, kernel"
    lines = lines_of(axis)
    for name in ("4 bits", "float"):
        assert list(lines[name].get_xdata()) == [1, 2, 3]
        assert list(lines[name].get_ydata()) == [-1.0, -2.0, -3.0]
        assert list(lines[f"_{name}"].get_ydata()) == [2.0, 3.0, 4.0]
    plt.close(figure)


# What people bring of their own: grids, networks, numbers that the thesis did not have


def test_unknown_grids_have_looks_of_their_own(tmp_path, capsys):
    cells = [replace(CELL, quantizer=q, scope=s) for q in ("pow2", "levels", "symm")
             for s in ("local", "channel")]
    store_of(tmp_path, cells)
    figure = figures.plot_overview(rows_of(tmp_path), "title", THESIS)
    lines = lines_of(figure.axes[0])
    assert set(lines) == {f"{c.quantizer} {c.scope}" for c in cells}
    assert len({line.get_color() for line in lines.values()}) >= 4
    plt.close(figure)
    assert drawn(tmp_path, capsys)


def test_other_networks_have_their_own_name(tmp_path, capsys):
    cells = [replace(CELL, network="resnet", n_layers=0, hidden_width=0), CELL]
    store_of(tmp_path, cells)
    stems = set(drawn(tmp_path, capsys))
    assert {"bits-backprop-resnet", "bits-backprop-1-50", "epochs-digits-resnet"} <= stems
    figure = figures.plot_overview(rows_of(tmp_path), "title", THESIS)
    titles = [a.get_title() for a in figure.axes if a.get_visible()]
    assert titles == ["backprop (1,50)", "backprop resnet"]
    plt.close(figure)


def test_own_runs_are_not_called_shortened(tmp_path, capsys):
    store_of(tmp_path, [CELL])
    ((_, overview),) = gallery.drawn(rows_of(tmp_path), [tmp_path], THESIS, ["overview"])
    title = " ".join(overview.get_suptitle().split())
    assert title == "Test accuracy on digits, 3 seeds; 10 epochs; bands: ±1 standard deviation"
    plt.close(overview)


def test_a_single_width_has_an_error_bar(tmp_path):
    store_of(tmp_path, [CELL])
    figure = figures.plot_bits(rows_of(tmp_path), "title")
    (axis,) = figure.axes
    values = [accuracy(CELL, seed) for seed in range(3)]
    (bar,) = axis.collections
    ((_, low), (_, high)), = bar.get_segments()
    np.testing.assert_allclose((low, high), (np.mean(values) - np.std(values, ddof=1),
                                             np.mean(values) + np.std(values, ddof=1)))
    plt.close(figure)


def test_what_is_not_drawn_is_said(tmp_path, capsys):
    store_of(tmp_path, [replace(CELL, epochs=e) for e in (2, 9)])
    assert plot.main(["--results", str(tmp_path), "--format", "png"]) == 0
    assert "left out: 3 replicas of cells that were trained longer as well" in (
        capsys.readouterr().err)


def test_figures_of_what_is_unfinished_say_so(tmp_path, capsys, monkeypatch):
    store_of(tmp_path, [CELL], seeds=1)
    with Store(tmp_path) as store:
        store.claim([Replica(CELL, 1)], ORIGIN)
    titles = []
    monkeypatch.setattr(look, "save", lambda figure, *_: titles.append(figure.get_suptitle()) or [])
    for words, mark in (("seed=0,1", "unfinished: 1 of 2 networks trained"), ("seed=0", "")):
        with contextlib.suppress(SystemExit):  # as nothing is written
            plot.main(["--results", str(tmp_path), "--kind", "bits", "--only", words])
        title = titles.pop()
        assert title.endswith(f"\n{mark}") if mark else "unfinished" not in title
        assert (mark or "error") in capsys.readouterr().err


def test_figures_of_held_out_parts_say_so():
    rows = [row(replace(CELL, dataset="digits_holdout", n_bits=bits)) for bits in (2, 3)]
    for figure in (figures.plot_overview(rows, "title"), figures.plot_bits(rows, "title")):
        assert figure.axes[0].get_ylabel() == "held-out accuracy (%)"


def test_devices_alone_are_no_figures_by_bits_and_an_axis_is_asked_for(tmp_path, capsys):
    store_of(tmp_path, [replace(FLOAT, update="ecram")])
    by_bits = ["--results", tmp_path, "--kind", "overview", "bits"]
    assert "such as --x epoch --hue update" in refused(plot, by_bits, capsys)
    assert plot.main(["--results", str(tmp_path), "--x", "epoch", "--hue", "update"]) == 0


def test_devices_have_curves_ranges_and_insides_under_their_names(tmp_path):
    devices = [replace(FLOAT, update=name) for name in ("ecram", "reram_es")]
    store_of(tmp_path, [*devices, FLOAT, CELL], seeds=2)
    found = dict(gallery.drawn(rows_of(tmp_path), [tmp_path]))
    assert {f"ranges-backprop-update-{name}-digits-1-50" for name in ("ecram", "reram_es")} < (
        set(found))
    curves = found["epochs-digits-1-50"]
    assert {text.get_text() for text in curves.legends[0].get_texts()} == {
        "4 bits", "ecram", "reram_es", "float"}
    # A figure by bits has no panel for what has none.
    shown = [axis.get_title() for axis in found["overview-digits"].axes if axis.get_visible()]
    assert len(shown) == 1
    assert not any("update" in title for title in shown)
    rows = rows_of(tmp_path)
    assert [said for said in gallery.left_out(rows) if "in overview and bits" in said
            and said.startswith("4 replicas of memories")]
    assert gallery.left_out(rows, ["epochs"]) == []
    plt.close("all")


def test_bits_hidden_behind_several_widths_are_one_line_if_one_flag_says_them():
    cells = [replace(CELL, update="hidden", n_bits=bits, hidden_bits=bits + 2) for bits in (2, 3)]
    assert [len(members) for members in panels.variants(list(map(row, cells))).values()] == [2]
    third = replace(cells[0], hidden_bits=6)
    names = panels.variants([row(c) for c in (*cells, third)])
    assert {name.rpartition(" ")[2] for name in names} == {"4", "5", "6"}


@pytest.mark.thorough
def test_too_many_settings_are_no_figure_along_the_training_and_said(tmp_path, capsys):
    store_of(tmp_path, [replace(CELL, lr=lr / 100) for lr in range(1, 26)], seeds=1, epochs=1)
    stems = drawn(tmp_path, capsys, "--kind", "bits", "epochs", "ranges")
    assert all(stem.startswith("bits") for stem in stems)
    rows = rows_of(tmp_path)
    assert "curves of networks with 25 settings, more than 24" in gallery.left_out(rows)[-1]
    assert gallery.left_out(rows, ["bits"]) == []
    assert gallery.left_out(rows[1:]) == []


def test_ranges_say_where_they_are_logarithmic(tmp_path):
    store_of(tmp_path, [FLOAT])
    rows = rows_of(tmp_path)
    known = history_of([tmp_path], "ranges", {r["id"] for r in rows})
    for largest, said in ((0.5, False), (30.0, True)):
        scaled = [{**r, "low": -largest, "high": largest} for r in known]
        figure = figures.plot_ranges(rows, scaled, "title")
        assert ("logarithmic beyond ±1" in figure.axes[0].get_ylabel()) is said
        plt.close(figure)


def test_data_with_a_path_are_called_by_their_last_part_unless_two_have_the_same(tmp_path):
    cells = [replace(CELL, dataset=name) for name in ("/my/a.npz", "/my/b.npz", "/other/b.npz")]
    store_of(tmp_path, cells, seeds=1, epochs=1)
    found = dict(gallery.drawn(rows_of(tmp_path), [tmp_path], kinds=["overview"]))
    assert list(found) == ["overview-a.npz", "overview-/my/b.npz", "overview-/other/b.npz"]
    assert "on a.npz, 1 seed" in found["overview-a.npz"].get_suptitle()
    assert cells[0].label == "backprop a.npz (1,50)"
    plt.close("all")


def test_ranges_have_a_panel_for_every_tensor_and_no_others(tmp_path):
    store_of(tmp_path, [FLOAT])
    rows = rows_of(tmp_path)
    tensors = ("blocks/0/layers_0/kernel", "blocks/0/layers_0/bias", "blocks/0/layers_1/kernel",
               "blocks/1/kernel", "blocks/1/bias")
    known = [{"replica": rows[0]["id"], "epoch": 0, "tensor": t, "low": -1.0, "high": 1.0}
             for t in tensors]
    figure = figures.plot_ranges(rows, known, "title")
    shown = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert shown == ["block 1, layers_0/kernel", "block 2, kernel", "block 1, layers_0/bias",
                     "block 2, bias", "block 1, layers_1/kernel"]
    plt.close(figure)


@pytest.mark.parametrize(("loss", "above", "below"), [
    ("cross_entropy", "accuracy (%)", "cross-entropy (nats)"),
    ("squared_error", "R² or accuracy (%)", "squared error"), ("sigmoid", "accuracy (%)", "loss")])
def test_curves_are_called_what_they_are(tmp_path, loss, above, below):
    store_of(tmp_path, [replace(FLOAT, loss=loss, dataset="own.npz")])
    ((_, figure),) = gallery.drawn(rows_of(tmp_path), [tmp_path], kinds=["epochs"])
    assert [axis.get_ylabel() for axis in figure.axes] == [above, below]
    plt.close(figure)
