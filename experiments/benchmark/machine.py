"""What this machine can do: large products, copies of large arrays."""

import os
import platform
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from experiments.benchmark.breakdown import shortest
from experiments.sweep import make_mesh

__all__ = ["about_machine", "copy_gbytes", "matmul_gflops"]


def _on_every_device(function: Callable, shape: tuple[int, ...], **jit: Any):
    """The compiled function and ones [devices, *shape]: each device computes with its own."""
    mesh = make_mesh(1, len(jax.local_devices()))
    spec = PartitionSpec("configs")
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


def about_machine() -> dict[str, Any]:
    """The devices, by name and number, and the two speeds."""
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
