"""Memristors and their like, as pure functions: devices that are neither exact nor equal."""

from qjax.devices.device import Device, Moves, Points
from qjax.devices.presets import PRESETS, Preset
from qjax.devices.pulses import bound, many, pulse, train
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
from qjax.devices.upkeep import Rates, Upkeep, decay, diffuse, drift, reset

__all__ = [
    "PRESETS", "ConstantStep", "Device", "ExpStep", "LinearStep", "Moves", "PiecewiseStep",
    "Points", "PowStep", "Preset", "Rates", "SoftBounds", "SoftBoundsReference", "Upkeep", "bound",
    "decay", "diffuse", "drift", "many", "pulse", "reset", "soft_bounds_pmax", "train",
]
