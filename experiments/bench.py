"""Times training: milliseconds per replica-step and where they go, memory, compilation.

Data are random images of MNIST's size, so nothing needs to be loaded; quantized to 8 bits (symm,
local) after every update as in the thesis. Beside it stand the speeds that this machine reaches on
large matrix products and on large arrays, and, if torch is installed, a hand-written PyTorch loop.
All are measured in the same call: compare ratios, not milliseconds, between machines.
"""

import itertools
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from rich.console import Console
from rich.table import Table

from experiments import commandline
from experiments.benchmark.breakdown import (
    BATCH,
    CLASSES,
    FEATURES,
    PARTS,
    REST,
    TOTAL,
    breakdown,
    make_program,
    measure,
    shortest,
)
from experiments.commandline import options
from experiments.sweep.devices import make_mesh
from qjax.algorithms import ALGORITHMS

__all__ = [
    "compare",
    "copy_gbytes",
    "main",
    "matmul_gflops",
    "product_flops",
    "read_report",
    "relate",
    "torch_step_ms",
]

GROUP = 28  # replicas that the breakdown is of; larger groups are timed on fewer steps
ROW = ("algorithm", "n_layers", "hidden_width", "replicas")
COMPARED = {"ms_per_replica_step": "ms", "evaluation_s": "eval s", "compile_s": "compile s"}
MACHINE = ("device", "devices", "cores", "processor", "jax")


def _on_every_device(function: Callable, shape: tuple[int, ...], **jit: Any):
    """The compiled function and ones [devices, *shape]: each device computes with its own."""
    mesh = make_mesh(1, len(jax.local_devices()))
    spec = PartitionSpec("cells")
    ones = jax.device_put(np.ones((mesh.size, *shape), np.float32), NamedSharding(mesh, spec))
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec), **jit), ones


def matmul_gflops(size: int = 2048, repeats: int = 5) -> float:
    """Float32 GFLOP/s of square products, one on every device at the same time."""
    product, a = _on_every_device(lambda a: a @ a, (size, size))
    best = shortest({"product": lambda: product(a).block_until_ready()}, repeats)
    return len(a) * 2 * size**3 / best["product"] / 1e9


def copy_gbytes(size: int = 2**29, repeats: int = 10) -> float:
    """GB/s of reading an array of `size` bytes and writing it again, spread over all devices.

    In place, as a step updates its state: the first touch of new memory would cost extra.
    """
    add, x = _on_every_device(
        lambda x: x + 1, (size // 4 // len(jax.local_devices()),), donate_argnums=0
    )

    def run():
        nonlocal x
        x = add(x).block_until_ready()

    return 2 * x.nbytes / shortest({"add": run}, repeats)["add"] / 1e9


def product_flops(n_layers: int, hidden_width: int) -> int:
    """Of one step: forward, weight gradient, and input gradient of all layers but the first."""
    sizes = [FEATURES, *[hidden_width] * (n_layers + 1), CLASSES]
    layers = [2 * BATCH * a * b for a, b in itertools.pairwise(sizes)]
    return 3 * sum(layers) - layers[0]


def torch_step_ms(n_layers: int, hidden_width: int, steps: int = 200) -> float | None:
    """A hand-written PyTorch loop of backprop with the same settings; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    torch.manual_seed(0)
    sizes = [FEATURES, *[hidden_width] * (n_layers + 1), CLASSES]
    layers = []
    for a, b in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0, rho=0.9, eps=1e-6)
    images = torch.rand(steps * BATCH, FEATURES)
    labels = torch.randint(0, CLASSES, (steps * BATCH,))

    def epoch():
        order = torch.randperm(len(images))
        for rows in order.split(BATCH):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(images[rows]), labels[rows])
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for p in network.parameters():
                    scale = 127 / p.abs().max()
                    p.mul_(scale).round_().div_(scale)

    return 1e3 * shortest({"epoch": epoch}, 3)["epoch"] / steps


def _machine() -> dict[str, Any]:
    devices = jax.local_devices()
    return {
        "device": devices[0].device_kind,
        "devices": len(devices),
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "matmul_gflops": matmul_gflops(),
        "copy_gbytes": copy_gbytes(),
        "jax": jax.__version__,
    }


def relate(
    row: Mapping[str, Any], machine: Mapping[str, Any], torch_ms: float | None
) -> dict[str, Any]:
    """A row of `measure` beside what the machine can do.

    Returns:
      The row with gflops, gbytes: `product_flops` and bytes_per_replica_step by the step's time;
      gflops_share, gbytes_share: of the machine's matmul_gflops and copy_gbytes;
      torch_ratio: times as long as the step the PyTorch loop takes; None but for backprop.
    """
    ms = row["ms_per_replica_step"]
    gflops = product_flops(row["n_layers"], row["hidden_width"]) / ms / 1e6
    gbytes = row["bytes_per_replica_step"] / ms / 1e6
    return {
        **row,
        "gflops": gflops,
        "gflops_share": gflops / machine["matmul_gflops"],
        "gbytes": gbytes,
        "gbytes_share": gbytes / machine["copy_gbytes"],
        "torch_ratio": torch_ms / ms if torch_ms and row["algorithm"] == "backprop" else None,
    }


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
        names = [tuple(row[name] for name in ROW) for row in report["rows"]]
        numbers = [row[name] for row in report["rows"] for name in COMPARED]
        fits = isinstance(report["machine"], dict) and len(set(names)) == len(names) > 0
        fits = fits and all(map(_positive, [report["floor_ms"], *numbers]))
    except (KeyError, TypeError):
        fits = False
    if not fits:
        raise ValueError(f"{path} is not a report that bench --json writes, or is damaged")
    return report


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[dict], list[str]]:
    """Two reports side by side.

    Returns:
      A dict per row that both have: `ROW`, and (old, new, new / old) of each of `COMPARED` and of
      "floors", the step's time in units of the report's floor_ms;
      sentences on what makes the comparison less than fair.
    """
    remarks = [
        f"{name}: {old['machine'].get(name, 'not recorded')} then, {new['machine'].get(name)} now"
        for name in MACHINE
        if old["machine"].get(name) != new["machine"].get(name)
    ]
    before, now = ({tuple(row[n] for n in ROW): row for row in r["rows"]} for r in (old, new))
    for rows, others, side in ((before, now, "old"), (now, before, "new")):
        alone = [f"{a} ({n},{w}) x {r}" for a, n, w, r in rows if (a, n, w, r) not in others]
        if alone:
            remarks.append(f"only in the {side} report: {', '.join(alone)}")

    pairs = []
    for key in (key for key in now if key in before):
        values = {name: (before[key][name], now[key][name]) for name in COMPARED}
        was, is_now = values["ms_per_replica_step"]
        values["floors"] = was / old["floor_ms"], is_now / new["floor_ms"]
        ratios = {name: (a, b, b / a) for name, (a, b) in values.items()}
        pairs.append({**dict(zip(ROW, key, strict=True)), **ratios})
    return pairs, remarks


def _grid(first: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table()
    for column in first:
        table.add_column(column)
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = [
        ("ms per\nstep", "ms_per_replica_step", ".3f", 1),
        ("x torch", "torch_ratio", ".1f", 1),
        ("GFLOP/s", "gflops", ".1f", 1),
        ("of\npeak", "gflops_share", ".0%", 1),
        ("GB/s", "gbytes", ".1f", 1),
        ("of\ncopy", "gbytes_share", ".0%", 1),
        ("evalu-\nation s", "evaluation_s", ".3f", 1),
        ("epochs\nper s", "replica_epochs_per_second", ".2f", 1),
        ("compile\ns", "compile_s", ".1f", 1),
        ("MiB", "memory_bytes", ".0f", 2**-20),
        ("MiB each", "memory_bytes_per_replica", ".1f", 2**-20),
        ("device\npeak MiB", "device_peak_bytes", ".0f", 2**-20),
    ]
    columns = [c for c in columns if any(row[c[1]] is not None for row in rows)]
    lines = [
        [row["algorithm"], str(row["replicas"]), f"{1 / row['gflops_share']:.1f}"]
        + ["" if row[c] is None else f"{row[c] * scale:{form}}" for _, c, form, scale in columns]
        for row in rows
    ]
    return _grid(["algorithm"], ["replicas", "x floor", *(c[0] for c in columns)], lines)


def _breakdown_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A line per part; a negative part is shown as 0, the rest with its sign."""
    names = list(dict.fromkeys(row["algorithm"] for row in rows))
    ms = {(row["algorithm"], row["part"]): row["ms_per_replica_step"] for row in rows}

    def cell(name, part):
        value = ms[name, part] if part == REST else max(0.0, ms[name, part])
        return f"{value:.3f} {value / ms[name, TOTAL]:5.0%}"

    lines = [[part, *(cell(name, part) for name in names)] for part in (*PARTS, REST, TOTAL)]
    return _grid(["ms per replica-step"], names, lines)


def _compare_table(pairs: Sequence[Mapping[str, Any]]) -> Table:
    names = {"ms_per_replica_step": "ms", "floors": "x floor", **COMPARED}
    columns = [f"{name}\n{when}" for name in names.values() for when in ("old", "new", "ratio")]
    lines = [
        [pair["algorithm"], str(pair["replicas"])]
        + [f"{value:.3g}" for name in names for value in pair[name]]
        for pair in pairs
    ]
    return _grid(["algorithm"], ["replicas", *columns], lines)


def _parser() -> options.Parser:
    p = options.Parser(prog="experiments.bench", description=__doc__)
    p.add_argument("--algorithm", nargs="+", type=options.one_of(ALGORITHMS),
                   default=list(ALGORITHMS), help="which to time [all]")
    p.add_argument("--n-layers", type=options.whole(0), default=2, help="as in run [2]")
    p.add_argument("--hidden-width", type=options.whole(1), default=100, help="as in run [100]")
    p.add_argument("--replicas", nargs="+", type=options.whole(1), default=[1, 7, GROUP, 112],
                   help=f"group sizes [1 7 {GROUP} 112]")
    p.add_argument("--steps", type=options.whole(1), default=45,
                   help=f"steps of a timed epoch, about; fewer for groups above {GROUP} [45]")
    p.add_argument("--breakdown", action="store_true", default=True,
                   help=f"times the parts of a step too, for {GROUP} replicas (where not asked "
                        "for: the largest group) [on]")
    p.add_argument("--no-breakdown", action="store_false", dest="breakdown", help="not that")
    p.add_argument("--json", type=Path, default=None, help="file to write the figures to")
    p.add_argument("--compare", type=Path, default=None, metavar="OLD.json",
                   help="file from an earlier --json to put beside the figures")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = _parser()
    args = p.parse_args(arguments)
    try:
        old = read_report(args.compare) if args.compare else None
    except ValueError as error:
        p.error(str(error))
    if args.json and (args.json.is_dir() or not args.json.absolute().parent.is_dir()):
        p.error(f"cannot write {args.json}: its folder does not exist or it is one itself")
    console, start = Console(width=None if sys.stdout.isatty() else 140), time.perf_counter()

    def progress(text):
        console.print(f"{time.perf_counter() - start:4.0f} s: {text}", highlight=False)

    sizes, algorithms = dict.fromkeys(args.replicas), dict.fromkeys(args.algorithm)
    shape = (args.n_layers, args.hidden_width)

    machine = _machine()
    floor_ms = product_flops(*shape) / machine["matmul_gflops"] / 1e6
    console.print(
        f"{machine['devices']} x {machine['device']}, {machine['cores']} cores: large products at "
        f"{machine['matmul_gflops']:.0f} GFLOP/s, copies at {machine['copy_gbytes']:.0f} GB/s\n"
        f"network {shape}, batch {BATCH}: floor {floor_ms:.3f} ms per replica-step"
    )
    torch_ms = torch_step_ms(*shape, 4 * args.steps)
    rows, parts = [], []
    for algorithm in algorithms:
        for replicas in sizes:
            steps = max(1, args.steps * GROUP // max(GROUP, replicas))
            rows.append(measure(make_program(algorithm, *shape, replicas, steps), replicas))
            ms = rows[-1]["ms_per_replica_step"]
            progress(f"{algorithm} x {replicas}: {ms:.3f} ms per replica-step")
    chosen = GROUP if GROUP in sizes else max(sizes)
    for algorithm in algorithms if args.breakdown else ():
        steps = max(1, args.steps // 4 * GROUP // max(GROUP, chosen))
        parts += breakdown(make_program(algorithm, *shape, chosen, steps), chosen)
        progress(f"{algorithm} x {chosen}: parts")
    if torch_ms is not None:  # again, and the better: the machine may have been busy before
        torch_ms = min(torch_ms, torch_step_ms(*shape, 4 * args.steps))
        progress(f"PyTorch loop, backprop: {torch_ms:.2f} ms per step")

    rows = [relate(row, machine, torch_ms) for row in rows]
    report = {
        "machine": machine,
        "floor_ms": floor_ms,
        "torch_ms_per_step": torch_ms,
        "rows": rows,
        "breakdown": parts,
    }
    console.print(_table(rows))
    if parts:
        console.print(
            f"Parts of a step, {chosen} replicas: how much shorter it is without each of them. "
            "These are differences and need not add up; what remains, above or below 0, is rest.",
            _breakdown_table(parts),
        )
    if old is not None:
        pairs, remarks = compare(old, report)
        console.print(f"Beside {args.compare}; ratio: new by old, below 1 is better.")
        for remark in remarks:
            console.print(f"note: {remark}")
        console.print(_compare_table(pairs))
    if args.json:
        try:
            args.json.write_text(json.dumps(report, indent=1) + "\n")
        except OSError as error:
            p.error(f"cannot write {args.json}: {error.strerror}")
    return 0


if __name__ == "__main__":
    commandline.run(main)
