"""A training from its arguments to its exit code: its stages, each with data and an open store."""

import argparse
import gc
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.cells import DEFAULTS, SMALLEST, Replica, algorithm_of, held_program
from experiments.commandline import options
from experiments.data import NAMES, DataError, Dataset, load
from experiments.store import NoStoreError, Store, StoreError
from experiments.sweep import processes
from experiments.sweep.arguments import join, write_config
from experiments.sweep.devices import keep_programs
from experiments.sweep.networks import Save
from experiments.sweep.sweep import Sweep, Tell
from qjax.losses import LOSSES

__all__ = ["Stage", "main"]

# What to train, given the finished replicas that the result folder has.
Stage = Callable[[list[dict[str, Any]]], Sequence[Replica]]


def main(p: options.Parser, args: argparse.Namespace, tell: Tell, *stages: Stage) -> int:
    """Trains what the result folder does not have yet; returns the exit code.

    Args:
      p: for errors.
      args: with the flags of `add_arguments`.
      tell: ends a stage that was not interrupted.
      stages: one after the other; each says which replicas, in the order of the summary. A later
        one may depend on what the earlier ones gave.
    """
    if args.tensorboard and importlib.util.find_spec("tensorboard") is None:
        p.error("--tensorboard needs the package tensorboard, which is not installed here: pip "
                "install tensorboard, or leave the flag out")
    join(p, args)
    keep_programs()
    # A trace makes thousands of objects that are not garbage yet; looking for it every few hundred,
    # as is usual, takes a tenth of the time to the first step.
    gc.set_threshold(50_000, 20, 20)
    console = Console(
        emoji=False,  # levels:-1:1 is none
        width=None if sys.stdout.isatty() else 160, quiet=not processes.is_first()
    )
    code = 0
    try:
        for number, stage in enumerate(stages, 1):
            wanted = stage(processes.shared(_finished(args.out)))
            names = dict.fromkeys(replica.cell.dataset for replica in wanted)
            datasets = {name: load(name, args.data_dir) for name in names}
            _check(wanted, datasets)
            sweep = Sweep(datasets, args.out, console, tell, args.memory_limit, args.resume,
                          args.checkpoint_every, Save.of(args.save, len(wanted)),
                          args.diagnostics, args.tensorboard)
            if args.dry_run:
                sweep.show(wanted)
                return 0
            if not processes.is_first():
                code = sweep.run(wanted, None)
            else:
                with Store(args.out) as store:
                    write_config(p, args)
                    for name in names.keys() - NAMES:
                        store.check_data(name, datasets[name].fingerprint)
                    code = sweep.run(wanted, store)
            if processes.shared(code):
                break
            if number < len(stages):
                done = {row["id"] for row in processes.shared(_finished(args.out))}
                left = sum(replica.id not in done for replica in wanted)
                if left:  # the next stage would choose among the others alone
                    console.print(f"Another run trains {left} of the networks that what comes next "
                                  "depends on: the same command goes on when it has.")
                    return 1
    except (DataError, StoreError) as error:
        p.error(str(error))
    return code


def _check(wanted: Iterable[Replica], datasets: Mapping[str, Dataset]) -> None:
    """Raises DataError where an algorithm, a network, a loss, a batch and a data set do not fit."""
    told = dict.fromkeys((r.cell.network, r.cell.loss, r.cell.dataset) for r in wanted)
    for network, loss, name in told:
        data, side = datasets[name], SMALLEST.get(network)
        if side and (len(data.image_shape) < 3 or min(data.image_shape[:2]) < side):
            raise DataError(f"{network} needs images of at least {side}x{side}, those of {name} "
                            f"are of {'x'.join(map(str, data.image_shape))}: leave one of them "
                            "out of --network or --dataset")
        if LOSSES[loss].classes and data.train_labels.dtype.kind == "f":
            others = " or ".join(word for word, about in LOSSES.items() if not about.classes)
            raise DataError(f"labels of {name} are floats, {loss} is for classes: write classes as "
                            f"integers, or for targets take --loss {others}")
    for cell in dict.fromkeys(replica.cell.program for replica in wanted):
        examples = len(datasets[cell.dataset].train_labels)
        if cell.batch_size > examples:
            raise DataError(f"--batch-size {cell.batch_size} is more than the {examples} training "
                            f"examples of {cell.dataset}: expected at most as many")
        try:
            algorithm_of(held_program(cell), datasets[cell.dataset].outputs)
        except (TypeError, ValueError) as error:
            if ":" in cell.algorithm + cell.network:  # its author wants a traceback
                error.add_note(
                    f"This is --algorithm {cell.algorithm}, expected to be a function of a network "
                    f"and rules, with --network {cell.network}, a function of the number of "
                    "outputs. See docs/own.md.")
                raise
            other = "" if cell.loss == DEFAULTS["loss"] else f" and --loss {cell.loss}"
            raise DataError(f"--algorithm {cell.algorithm} with --network {cell.network}{other}: "
                            f"{error}") from error


def _finished(out: Path) -> list[dict[str, Any]]:
    """Finished replicas of a result folder; none if it does not exist yet."""
    try:
        with Store(out, create=False) as store:
            return [row for row in store.replicas() if row["status"] in ("done", "diverged")]
    except NoStoreError:
        return []
