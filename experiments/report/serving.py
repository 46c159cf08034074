"""A page that stays current: a small web server for this machine alone.

It makes the page again when the files of the results have changed, but never spends more than a
tenth of its time on that: a sweep may want the same cores.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from experiments.report.page import page_of
from experiments.store import FILE_NAME, alive_in, results, selection

__all__ = ["Live", "server_of", "stamp_of"]

HOST = "127.0.0.1"
_REST = 9.0  # times what the page took, at least, until it is made again


def stamp_of(sources: Iterable[Path]) -> str:
    """Names a state of the sources: another one as soon as one of their files is written to.

    Or as a program ends that was training there: one that is killed writes nothing.
    """
    parts = []
    for path in sources:
        path = path / FILE_NAME if path.is_dir() else path
        with contextlib.suppress(OSError):  # what is wrong with a source says who reads it
            parts += [_state(file) for file in sorted(path.parent.iterdir())
                      if file.is_file() and _belongs(file.name, path.name)]
            parts += sorted(alive_in(path.parent))
    return "-".join(filter(None, parts))


def _belongs(name: str, source: str) -> bool:
    """A store's log is beside it, an export's epochs are; the log's index changes by reading."""
    return name.startswith(source.partition(".")[0]) and not name.endswith(("-shm", ".html"))


def _state(file: Path) -> str:
    """Nothing of an empty log: readers make it, and take it away again."""
    try:
        about = file.stat()
    except FileNotFoundError:
        return ""
    return f"{about.st_mtime_ns:x}.{about.st_size:x}" if about.st_size else ""


class Live:
    """The page of some sources, made again when they have changed.

    Attributes:
      stamp: of the state that the page shows.
      page: as bytes.
    """

    def __init__(self, sources: Sequence[Path], conditions: Sequence[selection.Condition] = (),
                 clock: Callable[[], float] = time.monotonic):
        """Makes the page for the first time.

        Raises:
          ResultsError: see `page_of`.
        """
        self._sources, self._conditions = sources, conditions
        self._clock, self._lock = clock, threading.Lock()
        self._make(stamp_of(sources))
        self._next = clock()  # what took long may have been done once for all

    def _make(self, stamp: str) -> None:
        started = self._clock()
        try:
            self.page = page_of(self._sources, self._conditions, stamp).encode()
            self.stamp = stamp
        finally:
            self._next = self._clock() + _REST * (self._clock() - started)

    def refresh(self) -> None:
        """Makes the page again if its sources have changed, and the last time is long enough ago.

        Where they cannot be read any more it stays as it is, and the terminal says why.
        """
        with self._lock:
            try:
                stamp = stamp_of(self._sources)
                if stamp != self.stamp and self._clock() >= self._next:
                    self._make(stamp)
            except (results.ResultsError, OSError) as error:
                print(f"the page stays as it is: {error}", file=sys.stderr, flush=True)


def server_of(live: Live, port: int) -> ThreadingHTTPServer:
    """A server of the page, at / , and of its stamp, at /stamp; port 0: any that is free.

    Raises:
      OSError: the port is taken, or may not be used.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            """Answers a browser."""
            live.refresh()
            known = {"/": ("text/html", live.page), "/stamp": ("text/plain", live.stamp.encode())}
            if self.path not in known:
                self.send_error(404)
                return
            kind, body = known[self.path]
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Not a line for every question of a page."""

    return ThreadingHTTPServer((HOST, port), Handler)
