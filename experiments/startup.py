"""What must be set before jax starts: how many CPU devices it shows, how exact its products are."""

import os

__all__ = ["use_all_cores", "use_whole_float32"]

_FLAG = "--xla_force_host_platform_device_count"


def use_whole_float32() -> None:
    """Makes products of float32 what they say, also on GPUs, whose default has 10 digits of 23.

    What JAX_DEFAULT_MATMUL_PRECISION says in the environment stands.
    """
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")


def use_all_cores() -> None:
    """Shows jax one CPU device per core, so that replicas spread over the cores.

    Faster than one device with many threads, as replicas need no exchange. Call before jax is
    imported; a count already set in XLA_FLAGS stands.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_FLAG}={len(os.sched_getaffinity(0))}".strip()
