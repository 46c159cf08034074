"""Diagnostics from the command line to the figure."""

import contextlib
import csv
import io
import sqlite3

import pytest
from matplotlib import pyplot as plt

from experiments import export, run
from experiments.report import gallery
from experiments.store import FILE_NAME, Store, history_of
from experiments.store.results import load
from experiments.studies.thesis import THESIS
from qjax.diagnostics import Diagnosis

_WORDS = ("--algorithm fa hsic --dataset digits --n-layers 0 --hidden-width 5 --seeds 1 "
          "--epochs 2 --readout-epochs 1 --batch-size 64")
WORDS = [*_WORDS.split(), "--n-bits", "3", "float"]
# In floats hsic is a group of its own, whose two programs take long to compile.
BITS = 'n-bits = [3, "float"]\n[hsic]\nn-bits = 3\n'


def printed(program, *words):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert program.main(list(map(str, words))) == 0
    return text.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("insides")
    config = tmp_path_factory.mktemp("bits") / "bits.toml"
    config.write_text(BITS)
    printed(run, *_WORDS.split(), "--config", config, "--diagnostics", "--out", out)
    return out


@pytest.fixture(scope="module")
def rows(folder):
    with Store(folder, create=False) as store:
        known = {r["id"]: r for r in store.replicas()}
        return [known[d["replica"]] | d for d in store.history("diagnostics")]


def of(rows, algorithm, bits, **values):
    return [r for r in rows if (r["algorithm"], r["n_bits"]) == (algorithm, bits)
            and all(r[name] == value for name, value in values.items())]


def test_there_is_a_row_per_replica_epoch_and_block(rows):
    for bits in (3, None):
        assert [(r["epoch"], r["block"]) for r in of(rows, "fa", bits)] == [
            (e, b) for e in (0, 1) for b in (0, 1)
        ]
    # The readout is a block more, the epochs of the second phase follow those of the first.
    assert [(r["epoch"], r["block"]) for r in of(rows, "hsic", 3)] == [
        (e, b) for e in (0, 1, 2) for b in (0, 1, 2)
    ]


def test_what_is_known_is_stored(rows):
    for row in of(rows, "fa", 3):
        assert 0 <= row["gradient_angle"] <= 180
        assert row["feedback_ratio"] > 0
        assert 0 <= row["at_ends"] <= 1
    assert {round(r["gradient_angle"], 2) for r in of(rows, "fa", 3, block=1)} == {0}
    # Without a grid nothing is rounded, but as floats are, and no range has ends.
    for row in of(rows, "fa", None):
        assert row["sqnr"] > 140
        assert row["at_ends"] is None
    # The first phase of hsic does not train the readout, the second nothing else.
    trained = {(r["epoch"], r["block"]) for r in of(rows, "hsic", 3)
               if r["gradient_angle"] is not None}
    assert trained == {(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)}


def test_they_are_exported_and_read_again(folder, tmp_path, rows):
    printed(export, "--out", folder, "--csv", tmp_path / "x.csv")
    printed(export, "--out", folder, "--csv", tmp_path / "x-diagnostics.csv.gz",
            "--table", "diagnostics")
    ids = {r["id"] for r in load(tmp_path / "x.csv")}
    columns = ("replica", "epoch", "block", *Diagnosis._fields)
    assert history_of([tmp_path / "x.csv"], "diagnostics", ids) == [
        {c: r[c] for c in columns} for r in rows
    ]


def test_they_are_printed_as_csv(folder):
    lines = list(csv.DictReader(io.StringIO(
        printed(export, "--out", folder, "--table", "diagnostics"))))
    assert set(Diagnosis._fields) < set(lines[0])


def test_they_are_drawn(folder, rows):
    known = load(folder)
    figures = dict(gallery.drawn(known, [folder], THESIS, ["diagnostics"]))
    assert set(figures) == {"diagnostics-fa-digits-0-5", "diagnostics-hsic-digits-0-5"}
    axes = {axis.get_ylabel(): axis for axis in figures["diagnostics-fa-digits-0-5"].axes}
    (angle,) = (axis for label, axis in axes.items() if label.startswith("gradient: angle"))
    lines = {line.get_label(): line for line in angle.get_lines()}
    expected = [r["gradient_angle"] for r in of(rows, "fa", 3, block=0)]
    assert list(lines["3 bits"].get_xdata()) == [1, 2]
    assert list(lines["3 bits"].get_ydata()) == expected
    for figure in figures.values():
        plt.close(figure)


def test_the_best_variant_need_not_be_one_of_them(folder):
    known = load(folder)
    blind = [r | {"id": f"{r['id']}-", "scope": "global", "test_accuracy": 100.0} for r in known]
    figures = dict(gallery.drawn([*known, *blind], [folder], THESIS, ["diagnostics", "ranges"]))
    drawn = [figure for name, figure in figures.items() if "diagnostics-fa" in name]
    assert len(drawn) == 1
    assert "symm local" in drawn[0].get_suptitle()
    for figure in figures.values():
        plt.close(figure)


@pytest.mark.thorough
def test_replicas_trained_without_are_named(folder, tmp_path):
    words = [*WORDS, "--algorithm", "backprop", "--out", tmp_path]
    printed(run, *words)
    with Store(tmp_path, create=False) as store:
        assert store.history("diagnostics") == []
    assert "2 of them have no diagnostics" in printed(run, *words, "--diagnostics")
    assert "no diagnostics" not in printed(
        run, *WORDS, "--algorithm", "fa", "--diagnostics", "--out", folder)


def test_a_store_without_that_table_is_read(folder, tmp_path):
    printed(run, *WORDS, "--algorithm", "backprop", "--out", tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        db.execute("DROP TABLE diagnostics")
        db.execute("PRAGMA user_version=3")
        db.commit()
    with Store(tmp_path, create=False) as store:
        assert store.history("diagnostics") == []
    with pytest.raises(SystemExit):
        printed(export, "--out", tmp_path, "--table", "diagnostics", "--csv", tmp_path / "d.csv")
    assert not (tmp_path / "d.csv").exists()
    with Store(tmp_path):
        pass  # opened for writing it becomes one of today
    with Store(tmp_path, create=False) as store:
        assert store.columns("diagnostics")
