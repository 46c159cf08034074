"""Published values against ours: reading, selecting, statistics by hand, and the command."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from examples import CELL, MNIST, MNIST_FLOAT, csv_of, row

from experiments import compare
from experiments.cells import preset_of
from experiments.store.results import ResultsError
from experiments.studies.thesis import Key, Published, agreement, comparison, read_published
from experiments.studies.thesis.agreement import Comparison

HEADER = ("algorithm,dataset,n_layers,hidden_width,n_bits,quantizer,scope,float_accuracy,"
          "float_loss,accuracy,loss")
LINES = [
    "backprop,mnist,1,50,4,symm,local,97.5,0.1,60,2.5",
    "backprop,mnist,1,50,8,symm,local,97.5,0.1,96,inf",
    "fa,mnist,1,50,8,symm,local,30,nan,20,3",
]
KEY = Key("backprop", "mnist", 1, 50, 4, "symm", "local")


def published(path, lines=LINES, header=HEADER):
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def compared(ours, theirs, key=KEY, **more):
    values = {"mean": float(np.mean(ours)), "deviation": None, "low": min(ours),
              "high": max(ours), "count": len(ours), "loss": None, "diverged": 0, "lost": 0,
              "epochs": "30", "shortened": False}
    return Comparison(key, Published(theirs), **values | more)


# Published files


def test_published_cells_and_float_networks(tmp_path):
    assert read_published(published(tmp_path / "p.csv")) == {
        KEY: Published(60.0, 2.5), KEY._replace(n_bits=8): Published(96.0, float("inf")),
        KEY._replace(algorithm="fa", n_bits=8): Published(20.0, 3.0),
        Key("backprop", "mnist", 1, 50): Published(97.5, 0.1),
        Key("fa", "mnist", 1, 50): Published(30.0, pytest.approx(float("nan"), nan_ok=True)),
    }


def test_columns_of_floats_and_losses_are_optional_and_the_order_is_free(tmp_path):
    path = published(
        tmp_path / "p.csv", ["60,local,symm,4,50,1,mnist,backprop"],
        "accuracy,scope,quantizer,n_bits,hidden_width,n_layers,dataset,algorithm",
    )
    assert read_published(path) == {KEY: Published(60.0)}
    path = published(tmp_path / "p.csv", ["backprop,mnist,1,50,4,symm,local,,,60,"])
    assert read_published(path) == {KEY: Published(60.0)}


def test_a_whole_grid_is_read(tmp_path):
    lines = [f"{a},mnist,{n},{w},{b},{q},{s},50,1,{b},1" for a in ("backprop", "fa")
             for n, w in ((0, 4), (5, 20)) for b in range(2, 9) for q in ("asymm", "symm")
             for s in ("global", "local")]
    found = read_published(published(tmp_path / "p.csv", lines))
    assert len(found) == 2 * 2 * 7 * 2 * 2 + 2 * 2


@pytest.mark.parametrize(
    ("lines", "header", "expected"),
    [
        (LINES, HEADER.replace(",scope", ",scop"), "has no column scope"),
        ([], HEADER, "has no rows"),
        ([LINES[0].replace("60", "600")], HEADER, "line 2, column accuracy: expected a number of"),
        ([LINES[0].replace("60", "")], HEADER, "line 2, column accuracy"),
        ([LINES[0], LINES[1].replace("96", "nan")], HEADER, "line 3, column accuracy"),
        ([LINES[0].replace(",4,", ",float,")], HEADER, "line 2, column n_bits"),
        ([LINES[0].replace("0.1", "x")], HEADER, "line 2, column float_loss: expected a number,"),
        ([LINES[0].replace("mnist", "")], HEADER, "line 2, column dataset: expected a word"),
        ([LINES[0], LINES[0]], HEADER, "line 3: the cell backprop mnist (1,50) 4 bits symm local"),
        ([LINES[0], LINES[1].replace("97.5", "97")], HEADER, "line 3, column float_accuracy: 97.0"),
        ([LINES[0] + ",1"], HEADER, "line 2: expected 11 values"),
    ],
)
def test_bad_published_files_are_refused(tmp_path, lines, header, expected):
    path = published(tmp_path / "p.csv", lines, header)
    with pytest.raises(ResultsError) as error:
        read_published(path)
    assert expected in str(error.value)
    assert str(path) in str(error.value)


# Selection


@pytest.mark.parametrize(
    "change",
    [{"update": "latent"}, {"update": "stochastic"}, {"optimizer": "adam"}, {"lr": 0.5},
     {"gamma": 0.9}, {"weight_decay": 0.1}, {"gradient_bits": 8}, {"batch_size": 32}],
)
def test_other_settings_than_the_thesis_are_left_out(change):
    assert agreement.select([row(replace(MNIST, **change))]) == {}
    rows = [row(replace(MNIST, **change, epochs=99)), row(MNIST)]
    assert agreement.select(rows) == {KEY: (MNIST, rows[1:])}


@pytest.mark.parametrize("n_bits", [4, None])
def test_hsic_has_its_own_settings(n_bits):
    preset = preset_of("hsic")
    first = preset.phases[0]
    cell = replace(
        MNIST if n_bits else MNIST_FLOAT, algorithm="hsic", optimizer=first.optimizer,
        gamma=first.gamma, weight_decay=first.weight_decay, batch_size=64 if n_bits else 128,
    )
    assert len(agreement.select([row(cell)])) == 1
    assert not agreement.select([row(replace(cell, gamma=0.7))])
    assert not agreement.select([row(replace(cell, batch_size=128 if n_bits else 64))])


def test_gradient_bits_are_chosen_for_dni_alone():
    cells = [replace(c, algorithm=a, gradient_bits=g) for c in (MNIST, MNIST_FLOAT)
             for a in ("dni", "fa") for g in (None, 8, 4)]
    rows = [row(c) for c in cells]
    for wanted in (None, 8):
        found = {cell for cell, _ in agreement.select(rows, wanted).values()}
        assert found == {c for c in cells
                         if c.gradient_bits == (wanted if c.algorithm == "dni" else None)}


def test_the_longest_training_counts():
    cells = [replace(MNIST, epochs=n) for n in (5, 20, 10)]
    rows = [row(c, seed, n) for n, c in enumerate(cells) for seed in (0, 1)]
    assert agreement.select(rows) == {KEY: (cells[1], rows[2:4])}
    comparison, = agreement.compare({KEY: Published(1.0)}, agreement.select(rows))
    assert (comparison.epochs, comparison.shortened) == ("20 of 30", True)


# Statistics


def test_a_comparison_by_hand():
    members = [row(MNIST, 0, 50.0, 1.0), row(MNIST, 1, 60.0, 2.0),
               row(MNIST, 2, 70.0, None, "diverged"), row(MNIST, 3, None, None, "diverged")]
    found = agreement.compare(
        {KEY._replace(n_bits=2): Published(1.0), KEY: Published(65.0, 3.0)},
        {KEY: (MNIST, members), KEY._replace(n_bits=3): (MNIST, members)},
    )
    assert found == [Comparison(KEY, Published(65.0, 3.0), 60.0, 10.0, 50.0, 70.0, 3, 1.5, 1, 1,
                                "30", False)]
    assert "1 more have no finite accuracy" in comparison.notes_on({}, found)[-1]
    assert found[0].difference == -5.0


def test_a_single_seed_has_no_deviation_and_no_numbers_no_comparison():
    (found,) = agreement.compare({KEY: Published(1.0)}, {KEY: (MNIST, [row(MNIST, 0, 4.0)])})
    assert (found.mean, found.deviation, found.count) == (4.0, None, 1)
    none = [row(MNIST, 0, None, None, "diverged")]
    assert agreement.compare({KEY: Published(1.0)}, {KEY: (MNIST, none)}) == []


@pytest.mark.parametrize(
    ("theirs", "inside"), [(17.0, True), (16.9, False), (33.0, True), (33.1, False), (25.0, True)]
)
def test_inside_is_the_range_and_three_points(theirs, inside):
    assert compared([20.0, 30.0], theirs).inside is inside


def test_rank_correlation_by_hand():
    # Without ties: 1 - 6 sum d^2 / (n (n^2 - 1)), d = 0, 1, -1, 0.
    assert agreement.rank_correlation([1, 2, 3, 4], [10, 30, 20, 99]) == pytest.approx(1 - 12 / 60)
    assert agreement.rank_correlation([1, 2, 5], [9, 8, 1]) == pytest.approx(-1)


@pytest.mark.parametrize("seed", range(4))
def test_rank_correlation_agrees_with_scipy(seed):
    x, y = np.random.default_rng(seed).integers(0, 8, (2, 30)).astype(float)
    expected = scipy.stats.spearmanr(x, y).statistic
    assert agreement.rank_correlation(list(x), list(y)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("x", "y"), [([], []), ([1], [2]), ([1, 1], [1, 2]), ([1, 2], [3, 3])])
def test_no_rank_correlation_without_an_order(x, y):
    assert agreement.rank_correlation(x, y) is None


def test_summary_by_hand():
    comparisons = [compared([10.0], 12.0), compared([50.0], 40.0), compared([90.0], 91.0),
                   compared([20.0], 20.0)]
    assert agreement.summarize(comparisons) == (
        4, pytest.approx(7 / 4), pytest.approx(13 / 4), pytest.approx(1.0), 75.0,
    )


def test_worst_are_the_largest_in_either_direction():
    comparisons = [compared([50.0], t) for t in (49.0, 60.0, 50.0, 35.0)]
    assert [c.published.accuracy for c in agreement.worst(comparisons, 2)] == [35.0, 60.0]


def test_summaries_are_by_group_and_of_all():
    fa = KEY._replace(algorithm="fa", scope="global")
    comparisons = [compared([10.0], 11.0), compared([30.0], 33.0, KEY._replace(n_bits=5)),
                   compared([9.0], 0.0, fa, shortened=True)]
    table = comparison.summary_table(comparisons, "t", "algorithm", "scope")
    rows = [(r[0], r[1], *(round(v, 3) for v in r[2:5]), *r[6:]) for r in table.rows]
    assert rows == [
        ("backprop", "local", 2, -2.0, 2.0, 100.0, 0),
        ("fa", "global", 1, 9.0, 9.0, 0.0, 1),
        ("all", "", 3, 1.667, 4.333, pytest.approx(200 / 3), 1),
    ]
    assert len(comparison.summary_table(comparisons[:2], "t", "algorithm").rows) == 1


def test_the_worst_are_listed_for_each_algorithm():
    keys = [KEY._replace(algorithm=a, n_bits=b) for a in ("fa", "dni") for b in range(2, 9)]
    comparisons = [compared([50.0], 50.0 - k.n_bits, k) for k in keys]
    (listed,) = (t for t in comparison.tables_of(comparisons, 3) if "largest" in t.title)
    assert [row[0] for row in listed.rows] == [
        f"{a} mnist (1,50) {b} bits symm local" for a in ("fa", "dni") for b in (8, 7, 6)
    ]


# The command


@pytest.fixture
def files(tmp_path):
    """A published file, and results of two of its cells and one float network."""
    rows = [row(MNIST, s, a, 2.0) for s, a in enumerate([50.0, 60.0, 64.0])]
    rows += [row(replace(MNIST, n_bits=8, epochs=10), 0, 90.0, None, "diverged")]
    rows += [row(MNIST_FLOAT, s, 97.0 + s) for s in range(2)]
    rows += [row(replace(MNIST, update="latent"), 0, 0.0)]
    return published(tmp_path / "p.csv"), csv_of(tmp_path / "x.csv", rows)


def run(*arguments):
    return compare.main(list(map(str, arguments)))


def test_command_prints_and_writes(files, tmp_path, capsys):
    table, text = tmp_path / "c.csv", tmp_path / "c.md"
    assert run("--published", files[0], "--results", files[1], "--csv", table, "--markdown",
               text) == 0
    with table.open(newline="") as file:
        lines = {(r["algorithm"], r["n_bits"]): r for r in csv.DictReader(file)}
    assert set(lines) == {("backprop", "4"), ("backprop", "8"), ("backprop", "float")}
    cell = lines["backprop", "4"]
    numbers = {name: float(cell[name]) for name in
               ("published", "mean", "std", "min", "max", "seeds", "difference", "loss")}
    assert numbers == pytest.approx({
        "published": 60.0, "mean": 58.0, "std": 52.0**0.5, "min": 50.0, "max": 64.0, "seeds": 3,
        "difference": -2.0, "loss": 2.0,
    })
    assert (cell["inside"], cell["shortened"], cell["epochs"]) == ("yes", "no", "30")
    short = lines["backprop", "8"]
    assert (short["inside"], short["shortened"], short["epochs"], short["std"]) == (
        "no", "yes", "10 of 30", "",
    )
    assert (short["diverged"], short["published_loss"]) == ("1", "inf")
    assert lines["backprop", "float"]["difference"] == "0.0"
    out = capsys.readouterr().out
    written = text.read_text()
    for shown in (out, written):
        assert "3 of 5 published" in shown
        assert "1 of ours are shortened" in shown
        assert "1 of our replicas diverged" in shown
        assert "left out" not in shown
    assert "| backprop | 2 | -4.00 | 4.00 | 1.000 | 50.0 | 1 |" in written
    assert "| backprop | symm | local | 2 | -4.00 | 4.00 | 1.000 | 50.0 | 1 |" in written
    assert "| backprop mnist (1,50) float | 97.50 | 97.50 | 0.71 | 97.00 | 98.00 |" in written
    assert out.split()[-2:] == [str(table), str(text)]
    assert "58.00" in out


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_command_refuses(files, tmp_path, capsys):
    theirs, ours = files
    assert "required: --published" in refused(capsys, "--results", ours)
    missing = refused(capsys, "--published", tmp_path / "no.csv", "--results", ours)
    assert "no file" in missing
    assert "--published FILE" in missing
    assert "no file" in refused(capsys, "--published", theirs, "--results", tmp_path / "no.csv")
    assert "has no column accuracy" in refused(capsys, "--published", ours, "--results", ours)
    assert "cannot write" in refused(capsys, "--published", theirs, "--results", ours, "--csv",
                                     tmp_path)


def test_command_refuses_results_of_other_cells(files, tmp_path, capsys):
    ours = csv_of(tmp_path / "y.csv", [row(CELL)])
    message = refused(capsys, "--published", files[0], "--results", ours)
    assert "none of the 1 finished replicas" in message
    assert KEY.label in message
