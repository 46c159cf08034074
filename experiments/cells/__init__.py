"""What can be trained: the grid's cells, and replicas, which are cells with a seed.

An axis of the grid is declared once (`cell.Cell`); flags, ids, groups and columns follow from it.
Beside it are the settings that an algorithm has where nothing else is said, the command that trains
a cell, and networks by name.
"""

from experiments.cells import kinds
from experiments.cells.account import account_of, weights_of
from experiments.cells.axes import add_flag
from experiments.cells.building import algorithm_of, crossbar_of, held_program, settings_of
from experiments.cells.cell import AXES, DEFAULTS, NONE, UNQUANTIZED, USUAL, Cell, by_flag, product
from experiments.cells.memories import memory_of
from experiments.cells.networks import NETWORKS, SMALLEST, network_label
from experiments.cells.presets import LEARNING_RATES, Preset, preset_of
from experiments.cells.replicas import Chunk, Replica, chunks_of, group, halves
from experiments.cells.words import command_of, usual_of

__all__ = [
    "account_of", "algorithm_of", "crossbar_of", "held_program", "settings_of",
    "AXES", "DEFAULTS", "LEARNING_RATES", "NETWORKS", "NONE", "SMALLEST", "UNQUANTIZED", "USUAL",
    "Cell", "Chunk", "Preset", "Replica", "add_flag", "by_flag", "chunks_of", "command_of", "group",
    "halves", "kinds", "memory_of", "network_label", "preset_of", "product", "usual_of",
    "weights_of",
]
