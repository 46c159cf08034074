"""The command that trains a cell trains that cell: read back by the program itself."""

import shlex

import pytest

from experiments import run
from experiments.cells import command_of

WORDS = (
    "--algorithm backprop",
    "--algorithm hsic --n-bits 3 float --readout-epochs 7 --epochs 3 --gamma 0.5",
    "--algorithm fa dfa hsic --optimizer adam sgd adadelta --lr 0.003 1.0 --schedule linear",
    "--algorithm hsic --n-bits 4 float --optimizer adam",
    "--n-bits 2 --memory hidden --hidden-bits 6 +2 float --scope global",
    "--n-bits 2 --quantizer levels:-1:-0.3:0.3:1 symm asymm --gradient-bits 8 float",
    "--memory soft_bounds nearest --set dw_min=0.01,0.123456789012 nu=0.05 --wait 60 0",
    "--algorithm dni --synthesizer-lr 1e-5 none --gain 1.5 none --gain-rule learned",
    '--dataset mnist_holdout "./my data.npz" --network lenet mlp --n-layers 3 --loss squared_error',
    "--n-bits 5 float --memory latent --bias float --dac-bits 7 --adc-bits 9 --read-noise 0.1",
)


def planned(words):
    return run.cells_of(run.parser().parse_args(words))


def read_back(cell):
    python, dash_m, program, *words = shlex.split(command_of(cell))
    assert (python, dash_m, program) == ("python", "-m", "experiments.run")
    return planned(words)


@pytest.mark.parametrize("words", WORDS)
def test_a_command_trains_its_cell_and_no_other(words):
    cells = planned(shlex.split(words))
    assert cells
    for cell in cells:
        assert read_back(cell) == [cell]


def test_only_what_is_not_as_usual_is_said():
    (cell,) = planned(shlex.split("--algorithm fa --optimizer adam --lr 0.001 --n-bits 3"))
    assert command_of(cell) == (
        "python -m experiments.run --algorithm fa --dataset digits --n-bits 3 --optimizer adam")
