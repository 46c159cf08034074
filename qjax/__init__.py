"""qjax: learning with few-level weights, as pure functions on arrays and trees.

Modules: `spacings`, `kinds`, `grids` and `rounding` (the levels of one tensor), `quantize` (the
same for whole trees, and what other code imports), `trees` (leaves by path), `devices` (memristors
that are neither exact nor equal), `memories` (what holds a weight and how it is written), `numbers`
(what both say of theirs), `optimizers`, `feedback`, `hsic`, `synthetic` (the pieces of the
learning rules), `blocks` and `networks`, `losses`, `algorithms` (the rules, behind one interface),
`training` and `replicas` (epochs, of many networks at once), `schedules`, `metrics`,
`diagnostics` (what goes on inside while a network trains), `attribution` (what in its input a
network looks at), `saved` (a trained network as one file, which `load` reads).
"""

from qjax import (
    algorithms,
    attribution,
    blocks,
    devices,
    diagnostics,
    feedback,
    grids,
    hsic,
    kinds,
    losses,
    memories,
    metrics,
    networks,
    numbers,
    optimizers,
    quantize,
    replicas,
    rounding,
    saved,
    schedules,
    spacings,
    synthetic,
    training,
    trees,
)
from qjax.saved import load

__version__ = "0.1.0"

__all__ = [
    "algorithms",
    "attribution",
    "blocks",
    "devices",
    "diagnostics",
    "feedback",
    "grids",
    "hsic",
    "kinds",
    "load",
    "losses",
    "memories",
    "metrics",
    "networks",
    "numbers",
    "optimizers",
    "quantize",
    "replicas",
    "rounding",
    "saved",
    "schedules",
    "spacings",
    "synthetic",
    "training",
    "trees",
]
