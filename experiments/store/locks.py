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

__all__ = ["Claimant", "alive_in"]

_PREFIX = ".running-"


def alive_in(folder: Path) -> set[str]:
    """Names of the programs that have claims in a folder and are still running."""
    return {file.name.removeprefix(_PREFIX) for file in Path(folder).glob(f"{_PREFIX}*")
            if _is_locked(file)}


def _is_locked(path: Path) -> bool:
    """Is its program still running? Where that cannot be asked, it is.

    Asks for a shared lock: two that ask at once must not take each other for the program.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:  # another user's
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _path(folder: Path, name: str) -> Path:
    return Path(folder) / f"{_PREFIX}{name}"


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
        if _is_locked(_path(self._folder, name)):
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
