"""What single devices are like: numbers, pictures, and models of measured ones.

The module `picture` needs matplotlib, and is imported only by name.
"""

from experiments.circuit.facts import Facts, facts_of
from experiments.circuit.fitting import (
    Fit,
    Measured,
    MeasuredError,
    fit,
    fits,
    read_measured,
)

__all__ = [
    "Facts", "Fit", "Measured", "MeasuredError", "facts_of", "fit", "fits", "fitting", "picture",
    "read_measured",
]
