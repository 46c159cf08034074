"""What happened along the training: rows per epoch, per tensor or block and epoch, of any source.

A result folder or store has them. Of a CSV file with replicas, NAME.csv, they are expected beside
it as NAME-epochs.csv, NAME-ranges.csv and NAME-diagnostics.csv, plain or compressed (.csv.gz), each
if it is wanted.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.store import results
from experiments.store.schema import CAME_LATER, FILE_NAME
from qjax.diagnostics import Diagnosis

__all__ = ["history_of"]


def _number(text: str) -> float | None:
    return float(text) if text else None


_KINDS: Mapping[str, Mapping[str, Callable[[str], Any]]] = {
    "epochs": {
        "replica": str, "epoch": int, "phase": str, "objective": _number, "train_loss": _number,
        "train_accuracy": _number, "test_loss": _number, "test_accuracy": _number, "finite": int,
        "writes": _number,
    },
    "ranges": {"replica": str, "epoch": int, "tensor": str, "low": _number, "high": _number},
    "diagnostics": {
        "replica": str, "epoch": int, "block": int,
        **dict.fromkeys(Diagnosis._fields, _number),
    },
}


def history_of(
    paths: Iterable[Path], table: str, replicas: Collection[str]
) -> list[dict[str, Any]]:
    """Rows of a table, one of `store.HISTORIES`, of the replicas with these ids.

    Args:
      paths: as `results.merge` takes them; of a replica in several, the last one's rows.
      table: which.
      replicas: ids.

    Returns:
      Rows as `Store.history` gives them, by replica; of a source without this table none.

    Raises:
      ResultsError: a file cannot be read.
    """
    wanted = set(replicas)
    found: dict[str, list] = {}
    for path in paths:
        here: dict[str, list] = {}
        for row in _rows(Path(path), table, wanted):
            here.setdefault(row["replica"], []).append(row)
        found |= here
    return [row for rows in found.values() for row in rows]


def _rows(path: Path, table: str, wanted: set[str]) -> Iterable[dict[str, Any]]:
    if path.is_dir():
        path = path / FILE_NAME
    if results.is_store(path):
        with results.opened(path) as store:
            return store.history(table, wanted)
    stem = path.name.removesuffix(".gz").removesuffix(".csv")
    for suffix in (".csv", ".csv.gz"):
        beside = path.with_name(f"{stem}-{table}{suffix}")
        if beside.is_file():
            return _from_csv(beside, table, wanted)
    return []


def _from_csv(path: Path, table: str, wanted: set[str]) -> Iterable[dict[str, Any]]:
    kinds = _KINDS[table]
    required = tuple(name for name in kinds if name not in CAME_LATER.get(table, ()))
    expected = f"expected what 'python -m experiments.export --table {table}' writes"
    for line, texts in results.csv_rows(path, required, expected):
        if texts["replica"] in wanted:
            yield {
                name: results.read(path, line, name, texts.get(name, ""), _of_text(kind))
                for name, kind in kinds.items()
            }


def _of_text(kind: Callable[[str], Any]) -> Callable[[str, str], Any]:
    return lambda _, text: kind(text)
