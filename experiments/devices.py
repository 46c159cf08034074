"""The devices a run uses, and how replicas are laid over them."""

import itertools
import math
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # jax reads XLA_FLAGS when it starts: this module must not import it first
    from jax.sharding import Mesh

__all__ = ["make_mesh", "use_all_cores"]

_FLAG = "--xla_force_host_platform_device_count"


def use_all_cores() -> None:
    """Shows jax one CPU device per core, so that replicas spread over the cores.

    Faster than one device with many threads, as replicas need no exchange. Call before jax is
    imported; a count already set in XLA_FLAGS stands.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_FLAG}={len(os.sched_getaffinity(0))}".strip()


def make_mesh(n_seeds: int, n_cells: int) -> "Mesh":
    """A mesh with axes "seeds" and "cells" that gives each device the fewest replicas."""
    import jax

    devices = jax.local_devices()
    counts = range(1, len(devices) + 1)
    shapes = [(a, b) for a, b in itertools.product(counts, counts) if a * b <= len(devices)]

    def cost(shape):
        per_device = math.ceil(n_seeds / shape[0]) * math.ceil(n_cells / shape[1])
        return per_device, shape[0] * shape[1], shape[0]

    shape = min(shapes, key=cost)
    return jax.make_mesh(
        shape,
        ("seeds", "cells"),
        axis_types=(jax.sharding.AxisType.Auto,) * 2,
        devices=devices[: shape[0] * shape[1]],
    )
