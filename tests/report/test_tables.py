"""Tables of hand-made results: which numbers stand where, and the formats they are written in."""

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from examples import CELL, FLOAT, csv_of, row
from rich.console import Console

from experiments import tables as command
from experiments.report import Column, Estimate, Table, formats, tables
from experiments.studies.thesis import THESIS

SHORTENED = tables.SHORTENED.format(study="the thesis")
MNIST = replace(CELL, dataset="mnist", epochs=30)
MNIST_FLOAT = replace(FLOAT, dataset="mnist", epochs=10)


def seeds(cell, *accuracies, **more):
    return [row(cell, seed, accuracy, **more) for seed, accuracy in enumerate(accuracies)]


def half(*values):
    return scipy.stats.t.ppf(0.975, len(values) - 1) * scipy.stats.sem(values)


def lines_of(table):
    names = [c.name for c in table.columns]
    return [dict(zip(names, r, strict=True)) for r in table.rows]


def parsed(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


# Formats


TABLE = Table(
    "Of a_b & c", ("90 % of {it}", "a ± b"), (Column("what|#"), Column("value"), Column("n", 3)),
    (("x_1", Estimate(-1.234, 0.5, 3), 2.0), ("50%\\", Estimate(7.0, None, 1), 12345678.0),
     ("-", Estimate(None, None, 0), None)),
)


def test_markdown():
    assert formats.markdown(TABLE) == (
        "**Of a_b & c**\n\n90 % of {it}\n\na ± b\n\n"
        "| what\\|# | value | n |\n| --- | ---: | ---: |\n"
        "| x_1 | -1.23 ± 0.50 | 2.000 |\n| 50%\\\\ | 7.00 | 1.23e+07 |\n| - | - | - |\n"
    )


def test_csv_has_numbers_in_full():
    assert formats.as_csv(TABLE) == (
        "what|#,value,value_half_width,value_values,n\n"
        "x_1,-1.234,0.5,3,2.0\n50%\\,7.0,,1,12345678.0\n-,,,0,\n"
    )


def test_latex():
    assert formats.latex(TABLE) == "\n".join([
        r"% \usepackage{longtable}",
        r"90 \% of \{it\} a $\pm$ b",
        "",
        r"\begin{longtable}{lrr}",
        r"\caption{Of a\_b \& c}\\",
        r"\hline",
        r"what\textbar{}\# & value & n \\",
        r"\hline\endhead",
        r"x\_1 & $-1.23 \pm 0.50$ & $2.000$ \\",
        r"50\%\textbackslash{} & $7.00$ & $1.23 \times 10^{7}$ \\",
        r"-- & -- & -- \\",
        r"\hline",
        r"\end{longtable}",
        "",
    ])


@pytest.mark.parametrize(
    ("character", "escaped"),
    [("$", r"\$"), ("~", r"\textasciitilde{}"), ("^", r"\textasciicircum{}"), ("{", r"\{"),
     ("<", r"\textless{}"), ("[", "{[}")],
)
def test_latex_specials(character, escaped):
    table = Table("t", (), (Column("c"),), ((character,),))
    assert f"\n{escaped} \\\\\n" in formats.latex(table)


def test_terminal():
    console = Console(width=120, file=io.StringIO(), color_system=None)
    console.print(formats.terminal(TABLE._replace(rows=(("[red]", TABLE.rows[0][1], None),))))
    text = console.file.getvalue()
    assert "Of a_b & c" in text
    assert [c.strip() for c in text.splitlines()[4].split("│")[1:-1]] == [
        "[red]", "-1.23 ± 0.50", "-",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.001, "0.00"), (math.inf, "inf"), (math.nan, "nan"), (3, "3"), (None, "-"),
     (Estimate(2e7, 1.0, 3), "2e+07 ± 1.00"), (Estimate(5.0, 30.0, 2), "5.00")],
)
def test_numbers_as_text(value, text):
    assert formats.written(value) == text


# Float networks


def test_float_table_is_algorithm_by_architecture_in_the_thesis_order():
    rows = []
    for a in ("hsic", "dni", "backprop"):
        for n, w in ((1, 50), (0, 4), (7, 7)):
            more = {"epochs": 30, "readout_epochs": 20, "optimizer": "sgd", "gamma": 1.0,
                    "weight_decay": 1e-3, "batch_size": 128} if a == "hsic" else {}
            cell = replace(MNIST_FLOAT, algorithm=a, n_layers=n, hidden_width=w, **more)
            rows += seeds(cell, n + w, n + w + 2.0)
    rows += seeds(MNIST, 1.0) + seeds(replace(MNIST_FLOAT, dataset="digits"), 2.0)
    table = tables.float_table(rows, "mnist", THESIS)
    assert [c.name for c in table.columns] == [
        "algorithm", "(0,4)", "(1,50)", "(7,7)", "seeds", "diverged", "epochs",
    ]
    lines = lines_of(table)
    assert [line["algorithm"] for line in lines] == ["backprop", "dni", "hsic"]
    assert [line["epochs"] for line in lines] == ["10", "10", "30 + 20"]
    for line in lines:
        for name, value in (("(0,4)", 4.0), ("(1,50)", 51.0), ("(7,7)", 14.0)):
            np.testing.assert_allclose(line[name], (value + 1, half(value, value + 2), 2))
    assert SHORTENED not in table.notes


def test_variants_of_float_networks_are_lines_of_their_own():
    rows = [
        *seeds(replace(MNIST_FLOAT, algorithm="dni"), 1.0),
        *seeds(replace(MNIST_FLOAT, algorithm="dni", gradient_bits=8), 2.0),
        *seeds(replace(MNIST_FLOAT, algorithm="dni", optimizer="adam", lr=0.001), 3.0),
        *seeds(replace(MNIST_FLOAT, algorithm="dni", epochs=2), 4.0, 5.0, status="diverged"),
        *seeds(replace(MNIST_FLOAT, algorithm="dni", epochs=2, n_layers=2), 6.0),
    ]
    table = tables.float_table(rows, "mnist", THESIS)
    found = {(line["algorithm"], line["epochs"]): line for line in lines_of(table)}
    assert {key: line["(1,50)"].mean for key, line in found.items()} == {
        ("dni", "10"): 1.0, ("dni (gradient_bits 8)", "10"): 2.0,
        ("dni (optimizer adam, lr 0.001)", "10"): 3.0, ("dni", "2 of 10"): 4.5,
    }
    assert [line["epochs"] for line in lines_of(table)][:2] == ["10", "2 of 10"]
    assert found["dni", "10"]["(2,50)"] == Estimate(None, None, 0)
    assert (found["dni", "2 of 10"]["seeds"], found["dni", "2 of 10"]["diverged"]) == ("1-2", 2)
    assert found["dni", "10"]["seeds"] == 1
    assert SHORTENED in table.notes
    assert tables.DIVERGED in table.notes


# Cells


def test_cell_table_pairs_differences_by_seed():
    rows = seeds(MNIST, 90.0, 80.0, 60.0, 10.0, loss=0.5) + seeds(MNIST_FLOAT, 95.0, 90.0, 85.0)
    table = tables.cell_table(rows, "mnist", "backprop", THESIS)
    cell, network = lines_of(table)
    assert (cell["architecture"], cell["bits"], cell["quantizer"], cell["scope"]) == (
        "(1,50)", "4", "symm", "local",
    )
    np.testing.assert_allclose(cell["accuracy"], (60.0, half(90.0, 80.0, 60.0, 10.0), 4))
    np.testing.assert_allclose(cell["difference"], (-40 / 3, half(-5.0, -10.0, -25.0), 3))
    assert cell["loss"] == (0.5, 0.0, 4)
    assert (cell["seeds"], cell["diverged"], cell["epochs"]) == (4, 0, "30")
    assert network["bits"] == "float"
    assert network["accuracy"].mean == 90.0
    assert network["difference"].mean is None
    assert not {SHORTENED, tables.DIVERGED} & set(table.notes)


def test_cell_table_counts_diverged_replicas_and_labels_short_runs():
    cell = replace(MNIST, epochs=3)
    rows = [*seeds(cell, 50.0), row(cell, 1, None, None, "diverged")]
    table = tables.cell_table(rows, "mnist", "backprop", THESIS)
    (line,) = lines_of(table)
    assert line["accuracy"] == (50.0, None, 1)
    assert (line["seeds"], line["diverged"], line["epochs"]) == (2, 1, "3 of 30")
    assert line["difference"].count == 0
    assert {SHORTENED, tables.DIVERGED} <= set(table.notes)


def test_cell_table_shows_the_settings_that_differ_and_notes_the_others():
    cells = [replace(MNIST, update=u) for u in ("nearest", "latent")]
    rows = [r for c in cells for r in seeds(c, 1.0)]
    rows += seeds(replace(MNIST_FLOAT, batch_size=128), 1.0)
    table = tables.cell_table(rows, "mnist", "backprop", THESIS)
    assert [line["update"] for line in lines_of(table)] == ["latent", "nearest", "none"]
    assert "lr" not in [c.name for c in table.columns]
    assert "batch_size 64 (float networks: 128)" in table.notes[3]
    assert "lr 1.0," in table.notes[3]
    assert "update" not in table.notes[3]
    # Of later axes what is not as usual; a float behind each weight is not.
    assert "gradient_bits float" in table.notes[3]
    assert not any(name in table.notes[3] for name in ("dac_bits", "hidden_bits", "bias"))
    float_hidden = replace(MNIST, update="hidden", hidden_bits=None, bias="float")
    table = tables.cell_table(seeds(float_hidden, 1.0), "mnist", "backprop", THESIS)
    assert {"hidden_bits float", "bias float"} <= set(table.notes[3][len("Settings: "):].split(
        ";")[0].split(", "))


def test_cell_table_keeps_to_its_algorithm_and_data_set():
    rows = seeds(MNIST, 1.0) + seeds(replace(MNIST, algorithm="fa"), 2.0) + seeds(CELL, 3.0)
    (line,) = lines_of(tables.cell_table(rows, "mnist", "fa", THESIS))
    assert line["accuracy"].mean == 2.0


def test_networks_that_are_no_mlp_have_their_name():
    lenet = replace(MNIST, network="lenet", n_layers=0, hidden_width=0)
    rows = [row(lenet), row(MNIST)]
    lines = lines_of(tables.cell_table(rows, "mnist", "backprop", THESIS))
    assert [line["architecture"] for line in lines] == ["(1,50)", "lenet"]


def test_cells_are_sorted_by_architecture_bits_and_grid():
    cells = [replace(MNIST, n_layers=n, hidden_width=w, n_bits=b, quantizer=q)
             for n, w in ((1, 50), (5, 20), (0, 4)) for b in (10, 2) for q in ("symm", "asymm")]
    lines = lines_of(tables.cell_table([row(c) for c in cells], "mnist", "backprop", THESIS))
    found = [(line["architecture"], line["bits"], line["quantizer"]) for line in lines]
    assert found == [(a, b, q) for a in ("(0,4)", "(5,20)", "(1,50)") for b in ("2", "10")
                     for q in ("asymm", "symm")]


def test_the_float_network_of_a_cell():
    right = MNIST_FLOAT
    others = [replace(right, **{name: value}) for name, value in
              {"algorithm": "fa", "dataset": "digits", "n_layers": 2, "hidden_width": 5,
               "gradient_bits": 8, "optimizer": "sgd", "lr": 0.5, "batch_size": 32}.items()]
    assert tables.float_of(MNIST, others, THESIS) is None
    assert tables.float_of(MNIST, [*others, right], THESIS) == right


def test_of_several_float_networks_the_thesis_one_counts_else_the_longest():
    trained = [replace(MNIST_FLOAT, epochs=n) for n in (2, 10, 30, 5)]
    assert tables.float_of(MNIST, trained, THESIS).epochs == 10
    assert tables.float_of(MNIST, [trained[0], trained[3]], THESIS).epochs == 5


def test_hsic_is_compared_with_its_own_batch_size():
    hsic = replace(MNIST, algorithm="hsic")
    floats = [replace(hsic, n_bits=None, batch_size=b) for b in (64, 128, 32)]
    assert tables.float_of(hsic, floats, THESIS).batch_size == 128
    assert tables.float_of(replace(hsic, batch_size=32), floats, THESIS).batch_size == 32


# The command


def test_command_writes_every_table_in_three_formats(tmp_path, capsys):
    fashion = replace(MNIST_FLOAT, dataset="fashion_mnist", epochs=4)
    path = csv_of(tmp_path / "x.csv", [
        *seeds(MNIST, 90.0, 91.0), *seeds(MNIST_FLOAT, 97.0, 98.0), *seeds(fashion, 80.0),
        *seeds(replace(MNIST, algorithm="fa"), 1.0),
    ])
    assert command.main(["--results", str(path)]) == 0
    out = capsys.readouterr().out
    stems = ["float-mnist", "float-fashion_mnist", "cells-mnist-backprop", "cells-mnist-fa",
             "cells-fashion_mnist-backprop"]
    files = [tmp_path / "tables" / f"{stem}.{end}" for stem in stems
             for end in ("md", "csv", "tex")]
    assert sorted((tmp_path / "tables").iterdir()) == sorted(files)
    assert out.split()[-len(files):] == list(map(str, files))
    text = (tmp_path / "tables" / "float-mnist.md").read_text()
    assert "| backprop | 97.50 | 2 | 0 | 10 |" in text
    assert text in out
    assert "4 of 10" in out
    (cell, network) = parsed((tmp_path / "tables" / "cells-mnist-backprop.csv").read_text())
    assert float(cell["difference"]) == -7.0
    assert network["bits"] == "float"


def test_command_merges_sources_and_takes_a_folder(tmp_path):
    a = csv_of(tmp_path / "a.csv", seeds(MNIST_FLOAT, 10.0, 20.0))
    b = csv_of(tmp_path / "b.csv", seeds(MNIST_FLOAT, 30.0))
    folder = tmp_path / "deep" / "er"
    assert command.main(["--results", str(a), str(b), "--folder", str(folder)]) == 0
    (line,) = parsed((folder / "float-mnist.csv").read_text())
    assert (float(line["(1,50)"]), line["(1,50)_values"]) == (25.0, "2")


def test_command_marks_tables_of_what_is_unfinished(tmp_path, capsys):
    path = csv_of(tmp_path / "x.csv", [*seeds(MNIST, 90.0), row(MNIST, 1, status="running")])
    assert command.main(["--results", str(path)]) == 0
    text = (tmp_path / "tables" / "cells-mnist-backprop.md").read_text()
    assert "\n\nUnfinished: 1 of 2 networks trained.\n\n" in text
    assert capsys.readouterr().err == "unfinished: 1 of 2 networks trained\n"


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(list(map(str, arguments)))
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_refusals(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no file figures/thesis.csv" in refused([], capsys)
    assert "did you mean --results" in refused(["--result", "x"], capsys)
    path = csv_of(tmp_path / "x.csv", seeds(MNIST, 1.0))
    assert "Choose another --folder" in refused(["--results", path, "--folder", path], capsys)


def test_an_unquantized_network_is_the_baseline_whatever_the_memory():
    for more in ({"update": "latent"}, {"update": "counter", "hidden_bits": 6},
                 {"update": "noisy", "numbers": "write_noise=0.1"}, {"bias": "float"}):
        assert tables.float_of(replace(MNIST, **more), [MNIST_FLOAT], THESIS) == MNIST_FLOAT
    other = replace(MNIST_FLOAT, optimizer_bits=4)
    assert tables.float_of(MNIST, [other], THESIS) is None
