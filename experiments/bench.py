"""Times training: milliseconds per replica-step and replica-epochs per second, per algorithm.

Data are random images of MNIST's size, so nothing needs to be loaded; quantized to 8 bits (symm,
local) after every update as in the thesis. Beside it stands the floor, the time that the network's
matrix products alone need at the speed this machine reaches on large products, and, if torch is
installed, a hand-written PyTorch loop. All are measured in the same call: compare ratios, not
milliseconds, between machines.
"""

import itertools
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from rich.console import Console
from rich.table import Table

from experiments import options
from experiments.cells import Cell
from experiments.data import Dataset
from experiments.devices import make_mesh
from experiments.presets import preset_of
from experiments.runner import Program
from qjax import training
from qjax.algorithms import ALGORITHMS

__all__ = ["main", "matmul_gflops", "measure", "torch_step_ms"]

TRAIN, TEST, FEATURES, CLASSES, BATCH = 60_000, 10_000, 784, 10, 64


def _best(function: Callable[[], Any], repeats: int) -> float:
    """Shortest of some timings in seconds: the one least disturbed by others on the machine."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def matmul_gflops(size: int = 2048, repeats: int = 5) -> float:
    """Float32 GFLOP/s of square products, one on every device at the same time."""
    devices = jax.local_devices()
    mesh = make_mesh(1, len(devices))
    sharding = NamedSharding(mesh, PartitionSpec("cells"))
    a = jax.device_put(np.ones((len(devices), size, size), np.float32), sharding)
    spec = PartitionSpec("cells")
    product = jax.jit(jax.shard_map(lambda a: a @ a, mesh=mesh, in_specs=spec, out_specs=spec))
    product(a).block_until_ready()
    seconds = _best(lambda: product(a).block_until_ready(), repeats)
    return len(devices) * 2 * size**3 / seconds / 1e9


def product_flops(n_layers: int, hidden_width: int) -> int:
    """Of one step: forward, weight gradient, and input gradient of all layers but the first."""
    sizes = [FEATURES, *[hidden_width] * (n_layers + 1), CLASSES]
    layers = [2 * BATCH * a * b for a, b in itertools.pairwise(sizes)]
    return 3 * sum(layers) - layers[0]


def _random_dataset(train: int, test: int) -> Dataset:
    rng = np.random.default_rng(0)

    def part(count):
        images = rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
        return images, rng.integers(0, CLASSES, count).astype(np.int32)

    return Dataset("random", *part(train), *part(test), CLASSES, 255, 0.1307, 0.3081)


def measure(
    algorithm: str, n_layers: int, hidden_width: int, replicas: int, steps: int = 100
) -> dict[str, Any]:
    """Times one group, all on one seed, in the algorithm's first phase.

    Args:
      steps: training steps a timed epoch has; evaluation is timed on as many examples.

    Returns:
      ms_per_replica_step; evaluation_s: one replica's evaluation of the training and test set;
      replica_epochs_per_second: with both evaluations, at MNIST's size; compile_s.
    """
    preset = preset_of(algorithm).phases[0]
    cell = Cell(
        algorithm, "random", n_layers, hidden_width, 8, "symm", "local", "nearest",
        preset.optimizer, preset.lr, preset.gamma, preset.weight_decay, None, BATCH, 1, 1,
    )
    mesh = make_mesh(1, replicas)
    fill = -replicas % mesh.shape["cells"]
    dataset = _random_dataset(steps * BATCH, BATCH)
    program = Program((cell,) * (replicas + fill), dataset, mesh)
    keys = jax.vmap(jax.random.key)(jnp.zeros(1, jnp.uint32))
    settings, data = program.settings(0), program.data
    states = training.make_begin(program.algorithm.phases[0], mesh)(program.init()(keys, settings))

    run = program.epoch(0, evaluate=False)
    start = time.perf_counter()
    program.epoch(0).lower(keys, 0, settings, states, data).compile()
    compile_s = time.perf_counter() - start

    def epoch():
        nonlocal states
        states, metrics = run(keys, 0, settings, states, data)
        jax.block_until_ready(metrics)

    epoch()
    step_s = _best(epoch, 4) / steps / replicas

    # The last phase is the one that predicts.
    number = len(program.algorithm.phases) - 1
    final, predicting = program.settings(number), program.algorithm.phases[number]
    score = training.make_evaluation(predicting, preprocess=program.preprocess, mesh=mesh)
    jax.block_until_ready(score(final, states, data))
    examples = (steps + 1) * BATCH
    seconds = _best(lambda: jax.block_until_ready(score(final, states, data)), 4)
    evaluation_s = seconds / replicas * (TRAIN + TEST) / examples
    epoch_s = -(-TRAIN // BATCH) * step_s + evaluation_s
    return {
        "algorithm": algorithm,
        "n_layers": n_layers,
        "hidden_width": hidden_width,
        "replicas": replicas,
        "ms_per_replica_step": 1e3 * step_s,
        "evaluation_s": evaluation_s,
        "replica_epochs_per_second": 1 / epoch_s,
        "compile_s": compile_s,
    }


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

    epoch()
    return 1e3 * _best(epoch, 3) / steps


def _machine(gflops: float) -> dict[str, Any]:
    devices = jax.local_devices()
    return {
        "device": devices[0].device_kind,
        "devices": len(devices),
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "matmul_gflops": gflops,
        "jax": jax.__version__,
    }


def _table(rows, torch_ms, floors) -> Table:
    table = Table()
    for column in (
        "algorithm", "network", "replicas", "ms per replica-step", "x floor", "x faster than torch",
        "evaluation s", "replica-epochs/s", "compile s",
    ):
        table.add_column(column, justify="left" if column in ("algorithm", "network") else "right")
    for row in rows:
        shape = (row["n_layers"], row["hidden_width"])
        ms = row["ms_per_replica_step"]
        compare = torch_ms.get(shape) if row["algorithm"] == "backprop" else None
        table.add_row(
            row["algorithm"], f"({shape[0]},{shape[1]})", str(row["replicas"]), f"{ms:.3f}",
            f"{ms / floors[shape]:.1f}", f"{compare / ms:.1f}" if compare else "",
            f"{row['evaluation_s']:.2f}", f"{row['replica_epochs_per_second']:.2f}",
            f"{row['compile_s']:.1f}",
        )
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    p = options.Parser(prog="experiments.bench", description=__doc__)
    p.add_argument("--algorithm", nargs="+", type=options.one_of(ALGORITHMS),
                   default=list(ALGORITHMS), help="which to time [all]")
    p.add_argument("--n-layers", type=options.whole(0), default=2, help="as in run [2]")
    p.add_argument("--hidden-width", type=options.whole(1), default=100, help="as in run [100]")
    p.add_argument("--replicas", nargs="+", type=options.whole(1), default=[1, 28],
                   help="group sizes [1 28]")
    p.add_argument("--json", type=Path, default=None, help="file to write the figures to")
    args = p.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 140)

    shape = (args.n_layers, args.hidden_width)
    machine = _machine(matmul_gflops())
    floors = {shape: product_flops(*shape) / machine["matmul_gflops"] / 1e6}
    torch_ms = {shape: torch_step_ms(*shape)}
    console.print(
        f"{machine['devices']} x {machine['device']}, {machine['cores']} cores, large products at "
        f"{machine['matmul_gflops']:.0f} GFLOP/s: floor {floors[shape]:.3f} ms per replica-step"
    )
    if torch_ms[shape]:
        console.print(f"PyTorch loop, backprop: {torch_ms[shape]:.2f} ms per step")
    rows = []
    for algorithm in args.algorithm:
        for replicas in args.replicas:
            rows.append(measure(algorithm, *shape, replicas))
            row = rows[-1]
            console.print(f"{algorithm}, {replicas}: {row['ms_per_replica_step']:.3f} ms")
    console.print(_table(rows, torch_ms, floors))
    if args.json:
        report = {
            "machine": machine,
            "floor_ms": floors[shape],
            "torch_ms_per_step": torch_ms[shape],
            "rows": rows,
        }
        try:
            args.json.write_text(json.dumps(report, indent=1) + "\n")
        except OSError as error:
            p.error(f"cannot write {args.json}: {error.strerror}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
