"""Learning algorithms behind one interface: pure init, step and predict over one train state."""

from functools import partial

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
from qjax.synthetic import Synthesizer

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
    "dni_linear": partial(dni, synthesizer=Synthesizer(hidden_layers=0)),
    "dni_conv": partial(dni, synthesizer=Synthesizer(size=5)),
    "hsic": hsic,
}
