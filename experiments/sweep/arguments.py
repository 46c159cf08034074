"""The flags that say where results go and how the work is done, not what is trained."""

import argparse
import itertools
import os
from collections.abc import Collection
from pathlib import Path

from experiments.commandline import config, options
from experiments.sweep import processes
from experiments.sweep.footprint import size
from experiments.sweep.networks import SAVES

__all__ = ["add_arguments", "join", "write_config"]


# Which say where and how: no part of what is trained, which a run writes down.
_HOW = ("out", "data-dir", "resume", "dry-run", "memory-limit", "distributed", "coordinator",
        "num-processes", "process-id")


def add_arguments(p: options.Parser, tables: Collection[str] = ()) -> None:
    """Adds the flags that say where results go and how the work is done.

    Args:
      p: parser.
      tables: see `options.Parser.add_config`.
    """
    p.add_argument("--out", type=Path, default=Path("results"), help="result folder [results]")
    p.add_argument(
        "--data-dir", type=Path, default=None,
        help="folder with <dataset>/*-ubyte[.gz] IDX files (or QJAX_DATA_DIR); else TFDS",
    )
    p.add_config(tables)
    p.add_argument("--resume", action="store_true", help="continue an interrupted run")
    p.add_argument("--checkpoint-every", type=options.whole(1), default=1, metavar="EPOCHS",
                   help="epochs between checkpoints, which is what an interruption can cost [1]")
    p.add_argument("--save", type=options.one_of(SAVES), default=None,
                   metavar="{" + ",".join(SAVES) + "}",
                   help="keep trained networks in OUT/networks, for qjax.load: as they are at the "
                   "end, or after the epoch of the best test accuracy [final, if all together are "
                   "held by at most 50 million numbers]")
    p.add_argument("--diagnostics", action="store_true",
                   help="look inside after every epoch: angles between the algorithm's and the "
                   "true gradient, between feedback and weights, quantization error, nHSIC, ...")
    p.add_argument("--tensorboard", action="store_true",
                   help="write curves to OUT/tensorboard as they grow; look at them with "
                   "tensorboard --logdir OUT/tensorboard")
    p.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    p.add_argument(
        "--memory-limit", type=_memory, default=None, metavar="SIZE",
        help="what a device may use, like 500M or 4G [most of it; CPU: half the machine's memory]",
    )
    several = p.add_argument_group(
        "several processes, on one machine or many (under SLURM srun says it all by itself)"
    )
    several.add_argument("--distributed", action="store_true",
                         help="join the other processes that the cluster has started")
    several.add_argument("--coordinator", metavar="HOST:PORT", default=None,
                         help="where process 0 listens, for use without a cluster")
    several.add_argument("--num-processes", type=options.whole(1), default=None)
    several.add_argument("--process-id", type=options.whole(0), default=None)


def _memory(text: str) -> int:
    try:
        return size(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a size like 500M or 4G, got {text!r}"
        ) from None


def write_config(p: options.Parser, args: argparse.Namespace) -> None:
    """Writes what is trained to OUT/config.toml, or beside what others wrote, as config-2.toml."""
    what = {flag: values for flag, values in args.config.flags.items() if flag not in _HOW}
    draft = args.out / f"config.{os.getpid()}"
    tables = {name: own for name, own in args.config.tables.items() if name in args.algorithm}
    config.write(config.Config(what, tables), draft,
                 f"python -m {p.prog} --config THIS --out FOLDER trains this, and nothing more")
    for number in itertools.count(1):
        path = args.out / f"config{'' if number == 1 else f'-{number}'}.toml"
        if not path.exists() or path.read_bytes() == draft.read_bytes():
            draft.replace(path)
            return


def join(p: options.Parser, args: argparse.Namespace) -> None:
    """Joins the other processes if there are any; before any use of jax."""
    alone = (args.coordinator, args.num_processes, args.process_id)
    if any(part is not None for part in alone):
        if None in alone:
            p.error("--coordinator, --num-processes and --process-id go together")
        if args.process_id >= args.num_processes:
            p.error(f"--process-id counts from 0: expected at most {args.num_processes - 1}, "
                    f"got {args.process_id}")
    elif not (args.distributed or processes.under_slurm()):
        return
    try:
        processes.join(*alone)
    except (ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        p.error(f"the processes did not find each other ({reason}): start them with srun, "
                "or with --coordinator HOST:PORT --num-processes N --process-id I")
