"""What results look like to people: statistics over seeds, tables in several formats, figures.

Knows no study: what one has to say of its cells comes as a `Study`. The modules `figures`,
`gallery`, `graphs` and `look` need matplotlib, and are imported only by name. `relation` says what
a figure by `graphs` shows, in the words of `columns`; `choice` which cells are best.
`python -m experiments.report` makes `page`, one HTML file of any results.
"""

from experiments.report import choice, columns, panels, relation, scores
from experiments.report.estimates import Estimate, estimate, paired_differences
from experiments.report.formats import FORMATS, Column, Table, as_csv, in_file, markdown, terminal
from experiments.report.panels import Rows, split
from experiments.report.study import NO_STUDY, Study, position
from experiments.report.summary import FEW_BITS, spread, tell
from experiments.report.tables import (
    DIVERGED,
    INTERVALS,
    MEMORY,
    MEMORY_NOTE,
    WRITES_NOTE,
    memory_in,
    tables_of,
    writes_of,
)

__all__ = [
    "DIVERGED", "FEW_BITS", "FORMATS", "INTERVALS", "MEMORY", "MEMORY_NOTE", "NO_STUDY",
    "WRITES_NOTE", "Column", "Estimate", "Rows", "Study", "Table", "as_csv", "choice", "columns",
    "estimate", "figures", "gallery", "graphs", "in_file", "look", "markdown", "memory_in", "page",
    "paired_differences", "panels", "position", "relation", "scores", "split", "spread",
    "tables_of", "tell", "terminal", "writes_of",
]
