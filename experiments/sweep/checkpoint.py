"""Training states on disk between epochs, so that `--resume` continues instead of starting over."""

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

__all__ = ["Checkpoint", "CheckpointError", "remove", "unfinished"]

_MEMBERS = "members.json"


class CheckpointError(Exception):
    """A checkpoint cannot be written or read; the message says which and why."""


class Checkpoint:
    """The newest state of one chunk, kept by orbax in a folder. Use as a context manager.

    With several processes all of them make the same calls, in a folder that all of them see.
    """

    def __init__(self, folder: Path, members: Sequence[str]):
        """`members`: ids of the chunk's replicas, kept beside the state."""
        self._folder = Path(folder).absolute()
        self._members = list(members)

    def __enter__(self) -> "Checkpoint":
        import orbax.checkpoint as ocp  # slow to import

        for unfinished in self._folder.glob("*.orbax-checkpoint-tmp*"):  # a program was ended there
            shutil.rmtree(unfinished, ignore_errors=True)
        options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
        self._args = ocp.args
        try:
            self._manager = ocp.CheckpointManager(self._folder, options=options)
            _write(self._folder / _MEMBERS, json.dumps(self._members))
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def _unwritable(self, error: Exception) -> CheckpointError:
        reason = str(error).partition("\n")[0]
        return CheckpointError(
            f"cannot write checkpoints to {self._folder} any more: {reason}. Results until now are "
            "kept; mend the cause, then go on with the same command and --resume"
        )

    def __exit__(self, *exception) -> None:
        self._manager.close()

    @property
    def epoch(self) -> int:
        """Epochs finished when the newest state was saved, over all phases; 0 without one."""
        return self._manager.latest_step() or 0

    def seconds(self) -> float:
        """Time spent until the newest state. Raises CheckpointError."""
        return float(self._about()["seconds"])

    def _about(self) -> dict[str, Any]:
        return self._read(about=self._args.JsonRestore()).about

    def restore(self, states: Any) -> Any:
        """The newest state, of the structure and on the devices of `states`.

        Of its leading axes there may be more or fewer places than were saved: as everywhere the
        last one is repeated until all devices have as much to do.

        Raises:
          CheckpointError: it is damaged, or of another structure.
        """
        places = _places(states)
        saved = tuple(self._about().get("places", places))
        if saved == places:
            return self._read(states=self._args.StandardRestore(states)).states

        def as_saved(x):
            everywhere = NamedSharding(x.sharding.mesh, PartitionSpec())
            return jax.ShapeDtypeStruct((*saved, *x.shape[2:]), x.dtype, sharding=everywhere)

        found = self._read(states=self._args.StandardRestore(jax.tree.map(as_saved, states))).states
        kept = np.ix_(*(np.minimum(np.arange(count), most - 1)
                        for count, most in zip(places, saved, strict=True)))
        shardings = jax.tree.map(lambda x: x.sharding, states)
        pick = jax.jit(lambda tree: jax.tree.map(lambda x: x[kept], tree), out_shardings=shardings)
        return pick(found)

    def _read(self, **items):
        try:
            return self._manager.restore(self.epoch, args=self._args.Composite(**items))
        except Exception as error:  # whatever orbax, tensorstore or json find wrong
            reason = str(error).partition("\n")[0][:200]
            raise CheckpointError(
                f"cannot read checkpoint {self._folder / str(self.epoch)}: {reason}"
            ) from error

    def save(self, epoch: int, seconds: float, states: Any) -> None:
        """Saves a state; a kill meanwhile leaves the one before. Raises CheckpointError."""
        about = self._args.JsonSave({"seconds": seconds, "places": _places(states)})
        states = self._args.StandardSave(states)
        try:
            # Seen here first: the threads of a save that fails print tracebacks of their own.
            os.listdir(self._folder)
            self._manager.save(epoch, args=self._args.Composite(about=about, states=states))
        except (OSError, ValueError) as error:  # tensorstore reports a full disk as a ValueError
            raise self._unwritable(error) from error

    def forget(self) -> None:
        """Removes the saved state."""
        for step in self._manager.all_steps():
            self._manager.delete(step)


def _places(states: Any) -> tuple[int, ...]:
    """Of replicas along the two leading axes, those included that only fill up devices."""
    return jax.tree.leaves(states)[0].shape[:2]


def remove(folder: Path) -> None:
    """Removes what a finished chunk left, and the folder above if nothing else is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


def unfinished(folder: Path) -> list[list[str]]:
    """Members of every chunk that left a checkpoint under `folder`, in their order."""
    chunks = []
    for file in sorted(Path(folder).glob(f"*/{_MEMBERS}")):
        with contextlib.suppress(OSError, ValueError):  # a damaged one is not resumed
            if any(other.name.isdigit() for other in file.parent.iterdir()):  # a state was saved
                chunks.append([str(member) for member in json.loads(file.read_text())])
    return chunks


def _write(file: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    if not file.exists():
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_text(text)
        draft.replace(file)
