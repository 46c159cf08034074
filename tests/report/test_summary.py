"""What a run ends with: the table, and what it does not show."""

import io
import random
from dataclasses import fields, replace

import numpy as np
import pytest
from examples import CELL, FLOAT
from rich.console import Console

from experiments import run
from experiments.cells import DEFAULTS, Cell, Replica
from experiments.report import scores, summary

COLUMNS = [f.name for f in fields(Cell)]


# Numbers


@pytest.mark.parametrize(
    ("values", "text"),
    [([1.0, 3.0], "2.00 ± 1.41"), ([None, 5.0], "5.00"), ([], "-"), ([None], "-")],
)
def test_spread(values, text):
    assert summary.spread(values) == text


def test_by_cell_keeps_together_what_differs_only_in_the_columns_named():
    rows = [{"a": 1, "seed": 0}, {"a": 2, "seed": 0}, {"a": 1, "seed": 1}]
    members = list(summary.by_cell(rows, ["seed"]).values())
    assert members == [[rows[0], rows[2]], [rows[1]]]


# The summary


def row(cell=CELL, seed=0, test_accuracy=50.0, status="done"):
    return vars(cell) | {
        "id": Replica(cell, seed).id, "seed": seed, "status": status,
        "test_accuracy": test_accuracy, "test_loss": 1.0, "seconds": 1.0 + seed,
    }


def rendered(rows):
    console = Console(width=200, file=io.StringIO(), color_system=None)
    title, table, line = summary.summary(list(rows), COLUMNS)
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
        ["nearest", "10.0", "20.0"], ["latent", "30.0", "40.0"],
    ]


@pytest.mark.parametrize("width", [120, 40, 20])
def test_a_summary_wider_than_the_console_is_told_in_several_tables(width):
    """By algorithm, and by data set where that is not enough, so that nothing is cut."""
    cells = [replace(CELL, algorithm=a, dataset=d, n_bits=b)
             for a in ("backprop", "fa") for d in ("digits", "mnist") for b in (2, 4)]
    console = Console(width=width, file=io.StringIO(), color_system=None)
    summary.tell([row(c, test_accuracy=20.0 + i) for i, c in enumerate(cells)], console)
    text = console.file.getvalue()
    settings = {120: [["backprop", "digits"], ["backprop", "mnist"], ["fa", "digits"],
                      ["fa", "mnist"]],
                40: [["digits"], ["mnist"]] * 2, 20: [[]] * 4}[width]
    if width == 40:
        assert text.count("algorithm backprop") == text.count("algorithm fa") == 1
    assert [line[:-2] for line in body(text)] == settings
    assert [line[-2:] for line in body(text)] == [
        [f"{20 + i:.1f}", f"{21 + i:.1f}"] for i in range(0, 8, 2)]


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


def test_scores_are_called_what_they_are():
    def title(*losses, dataset="own.npz"):
        rows = [row() | {"loss": loss, "seed": seed, "dataset": dataset}
                for seed, loss in enumerate(losses)]
        return summary.summary(rows, COLUMNS)[0].partition(" in percent")[0]

    assert title("cross_entropy", "sigmoid") == "Test accuracy"
    assert title("squared_error") == "Test R² or accuracy"
    assert title("squared_error", dataset="digits") == "Test accuracy"  # it has classes
    assert title("squared_error", "sigmoid") == "Test score"
    rows = [row() | {"dataset": "digits_holdout"}]
    assert summary.summary(rows, COLUMNS)[0].startswith("Held-out accuracy in percent")


def test_scores_of_data_at_hand_are_called_by_what_its_labels_are(tmp_path):
    for name, labels in (("targets", np.linspace(0, 1, 30)), ("classes", np.arange(30) % 3)):
        np.savez(tmp_path / f"{name}.npz", images=np.ones((30, 2)) * np.arange(30)[:, None],
                 labels=labels)
    made = {name: row() | {"loss": "squared_error", "dataset": f"{tmp_path / name}.npz"}
            for name in ("targets", "classes")}
    assert scores.scored([made["targets"]]).score == "R²"
    assert scores.scored([made["classes"]]).score == "accuracy"
    assert scores.scored(made.values()).score == "score"


def test_what_is_the_same_stands_below_the_summary():
    _, line = rendered([row(), row(seed=1)])
    for name in set(COLUMNS) - {"n_bits", "readout_epochs", *DEFAULTS}:
        assert f" {name} " in line
    assert "readout_epochs" not in line, "an axis that says nothing of an algorithm without one"
    assert "bp_lambda" not in line, "a newer axis that says nothing"
    _, line = rendered([row(replace(CELL, update="hidden", hidden_bits=None, gain=1.5), seed=s)
                        for s in range(2)])
    assert "hidden_bits float" in line, "the default of cells, but not of the flag"
    assert "gain 1.5" in line
    assert "numbers" not in line, "a memory without numbers"
    assert "lr 1.0" in line


def test_bits_hidden_behind_several_widths_are_one_line_if_one_flag_says_them():
    cells = [replace(CELL, update="hidden", n_bits=n, hidden_bits=n + 2) for n in (2, 3)]
    text, line = rendered([row(c, test_accuracy=10.0 * c.n_bits) for c in cells])
    assert body(text) == [["20.0", "30.0"]]
    assert "hidden_bits +2" in line
    text, _ = rendered([row(c) for c in (*cells, replace(cells[1], hidden_bits=6))])
    assert [cells[0] for cells in body(text)] == ["4", "5", "6"]


def test_every_entry_is_of_one_cell():
    unit = [replace(CELL, normalize=word) for word in ("none", "mean-std")]
    text, line = rendered([row(unit[0], test_accuracy=10.0), row(unit[1], test_accuracy=90.0)])
    assert body(text) == [["none", "10.0"], ["mean-std", "90.0"]]
    assert "normalize" not in line
    device = replace(FLOAT, update="ecram")
    text, line = rendered([row(device, test_accuracy=10.0), row(FLOAT, test_accuracy=90.0)])
    assert body(text) == [["ecram", "10.0"], ["none", "90.0"]]
    assert "update" not in line
    by_rule = [replace(unit[0], algorithm="fa"), unit[1]]
    _, line = rendered(map(row, by_rule))
    assert "By algorithm: normalize none (fa), mean-std (backprop)" in line


@pytest.mark.parametrize("seed", range(20))
def test_every_entry_is_of_one_cell_whatever_is_asked_for(seed):
    pick = random.Random(seed)
    words = []
    for flag, values in {
        "algorithm": ("backprop", "fa", "dni", "hsic"), "normalize": ("none", "mean-std", "unit"),
        "memory": ("nearest", "hidden", "ecram", "counter", "mixed_precision"),
        "n-bits": ("2", "4", "float"), "gain": ("none", "1", "2"), "bias": ("float", "quantized"),
        "schedule": ("linear", "exponential"), "hidden-bits": ("+1", "+2", "6"),
    }.items():
        if pick.random() < 0.6:
            words += [f"--{flag}", *pick.sample(values, pick.randint(1, 2))]
    cells = run.cells_of(run.parser().parse_args(words))
    text, _ = rendered([row(cell) for cell in cells])
    entries = [entry for line in body(text) for entry in line if entry == "50.0"]
    assert len(entries) == len(cells), words


def test_what_the_algorithm_decides_on_is_told_below_and_what_says_nothing_is_no_column():
    cells = [replace(CELL, algorithm=a, gain=g, bias="float")
             for a, g in (("backprop", 1.5), ("usf", 1.5), ("fa", 1.0))]
    floats = [replace(FLOAT, algorithm=c.algorithm, gain=c.gain) for c in cells]
    text, line = rendered([row(c) for c in (*cells, *floats)])
    assert "By algorithm: gain 1.5 (backprop, usf), 1.0 (fa)" in line
    assert ", bias float" in line
    assert "gain" not in text
    assert "bias" not in text


def test_what_the_algorithm_decides_on_has_the_words_of_the_table():
    cells = [replace(CELL, update="hidden", n_bits=n, hidden_bits=n + 2) for n in (2, 3)]
    other = replace(CELL, algorithm="fa", update="hidden", hidden_bits=None)
    assert "By algorithm: hidden_bits +2 (backprop), float (fa)" in rendered(
        [row(c) for c in (*cells, other)])[1]
    device = replace(FLOAT, update="ecram")
    others = [device, replace(device, algorithm="fa", numbers="dw_min=0.01")]
    assert "By algorithm: numbers usual (backprop), dw_min=0.01 (fa)" in rendered(
        map(row, others))[1]


def test_a_silent_axis_and_numbers_as_usual_have_a_word_in_the_table():
    cells = [replace(CELL, bias="float"), CELL, FLOAT]
    bias = [cells[2] for cells in body(rendered([row(c) for c in cells])[0])]
    assert sorted(bias) == ["-", "float", "quantized"]
    device = replace(FLOAT, update="ecram")
    text, _ = rendered([row(device), row(replace(device, numbers="dw_min=0.01"))])
    assert [cells[0] for cells in body(text)] == ["usual", "dw_min=0.01"]


def test_summary_counts_diverged_replicas():
    rows = [row(test_accuracy=40.0), row(seed=1, test_accuracy=60.0, status="diverged")]
    assert body(rendered(rows)[0]) == [["50.0 ± 14.1 (1 diverged)"]]


def test_summary_of_replicas_that_never_had_a_number():
    rows = [row(seed=s, test_accuracy=None, status="diverged") for s in (0, 1)]
    assert body(rendered(rows)[0]) == [["- (2 diverged)"]]


def warned(*rows):
    return " ".join(summary.warnings(list(rows), COLUMNS))


def test_warnings_name_what_exploded_and_what_to_type():
    burst = row(replace(CELL, dataset="mnist", n_bits=3), test_accuracy=31.0) | {"test_loss": 2e32}
    text = warned(burst, row(test_accuracy=90.0))
    assert "Exploded (test loss up to 2e+32): 1 cell: backprop mnist 3 bits symm local nearest" in (
        text)
    assert "--recipe few-bits" in text
    assert "smaller --lr" not in text
    text = warned(row(FLOAT, status="diverged", test_accuracy=None))
    assert "Exploded: 1 cell: backprop digits float." in text
    assert "smaller --lr" in text


def test_warnings_name_what_is_no_better_than_guessing():
    cells = [replace(CELL, n_bits=bits) for bits in (2, 3, 4, 5)]
    text = warned(*(row(c, test_accuracy=11.0) for c in cells), row(FLOAT, test_accuracy=60.0))
    assert text.startswith("No better than guessing: 4 cells: backprop digits 2 bits symm local "
                           "nearest, backprop digits 3 bits")
    assert " and 1 more. 4 of these have few levels" in text


def test_warnings_call_devices_by_name():
    devices = replace(FLOAT, update="ecram")
    text = warned(row(devices, test_accuracy=11.0), row(FLOAT, test_accuracy=11.0))
    assert "2 cells: backprop digits ecram, backprop digits float." in text


@pytest.mark.parametrize(("classes", "learned", "guessed"), [
    (2, 60.0, 55.0), (4, 38.0, 33.0), (10, 21.0, 20.0), (100, 3.0, 2.0)])
def test_a_guess_is_that_of_so_many_classes(monkeypatch, classes, learned, guessed):
    monkeypatch.setattr(summary, "shape_of", lambda name: ((8, 8, 1), classes))
    assert "guessing" not in warned(row(test_accuracy=learned))
    assert "No better than guessing" in warned(row(test_accuracy=guessed))


def test_there_is_nothing_to_warn_of_where_all_went_well():
    assert warned(row(test_accuracy=85.0), row(FLOAT, test_accuracy=97.0)) == ""
    # One bad seed of several is in the deviation.
    assert warned(row(test_accuracy=12.0), row(seed=1, test_accuracy=85.0)) == ""


def test_summary_of_nothing():
    assert body(rendered([])[0]) == []


def test_memories_without_levels_are_no_floats():
    device = replace(FLOAT, update="soft_bounds")

    def header(*rows):
        _, table, _ = summary.summary(list(rows), COLUMNS)
        return " ".join(column.header for column in table.columns)

    assert header(row(device)) == "devices"
    assert header(row(device), row(FLOAT)).endswith("float, devices")
    assert header(row(FLOAT)) == "float"
