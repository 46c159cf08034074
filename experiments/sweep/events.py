"""Curves for TensorBoard while a sweep runs: event files in OUT/tensorboard, a folder a replica."""

import time
from pathlib import Path
from typing import Any

from experiments.cells import Chunk, Replica
from experiments.sweep.reports import EpochReport

__all__ = ["FOLDER", "Events", "name_of"]

FOLDER = "tensorboard"
_SCALARS = ("test_accuracy", "test_loss", "train_accuracy", "train_loss", "objective", "writes")


def name_of(replica: Replica) -> str:
    """A folder's name that says what it is, and is of one replica alone."""
    cell = replica.cell
    bits = "float" if cell.n_bits is None else f"{cell.n_bits}bits"
    words = [cell.algorithm, Path(cell.dataset).stem, cell.network, bits, cell.update,
             f"seed{replica.seed}", replica.id[:8]]
    return "-".join(word.replace("/", ".").replace(":", ".") for word in words)


class Events:
    """Writes what every epoch gave. Use as a context manager, for one chunk.

    A training that goes on from a checkpoint adds a file to its folders.
    """

    def __init__(self, out: Path, chunk: Chunk):
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._writers = {
            replica.id: EventFileWriter(str(out / FOLDER / name_of(replica)))
            for replica in chunk.replicas}

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *exception: Any) -> None:
        for writer in self._writers.values():
            writer.close()

    def record(self, told: EpochReport) -> None:
        """Adds an epoch, and has it on disk."""
        for row in told.rows:
            values = [self._summary.Value(tag=name, simple_value=row[name])
                      for name in _SCALARS if row[name] is not None]
            writer = self._writers[row["replica"]]
            writer.add_event(self._event(
                step=row["epoch"] + 1, wall_time=time.time(), summary=self._summary(value=values)))
            writer.flush()
