"""What results look like to people: statistics over seeds, tables in several formats, figures.

Knows no study: what one has to say of its cells comes as a `Study`. The modules `figures`,
`gallery` and `look` need matplotlib, and are imported only by name. `python -m experiments.report`
makes `page`, one HTML file of any results.
"""

from experiments.report import panels
from experiments.report.estimates import Estimate, estimate, paired_differences
from experiments.report.formats import FORMATS, Column, Table, as_csv, in_file, markdown, terminal
from experiments.report.panels import Rows, split
from experiments.report.study import NO_STUDY, Study, position
from experiments.report.summary import FEW_BITS, tell
from experiments.report.tables import (
    INTERVALS,
    MEMORY,
    MEMORY_NOTE,
    WRITES_NOTE,
    memory_in,
    tables_of,
    writes_of,
)

__all__ = [
    "FEW_BITS", "FORMATS", "INTERVALS", "MEMORY", "MEMORY_NOTE", "NO_STUDY", "WRITES_NOTE",
    "Column", "Estimate", "Rows", "Study", "Table", "as_csv", "estimate", "figures", "gallery",
    "in_file", "look", "markdown", "memory_in", "page", "paired_differences", "panels", "position",
    "split", "tables_of", "tell", "terminal", "writes_of",
]
