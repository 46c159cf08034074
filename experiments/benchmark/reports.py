"""Reports of the benchmark: rows beside what the machine can do, files, two side by side."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmark.shapes import Shape, product_flops
from experiments.cells import network_label

__all__ = ["COMPARED", "comparable", "compare", "meets", "read_report", "relate"]

# With what older reports, which do not say, had there.
ROW = {"algorithm": None, "n_layers": None, "hidden_width": None, "replicas": None,
       "memory": "nearest", "converters": False, "network": "mlp", "batch_size": Shape().batch_size}
COMPARED = {"ms_per_replica_step": "ms", "evaluation_s": "eval s", "compile_s": "compile s"}
SPEEDS = {"matmul_gflops": "large products (GFLOP/s)", "copy_gbytes": "copies (GB/s)"}
APART = 1.2  # speeds, as a factor, from which on a comparison of times means little
MACHINE = ("device", "devices", "cores", "processor", "jax")


def relate(
    row: Mapping[str, Any], machine: Mapping[str, Any], torch_ms: float | None,
    simulator_ms: float | None = None, ensemble_ms: float | None = None,
) -> dict[str, Any]:
    """A row of `measure` beside what the machine can do.

    Returns:
      The row with gflops, gbytes: `product_flops` and bytes_per_replica_step by the step's time;
      gflops_share, gbytes_share: of the machine's matmul_gflops and copy_gbytes;
      floors: times as long as the slower of the two, products at the one or bytes at the other;
      torch_ratio: times as long as the step the PyTorch loop takes; ensemble_ratio: likewise the
      compiled step of stacked networks; None but for what these do, backprop with weights put on
      the nearest level;
      simulator_ratio: likewise the step of aihwkit that takes simulator_ms; None but for backprop.
    """
    ms = row["ms_per_replica_step"]
    shape = Shape(row["n_layers"], row["hidden_width"], row.get("network", "mlp"),
                  row.get("batch_size", ROW["batch_size"]))
    gflops = product_flops(shape) / ms / 1e6
    gbytes = row["bytes_per_replica_step"] / ms / 1e6
    shares = gflops / machine["matmul_gflops"], gbytes / machine["copy_gbytes"]
    same = comparable(row)
    return {
        **row,
        "gflops": gflops,
        "gflops_share": shares[0],
        "gbytes": gbytes,
        "gbytes_share": shares[1],
        "floors": 1 / max(shares),
        "torch_ratio": torch_ms / ms if torch_ms and same else None,
        "ensemble_ratio": ensemble_ms / ms if ensemble_ms and same else None,
        "simulator_ratio": (
            simulator_ms / ms if simulator_ms and row["algorithm"] == "backprop" else None),
    }


def comparable(row: Mapping[str, Any]) -> bool:
    """Whether the PyTorch rivals do the same: backprop, weights put on the nearest level."""
    return (row["algorithm"] == "backprop" and row.get("memory", "nearest") == "nearest"
            and not row.get("converters", False))


def _positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value < math.inf


def read_report(path: Path) -> dict[str, Any]:
    """A file that --json has written, by this version or an older one.

    Raises:
      ValueError: for anything else, with a message for people.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is damaged or no JSON file") from None
    try:
        names = [_name(row) for row in report["rows"]]
        numbers = [row[name] for row in report["rows"] for name in COMPARED]
        # Older reports lack some of these.
        numbers += [row[name] for row in report["rows"] for name in ("floors", "steps")
                    if name in row]
        numbers += [report["machine"][name] for name in SPEEDS if name in report["machine"]]
        fits = isinstance(report["machine"], dict) and len(set(names)) == len(names) > 0
        fits = fits and all(map(_positive, [report["floor_ms"], *numbers]))
    except (AttributeError, KeyError, TypeError):
        fits = False
    if not fits:
        raise ValueError(f"{path} is not a report that bench --json writes, or is damaged")
    return report


def _name(row: Mapping[str, Any]) -> tuple:
    return tuple(row[name] if usual is None else row.get(name, usual)
                 for name, usual in ROW.items())


def _label(key: tuple) -> str:
    algorithm, layers, width, replicas, memory, converters, network, batch = key
    return (f"{algorithm} {network_label(network, layers, width)} x {replicas}"
            f"{'' if memory == 'nearest' else f', {memory}'}"
            f"{' with converters' if converters else ''}"
            f"{'' if batch == ROW['batch_size'] else f', batches of {batch}'}")


def meets(old: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any of these rows, of which `ROW` suffices, is in the report."""
    return not {_name(row) for row in rows}.isdisjoint(map(_name, old["rows"]))


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[dict], list[str]]:
    """Two reports side by side.

    Returns:
      A dict per row that both have: `ROW`, and (old, new, new / old) of each of `COMPARED` and of
      "floors", see `relate` (reports older than these: in units of floor_ms);
      sentences on what makes the comparison less than fair.
    """
    remarks = [
        f"{name}: {old['machine'].get(name, 'not recorded')} then, {new['machine'].get(name)} now"
        for name in MACHINE
        if old["machine"].get(name) != new["machine"].get(name)
    ]
    for name, of in SPEEDS.items():
        then, today = (r["machine"].get(name) for r in (old, new))
        if then and today and not 1 / APART < today / then < APART:
            remarks.append(f"{of} at {then:.0f} then, {today:.0f} now: the machine was not equally "
                           "fast, so repeat both if you can")
    before, now = ({_name(row): row for row in r["rows"]} for r in (old, new))
    for rows, others, side in ((before, now, "old"), (now, before, "new")):
        alone = [_label(key) for key in rows if key not in others]
        if alone:
            remarks.append(f"only in the {side} report: {', '.join(alone)}")

    both = [key for key in now if key in before]
    steps = {key: tuple(rows[key].get("steps") for rows in (before, now)) for key in both}
    for then, today in dict.fromkeys(pair for pair in steps.values() if None not in pair):
        if then != today:
            of = ", ".join(_label(key) for key in both if steps[key] == (then, today))
            remarks.append(f"epochs of {then} steps then, {today} now (data of few steps stay in a "
                           f"cache): {of}")

    pairs = []
    for key in both:
        values = {name: (before[key][name], now[key][name]) for name in COMPARED}
        values["floors"] = tuple(
            row.get("floors", row["ms_per_replica_step"] / report["floor_ms"])
            for row, report in ((before[key], old), (now[key], new)))
        ratios = {name: (a, b, b / a) for name, (a, b) in values.items()}
        pairs.append({**dict(zip(ROW, key, strict=True)), **ratios})
    return pairs, remarks
