"""Things of Python modules by name, ``package.module:name``: without jax."""

import importlib
import re
from typing import Any

__all__ = ["found", "is_name"]


def is_name(text: str) -> bool:
    """Can this be the name of something in a module?"""
    return re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*",
                        text) is not None


def found(name: str) -> Any:
    """What has that name; its module is imported.

    Raises:
      ImportError, AttributeError: there is no such module, or nothing of that name in it.
    """
    module, _, path = name.partition(":")
    thing = importlib.import_module(module)
    for part in path.split("."):
        thing = getattr(thing, part)
    return thing
