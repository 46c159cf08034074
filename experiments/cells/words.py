"""Cells in the words of the command line: what an algorithm has without a flag, and what to type.

`usual_of` is what `experiments.run` makes of flags that are not given, `command_of` its inverse.
"""

import shlex
from dataclasses import replace
from typing import Any

from experiments.cells.cell import AXES, Cell
from experiments.cells.presets import LEARNING_RATES, OWN_RATE, preset_of
from experiments.commandline import options

__all__ = ["command_of", "usual_of"]


def usual_of(algorithm: str, n_bits: int | None, optimizer: str | None = None) -> dict[str, Any]:
    """Values of the axes that are the algorithm's own where no flag says otherwise.

    Args:
      algorithm: name.
      n_bits: None for networks that are not quantized.
      optimizer: one that was asked for, with its usual learning rate; None: the algorithm's.
    """
    preset = preset_of(algorithm)
    usual = {name: about.preset(preset, n_bits is not None) for name, about in AXES.items()
             if about.preset}
    if optimizer in (None, usual["optimizer"]):
        return usual
    return usual | {"optimizer": optimizer, "lr": LEARNING_RATES.get(optimizer, OWN_RATE)}


def command_of(cell: Cell) -> str:
    """The command that trains this cell and no other, with the flags that are not as usual."""
    usual = {name: about.given[0] for name, about in AXES.items() if about.given}
    usual |= usual_of(cell.algorithm, cell.n_bits, cell.optimizer)
    usual["optimizer"] = usual_of(cell.algorithm, cell.n_bits)["optimizer"]
    words = ["python", "-m", "experiments.run", "--algorithm", cell.algorithm,
             "--dataset", cell.dataset]
    for name, about in AXES.items():
        # What the axis would be without its flag, all others being as they are.
        without = about.settled(replace(cell, **{name: usual[name]}), name)
        if name not in ("algorithm", "dataset") and without != getattr(cell, name):
            flag = about.flags[-1] if about.flags else "--" + name.replace("_", "-")
            words += [flag, *_spelled(getattr(cell, name), name)]
    return shlex.join(words)


def _spelled(value: Any, name: str) -> list[str]:
    if name == "numbers":  # one word each
        return value.split()
    if isinstance(value, float) and float(f"{value:g}") == value:
        return [f"{value:g}"]
    return [options.spell(value, name)]
