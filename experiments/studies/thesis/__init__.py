"""The thesis's study: its cells, what it published, how ours agree with that, and its claims.

`THESIS` is what tables and figures need to know of it, `with_published` the same with a file of
published results. `comparison` has the tables of agreement; `render` tests the claims.
"""

from experiments.studies.thesis import comparison
from experiments.studies.thesis.agreement import compare, select
from experiments.studies.thesis.pairs import trained
from experiments.studies.thesis.protocol import PARTS, cells
from experiments.studies.thesis.published import (
    OPTIONAL,
    REQUIRED,
    Key,
    Published,
    read_published,
)
from experiments.studies.thesis.study import THESIS, with_published
from experiments.studies.thesis.verdicts import MARKERS, render, spliced

__all__ = [
    "MARKERS", "OPTIONAL", "PARTS", "REQUIRED", "THESIS", "Key", "Published", "cells", "compare",
    "comparison", "read_published", "render", "select", "spliced", "trained", "with_published",
]
