"""Training states on disk between epochs, so that `--resume` continues instead of starting over."""

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Checkpoints", "Saved"]


class Saved(NamedTuple):
    """A checkpoint found on disk.

    Attributes:
      epoch: epochs finished, over all phases.
      seconds: time spent until then.
      restore: (states of the same structure) -> the states saved, on the same devices.
    """

    epoch: int
    seconds: float
    restore: Callable[[Any], Any]


class Checkpoints:
    """The newest state of every unfinished chunk, kept by orbax under `folder`/<chunk id>."""

    def __init__(self, folder: Path, every_seconds: float = 20.0):
        """`every_seconds`: how much work an interruption may cost, besides the epoch in flight."""
        self._folder = Path(folder).absolute()
        self._every = every_seconds
        self._last = time.monotonic()

    def _manager(self, name: str):
        import orbax.checkpoint as ocp  # slow to import, and short runs never save

        options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
        return ocp, ocp.CheckpointManager(self._folder / name, options=options)

    def find(self, name: str) -> Saved | None:
        """The newest complete checkpoint of a chunk."""
        if not (self._folder / name).is_dir():
            return None
        ocp, manager = self._manager(name)
        epoch = manager.latest_step()
        if epoch is None:
            return None
        about = manager.restore(epoch, args=ocp.args.Composite(about=ocp.args.JsonRestore()))

        def restore(states):
            args = ocp.args.Composite(states=ocp.args.StandardRestore(states))
            return manager.restore(epoch, args=args).states

        return Saved(epoch, about.about["seconds"], restore)

    def save(self, name: str, epoch: int, seconds: float, states: Any) -> None:
        """Saves, unless the last save was a moment ago. Atomic: a kill leaves the one before."""
        if time.monotonic() - self._last < self._every:
            return
        ocp, manager = self._manager(name)
        about = ocp.args.JsonSave({"seconds": seconds})
        states = ocp.args.StandardSave(states)
        manager.save(epoch, args=ocp.args.Composite(about=about, states=states), force=True)
        manager.close()
        self._last = time.monotonic()

    def drop(self, name: str) -> None:
        """Removes what a finished chunk left."""
        shutil.rmtree(self._folder / name, ignore_errors=True)
        with contextlib.suppress(OSError):  # other chunks' checkpoints are still there
            self._folder.rmdir()
