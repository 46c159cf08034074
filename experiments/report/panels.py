"""What belongs together in a figure: replicas by variant, network and line."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from experiments.cells import AXES, NONE, UNQUANTIZED, Cell, network_label
from experiments.commandline.options import spell
from experiments.data import label_of
from experiments.report.study import NO_STUDY, Study, position
from experiments.store import results

__all__ = [
    "NETWORK", "Rows", "architecture", "architectures", "datasets", "held_by", "is_device",
    "layers_of", "left_out", "longest", "place", "seeds_of", "stem_of", "split", "trained",
    "valued", "variants",
]

Rows = Sequence[Mapping[str, Any]]

# Columns that say which network it is.
NETWORK = ("network", "n_layers", "hidden_width")
# What must agree, besides quantizer and scope, for replicas to be points of one line.
_AXES = ("dataset", *NETWORK, "n_bits", "quantizer", "scope", "epochs", "readout_epochs")
_SETTINGS = tuple(name for name in AXES if name not in _AXES)
# An unquantized network has no update rule and, by its preset, its own batch size.
_OF_FLOAT = tuple(name for name in _SETTINGS
                  if name != "batch_size" and name not in UNQUANTIZED)


def split(rows: Iterable[Mapping[str, Any]], *columns: str) -> dict[tuple, list]:
    """Rows by the values of some columns, in order of first appearance."""
    parts: dict[tuple, list] = {}
    for row in rows:
        parts.setdefault(tuple(row[c] for c in columns), []).append(row)
    return parts


def valued(rows: Rows) -> Callable[[Mapping[str, Any], str], Any]:
    """(row, axis) -> its value there: hidden bits as +N more than the visible, if N is the same.

    So networks of several widths that one flag has made belong together.
    """
    hidden = [(row["hidden_bits"], row["n_bits"]) for row in rows
              if row["hidden_bits"] is not None and row["n_bits"] is not None]
    more = {behind - visible for behind, visible in hidden}
    relative = len(more) == 1 and len({visible for _, visible in hidden}) > 1

    def value(row: Mapping[str, Any], name: str) -> Any:
        own = row[name]
        return f"+{own - row['n_bits']}" if relative and name == "hidden_bits" and own else own

    return value


def datasets(rows: Rows) -> dict[str, str]:
    """Names of their data sets -> what to call them, without paths where that tells them apart."""
    names = dict.fromkeys(row["dataset"] for row in rows)
    labels = Counter(map(label_of, names))
    return {name: label_of(name) if labels[label_of(name)] == 1 else name for name in names}


def is_device(row: Mapping[str, Any]) -> bool:
    """Are its weights held by devices without levels? These have no number of bits."""
    return row["n_bits"] is None and row["update"] != NONE


def held_by(row: Mapping[str, Any]) -> int | str:
    """What holds the weights: a number of bits, the name of a device, "float"."""
    if row["n_bits"] is not None:
        return row["n_bits"]
    return row["update"] if is_device(row) else spell(None, "n_bits")


def variants(rows: Rows, study: Study = NO_STUDY) -> dict[str, list[Mapping[str, Any]]]:
    """Replicas by algorithm and settings, under a name that tells them apart, in a study's order.

    The unquantized networks join all variants that they are the baseline of. Those of no variant
    are one of their own, unless their algorithm has others. Of a cell that was trained for several
    numbers of epochs the longest training counts.
    """
    rows = longest(rows)
    value = valued(rows)
    found: dict[tuple, list] = {}
    for row in (r for r in rows if r["update"] != NONE):
        found.setdefault(tuple(value(row, name) for name in _SETTINGS), []).append(row)
    quantized = {r["algorithm"] for r in rows if r["n_bits"] is not None}
    for row in (r for r in rows if r["update"] == NONE):
        fits = [members for members in found.values()
                if all(members[0][c] == row[c] for c in _OF_FLOAT)]
        if not fits and row["algorithm"] not in quantized:
            fits = [found.setdefault(tuple(row[c] for c in _SETTINGS), [])]
        for members in fits:
            members.append(row)
    ordered = dict(sorted(found.items(), key=lambda item: (
        position(study.algorithms, item[0][0])[0], str(item[0]))))
    return dict(zip(_names(list(ordered)), ordered.values(), strict=True))


def longest(rows: Rows) -> list[Mapping[str, Any]]:
    """Of a cell that was trained for several numbers of epochs only the longest training."""
    counts = ("epochs", "readout_epochs")
    cells = split(rows, *(f.name for f in fields(Cell) if f.name not in counts))
    kept = []
    for members in cells.values():
        lengths = split(members, *counts)
        kept += lengths[max(lengths)]
    return kept


def _names(keys: Sequence[tuple]) -> list[str]:
    """The algorithm, and the other settings in which variants of one algorithm differ."""
    names = []
    for key in keys:
        peers = [k for k in keys if k[0] == key[0]]
        differing = [
            f"{name} {spell(value, name) or 'usual'}"
            for i, (name, value) in enumerate(zip(_SETTINGS, key, strict=True))
            if i and len({k[i] for k in peers}) > 1
        ]
        names.append("\n".join([key[0], ", ".join(differing)]) if differing else key[0])
    return names


def left_out(rows: Rows) -> list[str]:
    """What of these replicas `variants` has no place for, in words; nothing if it shows all."""
    kept = longest(rows)
    shown = {id(r) for members in variants(rows).values() for r in members}
    said = []
    if len(kept) < len(rows):
        said.append(f"{len(rows) - len(kept)} replicas of cells that were trained longer as well")
    homeless = sum(id(r) not in shown for r in kept)
    if homeless:
        said.append(f"{homeless} unquantized replicas whose settings no quantized network has")
    return said


def architecture(row: Mapping[str, Any]) -> tuple[str, int, int]:
    """(network, n_layers, hidden_width)."""
    return row["network"], row["n_layers"], row["hidden_width"]


def architectures(rows: Rows, study: Study = NO_STUDY) -> list[tuple[str, int, int]]:
    """Those of some replicas, in a study's order."""
    return sorted({architecture(r) for r in rows}, key=lambda a: place(a, study))


def place(architecture: tuple[str, int, int], study: Study) -> tuple:
    """Sorts networks: a study's in its order, other MLPs, others."""
    network, *shape = architecture
    return network != "mlp", position(study.architectures, tuple(shape))[0], architecture


def layers_of(network: str, n_layers: int, width: int) -> str:
    """The hidden layers of an MLP in words; any other network by its label."""
    if network != "mlp":
        return network_label(network, n_layers, width)
    return f"{1 + n_layers} hidden layer{'s' if n_layers else ''} of {width}"


def stem_of(network: str, n_layers: int, width: int) -> str:
    """A network in a file's name: 2-100, lenet, recurrent-64."""
    numbers = [n_layers, width] if network == "mlp" else [network, *filter(None, (n_layers, width))]
    return "-".join(map(str, numbers))


def seeds_of(rows: Rows) -> str:
    """'3 seeds', or '1-3 seeds' where cells differ."""
    counts = {len(members) for members in results.by_cell(rows).values()}
    text = "-".join(str(n) for n in sorted({min(counts), max(counts)}))
    return f"{text} seed{'' if text == '1' else 's'}"


def trained(rows: Rows, study: Study = NO_STUDY) -> str:
    """Epochs of these replicas in words; of unquantized networks only where there are no others."""
    cells = list(results.by_cell(rows))
    cells = [cell for cell in cells if cell.n_bits is not None] or cells
    labels = dict.fromkeys(map(study.epochs_label, cells))
    short = " (shortened)" if any(map(study.shortened, cells)) else ""
    plural = "" if list(labels) == ["1"] else "s"
    return f"{' or '.join(labels)} epoch{plural}{short}"
