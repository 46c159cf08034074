"""What holds a weight: everything between an optimizer's proposal and the weight that multiplies.

A memory is written for one tensor (`qjax.memories.interface.Memory`): its fields are its numbers,
its methods say how a weight is put in, changed and read. `hold`, `read`, `write` and `account` do
that for whole trees; `ByLeaf` says which leaf is held by which memory.

A new memory is a module with such a class, and a line in `MEMORIES` (`qjax.memories.words`).
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
    draws,
    grid_of,
    hold,
    is_a_memory,
    is_held,
    place,
    programmed,
    read,
    takes_activity,
    wait,
    write,
)
from qjax.memories.latent import Latent
from qjax.memories.mixed import MixedPrecision
from qjax.memories.on_grid import Nearest, Pulse, Stochastic
from qjax.memories.pulsed import Activity, Pulsed
from qjax.memories.several import OneSided, Several
from qjax.memories.transfer import Buffered, Chopped, Dynamic, TikiTaka
from qjax.memories.verified import WriteVerify
from qjax.memories.words import MEMORIES, about, counting_of, is_memory, named
from qjax.numbers import Number, check_numbers, has_grid, number, numbers_of, with_numbers

__all__ = [
    "MEMORIES",
    "Activity",
    "Bits",
    "Buffered",
    "ByLeaf",
    "Chopped",
    "Counter",
    "Dynamic",
    "Float",
    "Held",
    "Hidden",
    "Latent",
    "Memory",
    "MixedPrecision",
    "Nearest",
    "Number",
    "OneSided",
    "Pulse",
    "Pulsed",
    "Several",
    "Stochastic",
    "TikiTaka",
    "WriteVerify",
    "about",
    "account",
    "behind",
    "by_leaf",
    "check_numbers",
    "counting_of",
    "draws",
    "grid_of",
    "has_grid",
    "hold",
    "is_a_memory",
    "is_held",
    "is_memory",
    "named",
    "number",
    "numbers_of",
    "place",
    "programmed",
    "read",
    "takes_activity",
    "wait",
    "with_numbers",
    "write",
]
