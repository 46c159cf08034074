"""Structs are never taken for each other, which jax does with plain dataclasses."""

import itertools

import jax
import numpy as np
import pytest

from qjax import devices, memories, structs
from qjax.quantize import make_quantizer

QUANTIZER = make_quantizer(3)


def made(name):
    """A class of its own with the same field as all the others."""
    return structs.dataclass(type(name, (), {"__annotations__": {"x": float}}))


def test_programs_of_structs_with_the_same_fields_are_not_mixed_up():
    classes = [made(f"X{number}") for number in range(100)]
    number = jax.jit(lambda one: one.x + int(type(one).__name__[1:]))
    assert [int(number(cls(0.0))) for cls in classes] == list(range(100))


def test_all_memories_and_devices_differ_in_structure():
    memory = [kind(QUANTIZER) for kind in (memories.Nearest, memories.Stochastic, memories.Pulse)]
    schemes = [memories.TikiTaka(), memories.Buffered(), memories.Chopped(), memories.Dynamic()]
    models = [kind() for kind in (devices.ConstantStep, devices.LinearStep, devices.SoftBounds,
                                  devices.ExpStep, devices.PowStep)]
    held = [memories.Pulsed(model) for model in models]
    trees = [jax.tree.structure(one) for one in (*memory, *schemes, *models, *held)]
    assert not any(a == b for a, b in itertools.combinations(trees, 2))
    assert trees == [jax.tree.structure(one) for one in (*memory, *schemes, *models, *held)]


def test_the_class_is_no_field_to_look_at():
    two = made("Two")
    assert two(2.0) == two(x=2.0) == two(1.0).replace(x=2.0)
    assert "_class" not in repr(two(2.0))
    assert jax.tree.leaves(two(2.0)) == [2.0]
    with pytest.raises(TypeError):
        two(2.0, "one")


def test_a_class_that_is_written_again_is_another():
    one, two = made("Same"), made("Same")
    assert jax.tree.structure(one(1.0)) != jax.tree.structure(two(1.0))


def test_a_struct_made_of_another_has_a_class_of_its_own():
    @structs.dataclass
    class More(memories.Nearest):
        share: float = 0.5

    more = More(QUANTIZER, 0.25)
    assert (more.share, more.grid) == (0.25, QUANTIZER)
    assert jax.tree.structure(More()) != jax.tree.structure(memories.Nearest())
    np.testing.assert_array_equal(jax.jit(lambda m: 2 * m.share)(more), 0.5)
