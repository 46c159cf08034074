"""Runs of the command line, in this process or as processes of their own, and what they leave."""

import contextlib
import dataclasses
import io
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import jax

import qjax
from experiments import run
from experiments.store import FILE_NAME, Store
from experiments.sweep.networks import file_of
from qjax.trees import paths_of

ROOT = Path(__file__).parents[1]
FINALS = ("status", "test_accuracy", "test_loss", "train_accuracy", "train_loss", "diverged_epoch")


def start(out, *words, program=("-m", "experiments.run"), devices=None, **more):
    """A running command line; `devices`: host devices that its jax shall see."""
    environment = dict(os.environ)
    if devices:
        own, count = os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count"
        environment["XLA_FLAGS"] = f"{own} {count}={devices}"
    return subprocess.Popen(
        [sys.executable, *program, *" ".join(words).split(), "--out", str(out)],
        cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        **more,
    )


def finish(process, code=0, seconds=120):
    """(stdout, stderr) of a process that must end with `code`."""
    printed, errors = process.communicate(timeout=seconds)
    assert process.returncode == code, printed + errors
    return printed, errors


def numbers(out):
    """All numbers of a store by replica: final ones, those of all epochs and of all ranges."""
    with Store(out, create=False) as store:
        finals = {r["id"]: {name: r[name] for name in FINALS} for r in store.replicas()}
        return finals, store.history("epochs"), store.history("ranges")


def weights_of(out, replica):
    """The weights of a network that was kept, by paths such as blocks/0/kernel."""
    params = qjax.load(file_of(out, replica)).params
    return {f"blocks/{path}": leaf
            for path, leaf in zip(paths_of(params), jax.tree.leaves(params), strict=True)}


def recorded(out, table="epochs"):
    """Rows in the store, 0 where there is none yet."""
    with contextlib.suppress(sqlite3.Error):
        db = sqlite3.connect(f"file:{out / FILE_NAME}?mode=ro", uri=True)
        with contextlib.closing(db):
            return db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return 0


def wait_until(condition, process, seconds=90):
    """Waits while the process runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


@dataclasses.dataclass
class Result:
    """What a command left."""

    out: Path
    code: int
    printed: str

    @property
    def replicas(self):
        with Store(self.out, create=False) as store:
            return store.replicas()

    @property
    def numbers(self):
        return numbers(self.out)


def command(out, *words):
    """Runs the command line in this process."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = run.main([*" ".join(words).split(), "--out", str(out)])
    return Result(out, code, text.getvalue())


def planned(words):
    """The cells that words of the command line mean."""
    return run.cells_of(run.parser().parse_args(words.split()))
