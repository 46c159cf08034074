"""Finished replicas from result folders, stores and exported CSV files.

What tables and comparisons start from: rows as `Store.replicas` gives them, wherever they are kept.
"""

import argparse
import contextlib
import csv
import gzip
import math
import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from experiments.cells import DEFAULTS, Cell, Replica, kinds
from experiments.commandline import options
from experiments.store.database import Store, StoreError
from experiments.store.schema import CAME_LATER, FILE_NAME

__all__ = [
    "EXPORT", "FINISHED", "ResultsError", "by_cell", "cell_of", "csv_rows", "everything",
    "is_store", "load", "memories", "merge", "number_column", "number_in", "numbers_of", "opened",
    "read", "unfinished",
]

EXPORT = "python -m experiments.export --results FOLDER --csv FILE"
EXPECTED = (
    "expected the --out folder of 'python -m experiments.run', its .sqlite file, or a CSV file "
    f"by '{EXPORT}'"
)
FINISHED = ("done", "diverged")

# Columns of an export that follow from others, with those of numbers of memories, numbers.NAME.
DERIVED = ("device_bits", "beside_bits")

_STATUSES = (*FINISHED, "running", "interrupted", "waiting", "failed")
_CELL = {f.name: f.type for f in fields(Cell)}
_REQUIRED = (*(name for name in _CELL if name not in DEFAULTS), "seed", "status",
             "test_accuracy", "test_loss")
_TEXTS = {name for name, kind in _CELL.items() if kind is str}
_MAY_BE_TEXT = {"id", "claimant", "device", "jax", "jaxlib", "qjax", "git_commit"}
_WHOLE = {name for name, kind in _CELL.items() if kind is int} | {"seed"}
_NUMBERS = {name for name, kind in _CELL.items() if kind is float}
_NUMBERS_OR_NONE = {name for name, kind in _CELL.items() if kind == float | None}
_METRICS = {"test_accuracy", "test_loss", "train_accuracy", "train_loss", "seconds",
            "writes"}


class ResultsError(Exception):
    """A file of results cannot be used; the message says why and what to do."""


# Reading


def load(path: Path) -> list[dict[str, Any]]:
    """Finished replicas (done or diverged) of a result folder, a .sqlite file or a CSV file.

    Args:
      path: the --out of `experiments.run`, a store's file under any name that ends in .sqlite, or
        what `experiments.export` wrote (.csv, or compressed .csv.gz).

    Returns:
      Rows as `Store.replicas` gives them: None for no bits (float) and for no number.

    Raises:
      ResultsError: missing, something else, or without a finished replica.
    """
    rows = _replicas(Path(path))
    finished = [row for row in rows if row["status"] in FINISHED]
    if not finished:
        raise ResultsError(
            f"no finished replica in {path} ({len(rows)} in all): train some with "
            "'python -m experiments.run', or finish an interrupted run with its --resume"
        )
    return finished


def _replicas(path: Path) -> list[dict[str, Any]]:
    """All replicas of a source, whatever became of them."""
    if path.is_dir() or is_store(path):
        with opened(path / FILE_NAME if path.is_dir() else path) as store:
            return store.replicas()
    return [_row(path, line, texts) for line, texts in csv_rows(path, _REQUIRED, EXPECTED)]


def memories(path: Path) -> set[str]:
    """The words for memories in a source, as `load` takes them.

    Raises:
      ResultsError: missing, or something else.
    """
    if path.is_dir() or is_store(path):
        with opened(path / FILE_NAME if path.is_dir() else path) as store:
            return set(store.memories())
    return {texts.get("update", "") for _, texts in csv_rows(path, (), EXPECTED)}


def merge(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Finished replicas of several sources; of a replica in more than one, the later source's."""
    return list({row["id"]: row for path in paths for row in load(path)}.values())


def everything(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """As `merge`, with the replicas that no source has finished.

    Raises:
      ResultsError: missing, or something else; not where nothing is finished.
    """
    rows: dict[str, dict] = {}
    for row in (row for path in paths for row in _replicas(Path(path))):
        known = rows.get(row["id"])
        if known is None or known["status"] not in FINISHED or row["status"] in FINISHED:
            rows[row["id"]] = row
    return list(rows.values())


def unfinished(rows: Iterable[Mapping[str, Any]]) -> str:
    """'unfinished: 3 of 4 networks trained', of rows as `everything` gives them; '' if all are."""
    finished = [row["status"] in FINISHED for row in rows]
    if all(finished):
        return ""
    return f"unfinished: {sum(finished)} of {len(finished)} networks trained"


def is_store(path: Path) -> bool:
    """Is this the name of a store's file?"""
    return path.suffix in (".sqlite", ".sqlite3", ".db")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Store]:
    """A store's file, under whatever name, to read from.

    Raises:
      ResultsError: missing, something else, or unreadable.
    """
    if not path.is_file():
        raise ResultsError(f"no results at {path}: {EXPECTED}")
    with tempfile.TemporaryDirectory() as folder:
        # A store opens under its own name only: a file with another one gets a link.
        named = path if path.name == FILE_NAME else Path(folder) / FILE_NAME
        if named is not path:
            named.symlink_to(path.resolve())
        try:
            with Store(named.parent, create=False) as store:
                yield store
        except (StoreError, sqlite3.Error) as error:
            reason = str(error.__cause__ or error).replace(str(named), str(path))
            raise ResultsError(
                f"{path} cannot be read as results ({reason}): {EXPECTED}"
            ) from error


def csv_rows(
    path: Path, required: Sequence[str], expected: str
) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of a CSV file, plain or gzip, as (line number, text by column).

    Args:
      path: the file.
      required: columns it must have.
      expected: ends every message: what the file should have been, and what to type.

    Raises:
      ResultsError: missing, not such a file, a column missing, or a line of another length.
    """
    path = Path(path)
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(path, reader.fieldnames or [], required, expected)
            for row in reader:
                if None in row or None in row.values():
                    raise ResultsError(
                        f"{path}, line {reader.line_num}: expected {len(reader.fieldnames)} "
                        f"values as in the first line, found {_count(row)}; {expected}"
                    )
                yield reader.line_num, row
    except FileNotFoundError:
        raise ResultsError(f"no file {path}: {expected}") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise ResultsError(f"{path} cannot be read as CSV ({error}): {expected}") from error


def _count(row: Mapping) -> int:
    return sum(v is not None for k, v in row.items() if k is not None) + len(row.get(None, []))


def _check_header(path: Path, found: Sequence[str], required: Sequence[str], expected: str) -> None:
    missing = [column for column in required if column not in found]
    if missing:
        columns = ", ".join(found)
        columns = columns if len(columns) < 200 else columns[:200] + "..."
        raise ResultsError(
            f"{path} has no column {', '.join(missing)} (found: {columns or 'an empty file'}): "
            f"{expected}"
        )


def _row(path: Path, line: int, texts: Mapping[str, str]) -> dict[str, Any]:
    known = {name: read(path, line, name, text, _value) for name, text in texts.items()
             if name not in DERIVED and not name.startswith("numbers.")}
    row = dict.fromkeys(CAME_LATER["replicas"]) | DEFAULTS | known
    if not row.get("id"):
        row["id"] = Replica(cell_of(row), row["seed"]).id
    return row


def read(path: Path, line: int, column: str, text: str, parse: Callable[[str, str], Any]) -> Any:
    """`parse(column, text)`; where that fails a refusal that names the place.

    Raises:
      ResultsError: `parse` raised ValueError or ArgumentTypeError.
    """
    try:
        return parse(column, text)
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise ResultsError(f"{path}, line {line}, column {column}: {error}") from None


def _value(column: str, text: str) -> Any:
    """The value of a text in an exported CSV file, as the store has it."""
    if column == "n_bits":
        return options.bits(text)
    if column == "gradient_bits":
        return options.bits(text or "float")
    if column == "status":
        return options.one_of(_STATUSES)(text)
    if column in _TEXTS:
        if not text and DEFAULTS.get(column) != "":
            raise ValueError("expected a word, found nothing")
        return text
    if column in _WHOLE:
        return options.whole(0)(text)
    if column in _NUMBERS_OR_NONE and not text:
        return None
    if column in _NUMBERS | _NUMBERS_OR_NONE or (column in _METRICS and text):
        value = _number(text)
        # SQLite has no nan: the store keeps it as nothing.
        return None if column in _METRICS and math.isnan(value) else value
    if column in _MAY_BE_TEXT:
        return text or None
    return _guess(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expected a number, found {text!r}") from None


def _guess(text: str) -> Any:
    """Of a column that this version does not know: nothing, a number, or the text itself."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text or None


# Replicas and cells


def cell_of(row: Mapping[str, Any]) -> Cell:
    """The configuration of a row."""
    return Cell(**{name: row[name] for name in _CELL})


def by_cell(rows: Iterable[Mapping[str, Any]]) -> dict[Cell, list[Mapping[str, Any]]]:
    """Rows by their configuration, in order of first appearance: a list holds a cell's seeds.

    Of several sources too, whose other columns may differ.
    """
    cells: dict[Cell, list] = {}
    for row in rows:
        cells.setdefault(cell_of(row), []).append(row)
    return cells


def numbers_of(row: Mapping[str, Any]) -> dict[str, float]:
    """What a row says of its memory's numbers.

    Raises:
      ResultsError: they are not written as numbers.
    """
    try:
        return kinds.numbers(row["numbers"])
    except ValueError:
        raise ResultsError(
            f"a replica has the numbers {row['numbers']!r}: expected NAME=VALUE, with blanks "
            f"between several; export it again with '{EXPORT}'"
        ) from None


def number_column(name: str) -> str:
    """How a number of memories is called among columns: by its name, unless that is an axis'."""
    return f"numbers.{name}" if name in _CELL else name


def number_in(row: Mapping[str, Any], column: str) -> float | None:
    """A number of a row's memory, the row's own or the memory's; None where it has none."""
    name = column.removeprefix("numbers.")
    return numbers_of(row).get(name, kinds.number_of(row["update"], row["numbers"], name))
