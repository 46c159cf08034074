"""How a program meets its terminal: characters that it lacks, a reader who has gone.

Texts use a few characters beyond ASCII; where the encoding of the output has none of them (a C
locale, an old console), look-alikes stand in, and rich draws its tables with ASCII by itself.
"""

import codecs
import importlib
import os
import sys
from collections.abc import Callable
from typing import NoReturn

__all__ = ["require", "run"]

_LOOKALIKES = {"±": "+-", "°": " deg", "…": "..."}
_HANDLER = "qjax-lookalikes"


def _look_alike(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_LOOKALIKES.get(c, "?") for c in text), error.end


codecs.register_error(_HANDLER, _look_alike)


def run(main: Callable[[], int], leave: Callable[[int], NoReturn] = sys.exit) -> NoReturn:
    """Runs a program to its exit code; ends quietly where nobody reads its output any more.

    Args:
      main: of the program.
      leave: ends the process with a code.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_HANDLER)
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # What Python still wants to write as it ends goes nowhere, without a complaint.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    leave(code)


def require(package: str, program: str) -> None:
    """Ends a program (exit code 2) with a sentence if a package that it needs is missing."""
    try:
        importlib.import_module(package)
    except ImportError:
        sys.stderr.write(
            f"error: {program} needs {package}, not installed here: "
            "pip install -e '.[experiments]'\n"
        )
        sys.exit(2)
