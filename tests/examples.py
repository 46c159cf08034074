"""What several tests take for examples: cells, replicas' rows, stores whose numbers are known."""

import csv
import math
from dataclasses import asdict, fields, replace

import pytest

from experiments.cells import NONE, Cell, Replica
from experiments.store import Store

CELL = Cell(
    algorithm="backprop", dataset="digits", n_layers=1, hidden_width=50, n_bits=4,
    quantizer="symm", scope="local", update="nearest", optimizer="adadelta", lr=1.0, gamma=0.7,
    weight_decay=0.0, gradient_bits=None, batch_size=64, epochs=10, readout_epochs=0,
)
FLOAT = replace(CELL, n_bits=None, quantizer=NONE, scope=NONE, update=NONE)
class _Others(dict):
    """Of an axis that came since, any other value than its default."""

    def __missing__(self, name):
        kind = {f.name: f.type for f in fields(Cell)}[name]
        return "other" if kind is str else 3 if kind in (int, int | None) else 0.125


# Another value for every field.
OTHER = _Others({
    "algorithm": "fa", "dataset": "mnist", "n_layers": 2, "hidden_width": 51, "n_bits": 5,
    "quantizer": "asymm", "scope": "global", "update": "latent", "optimizer": "sgd", "lr": 0.5,
    "gamma": 0.8, "weight_decay": 1e-3, "gradient_bits": 4, "batch_size": 32, "epochs": 11,
    "readout_epochs": 5, "schedule": "linear", "gain": 1.5, "bias": "float",
    "network": "lenet", "gain_rule": "learned", "synthesizer_lr": 0.01,
    "label_smoothing": 0.1, "numbers": "write_noise=0.1", "hidden_bits": 6,
    "optimizer_bits": 4,
})
MNIST = replace(CELL, dataset="mnist", epochs=30)
MNIST_FLOAT = replace(FLOAT, dataset="mnist")
HSIC = replace(CELL, algorithm="hsic", epochs=30, readout_epochs=20)
ORIGIN = {"device": "1 x cpu", "jax": "0", "jaxlib": "0", "qjax": "0", "git_commit": None}
TINY = "--dataset digits --hidden-width 4 --n-layers 0 --seeds 2"
GRID = [(bits, kind, scope) for bits in (2, 4, 8) for kind in ("asymm", "symm")
        for scope in ("global", "local")]


def epoch(replica, number, loss=1.0, accuracy=50.0, finite=True, writes=None, **more):
    return {
        "replica": replica.id, "epoch": number, "phase": "train", "objective": loss,
        "train_loss": loss, "train_accuracy": accuracy, "test_loss": loss,
        "test_accuracy": accuracy, "finite": finite, "writes": writes, **more,
    }


def ranges(replica, number):
    return [(replica.id, number, "blocks/0/kernel", -1.0, 1.0 + number)]


def fill(store, replica, rows):
    store.claim([replica], ORIGIN)
    for row in rows:
        store.record([row], ranges(replica, row["epoch"]))


def row(cell, seed=0, accuracy=50.0, loss=1.0, status="done", writes=None):
    """A row as the store gives it."""
    return asdict(cell) | {
        "id": Replica(cell, seed).id, "seed": seed, "status": status, "test_accuracy": accuracy,
        "test_loss": loss, "train_accuracy": None, "train_loss": None, "seconds": 2.5,
        "diverged_epoch": None, "git_commit": None, "jax": "0.10", "writes": writes,
    }


def csv_of(path, rows, **changes):
    """Writes rows as `experiments.export` does; `changes` replaces columns, None leaves one out."""
    lines = []
    for r in rows:
        bits = "float" if r["n_bits"] is None else r["n_bits"]
        line = r | {"n_bits": bits} | changes
        lines.append({k: v for k, v in line.items() if changes.get(k, "") is not None})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    return path


def accuracy(cell, seed, number=1):
    """A number of its own for every replica and epoch."""
    text = f"{cell} {number}"
    return 10.0 + sum(text.encode()) % 70 + 3.5 * seed * (1 + (cell.n_bits or 0)) / 10 + number


def store_of(folder, cells, seeds=3, epochs=2, sound=True):
    """A store in which every cell was trained; where not `sound`, all diverged at once."""
    with Store(folder) as store:
        for cell in cells:
            for seed in range(seeds):
                replica = Replica(cell, seed)
                store.claim([replica], ORIGIN)
                for n in range(epochs):
                    loss = 1.0 / (1 + n) + seed if sound else math.nan
                    row = epoch(replica, n, loss, accuracy(cell, seed, n), finite=sound)
                    store.record([row], [(replica.id, n, "blocks/0/kernel", -1.0, 1.0)])
                store.finish([replica.id], 2.5)
    return folder


def sweep(algorithm="backprop", **more):
    cells = [
        replace(CELL, algorithm=algorithm, n_bits=bits, quantizer=kind, scope=scope, **more)
        for bits, kind, scope in GRID
    ]
    return [*cells, replace(FLOAT, algorithm=algorithm, **more)]


def rows_of(folder):
    with Store(folder, create=False) as store:
        return store.replicas()


def refused(program, arguments, capsys):
    """The message of a command that must exit with 2."""
    with pytest.raises(SystemExit) as stop:
        program.main(list(map(str, arguments)))
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err
