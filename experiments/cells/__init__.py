"""What can be trained: axes, cells, replicas, and how they are grouped; settings by algorithm."""

from experiments.cells.cell import (
    AXES,
    DEFAULTS,
    NONE,
    UNQUANTIZED,
    Cell,
    Chunk,
    Replica,
    chunks_of,
    group,
    halves,
    product,
)

__all__ = [
    "AXES", "DEFAULTS", "NONE", "UNQUANTIZED", "Cell", "Chunk", "Replica", "chunks_of", "group",
    "halves", "product",
]
