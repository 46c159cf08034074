"""Results from folders, stores and CSV files."""

import gzip
import math
import re
import sqlite3
from dataclasses import replace

import pytest
from examples import CELL, FLOAT, HSIC, ORIGIN, csv_of, epoch, row

from experiments import export
from experiments.cells import Replica
from experiments.store import FILE_NAME, Store, results


def stored(folder, finished, running=()):
    """A store with finished replicas (replica, accuracy) and running ones."""
    with Store(folder) as store:
        for replica, accuracy in finished:
            store.claim([replica], ORIGIN)
            loss, finite = (math.nan, False) if accuracy is None else (1.5, True)
            store.record([epoch(replica, 0, loss, accuracy, finite=finite)], [])
            store.finish([replica.id], 2.5)
        if running:
            store.claim(list(running), ORIGIN)
    return folder


FINISHED = [(Replica(CELL, 0), 90.0), (Replica(CELL, 1), None), (Replica(FLOAT, 0), 95.5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("results") / "out", FINISHED, [Replica(HSIC, 0)])


def rows_of(folder):
    with Store(folder, create=False) as store:
        return [r for r in store.replicas() if r["status"] in results.FINISHED]


# Loading


def test_a_folder_gives_the_finished_replicas_as_stored(folder):
    rows = results.load(folder)
    assert rows == rows_of(folder)
    found = {r["id"]: (r["status"], r["test_accuracy"], r["n_bits"]) for r in rows}
    assert found == {
        FINISHED[0][0].id: ("done", 90.0, 4), FINISHED[1][0].id: ("diverged", None, 4),
        FINISHED[2][0].id: ("done", 95.5, None),
    }


def test_a_store_file_gives_what_its_folder_does(folder):
    assert results.load(folder / FILE_NAME) == rows_of(folder)


def test_a_store_file_may_have_any_name(folder, tmp_path):
    with sqlite3.connect(folder / FILE_NAME) as source, sqlite3.connect(
        tmp_path / "mine.sqlite"
    ) as copy:
        source.backup(copy)
    assert results.load(tmp_path / "mine.sqlite") == rows_of(folder)
    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_an_exported_file_gives_what_the_store_does(folder, tmp_path, name):
    export.main(["--out", str(folder), "--csv", str(tmp_path / "x.csv")])
    if name.endswith("gz"):
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / "x.csv").read_bytes()))
    loaded = results.load(tmp_path / name)
    assert loaded == rows_of(folder)
    assert [[type(v) for v in r.values()] for r in sorted(loaded, key=lambda r: r["id"])] == [
        [type(r[k]) for k in loaded[0]] for r in sorted(rows_of(folder), key=lambda r: r["id"])
    ]


def test_a_file_without_ids_gets_them(tmp_path):
    rows = [row(CELL, 3), row(replace(FLOAT, gradient_bits=8), 1)]
    path = csv_of(tmp_path / "x.csv", rows, id=None)
    assert [r["id"] for r in results.load(path)] == [r["id"] for r in rows]


def test_whole_learning_rates_are_the_same_cell(tmp_path):
    path = csv_of(tmp_path / "x.csv", [row(CELL)], id=None, lr="1")
    (loaded,) = results.load(path)
    assert loaded["id"] == Replica(CELL, 0).id


def test_no_number_is_none_and_infinity_stays(tmp_path):
    rows = [row(CELL, 0, None, None, "diverged"), row(CELL, 1, 10.0, math.inf),
            row(CELL, 2, 10.0, math.nan)]
    loaded = results.load(csv_of(tmp_path / "x.csv", rows))
    assert [(r["test_accuracy"], r["test_loss"]) for r in loaded] == [
        (None, None), (10.0, math.inf), (10.0, None),
    ]


def test_merging_lets_the_later_source_win(tmp_path):
    a = csv_of(tmp_path / "a.csv", [row(CELL, 0, 1.0), row(CELL, 1, 2.0)])
    b = csv_of(tmp_path / "b.csv", [row(CELL, 1, 3.0), row(FLOAT, 0, 4.0)])
    merged = results.merge([a, b])
    assert sorted(r["test_accuracy"] for r in merged) == [1.0, 3.0, 4.0]
    assert sorted(r["test_accuracy"] for r in results.merge([b, a])) == [1.0, 2.0, 4.0]


def test_merging_keeps_a_finished_replica_that_runs_again_elsewhere(tmp_path):
    a = csv_of(tmp_path / "a.csv", [row(CELL, 0, 1.0)])
    b = csv_of(tmp_path / "b.csv", [row(CELL, 0, 3.0, status="running"), row(CELL, 1, 4.0)])
    assert sorted(r["test_accuracy"] for r in results.merge([a, b])) == [1.0, 4.0]


def test_everything_has_what_is_not_finished_unless_another_source_finished_it(folder, tmp_path):
    other = stored(tmp_path, [], [FINISHED[0][0], Replica(HSIC, 1)])
    rows = results.everything([folder, other])
    assert [r for r in rows if r["status"] in results.FINISHED] == results.load(folder)
    assert {r["seed"] for r in rows if r["status"] == "interrupted"} == {0, 1}
    assert results.unfinished(rows) == "unfinished: 3 of 5 networks trained"
    assert results.unfinished(results.load(folder)) == ""


# Refusals


def refusal(path):
    with pytest.raises(results.ResultsError) as error:
        results.load(path)
    message = str(error.value)
    assert str(path) in message
    return message


@pytest.mark.parametrize("name", ["nowhere", "x.csv", "x.csv.gz", "x.sqlite"])
def test_a_missing_source_is_refused(tmp_path, name):
    message = refusal(tmp_path / name)
    assert "python -m experiments.run" in message
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_refused(tmp_path):
    assert "no results at" in refusal(tmp_path)


def test_another_programs_sqlite_file_is_refused(tmp_path):
    for name in (FILE_NAME, "mine.sqlite"):
        with sqlite3.connect(tmp_path / name) as db:
            db.execute("CREATE TABLE replicas (a)")
        assert "another program's" in refusal(tmp_path / name)


def test_a_store_of_another_version_is_refused_by_its_own_name(folder, tmp_path):
    with sqlite3.connect(folder / FILE_NAME) as source, sqlite3.connect(
        tmp_path / "old.sqlite"
    ) as copy:
        source.backup(copy)
        copy.execute("PRAGMA user_version=999")
    assert "version 999" in refusal(tmp_path / "old.sqlite")


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.sqlite"])
def test_other_files_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe\x00nothing of ours" * 100)
    assert "cannot be read as" in refusal(tmp_path / name)


def test_a_cut_compressed_file_is_refused(tmp_path):
    whole = csv_of(tmp_path / "x.csv", [row(CELL, s) for s in range(50)]).read_bytes()
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(whole)[:-200])
    assert "cannot be read as CSV" in refusal(tmp_path / "cut.csv.gz")


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "x.csv").touch()
    assert "an empty file" in refusal(tmp_path / "x.csv")


def test_another_table_is_refused_with_the_command_to_type(folder, tmp_path):
    path = tmp_path / "x.csv"
    export.main(["--out", str(folder), "--table", "epochs", "--csv", str(path)])
    message = refusal(path)
    assert "no column algorithm" in message
    assert re.search(r"found: [^)]*\bphase\b", message)
    assert "python -m experiments.export" in message


def test_no_finished_replica_is_refused(tmp_path):
    path = csv_of(tmp_path / "x.csv", [row(CELL, status="running"), row(CELL, 1, status="failed")])
    assert "no finished replica" in refusal(path)
    assert "(2 in all)" in refusal(path)
    stored(tmp_path / "out", [], [Replica(CELL, 0)])
    assert "no finished replica" in refusal(tmp_path / "out")


@pytest.mark.parametrize(
    ("column", "text", "expected"),
    [("n_bits", "many", "whole number of bits"), ("n_bits", "", "whole number of bits"),
     ("n_layers", "1.5", "whole number"), ("seed", "", "whole number"), ("lr", "x", "a number"),
     ("status", "don", "did you mean done"), ("algorithm", "", "a word"),
     ("test_accuracy", "good", "a number"), ("gradient_bits", "x", "whole number of bits")],
)
def test_a_wrong_value_is_refused_with_its_place(tmp_path, column, text, expected):
    path = csv_of(tmp_path / "x.csv", [row(CELL)], **{column: text})
    message = refusal(path)
    assert f"line 2, column {column}" in message
    assert expected in message


@pytest.mark.parametrize(("more", "found"), [(",1", 1), ("", -1)])
def test_a_line_of_another_length_is_refused(tmp_path, more, found):
    path = csv_of(tmp_path / "x.csv", [row(CELL), row(CELL, 1)])
    first, second, third = path.read_text().split()
    path.write_text("\n".join([first, second, third + more if more else third.rsplit(",", 1)[0]]))
    columns = first.count(",") + 1
    assert f"line 3: expected {columns} values" in refusal(path)
    assert f"found {columns + found}" in refusal(path)


# Cells


def test_cells_gather_their_seeds_across_sources():
    rows = [row(CELL, 0), row(FLOAT, 0), row(CELL, 1) | {"new_column": 1}]
    assert results.by_cell(rows) == {CELL: [rows[0], rows[2]], FLOAT: [rows[1]]}
