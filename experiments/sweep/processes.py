"""Several processes, on one machine or many, as one: the first writes, all of them compute.

Each process runs the same program; its devices become part of one mesh. What must be decided once
(what is left to do, who has claimed it) is decided by the first and shared.
"""

import os
import pickle
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

__all__ = ["collect", "is_first", "join", "shared", "under_slurm"]


def under_slurm() -> bool:
    """Is this one of several tasks that `srun` has started?"""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Waits for the other processes; call before any use of jax.

    Args:
      coordinator: host:port where the first process listens; None to ask the cluster (SLURM, MPI).
      num_processes, process_id: how many there are and which one this is; None likewise.

    Raises:
      ValueError, RuntimeError: no cluster was recognized, or the others did not come.
    """
    jax.distributed.initialize(coordinator, num_processes, process_id)


def is_first() -> bool:
    """Is this the process that writes? True where there is only one."""
    return jax.process_index() == 0


def shared(value: Any) -> Any:
    """The first process's value, in every process; waits for all of them."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(pickle.dumps(value if is_first() else None), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(text.size)))
    padded = np.zeros(size, np.uint8)
    if is_first():
        padded[:] = text
    return pickle.loads(bytes(multihost_utils.broadcast_one_to_all(padded)))


def collect(tree: Any) -> Any:
    """Arrays that are spread over all devices, as whole NumPy arrays in every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)
