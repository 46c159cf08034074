"""The memory estimate against what XLA reserves for the whole program."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from examples import CELL

from experiments.cells import preset_of
from experiments.data import Dataset, load
from experiments.sweep import Program, make_mesh
from experiments.sweep import footprint as footprint_module
from experiments.sweep.footprint import Footprint, available, footprint, is_exhausted, size
from qjax import training


def images(train, test):
    """Random images of MNIST's shape."""
    rng = np.random.default_rng(0)

    def part(count):
        pixels = rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
        return pixels, rng.integers(0, 10, count).astype(np.int32)

    return Dataset("mnist", *part(train), *part(test), 10, 255, 0.13, 0.31)


def cell_of(algorithm, width, dataset="mnist"):
    first = preset_of(algorithm).phases[0]
    return replace(
        CELL, algorithm=algorithm, dataset=dataset, n_layers=1, hidden_width=width,
        optimizer=first.optimizer, batch_size=64,
    )


def reserved(cell, dataset, replicas, diagnose=False):
    """Bytes a device holds while the compiled epochs of all phases run: the largest of them."""
    mesh = make_mesh(1, replicas)
    program = Program((cell,) * replicas, dataset, mesh)
    states = jax.eval_shape(program.init(), program.keys([0], 0), program.settings(0))
    most = 0
    for number, phase in enumerate(program.algorithm.phases):
        settings = program.settings(number)
        states = jax.eval_shape(training.make_begin(phase, mesh), settings, states)
        arguments = (program.keys([0], 1), 0, settings, states, program.data)
        lowered = program.epoch(number, diagnose=diagnose).lower(*arguments)
        analysis = lowered.compile().memory_analysis()
        most = max(
            most,
            analysis.argument_size_in_bytes + analysis.output_size_in_bytes
            + analysis.temp_size_in_bytes - analysis.alias_size_in_bytes,
        )
    return most


@pytest.mark.thorough(but=1)
@pytest.mark.parametrize(
    ("algorithm", "width", "replicas"),
    [("backprop", 100, 16), ("backprop", 500, 8), ("fa", 100, 16), ("hsic", 100, 8)],
)
def test_the_estimate_is_within_30_percent(algorithm, width, replicas):
    dataset, cell = images(2000, 500), cell_of(algorithm, width)
    estimate = footprint([cell], dataset).of(replicas // len(jax.devices()))
    assert estimate == pytest.approx(reserved(cell, dataset, replicas), rel=0.3)


@pytest.mark.thorough
@pytest.mark.parametrize(("changes", "least", "most"), [
    ({"network": "lenet"}, 1, 3),  # its windows are arrays of the trace, and none of the program
    ({"network": "residual", "hidden_width": 16}, 0.6, 1),
    ({"batch_size": 1024}, 1, 2),
    ({"network": "recurrent", "batch_size": 256}, 0.6, 1),
], ids=["lenet", "residual", "batch", "recurrent"])
def test_elsewhere_it_is_off_by_no_more_than_it_says(changes, least, most):
    dataset, cell = images(8000, 500), replace(cell_of("backprop", 100), **changes)
    estimate = footprint([cell], dataset).of(4)
    assert least < estimate / reserved(cell, dataset, 4 * len(jax.devices())) < most


@pytest.mark.thorough
def test_states_of_devices_count():
    dataset, cell = images(2000, 500), replace(cell_of("fa", 100), update="soft_bounds")
    estimate = footprint([cell], dataset).of(4)
    held = reserved(cell, dataset, 4 * len(jax.devices()))
    assert estimate == pytest.approx(held, rel=0.3)


@pytest.mark.thorough
def test_the_estimate_with_diagnostics_is_within_30_percent():
    """At a large batch the kernels of the nHSIC figures are most of it."""
    dataset, cell = load("digits"), replace(cell_of("fa", 100, "digits"), batch_size=256)
    replicas = 4 * len(jax.devices())
    estimate = footprint([cell], dataset, diagnose=True).of(4)
    assert estimate == pytest.approx(reserved(cell, dataset, replicas, diagnose=True), rel=0.3)
    assert estimate > 2 * footprint([cell], dataset).of(4)


@pytest.mark.thorough
def test_the_estimate_of_the_smallest_data_set():
    dataset, cell = load("digits"), cell_of("backprop", 50, "digits")
    estimate = footprint([cell], dataset).of(8)
    assert estimate == pytest.approx(reserved(cell, dataset, 8 * len(jax.devices())), rel=0.3)


def test_as_many_replicas_as_fit():
    needs = Footprint(fixed=100, replica=10)
    assert needs.of(3) == 130
    assert needs.fitting(139) == 3
    assert needs.of(needs.fitting(225)) <= 225
    assert needs.fitting(50) == 1  # one at a time, whatever happens
    assert needs.fitting(10**9) == needs.fitting(10**12)  # more would not be faster


@pytest.mark.parametrize(
    ("text", "value"),
    [("1000", 1000), ("1K", 1024), ("500M", 500 * 2**20), ("1.5G", 3 * 2**29), ("2gib", 2**31)],
)
def test_sizes(text, value):
    assert size(text) == value


@pytest.mark.parametrize("text", ["G", "-1G", "1X", "one", "0", "0.0001K"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match=text):
        size(text)


def test_a_container_may_have_less_than_the_machine(tmp_path, monkeypatch):
    limits = tmp_path / "memory.max", tmp_path / "none"
    monkeypatch.setattr(footprint_module, "_OF_CONTAINER", limits)
    limits[0].write_text("max\n")
    whole = available()
    limits[0].write_text(f"{2**30}\n")
    assert available() == min(whole, 2**29 // len(jax.devices()))


def test_a_real_out_of_memory_error_is_recognized():
    """A petabyte."""
    with pytest.raises(jax.errors.JaxRuntimeError) as error:
        jax.block_until_ready(jax.jit(lambda: jax.numpy.ones((2**50,)))())
    assert is_exhausted(error.value)
    assert not is_exhausted(jax.errors.JaxRuntimeError("INTERNAL: broken"))


def test_turns_hold_states_twice_and_those_of_a_turn_once_more():
    needs = Footprint(fixed=10, replica=20, held=5, at_once=4)
    assert needs.of(4) == 10 + 4 * 20
    assert needs.of(5) == 10 + 5 * 5 + 6 * 5 + 3 * 20  # two turns of three, one place empty
    assert Footprint(0, 20, (), 1, 4).fitting(79) == 3  # 5 would fit, and 4 not
