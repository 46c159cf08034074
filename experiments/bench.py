"""Times training: milliseconds per replica-step and where they go, memory, compilation.

Data are random images of MNIST's size, so nothing needs to be loaded; quantized to 8 bits (symm,
local) after every update as in the thesis, if no memory says otherwise. Beside it stand the speeds
that this machine reaches on large matrix products and on large arrays, and, if they are installed,
PyTorch: as many networks stacked and compiled, which is the strongest rival, and a hand-written
loop of one; of devices the simulator aihwkit. All are measured in the same call: compare ratios,
not milliseconds, between machines.
"""

import itertools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments import benchmark, commandline
from experiments.benchmark import (
    COMPARED,
    PARTS,
    REST,
    TOTAL,
    Shape,
    product_flops,
    simulator_step_ms,
    torch_ensemble_step_ms,
    torch_step_ms,
)
from experiments.cells import kinds, network_label, preset_of
from experiments.commandline import options
from qjax.algorithms import ALGORITHMS

__all__ = ["main"]

RULES = ["backprop", "fa", "dfa", "dni", "hsic"]
GROUP = 28  # replicas that the breakdown is of; larger groups are timed on fewer steps


def _grid(first: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table()
    for column in first:
        table.add_column(column)
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _label(row: Mapping[str, Any]) -> str:
    memory = row.get("memory", "nearest")
    network = row.get("network", "mlp")
    words = [row["algorithm"], "" if network == "mlp" else network,
             "" if memory == "nearest" else memory, "converters" if row.get("converters") else ""]
    return " ".join(filter(None, words))


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = [
        ("ms per\nstep", "ms_per_replica_step", ".3f", 1),
        ("x torch,\ncompiled", "ensemble_ratio", ".1f", 1),
        ("x torch\nloop", "torch_ratio", ".1f", 1),
        ("x aihwkit", "simulator_ratio", ".1f", 1),
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
        [_label(row), str(row["replicas"]), f"{row['floors']:.1f}"]
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
        [_label(pair), str(pair["replicas"])]
        + [f"{value:.3g}" for name in names for value in pair[name]]
        for pair in pairs
    ]
    return _grid(["algorithm"], ["replicas", *columns], lines)


def _parser() -> options.Parser:
    p = options.Parser(prog="experiments.bench", description=__doc__)
    for_vectors = [word for word in ALGORITHMS if not preset_of(word).cuts]
    p.add_argument("--algorithm", nargs="+", type=options.one_of(for_vectors),
                   default=RULES, help=f"which to time [{' '.join(RULES)}]")
    p.add_argument("--n-layers", type=options.whole(0), default=2, help="as in run [2]")
    p.add_argument("--hidden-width", type=options.whole(1), default=100, help="as in run [100]")
    p.add_argument("--network", type=options.one_of(("mlp", "lenet", "recurrent")), default="mlp",
                   help="of what kind [mlp]")
    p.add_argument("--batch-size", type=options.whole(1), default=Shape().batch_size,
                   help="as in run [64]")
    p.add_argument("--memory", nargs="+", type=kinds.memory, default=["nearest"],
                   help="what holds the weights; devices are trained by sgd [nearest]")
    p.add_argument("--converters", action="store_true",
                   help="each with converters on both sides of its products as well")
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
        old = benchmark.read_report(args.compare) if args.compare else None
    except ValueError as error:
        p.error(str(error))
    if args.json and (args.json.is_dir() or not args.json.absolute().parent.is_dir()):
        p.error(f"cannot write {args.json}: its folder does not exist or it is one itself")
    console = Console(emoji=False, width=None if sys.stdout.isatty() else 140)
    start = time.perf_counter()

    def progress(text):
        console.print(f"{time.perf_counter() - start:4.0f} s: {text}", highlight=False)

    sizes, algorithms = dict.fromkeys(args.replicas), dict.fromkeys(args.algorithm)
    shape = {"mlp": Shape(args.n_layers, args.hidden_width), "lenet": Shape(0, 0, "lenet"),
             "recurrent": Shape(0, args.hidden_width, "recurrent")}[args.network]
    shape = shape._replace(batch_size=args.batch_size)
    for name in ("n_layers", "hidden_width"):
        asked = getattr(args, name)
        if asked not in (getattr(shape, name), p.get_default(name)):
            console.print(f"note: {args.network} has sizes of its own, {name} {asked} says nothing")

    for algorithm in algorithms:
        try:
            _ = benchmark.make_program(algorithm, shape, 1, 1).algorithm
        except TypeError as error:
            p.error(f"--network {args.network} with {algorithm}: {error}; name others with "
                    "--algorithm")
    products = (False, True) if args.converters else (False,)
    asked = [
        {"algorithm": algorithm, "memory": memory, "converters": converters, "replicas": replicas}
        for algorithm, memory, converters, replicas in itertools.product(
            algorithms, dict.fromkeys(args.memory), products, sizes)
    ]
    if old and not benchmark.meets(old, [{**row, **shape._asdict()} for row in asked]):
        p.error(f"{args.compare} has none of the rows asked for; ask for some that it has")
    machine = benchmark.about_machine()
    floor_ms = product_flops(shape) / machine["matmul_gflops"] / 1e6
    console.print(
        f"{machine['devices']} x {machine['device']}, {machine['cores']} cores: large products at "
        f"{machine['matmul_gflops']:.0f} GFLOP/s, copies at {machine['copy_gbytes']:.0f} GB/s\n"
        f"network {network_label(shape.network, *shape[:2])}, batch {shape.batch_size}: "
        f"floor {floor_ms:.3f} ms per replica-step for the products\n"
        "x floor: times as long as products or bytes at these speeds, whichever take longer"
    )
    rivals = any(map(benchmark.comparable, asked))
    torch_ms = torch_step_ms(shape, 4 * args.steps) if rivals else None
    if rivals and torch_ms is None and args.network != "recurrent":
        console.print("note: torch is not installed, so nothing is beside PyTorch")
    rows, parts = [], []
    for row in asked:
        steps = max(1, args.steps * GROUP // max(GROUP, row["replicas"]))
        program = benchmark.make_program(shape=shape, steps=steps, **row)
        rows.append(benchmark.measure(program, row["replicas"]))
        ms = rows[-1]["ms_per_replica_step"]
        progress(f"{_label(rows[-1])} x {row['replicas']}: {ms:.3f} ms per replica-step")
    chosen = GROUP if GROUP in sizes else max(sizes)
    for algorithm in algorithms if args.breakdown else ():
        steps = max(1, args.steps // 4 * GROUP // max(GROUP, chosen))
        parts += benchmark.break_down(
            benchmark.make_program(algorithm, shape, chosen, steps), chosen
        )
        progress(f"{algorithm} x {chosen}: parts")
    ensemble_ms = torch_ensemble_step_ms(shape, chosen, args.steps) if rivals else None
    if ensemble_ms is not None:
        progress(f"PyTorch, compiled, backprop x {chosen}: {ensemble_ms:.3f} ms per replica-step")
    if torch_ms is not None:  # again, and the better: the machine may have been busy before
        torch_ms = min(torch_ms, torch_step_ms(shape, 4 * args.steps))
        progress(f"PyTorch loop, backprop: {torch_ms:.2f} ms per step")

    simulated = {}
    for memory, converters in itertools.product(dict.fromkeys(args.memory), products):
        ms = None
        if "backprop" in algorithms:
            try:
                ms = simulator_step_ms(memory, converters, shape, max(4, args.steps // 2))
            except RuntimeError as error:  # as where it was built for another torch
                progress(f"aihwkit, {memory}: failed with this torch ({error})")
        simulated[memory, converters] = ms
        if ms is not None:
            progress(f"aihwkit, {memory}{' converters' if converters else ''}: {ms:.2f} ms "
                     "per step of one network")

    rows = [benchmark.relate(row, machine, torch_ms, simulated[row["memory"], row["converters"]],
                             ensemble_ms if row["replicas"] == chosen else None) for row in rows]
    report = {
        "machine": machine,
        "floor_ms": floor_ms,
        "torch_ms_per_step": torch_ms,
        "ensemble_ms_per_replica_step": ensemble_ms,
        "rows": rows,
        "breakdown": parts,
    }
    console.print(_table(rows))
    if parts:
        console.print(
            f"Parts of a step, {chosen} replicas rounded to nearest: how much shorter it is "
            "without each of them. These are differences and need not add up; what remains, above "
            "or below 0, is rest.",
            _breakdown_table(parts),
        )
    if args.json:
        try:
            args.json.write_text(json.dumps(report, indent=1) + "\n")
        except OSError as error:
            p.error(f"cannot write {args.json}: {error.strerror}")
    if old is not None:
        pairs, remarks = benchmark.compare(old, report)
        console.print(f"Beside {args.compare}; ratio: new by old, below 1 is better.")
        for remark in remarks:
            console.print(f"note: {remark}")
        console.print(_compare_table(pairs))
    return 0


if __name__ == "__main__":
    commandline.run(main)
