"""The study of few bits: what trains with weights of 1 to 4 bits, and by which update rule.

Settings are chosen on held-out training data (`candidates`, `promoted`, `chosen`); `points` and
`table_of` make the report. The modules `costs`, `figure` and `widths` need matplotlib, and are
imported only by name.
"""

from experiments.studies.lowbit.report import points, table_of
from experiments.studies.lowbit.tuning import GIVEN, TUNING_SEED, candidates, chosen, promoted

__all__ = [
    "GIVEN", "TUNING_SEED", "candidates", "chosen", "costs", "figure", "points", "promoted",
    "table_of", "widths",
]
