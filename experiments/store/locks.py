"""Who is training what: a lock per running program, which the kernel drops when the program ends.

However a program ends - kill -9 and power cuts included - its lock is free at that instant, so
nothing has to be timed out and nothing can stay claimed for ever. Needs a file system with `flock`
(local ones, NFS since version 4).
"""

import contextlib
import fcntl
import os
import uuid
from pathlib import Path

__all__ = ["Claimant", "is_alive"]


def is_alive(folder: Path, name: str | None) -> bool:
    """Is the program of this name still running? Where that cannot be asked, it is."""
    if name is None:
        return False
    try:
        file = os.open(_path(folder, name), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:  # another user's, or a file system that may only be read
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _path(folder: Path, name: str) -> Path:
    return Path(folder) / f".running-{name}"


class Claimant:
    """This program as others see it.

    Attributes:
      name: unique; what this program writes beside what it claims.
    """

    def __init__(self, folder: Path):
        """Makes and locks a small file in `folder`. Raises OSError."""
        self._folder = Path(folder)
        self.name = uuid.uuid4().hex[:12]
        self._file = os.open(_path(folder, self.name), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def is_other_alive(self, name: str | None) -> bool:
        """Is `name` another program, and is it still running?"""
        if name is None or name == self.name:
            return False
        if is_alive(self._folder, name):
            return True
        self._remove(name)  # it ended without doing so itself
        return False

    def close(self) -> None:
        """Gives up all claims."""
        self._remove(self.name)
        os.close(self._file)

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            _path(self._folder, name).unlink()
