"""Learning algorithms behind one interface: pure init, step and predict over one train state."""

from qjax.algorithms.backprop import backprop
from qjax.algorithms.dfa import dfa
from qjax.algorithms.dni import dni
from qjax.algorithms.fa import brsf, fa, frsf, kp, usf
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
    "brsf",
    "dfa",
    "dni",
    "fa",
    "frsf",
    "hsic",
    "kp",
    "usf",
]

# name -> (network, rules) -> Algorithm
ALGORITHMS = {
    "backprop": backprop,
    "fa": fa,
    "usf": usf,
    "frsf": frsf,
    "brsf": brsf,
    "kp": kp,
    "dfa": dfa,
    "dni": dni,
    "hsic": hsic,
}
