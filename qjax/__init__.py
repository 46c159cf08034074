"""qjax: learning with few-level weights, as pure functions on arrays and trees.

Modules: `quantize` (grids and quantizers), `updates` (how an update reaches a grid), `feedback`,
`hsic`, `synthetic` (the pieces of the learning rules), `networks` (blocks), `algorithms` (the
rules, behind one interface), `training` (epochs and replicas), `schedules`, `metrics`.
"""

from qjax import (
    algorithms,
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
