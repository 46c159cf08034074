"""What holds the weights of a cell: which leaves are floats, and what holds the others."""

from collections.abc import Callable, Sequence
from typing import Any

from experiments.cells.cell import Cell
from experiments.cells.kinds import NONE, has_hidden, numbers
from qjax.memories import ByLeaf, Float, by_leaf, has_grid, named, with_numbers
from qjax.networks import is_bias, is_log_gain
from qjax.quantize import make_quantizer
from qjax.synthetic import is_synthesizer
from qjax.trees import Where

__all__ = ["memory_of"]

# Leaves that are floats, whatever holds the others, and in which cells.
_FLOATS: Sequence[tuple[Where, Callable[[Cell], bool]]] = (
    (is_log_gain, lambda cell: True),
    (is_bias, lambda cell: cell.bias == "float"),
    (is_synthesizer, lambda cell: cell.synthesizer_lr is not None),
)


def memory_of(cell: Cell, program: Cell) -> ByLeaf:
    """What holds the weights of a cell.

    Args:
      cell: whose numbers it has.
      program: of the cell's group, with a memory: an unquantized network joins others.
    """
    kind = named(program.update)
    if cell.n_bits is None:  # with the spacing of the others, which is part of the program
        grid = make_quantizer(None, "symm" if program.quantizer == NONE else program.quantizer)
    else:
        grid = make_quantizer(cell.n_bits, cell.quantizer, cell.scope)
    floats = [(where, Float()) for where, applies in _FLOATS if applies(program)]
    own: dict[str, Any] = {"grid": grid} if has_grid(kind) else {}
    if has_hidden(program.update):
        own["hidden_bits"] = cell.hidden_bits or 0
    return by_leaf(*floats, with_numbers(kind.replace(**own), **numbers(cell.numbers)))
