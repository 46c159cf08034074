"""Trains every combination of the given values, grouped and batched, into a result store."""

import itertools
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from experiments import cells as grid
from experiments import options, report, runner
from experiments.checkpoint import Checkpoints
from experiments.data import DATASETS, DataError, Dataset, load
from experiments.interrupts import Interrupts
from experiments.presets import LEARNING_RATES, preset_of
from experiments.store import Store, StoreError
from qjax.algorithms import ALGORITHMS
from qjax.quantize import KINDS, SCOPES
from qjax.updates import OPTIMIZERS, UPDATE_RULES

__all__ = ["cells_of", "execute", "main", "parser"]

MAX_GROUP = 256  # replicas at once, however small they are


def parser() -> options.Parser:
    """The command line of `python -m experiments.run`."""
    p = options.Parser(prog="experiments.run", description=__doc__)
    axes = p.add_argument_group(
        "axes (one or several values each, [default]; all combinations are trained)"
    )

    def axis(flag, type, help, default=None, words=None):
        shown = "" if default is None else f" [{' '.join(options.spell(v) for v in default)}]"
        values = "{" + ",".join(words) + "}" if words else None
        axes.add_argument(
            flag, nargs="+", type=options.one_of(words) if words else type, default=default,
            metavar=values or flag.strip("-").upper().replace("-", "_"), help=help + shown,
        )

    axis("--algorithm", None, "learning algorithm", ["backprop"], words=ALGORITHMS)
    axis("--dataset", None, "data set; digits needs no network", ["digits"], words=DATASETS)
    axis("--n-layers", options.whole(0), "hidden layers beyond the first", [1])
    axis("--hidden-width", options.whole(1), "units of every hidden layer", [50])
    axis("--n-bits", options.bits, "bits of the weights, 1-16 (symm: from 2), or float", [None])
    axis("--quantizer", None, "kind of grid", ["symm"], words=KINDS)
    axis("--scope", None, "range: [-1, 1] for all, or of each tensor", ["local"], words=SCOPES)
    axis("--update", None, "how an update reaches the grid", ["nearest"], words=UPDATE_RULES)
    axis("--optimizer", None, "optimizer [adadelta; hsic: sgd]", words=OPTIMIZERS)
    rates = ", ".join(f"{name} {rate:g}" for name, rate in LEARNING_RATES.items())
    axis("--lr", options.positive, f"learning rate [{rates}; hsic 1]")
    axis("--gamma", options.positive, "factor on it after every epoch [0.7; hsic 1]")
    axis("--gradient-bits", options.bits, "bits of parameter gradients (asymm local)", [None])
    axis("--batch-size", options.whole(1), "examples an update [64; hsic float 128]")

    p.add_argument("--seeds", type=options.whole(1), default=3, help="replicas of every cell [3]")
    p.add_argument("--first-seed", type=options.whole(0), default=0, help="seed of the first [0]")
    p.add_argument("--epochs", type=options.whole(1), default=10, help="passes over the data [10]")
    p.add_argument(
        "--readout-epochs", type=options.whole(1), default=5,
        help="epochs of the output layer where it is trained by itself (hsic) [5]",
    )
    p.add_argument("--out", type=Path, default=Path("results"), help="result folder [results]")
    p.add_argument(
        "--data-dir", type=Path, default=None,
        help="folder with <dataset>/*-ubyte[.gz] IDX files (or QJAX_DATA_DIR); else TFDS",
    )
    p.add_argument("--resume", action="store_true", help="continue an interrupted run")
    p.add_argument("--save-params", action="store_true", help="keep final weights in OUT/params")
    p.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    return p


def cells_of(args) -> list[grid.Cell]:
    """The cells that parsed arguments ask for; what is not given comes from the presets."""
    cells = []
    for algorithm, n_bits in itertools.product(args.algorithm, args.n_bits):
        preset = preset_of(algorithm)
        first, *later = preset.phases
        batch_size = preset.float_batch_size if n_bits is None else preset.batch_size
        for optimizer in args.optimizer or [first.optimizer]:
            own = optimizer == first.optimizer
            cells += grid.product(
                {
                    "algorithm": [algorithm],
                    "dataset": args.dataset,
                    "n_layers": args.n_layers,
                    "hidden_width": args.hidden_width,
                    "n_bits": [n_bits],
                    "quantizer": args.quantizer,
                    "scope": args.scope,
                    "update": args.update,
                    "optimizer": [optimizer],
                    "lr": args.lr or [first.lr if own else LEARNING_RATES[optimizer]],
                    "gamma": args.gamma or [first.gamma],
                    "weight_decay": [first.weight_decay],
                    "gradient_bits": args.gradient_bits,
                    "batch_size": args.batch_size or [batch_size],
                    "epochs": [args.epochs],
                    "readout_epochs": [args.readout_epochs if later else 0],
                }
            )
    return list(dict.fromkeys(cells))


def _memory_per_device() -> int:
    """Bytes a device may use for replicas: what it reports, or half the machine's memory."""
    devices = jax.local_devices()
    stats = devices[0].memory_stats() if devices[0].platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(0.8 * stats["bytes_limit"])
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return machine // 2 // len(devices)


def _plan(groups, replicas_of, datasets) -> tuple[list[grid.Chunk], Table]:
    """Chunks to run and a table that tells about them."""
    table = Table(title="Plan")
    for column in ("group", "update", "cells", "replicas", "chunks", "memory a chunk"):
        table.add_column(column, justify="left" if column in ("group", "update") else "right")
    budget = _memory_per_device() * len(jax.local_devices())
    plan = []
    for group in groups:
        replicas = replicas_of(group)
        if not replicas:
            continue
        size = runner.replica_bytes(group, datasets[group[0].dataset])
        limit = max(1, min(MAX_GROUP, budget // size))
        chunks = list(grid.chunks_of(replicas, limit))
        largest = max(len(chunk.replicas) for chunk in chunks)
        update = next((c.update for c in group if c.update != grid.NONE), grid.NONE)
        table.add_row(
            group[0].label, update, str(len({r.cell for r in replicas})), str(len(replicas)),
            str(len(chunks)), f"{largest * size / 2**20:.0f} MiB",
        )
        plan += chunks
    return plan, table


def execute(
    plan: Sequence[grid.Chunk],
    datasets: dict[str, Dataset],
    store: Store,
    out: Path,
    console: Console,
    interrupts: Interrupts,
    *,
    resume: bool,
    save_params: bool,
) -> int:
    """Runs chunks one after the other; returns how many replicas failed."""
    checkpoints = Checkpoints(out / "checkpoints")
    failed = 0
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("replica-epochs"), TimeRemainingColumn(), TextColumn("{task.fields[accuracy]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        total = sum(len(c.replicas) * c.epochs for c in plan)
        task = progress.add_task("", total=total, accuracy="")
        for chunk in plan:
            size, label, text = len(chunk.replicas), chunk.cells[0].label, ""
            progress.update(task, description=label)
            seen = 0
            try:
                for epoch in runner.run_chunk(
                    chunk, datasets[chunk.cells[0].dataset], store, checkpoints,
                    resume=resume, params_folder=out / "params" if save_params else None,
                ):
                    if epoch.accuracies:
                        low, high = min(epoch.accuracies), max(epoch.accuracies)
                        text = f"test accuracy {low:.1f}-{high:.1f} %"
                    progress.update(
                        task, advance=(epoch.epoch + 1 - seen) * size, accuracy=text,
                        description=f"{label} {epoch.phase} {epoch.epoch + 1}/{chunk.epochs}",
                    )
                    seen = epoch.epoch + 1
                    interrupts.check()
            except jax.errors.JaxRuntimeError as error:
                failed += size
                store.fail([r.id for r in chunk.replicas])
                reason = str(error).partition("\n")[0]
                console.print(f"[red]failed[/red] {label}, {size} replicas: {reason}")
            if not console.is_terminal:
                console.print(f"{label}: {size} replicas, {chunk.epochs} epochs, {text}")
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = parser()
    args = p.parse_args(arguments)
    if "symm" in args.quantizer and 1 in args.n_bits:
        p.error("symm needs at least 2 bits (1 leaves only the level zero): "
                "leave 1 out of --n-bits or symm out of --quantizer")
    console = Console(width=None if sys.stdout.isatty() else 160)
    cells = cells_of(args)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    wanted = [grid.Replica(cell, seed) for cell in cells for seed in seeds]
    try:
        datasets = {name: load(name, args.data_dir) for name in args.dataset}
        groups = grid.group(cells)
        if args.dry_run:
            plan, table = _plan(
                groups, lambda g: [grid.Replica(c, s) for c in g for s in seeds], datasets
            )
            console.print(table)
            console.print(f"{len(cells)} cells x {len(seeds)} seeds = {len(wanted)} replicas "
                          f"in {len(groups)} groups, {len(plan)} chunks; nothing was run.")
            return 0
        with Store(args.out) as store:
            return _run(args, store, groups, wanted, datasets, console)
    except (DataError, StoreError) as error:
        p.error(str(error))


def _run(args, store, groups, wanted, datasets, console) -> int:
    ids = [r.id for r in wanted]
    have = store.finished(ids)
    if have:
        console.print(f"{len(have)} of {len(wanted)} replicas are in {store.path} already.",
                      markup=False, soft_wrap=True)
    seeds = sorted({r.seed for r in wanted})

    def missing(group):
        replicas = (grid.Replica(c, s) for c in group for s in seeds)
        return [r for r in replicas if r.id not in have]

    if args.save_params:
        bare = [i for i in have if not (args.out / "params" / f"{i}.npz").exists()]
        if bare:
            console.print(f"{len(bare)} of them have no saved weights: to train them once more, "
                          "choose another folder with --out.")
    plan, table = _plan(groups, missing, datasets)
    if plan:
        console.print(table)
    try:
        with Interrupts() as interrupts:
            failed = execute(
                plan, datasets, store, args.out, console, interrupts,
                resume=args.resume, save_params=args.save_params,
            )
    except KeyboardInterrupt:
        done = len(store.finished(ids))
        console.print(f"Interrupted: {done} of {len(wanted)} replicas are finished and kept in "
                      f"{store.path}. The same command with --resume goes on.",
                      markup=False, soft_wrap=True)
        return 130
    wanted_ids = set(ids)
    rows = [r for r in store.replicas() if r["id"] in wanted_ids and r["status"] != "failed"]
    for part in report.summary(rows, [f.name for f in fields(grid.Cell)]):
        console.print(part, soft_wrap=isinstance(part, str))
    console.print(f"Results: {store.path}", markup=False, soft_wrap=True)
    if failed:
        console.print(f"[red]{failed} replicas failed[/red]; the same command tries them again.")
    return 1 if failed else 0


if __name__ == "__main__":
    code = main()
    if code == 130:
        # All is closed. Python's own exit would tear down a compilation still in flight, and crash.
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
