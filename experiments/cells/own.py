"""What is not in this package: package.module:name where a word of a table may stand.

It enters the table under its name when that is first met, on a command line or in a result store.
"""

import argparse
import contextlib
from collections.abc import Callable, Iterable, MutableMapping
from pkgutil import resolve_name
from typing import Any, NamedTuple

import flax.linen as nn
import optax

from experiments.cells.networks import NETWORKS
from experiments.commandline import options
from qjax.algorithms import ALGORITHMS
from qjax.memories import MEMORIES, is_a_memory
from qjax.optimizers import OPTIMIZERS

__all__ = ["ALGORITHM", "MEMORY", "NETWORK", "OPTIMIZER", "Table", "adopt", "enter", "word_of"]


class Table(NamedTuple):
    """A table of words.

    Attributes:
      words: name -> what there is under it.
      what: is expected of something that is not in it.
      entry: thing -> what the table has of it; TypeError or ValueError: it does not fit.
    """

    words: MutableMapping[str, Any]
    what: str
    entry: Callable[[Any], Any]


def _called(thing: Any) -> Any:
    if not callable(thing):
        raise TypeError(f"{thing!r} cannot be called")
    return thing


def _optimizer(thing: Any) -> Any:
    if not isinstance(_called(thing)(), optax.GradientTransformation):
        raise TypeError("what it gives is no optax.GradientTransformation")
    return thing


def _network(thing: Any) -> Any:
    _called(thing)

    def network(cell, outputs):
        del cell
        blocks = thing(outputs)
        return (blocks,) if isinstance(blocks, nn.Module) else tuple(blocks)

    return network


def _memory(thing: Any) -> Any:
    if not is_a_memory(thing() if isinstance(thing, type) else thing):
        raise TypeError("it has not all of init, read, write and account")
    return thing


ALGORITHM = Table(ALGORITHMS, "(network, rules) -> qjax.algorithms.Algorithm", _called)
OPTIMIZER = Table(OPTIMIZERS, "() -> optax transformation without a step size, such as "
                  "optax:scale_by_lion", _optimizer)
NETWORK = Table(NETWORKS, "(outputs) -> blocks, Flax Linen modules", _network)
MEMORY = Table(MEMORIES, "a memory with a default for all its fields, see qjax.memories.Memory",
               _memory)


def adopt(table: Table, name: str) -> None:
    """Enters what has that name, if the table has no such word.

    Raises:
      ImportError, AttributeError: there is nothing of that name.
      TypeError, ValueError: it does not fit.
    """
    # A first part that the table knows makes it one of its own words, as in tiki_taka:reram_es.
    known = {name, name.partition(":")[0]} & table.words.keys()
    if options.is_name(name) and not known:
        table.words[name] = table.entry(resolve_name(name))


def enter(table: Table, words: Iterable[str]) -> None:
    """Enters what has these names, as far as it is at hand and fits."""
    for word in words:
        with contextlib.suppress(ImportError, AttributeError, TypeError, ValueError):
            adopt(table, word)


def word_of(table: Table) -> Callable[[str], str]:
    """Argument type: a word of a table, or package.module:name."""

    def parse(text: str) -> str:
        try:
            adopt(table, text)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            near = options.nearest(text.partition(":")[0], table.words)
            raise argparse.ArgumentTypeError(
                f"{text}: {error}{near or ':'} expected {table.what}, as package.module:name of a "
                "package that is installed or in this folder") from None
        return options.one_of(table.words)(text)

    return parse
