"""Files of published results: one run a cell, accuracies in percent.

Their columns are algorithm, dataset, n_layers, hidden_width, n_bits, quantizer, scope, accuracy
and, if known, loss, float_accuracy and float_loss (those of the unquantized network).
"""

from pathlib import Path
from typing import Any, NamedTuple

from experiments.cells import NONE
from experiments.commandline import options
from experiments.store import results

__all__ = ["OPTIONAL", "REQUIRED", "Key", "Published", "read_published"]

REQUIRED = ("algorithm", "dataset", "n_layers", "hidden_width", "n_bits", "quantizer", "scope",
            "accuracy")
OPTIONAL = ("loss", "float_accuracy", "float_loss")
EXPECTED = (
    f"expected a CSV file with a row per quantized network and the columns {', '.join(REQUIRED)} "
    f"(optional: {', '.join(OPTIONAL)}); give it with --published FILE"
)


class Key(NamedTuple):
    """What names a cell in a published file. `n_bits` None: the unquantized network."""

    algorithm: str
    dataset: str
    n_layers: int
    hidden_width: int
    n_bits: int | None = None
    quantizer: str = NONE
    scope: str = NONE

    @property
    def label(self) -> str:
        """In words, for messages."""
        bits = options.spell(self.n_bits)
        grid = bits if self.n_bits is None else f"{bits} bits {self.quantizer} {self.scope}"
        return f"{self.algorithm} {self.dataset} ({self.n_layers},{self.hidden_width}) {grid}"


class Published(NamedTuple):
    """A published result, accuracy in percent. `loss` None: not published."""

    accuracy: float
    loss: float | None = None


def read_published(path: Path) -> dict[Key, Published]:
    """Published cells and, where given, the unquantized networks, in the file's order.

    Raises:
      ResultsError: a column or value is missing or wrong, or a cell is there twice.
    """
    cells: dict[Key, Published] = {}
    floats: dict[Key, Published] = {}
    for line, texts in results.csv_rows(path, REQUIRED, EXPECTED):
        row = {c: results.read(path, line, c, texts[c], _value)
               for c in (*REQUIRED, *OPTIONAL) if c in texts}
        key = Key(*(row[name] for name in Key._fields))
        if key in cells:
            raise results.ResultsError(f"{path}, line {line}: the cell {key.label} is there "
                                       "twice; expected a row per cell")
        cells[key] = Published(row["accuracy"], row.get("loss"))
        if row.get("float_accuracy") is not None:
            network = Key(*key[:4])
            value = Published(row["float_accuracy"], row.get("float_loss"))
            if floats.setdefault(network, value).accuracy != value.accuracy:
                raise results.ResultsError(
                    f"{path}, line {line}, column float_accuracy: {value.accuracy} where an "
                    f"earlier line has {floats[network].accuracy} for {network.label}; expected "
                    "one value for each algorithm, data set and network"
                )
    if not cells:
        raise results.ResultsError(f"{path} has no rows: {EXPECTED}")
    return cells | floats


def _value(column: str, text: str) -> Any:
    """The value of a text in a published file."""
    if column in ("algorithm", "dataset", "quantizer", "scope"):
        if not text:
            raise ValueError("expected a word, found nothing")
        return text
    if column in ("n_layers", "hidden_width", "n_bits"):
        return options.whole(0 if column == "n_layers" else 1)(text)
    if not text and column in OPTIONAL:
        return None
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is None or (column.endswith("accuracy") and not 0 <= value <= 100):
        percent = " of percent from 0 to 100" if column.endswith("accuracy") else ""
        raise ValueError(f"expected a number{percent}, found {text!r}")
    return value
