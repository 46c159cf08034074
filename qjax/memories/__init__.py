"""What holds a weight: everything between an optimizer's proposal and the weight that multiplies.

A memory is written for one tensor (`qjax.memories.interface.Memory`): its fields are its numbers,
its methods say how a weight is put in, changed and read. `hold`, `read`, `write` and `account` do
that for whole trees; `ByLeaf` says which leaf is held by which memory.

A new memory is a module with such a class, and a line in `MEMORIES`.
"""

from qjax.memories.floats import Float
from qjax.memories.hidden import Counter, Hidden
from qjax.memories.interface import (
    Bits,
    ByLeaf,
    Held,
    Memory,
    account,
    behind,
    by_leaf,
    grid_of,
    hold,
    is_held,
    place,
    read,
    write,
)
from qjax.memories.latent import Latent
from qjax.memories.on_grid import Nearest, Pulse, Stochastic
from qjax.numbers import Number, check_numbers, has_grid, number, numbers_of

__all__ = [
    "MEMORIES",
    "Bits",
    "ByLeaf",
    "Counter",
    "Float",
    "Held",
    "Hidden",
    "Latent",
    "Memory",
    "Nearest",
    "Number",
    "Pulse",
    "Stochastic",
    "account",
    "behind",
    "by_leaf",
    "check_numbers",
    "grid_of",
    "has_grid",
    "hold",
    "is_held",
    "number",
    "numbers_of",
    "place",
    "read",
    "write",
]

# name -> class, whose first docstring line is what the command line says of it.
MEMORIES: dict[str, type] = {
    "nearest": Nearest,
    "stochastic": Stochastic,
    "pulse": Pulse,
    "latent": Latent,
    "hidden": Hidden,
    "counter": Counter,
}
