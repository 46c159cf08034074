"""qjax: learning with few-level weights, as pure functions on arrays and trees.

Modules: `grids` (levels of one tensor), `quantize` (the same for whole trees), `trees` (leaves by
path), `updates` (how an update reaches a grid), `feedback`, `hsic`, `synthetic` (the pieces of the
learning rules), `networks` (blocks), `algorithms` (the rules, behind one interface), `training`
(epochs and replicas), `schedules`, `metrics`, `diagnostics` (what goes on inside while a network
trains).
"""

from qjax import (
    algorithms,
    diagnostics,
    feedback,
    grids,
    hsic,
    metrics,
    networks,
    quantize,
    schedules,
    synthetic,
    training,
    trees,
    updates,
)

__version__ = "0.1.0"

__all__ = [
    "algorithms",
    "diagnostics",
    "feedback",
    "grids",
    "hsic",
    "metrics",
    "networks",
    "quantize",
    "schedules",
    "synthetic",
    "training",
    "trees",
    "updates",
]
