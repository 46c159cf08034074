"""CSV files made of a store whose numbers are known, and histories read from either."""

import csv
import gzip
import io

import pytest
from examples import CELL, refused, rows_of, store_of, sweep

from experiments import export, plot
from experiments.store import history_of
from experiments.store.results import ResultsError

REQUIRED = [
    "algorithm", "dataset", "n_layers", "hidden_width", "n_bits", "quantizer", "scope", "update",
    "seed", "epochs", "status", "test_accuracy", "test_loss", "train_accuracy", "train_loss",
    "seconds",
]


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


@pytest.mark.parametrize(("program", "flag"), [(export, "--out"), (export, "--results"),
                                               (plot, "--results")])
def test_a_missing_store_is_refused(program, flag, tmp_path, capsys):
    message = refused(program, [flag, tmp_path / "nowhere"], capsys)
    assert str(tmp_path / "nowhere") in message
    assert "no " in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("program", "typed", "meant"),
                         [(export, "--ot", "--out"), (plot, "--result", "--results")])
def test_a_mistyped_flag_is_refused_with_the_right_one(program, typed, meant, capsys):
    assert f"did you mean {meant}" in refused(program, [typed, "x"], capsys)


def test_an_unknown_table_is_refused_with_the_right_one(capsys):
    assert "did you mean epochs" in refused(export, ["--table", "epoch"], capsys)


def test_a_csv_file_that_cannot_be_written_is_named(swept, capsys):
    path = swept / "no" / "such" / "x.csv"
    message = refused(export, ["--out", swept, "--csv", path], capsys)
    assert f"cannot write {path}" in message


# Part of a store


def printed(folder, capsys, *words):
    """Rows that the command prints."""
    assert export.main(["--out", str(folder), *words]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_export_of_some_replicas(swept, capsys):
    rows = printed(swept, capsys, "--only", "n_bits=4,float", "seed=1")
    assert {r["n_bits"] for r in rows} == {"4", "float"}
    assert {r["seed"] for r in rows} == {"1"}
    assert len(rows) == 4 + 1
    ids = {r["id"] for r in rows}
    epochs = printed(swept, capsys, "--only", "n_bits=4,float", "seed=1", "--table", "epochs")
    assert {r["replica"] for r in epochs} == ids
    assert len(epochs) == 2 * len(ids)


def test_export_with_fewer_digits(swept, capsys):
    full = printed(swept, capsys)
    short = printed(swept, capsys, "--digits", "2")
    for a, b in zip(full, short, strict=True):
        assert float(b["test_accuracy"]) == pytest.approx(float(a["test_accuracy"]), rel=0.05)
        assert len(b["test_accuracy"].rstrip("0").replace(".", "")) <= 2
        assert a["id"] == b["id"]


def test_compressed_exports_are_the_same_every_time(swept, tmp_path, capsys):
    files = [tmp_path / name for name in ("a.csv.gz", "b.csv.gz")]
    for path in files:
        assert export.main(["--out", str(swept), "--csv", str(path)]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    with gzip.open(files[0], "rt", newline="") as file:
        assert len(list(csv.DictReader(file))) == 3 * 13


@pytest.mark.parametrize(
    ("words", "message"),
    [(["n_bits"], "expected COLUMN=VALUE"), (["n_bit=2"], "did you mean n_bits"),
     (["seed="], "expected COLUMN=VALUE")],
)
@pytest.mark.parametrize("program", [export, plot])
def test_conditions_that_say_nothing_are_refused(program, words, message, capsys):
    assert message in refused(program, ["--only", *words], capsys)


# What happened along the training, from any source


def test_histories_of_a_store_and_of_exports_agree(swept, tmp_path):
    rows = rows_of(swept)
    ids = {r["id"] for r in rows if r["n_bits"] == 8}
    for table in ("epochs", "ranges"):
        for suffix in (".csv", ".csv.gz"):
            base = tmp_path / suffix[1:]
            base.mkdir(exist_ok=True)
            path = base / f"x-{table}{suffix}"
            assert export.main(["--out", str(swept), "--table", table, "--csv", str(path)]) == 0
            found = history_of([base / "x.csv"], table, ids)
            assert found == history_of([swept], table, ids)
            assert {row["replica"] for row in found} == ids


def test_histories_of_the_later_source_count(swept, tmp_path):
    other = store_of(tmp_path, sweep(), epochs=5)
    (replica,) = [r["id"] for r in rows_of(swept) if r["n_bits"] is None and r["seed"] == 0]
    assert len(history_of([swept, other], "epochs", [replica])) == 5
    assert len(history_of([other, swept], "epochs", [replica])) == 2


def test_a_damaged_history_names_its_place(swept, tmp_path):
    path = tmp_path / "x-epochs.csv"
    assert export.main(["--out", str(swept), "--table", "epochs", "--csv", str(path)]) == 0
    lines = path.read_text().splitlines()
    first = lines[1].split(",")[0]
    path.write_text("\n".join([lines[0], lines[1].replace(",0,", ",zero,", 1), *lines[2:]]))
    with pytest.raises(ResultsError, match=r"x-epochs\.csv, line 2, column epoch"):
        history_of([tmp_path / "x.csv"], "epochs", [first])
