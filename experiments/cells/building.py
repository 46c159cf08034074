"""What a cell is to the library: an algorithm on a network, and the numbers of its phases."""

import math
from dataclasses import fields, replace
from typing import Any

from experiments.cells.cell import AXES, Cell
from experiments.cells.kinds import NONE
from experiments.cells.memories import memory_of
from experiments.cells.networks import NETWORKS
from experiments.cells.presets import preset_of
from qjax import algorithms
from qjax.devices import Converters, Crossbar, resolution_of
from qjax.losses import LOSSES
from qjax.memories import named, takes_activity
from qjax.optimizers import OPTIMIZERS
from qjax.quantize import make_quantizer
from qjax.schedules import SCHEDULES

__all__ = ["algorithm_of", "crossbar_of", "held_program", "settings_of"]

# Axes that are settings of an algorithm under the same name.
_SAME = [f.name for f in fields(algorithms.Settings) if f.name in AXES]


def held_program(*cells: Cell) -> Cell:
    """The program of cells of one group, with the memory of those that have one."""
    programs = [c.program for c in cells]
    held = (program for program in programs if program.update != NONE)
    return next(held, replace(programs[0], update="nearest"))


def algorithm_of(program: Cell, outputs: int) -> algorithms.Algorithm:
    """The algorithm of a program on its network.

    The optimizer of the first phase is the cell's, those of the others are the preset's.
    """
    later = (phase.optimizer for phase in preset_of(program.algorithm).phases[1:])
    rules = [
        algorithms.Rules(
            OPTIMIZERS[name](),
            loss=LOSSES[program.loss],
            quantize_gradients=program.gradient_bits is not None,
            quantize_state=program.optimizer_bits is not None,
            by_example=(name == "sgd" and program.gradient_bits is None
                        and takes_activity(named(program.update))),
        )
        for name in (program.optimizer, *later)
    ]
    network = NETWORKS[program.network](program, outputs)
    return algorithms.ALGORITHMS[program.algorithm](network, *rules)


def settings_of(cell: Cell, program: Cell, phase: int) -> algorithms.Settings:
    """The numbers of a cell in a phase; `program`: see `memory_of`."""
    own = cell if phase == 0 else preset_of(cell.algorithm).phases[phase]
    plain = {name: getattr(own, name, getattr(cell, name)) for name in _SAME}
    return algorithms.Settings(**plain | {
        "learning_rate": own.lr,
        "schedule": SCHEDULES[cell.schedule if phase == 0 else "exponential"],
        "epochs": (cell.epochs, cell.readout_epochs)[phase],
        "memory": memory_of(cell, program),
        "crossbar": crossbar_of(cell),
        "gradient_quantizer": make_quantizer(cell.gradient_bits, "asymm", "local"),
        "state_quantizer": make_quantizer(cell.optimizer_bits, "pow2", "local"),
        "gain": 1.0 if cell.gain is None else cell.gain,
        # Of the first phase's optimizer: others have other sizes.
        "threshold": cell.threshold if phase == 0 else 0.0,
        "beside_rate": (cell.synthesizer_lr or cell.lr) / cell.lr,
    })


def crossbar_of(cell: Cell) -> Crossbar | None:
    """The converters of a cell, with aihwkit's bounds; None: products are exact."""

    def converters(dac_bits: int | None, adc_bits: int | None, **more: Any) -> Converters | None:
        if dac_bits is None and adc_bits is None and not cell.read_noise:
            return None
        return Converters(
            inp_res=resolution_of(dac_bits), out_res=resolution_of(adc_bits),
            out_bound=math.inf if adc_bits is None else 12.0, out_noise=cell.read_noise, **more)

    forward = converters(cell.dac_bits, cell.adc_bits)
    # As in aihwkit: no error is sent a second time.
    backward = converters(cell.error_dac_bits, cell.error_adc_bits, bound_management="none")
    if forward is None and backward is None:
        return None
    return Crossbar(forward, backward, noisy=cell.read_noise > 0)
