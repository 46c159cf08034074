"""The study of imperfect devices: which learning algorithm stands a real circuit best?

The modules `report` and `measured` need matplotlib, and are imported only by name.
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
from experiments.studies.imperfect.schemes import (
    DEVICES,
    OF_PAIRS,
    PLAIN,
    SCHEMES,
    Scheme,
    device_of,
    tried_on,
)

__all__ = [
    "ALGORITHMS", "DEVICES", "IMPERFECTIONS", "OF_PAIRS", "PLAIN", "SCHEMES", "Imperfection",
    "Scheme", "cells_of", "chosen", "device_of", "found_in", "ideals", "measured", "report",
    "tolerance", "tried_on",
]
