"""qjax: learning with few-level weights, as pure functions on arrays and trees.

Modules: `quantize` (grids and quantizers), `updates` (how an update reaches a grid), `feedback`,
`hsic`, `synthetic` (the pieces of the learning rules), `networks` (blocks), `algorithms` (the
rules, behind one interface), `training` (epochs and replicas), `schedules`, `metrics`,
`diagnostics` (what goes on inside while a network trains).
"""

from qjax import (
    algorithms,
    diagnostics,
    feedback,
    hsic,
    metrics,
    networks,
    quantize,
    schedules,
    synthetic,
    training,
    updates,
)

__version__ = "0.1.0"

__all__ = [
    "algorithms",
    "diagnostics",
    "feedback",
    "hsic",
    "metrics",
    "networks",
    "quantize",
    "schedules",
    "synthetic",
    "training",
    "updates",
]
