"""Exports back into a store: nothing is lost, nothing overwritten, and --resume goes on from it."""

import csv
import gzip
import math
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from examples import CELL, FLOAT, HSIC, OTHER, TINY, csv_of, epoch, fill, row

from experiments import export, restore, run
from experiments.cells import DEFAULTS, Cell, Replica
from experiments.store import FILE_NAME, HISTORIES, Store, restoring

FIGURES = Path(__file__).parents[2] / "figures"
A, B = Replica(CELL, 0), Replica(CELL, 1)
UNSCORED = dict.fromkeys(("train_loss", "train_accuracy", "test_loss", "test_accuracy"))
# One of every kind: done, diverged with and without a sound epoch, unscored epochs, all axes new.
TRAINED = {
    A: [epoch(A, 0, 1 / 3, 40.1), epoch(A, 1, 0.1, 2 / 3)],
    B: [epoch(B, 0, 2.5, 40.0), epoch(B, 1, math.inf, 9.0), epoch(B, 2, math.nan, 9.0)],
    (r := Replica(FLOAT, 3)): [epoch(r, 0, math.nan, None, finite=False)],
    (r := Replica(HSIC, 0)): [
        epoch(r, 0, **UNSCORED | {"objective": -0.1, "phase": "bottleneck"}),
        epoch(r, 1, 1.5, 60.0, phase="readout"),
    ],
    (r := Replica(Cell(**vars(CELL) | OTHER), 7)): [epoch(r, 0)],
}


def stored(folder, trained, running=()):
    """A store with finished replicas, given their epochs, and some that were not finished."""
    with Store(folder) as store:
        for number, (replica, rows) in enumerate(trained.items()):
            fill(store, replica, rows)
            store.record([], [(replica.id, 0, "synthesizers/0/bias", -1 / 3, math.nan)])
            store.finish([replica.id], 1 / 7 + number)
        for replica in running:
            fill(store, replica, [epoch(replica, 0)])
    return folder


def exported(folder, csv_file, *tables, ending=".csv.gz"):
    """Exports replicas, and beside them other tables, as the README of figures does."""
    assert export.main(["--out", str(folder), "--csv", str(csv_file)]) == 0
    for table in tables:
        beside = csv_file.with_name(f"{csv_file.stem}-{table}{ending}")
        assert export.main(["--out", str(folder), "--table", table, "--csv", str(beside)]) == 0
    return csv_file


def restored(capsys, out, *sources):
    """What the command prints."""
    capsys.readouterr()
    assert restore.main(["--results", *map(str, sources), "--out", str(out)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(f": {out / FILE_NAME}")
    return line


def refused(capsys, out, *sources):
    """The message of a command that must exit with 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        restore.main(["--results", *map(str, sources), "--out", str(out)])
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    return captured.err


def contents(folder):
    """All three tables with all their columns."""
    with Store(folder, create=False) as store:
        return store.replicas(), store.history("epochs"), store.history("ranges")


@pytest.fixture
def source(tmp_path):
    return stored(tmp_path / "source", TRAINED)


# What comes back


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_an_export_comes_back_as_it_was(source, tmp_path, capsys, ending):
    file = exported(source, tmp_path / "x.csv", "epochs", "ranges", ending=ending)
    line = restored(capsys, tmp_path / "out", file)
    assert "5 replicas added (5 with epochs, 5 with ranges, 0 with diagnostics), " in line
    assert "0 were there already" in line
    assert contents(tmp_path / "out") == contents(source)
    assert [len(table) for table in contents(source)] == [5, 9, 14]
    statuses = [r["status"] for r in contents(source)[0]]
    assert (statuses.count("done"), statuses.count("diverged")) == (3, 2)


@pytest.mark.parametrize("name", ["", FILE_NAME])
def test_a_result_folder_comes_back_without_what_it_had_not_finished(tmp_path, capsys, name):
    source = stored(tmp_path / "source", {A: TRAINED[A]}, running=[B])
    restored(capsys, tmp_path / "out", source / name)
    replicas, epochs, ranges = contents(source)
    assert contents(tmp_path / "out") == (
        [r for r in replicas if r["id"] == A.id],
        TRAINED[A],
        [r for r in ranges if r["replica"] == A.id],
    )
    assert {r["replica"] for r in epochs} == {A.id, B.id}


@pytest.mark.parametrize("tables", [(), ("epochs",), ("ranges",)])
def test_histories_may_be_missing(source, tmp_path, capsys, tables):
    line = restored(capsys, tmp_path / "out", exported(source, tmp_path / "x.csv", *tables))
    counts = [5 if table in tables else 0 for table in ("epochs", "ranges")]
    assert f"({counts[0]} with epochs, {counts[1]} with ranges, 0 with diagnostics)" in line
    replicas, epochs, ranges = contents(source)
    assert contents(tmp_path / "out") == (
        replicas, epochs if "epochs" in tables else [], ranges if "ranges" in tables else []
    )


def test_columns_may_be_unknown_or_missing(tmp_path, capsys):
    rows = [row(CELL), row(FLOAT)]
    without = dict.fromkeys([*DEFAULTS, "train_loss", "id"])
    file = csv_of(tmp_path / "x.csv", rows, **without, later_column="new")
    restored(capsys, tmp_path / "out", file)
    found = {r["id"]: r for r in contents(tmp_path / "out")[0]}
    assert set(found) == {r["id"] for r in rows}
    for r in rows:
        kept = found[r["id"]]
        assert {name: kept[name] for name in r} == r
        assert kept["device"] is None
        assert "later_column" not in kept


def test_many_replicas_come_back(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(restoring, "_AT_ONCE", 3)
    rows = [row(CELL, seed) for seed in range(10)]
    line = restored(capsys, tmp_path / "out", csv_of(tmp_path / "x.csv", rows))
    assert line.startswith("10 replicas added")
    assert [r["id"] for r in contents(tmp_path / "out")[0]] == [r["id"] for r in rows]


def test_a_later_source_wins_unless_it_has_not_finished(tmp_path, capsys):
    later = {B: [epoch(B, 0, 0.25, 77.0)]}
    first = stored(tmp_path / "first", {A: TRAINED[A], B: TRAINED[B]})
    second = stored(tmp_path / "second", later, running=[A])
    line = restored(capsys, tmp_path / "out", first, second)
    assert line.startswith("2 replicas added")
    replicas, epochs, _ = contents(tmp_path / "out")
    assert {r["id"]: r["test_accuracy"] for r in replicas} == {A.id: 2 / 3, B.id: 77.0}
    assert sorted(epochs, key=str) == sorted([*TRAINED[A], *later[B]], key=str)


# What stays


def test_a_later_sources_replica_comes_without_the_history_of_an_earlier_one(tmp_path, capsys):
    """Two trainings of one replica must not be put together."""
    one = exported(stored(tmp_path / "one", TRAINED), tmp_path / "one.csv", *HISTORIES)
    bare = exported(stored(tmp_path / "two", TRAINED), tmp_path / "two.csv")
    text = restored(capsys, tmp_path / "out", one, bare)
    assert f"{len(TRAINED)} replicas added (0 with epochs, 0 with ranges" in text


def test_a_store_under_another_name_comes_with_its_histories(tmp_path, capsys):
    file = stored(tmp_path / "one", TRAINED) / FILE_NAME
    other = file.rename(tmp_path / "backup.sqlite")
    text = restored(capsys, tmp_path / "out", other)
    assert f"{len(TRAINED)} replicas added ({len(TRAINED)} with epochs" in text


def test_restoring_twice_adds_nothing(source, tmp_path, capsys):
    file = exported(source, tmp_path / "x.csv", "epochs", "ranges")
    restored(capsys, tmp_path / "out", file)
    before = contents(tmp_path / "out")
    line = restored(capsys, tmp_path / "out", file)
    assert "0 with diagnostics), 5 were there already" in line
    assert contents(tmp_path / "out") == before


def test_what_the_store_has_finished_stays(source, tmp_path, capsys):
    own = {A: [epoch(A, 0, 0.5, 12.5)], Replica(CELL, 99): [epoch(Replica(CELL, 99), 0)]}
    out = stored(tmp_path / "out", own)
    before = contents(out)
    line = restored(capsys, out, exported(source, tmp_path / "x.csv", "epochs", "ranges"))
    assert "4 replicas added" in line
    assert "1 were there already" in line
    for now, then in zip(contents(out), before, strict=True):
        assert [r for r in now if r in then] == then
    assert [e for e in contents(out)[1] if e["replica"] == A.id] == own[A]


def test_what_another_program_is_training_is_left_to_it(source, tmp_path, capsys):
    with Store(tmp_path / "out") as other:
        fill(other, A, [epoch(A, 0, 0.5, 12.5)])
        line = restored(capsys, tmp_path / "out", source)
        assert "4 replicas added" in line
        assert "0 were there already, being trained by another program: 1: " in line
        assert other.history("epochs", [A.id]) == [epoch(A, 0, 0.5, 12.5)]
        other.finish([A.id], 1.0)
    accuracies = {r["id"]: r["test_accuracy"] for r in contents(tmp_path / "out")[0]}
    assert accuracies[A.id] == 12.5
    assert len(accuracies) == 5


def test_what_a_killed_program_left_is_replaced(source, tmp_path, capsys):
    out = stored(tmp_path / "out", {}, running=[A])
    with Store(out) as store:
        store.record([epoch(A, 5)], [(A.id, 5, "blocks/0/kernel", 0.0, 0.0)])
    assert "5 replicas added" in restored(capsys, out, source)
    assert contents(out) == contents(source)


def test_a_replica_comes_with_its_history_or_not_at_all(tmp_path):
    with Store(tmp_path) as store:
        with pytest.raises(sqlite3.IntegrityError):
            store.adopt([row(CELL)], {"epochs": [{"replica": A.id, "epoch": 0}]})
        assert store.replicas() == []
        assert store.adopt([row(CELL)], {"epochs": [epoch(A, 0)]}) == {A.id}


def test_a_row_from_before_an_axis_gets_its_default(tmp_path):
    older = {name: value for name, value in row(CELL).items() if name not in DEFAULTS}
    with Store(tmp_path) as store:
        store.adopt([older], {})
        (raw,) = store._db.execute("SELECT * FROM replicas")  # `replicas` would fill them in
        assert {name: raw[name] for name in DEFAULTS} == DEFAULTS


# Refusals


@pytest.mark.parametrize("out", ["new", "old"])
def test_a_wrong_id_is_refused_and_nothing_written(source, tmp_path, capsys, out):
    stored(tmp_path / "old", {A: TRAINED[A]})
    before = contents(tmp_path / "old")
    good = exported(source, tmp_path / "good.csv")
    bad = csv_of(tmp_path / "bad.csv", [row(FLOAT, 8), row(CELL, 8) | {"lr": 0.5}])
    message = refused(capsys, tmp_path / out, good, bad)
    for word in (str(bad), Replica(CELL, 8).id, Replica(replace(CELL, lr=0.5), 8).id, "--digits",
                 "python -m experiments.export"):
        assert word in message
    assert not (tmp_path / "new").exists()
    assert contents(tmp_path / "old") == before


@pytest.mark.parametrize(("digits", "code"), [("3", 2), ("5", 0)])
def test_digits_must_suffice_for_the_configuration(tmp_path, capsys, digits, code):
    replica = Replica(replace(CELL, lr=0.12345), 0)
    source = stored(tmp_path / "source", {replica: [epoch(replica, 0, 1 / 3)]})
    file = tmp_path / "x.csv"
    export.main(["--out", str(source), "--csv", str(file), "--digits", digits])
    if code:
        assert replica.id in refused(capsys, tmp_path / "out", file)
    else:
        assert "1 replica added" in restored(capsys, tmp_path / "out", file)


def test_broken_histories_are_refused_and_nothing_written(source, tmp_path, capsys):
    file = exported(source, tmp_path / "x.csv")
    (tmp_path / "x-epochs.csv").write_text("replica,epoch\n")
    message = refused(capsys, tmp_path / "out", file)
    assert f"{tmp_path / 'x-epochs.csv'} has no column phase" in message
    assert not (tmp_path / "out").exists()


def test_missing_results_and_unfit_folders_are_refused(source, tmp_path, capsys):
    missing = tmp_path / "no.csv"
    assert f"no file {missing}" in refused(capsys, tmp_path / "out", missing)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("x")
    message = refused(capsys, tmp_path / "file" / "out", source)
    assert f"cannot write results to {tmp_path / 'file' / 'out'}" in message
    assert "--out" in message


def test_a_folder_into_itself_adds_nothing(source, capsys):
    before = contents(source)
    assert "0 replicas added" in restored(capsys, source, source)
    assert contents(source) == before


# What it is for


def test_resume_trains_only_what_was_not_restored(tmp_path, capsys):
    words = [*TINY.split(), "--epochs", "1"]
    (cell,) = run.cells_of(run.parser().parse_args(words))
    out = tmp_path / "out"
    restored(capsys, out, csv_of(tmp_path / "x.csv", [row(cell, 1, accuracy=12.5)]))
    ((before,), _, _) = contents(out)
    assert run.main([*words, "--resume", "--out", str(out)]) == 0
    assert "already: 1 of 2 replicas." in capsys.readouterr().out
    replicas, epochs, _ = contents(out)
    assert [(r["id"], r["status"]) for r in replicas] == [
        (Replica(cell, seed).id, "done") for seed in (0, 1)
    ]
    assert replicas[1] == before
    assert {e["replica"] for e in epochs} == {Replica(cell, 0).id}


def lines_of(file):
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rt", newline="") as text:
        return list(csv.DictReader(text))


def test_the_study_comes_back(tmp_path, capsys):
    replicas, epochs, ranges = (
        lines_of(FIGURES / name)
        for name in ("thesis.csv", "thesis-epochs.csv.gz", "thesis-ranges.csv.gz")
    )
    line = restored(capsys, tmp_path, FIGURES / "thesis.csv")
    assert line.startswith(
        f"{len(replicas)} replicas added ({len({e['replica'] for e in epochs})} with epochs, "
        f"{len({r['replica'] for r in ranges})} with ranges, 0 with diagnostics), "
        "0 were there already"
    )
    with Store(tmp_path, create=False) as store:
        assert {r["id"]: (r["status"], r["claimant"]) for r in store.replicas()} == {
            r["id"]: (r["status"], r["claimant"]) for r in replicas
        }
        assert len(store.history("epochs")) == len(epochs)
        assert len(store.history("ranges")) == len(ranges)
