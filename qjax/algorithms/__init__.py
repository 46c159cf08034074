"""Learning algorithms behind one interface: pure init, step and predict over one train state."""

from qjax.algorithms.backprop import backprop
from qjax.algorithms.dni import dni
from qjax.algorithms.fa import fa
from qjax.algorithms.hsic import hsic
from qjax.algorithms.interface import (
    Algorithm,
    Batch,
    Phase,
    Rules,
    Settings,
    TrainState,
)

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Batch",
    "Phase",
    "Rules",
    "Settings",
    "TrainState",
    "backprop",
    "dni",
    "fa",
    "hsic",
]

# name -> (network, rules) -> Algorithm
ALGORITHMS = {"backprop": backprop, "fa": fa, "dni": dni, "hsic": hsic}
