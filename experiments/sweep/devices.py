"""The devices a run uses, how replicas are laid over them, and where compiled programs are kept."""

import itertools
import math
import os
from pathlib import Path

import jax
from jax.sharding import Mesh

__all__ = ["cache", "keep_programs", "load", "make_mesh"]

_CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index3")


def keep_programs() -> None:
    """Keeps compiled programs on disk, so that the next start need not compile them again.

    In the folder of jax's own setting JAX_COMPILATION_CACHE_DIR, else in the user's cache folder.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]  # at run time
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(Path(home) / "qjax"))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def cache() -> int | None:
    """Bytes of a core's share of its third cache, if devices are cores; None: nothing says so.

    (The first two are smaller than a network.) None for several processes, too, as all must run the
    same program.
    """
    if jax.devices()[0].platform != "cpu" or jax.process_count() > 1:
        return None
    try:
        size, sharing = ((_CACHE / name).read_text() for name in ("size", "shared_cpu_list"))
        spans = [list(map(int, span.split("-"))) for span in sharing.split(",")]
        kilobytes = int(size.strip().removesuffix("K"))
    except (OSError, ValueError):  # a system that tells otherwise, or has none
        return None
    cores = sum(span[-1] - span[0] + 1 for span in spans)
    return 1024 * kilobytes // min(cores, jax.device_count())


def _shape(n_seeds: int, n_cells: int) -> tuple[int, int]:
    total = jax.device_count()
    counts = range(1, total + 1)
    # Every process takes part in every program: with several, all devices are used.
    least = 1 if jax.process_count() == 1 else total
    shapes = [(a, b) for a, b in itertools.product(counts, counts) if least <= a * b <= total]

    def cost(shape):
        per_device = math.ceil(n_seeds / shape[0]) * math.ceil(n_cells / shape[1])
        return per_device, shape[0] * shape[1], shape[0]

    return min(shapes, key=cost)


def load(n_seeds: int, n_cells: int) -> int:
    """Replicas that each device of `make_mesh` gets."""
    seeds, cells = _shape(n_seeds, n_cells)
    return math.ceil(n_seeds / seeds) * math.ceil(n_cells / cells)


def make_mesh(n_seeds: int, n_cells: int) -> Mesh:
    """A mesh with axes "seeds" and "configs" that gives each device the fewest replicas."""
    shape = _shape(n_seeds, n_cells)
    return jax.make_mesh(
        shape,
        ("seeds", "configs"),
        axis_types=(jax.sharding.AxisType.Auto,) * 2,
        devices=jax.devices()[: shape[0] * shape[1]],
    )
