"""Trains many replicas: plans, claims, runs, and survives what goes wrong.

`main` is all of it, from parsed arguments to an exit code. What there is to say of finished
replicas it leaves to the function that it is given. `Program`, what a group of cells compiles to,
and `make_mesh` serve measurements too; `file_of` says where a trained network is kept.
"""

from experiments.sweep.arguments import add_arguments
from experiments.sweep.devices import make_mesh
from experiments.sweep.interrupts import leave
from experiments.sweep.networks import file_of
from experiments.sweep.program import Program
from experiments.sweep.stages import main

__all__ = ["Program", "add_arguments", "file_of", "leave", "main", "make_mesh"]
