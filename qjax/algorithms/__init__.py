"""Learning algorithms behind one interface: pure init, step and predict over one train state.

To write another one, say what gradient every weight gets on a batch, and let `from_gradient` make
the algorithm of it; `init_blocks`, `run_blocks` and `chain` are what the ones here are made of. The
line in `ALGORITHMS` is what the command line needs.
"""

from collections.abc import Callable
from functools import partial

from qjax.algorithms.backprop import backprop
from qjax.algorithms.dfa import dfa
from qjax.algorithms.dni import dni
from qjax.algorithms.fa import brsf, fa, frsf, kp, usf
from qjax.algorithms.gradient import from_gradient
from qjax.algorithms.hsic import hsic
from qjax.algorithms.interface import (
    Algorithm,
    Batch,
    Phase,
    Rules,
    Settings,
    TrainState,
)
from qjax.algorithms.passes import Forward, chain, init_blocks, run_blocks, true_chain
from qjax.algorithms.through_time import dni_time, tbptt
from qjax.synthetic import Synthesizer

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Batch",
    "Forward",
    "Phase",
    "Rules",
    "Settings",
    "TrainState",
    "backprop",
    "brsf",
    "chain",
    "dfa",
    "dni",
    "dni_time",
    "fa",
    "from_gradient",
    "frsf",
    "hsic",
    "init_blocks",
    "kp",
    "run_blocks",
    "tbptt",
    "true_chain",
    "usf",
]

# name -> (network, rules) -> Algorithm
ALGORITHMS: dict[str, Callable[..., Algorithm]] = {
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
    "dni_quiet": partial(dni, synthesizer=Synthesizer(quiet=True)),
    "dni_unconditional": partial(dni, synthesizer=Synthesizer(quiet=True), label_context=False),
    "dni_inputs": partial(dni, synthesizer=Synthesizer(quiet=True), synthetic_inputs=True),
    "dni_time": dni_time,
    "tbptt": tbptt,
    "hsic": hsic,
    "hsic_sigmas": partial(hsic, sigma=(1.0, 5.0, 10.0)),
    "hsic_unformatted": partial(hsic, formatted=False),
}
