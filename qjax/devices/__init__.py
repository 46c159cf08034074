"""Memristors and their like, as pure functions: devices that are neither exact nor equal."""

from qjax.devices import chance
from qjax.devices.converters import Converters, Crossbar, digitized, product, resolution_of
from qjax.devices.device import Device, Moves, Points
from qjax.devices.presets import PRESETS, Preset
from qjax.devices.pulses import bound, jump, many, pulse, train
from qjax.devices.steps import (
    ConstantStep,
    ExpStep,
    LinearStep,
    PiecewiseStep,
    PowStep,
    SoftBounds,
    SoftBoundsReference,
    soft_bounds_pmax,
)
from qjax.devices.trains import Lines, Trains, counts, lines, outer, outer_batch
from qjax.devices.upkeep import Rates, Upkeep, decay, diffuse, drift, reset

__all__ = [
    "PRESETS", "ConstantStep", "Converters", "Crossbar", "Device", "ExpStep", "LinearStep", "Lines",
    "Moves", "PiecewiseStep", "Points", "PowStep", "Preset", "Rates", "SoftBounds",
    "SoftBoundsReference", "Trains", "Upkeep", "bound", "chance", "counts", "decay", "diffuse",
    "digitized", "drift", "jump", "lines", "many", "outer", "outer_batch", "product", "pulse",
    "reset", "resolution_of", "soft_bounds_pmax", "train",
]
