"""The study of imperfect devices: which learning algorithm stands a real circuit best?

The module `report` needs matplotlib, and is imported only by name.
"""

from experiments.studies.imperfect.grid import (
    ALGORITHMS,
    IMPERFECTIONS,
    Imperfection,
    cells_of,
    chosen,
    found_in,
    ideals,
    tolerance,
)

__all__ = [
    "ALGORITHMS", "IMPERFECTIONS", "Imperfection", "cells_of", "chosen", "found_in", "ideals",
    "report", "tolerance",
]
