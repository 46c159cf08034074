"""Numbers of memories and devices: what is said of them, also of those inside, and their bounds."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import ArrayLike

from qjax import devices, memories, structs
from qjax.devices import Converters, SoftBounds, Upkeep
from qjax.memories import MEMORIES, OneSided, Pulsed, TikiTaka, named
from qjax.numbers import check_numbers, has_grid, number, numbers_of, optional, with_numbers
from qjax.quantize import Quantizer, make_quantizer

STRUCTS = {
    **{model.__name__: model() for model in (
        devices.ConstantStep, devices.LinearStep, devices.SoftBounds, devices.SoftBoundsReference,
        devices.ExpStep, devices.PowStep, devices.PiecewiseStep, Upkeep, Converters)},
    **{name: named(name) for name in MEMORIES if name in (
        "mixed_precision", "tiki_taka", "ttv2", "cttv2", "agad", "one_sided",
        "several", "soft_bounds")},
}


@structs.dataclass
class Inner:
    share: ArrayLike = number(0.5, "a share", 0, 1)
    both: ArrayLike = number(2.0, "of the inner one", 0)


@structs.dataclass
class Outer:
    size: ArrayLike = number(3.0, "a size", 1)
    inner: Inner = Inner(share=0.25)
    more: Upkeep | None = optional(Upkeep)
    extra: ArrayLike | None = number(None, "what is not there by default", 0)
    grid: Quantizer = Quantizer(bits=0)
    both: ArrayLike = number(7.0, "of the outer one", high=9)
    last: Inner = Inner(share=0.9)
    word: str = structs.field(pytree_node=False, default="a")


# --- what is said of them ---


def test_numbers_of_structs_inside_are_among_them():
    found = numbers_of(Outer())
    assert set(found) == {"size", "share", "both", "extra", *numbers_of(Upkeep)}
    # Defaults are what the memory has; of two with one name the first one's words count.
    assert (found["share"].default, found["share"].help) == (0.25, "a share")
    assert (found["both"].default, found["both"].help) == (2.0, "of the inner one")
    assert (found["size"].low, found["size"].high) == (1, math.inf)


def test_what_is_not_there_by_default_is_optional():
    found = numbers_of(Outer())
    assert {n for n, told in found.items() if told.optional} == {"extra", *numbers_of(Upkeep)}
    there = numbers_of(Outer(more=Upkeep(lifetime=9.0)))
    assert there["lifetime"].default == 9.0
    assert not there["lifetime"].optional
    assert there["extra"].optional


def test_what_is_left_out_counts_as_its_default_and_is_the_same_as_that():
    assert numbers_of(Upkeep())["lifetime"].default == 0.0
    assert Upkeep().lifetime is None
    still, told = (Pulsed(upkeep=Upkeep(nu=0.1, **more))
                   for more in ({}, {"lifetime": 0.0, "diffusion": 0.0}))
    key, weights = jax.random.key(3), jnp.linspace(-0.3, 0.3, 12).reshape(4, 3)
    after = [memory.read(memory.write(key, memory.init(key, weights), jnp.full((4, 3), 0.01)))
             for memory in (still, told)]
    np.testing.assert_array_equal(*after)


def test_classes_have_the_same_numbers_as_what_is_made_of_them():
    assert numbers_of(SoftBounds) == numbers_of(SoftBounds())
    assert numbers_of(Upkeep)["reset_std"].default == 0.01
    nested = numbers_of(Pulsed)
    assert nested["dw_min"].default == 0.001
    assert nested["write_noise_std"].optional
    assert nested["lifetime"].optional
    assert "granularity" not in nested


def test_bounds_are_told_in_words():
    assert numbers_of(SoftBounds)["corrupt_devices_prob"].expected == "from 0 to 1"
    assert numbers_of(SoftBounds)["dw_min_std"].expected == "of at least 0"
    assert numbers_of(SoftBounds)["up_down"].expected == "that is finite"


# --- other numbers ---


def test_numbers_are_changed_wherever_they_are():
    ours = with_numbers(Outer(), size=5.0, share=0.75, both=1.0, extra=2.0)
    both = Inner(share=0.75, both=1.0)
    assert ours == Outer(size=5.0, inner=both, both=1.0, extra=2.0, last=both)
    assert with_numbers(Outer()) == Outer()
    tiki_taka = with_numbers(TikiTaka(), dw_min=0.05, gamma=0.5)
    assert tiki_taka.fast.device.dw_min == tiki_taka.slow.device.dw_min == 0.05
    assert (tiki_taka.gamma, tiki_taka.slow.most) == (0.5, 31)


def test_a_number_of_what_is_not_there_puts_it_there():
    assert Outer().more is None
    assert with_numbers(Outer(), nu=0.1).more == Upkeep(nu=0.1)
    has = Outer(more=Upkeep(lifetime=9.0))
    assert with_numbers(has, nu=0.1).more == Upkeep(lifetime=9.0, nu=0.1)
    assert with_numbers(has, size=2.0).more == Upkeep(lifetime=9.0)
    ours = with_numbers(named("soft_bounds"), lifetime=50.0, write_noise_std=0.5)
    assert (ours.upkeep, ours.write_noise_std) == (Upkeep(lifetime=50.0), 0.5)


def test_unknown_numbers_are_refused_with_those_there_are():
    with pytest.raises(TypeError, match="Inner has no number 'sice'; it has both, share"):
        with_numbers(Inner(), sice=1.0)
    with pytest.raises(TypeError, match="has no number 'grid'; it has"):
        with_numbers(Outer(), grid=1.0)
    with pytest.raises(TypeError, match="has no number 'bits'; it has none"):
        with_numbers(named("nearest"), bits=2)


def test_a_grid_is_none_of_them():
    assert has_grid(Outer)
    assert not has_grid(Pulsed())
    assert not set(numbers_of(Outer())) & {"bits", "bound", "grid"}


# --- bounds ---


def wrongs(about):
    yield from (math.nan, math.inf, -math.inf)
    if about.low > -math.inf:
        yield about.low - 0.5
    if about.high < math.inf:
        yield about.high + 0.5


@pytest.mark.parametrize("name", STRUCTS)
def test_every_bound_of_a_number_is_refused_with_its_name(name):
    memory = STRUCTS[name]
    check_numbers(memory)
    assert numbers_of(memory)
    for own, about in numbers_of(memory).items():
        for value in wrongs(about):
            with pytest.raises(ValueError, match=f"expected {own}, .* to be a number .*, got"):
                check_numbers(with_numbers(memory, **{own: value}))
        for value in (about.low, about.high):
            if math.isfinite(value):
                check_numbers(with_numbers(memory, **{own: value}))


def test_a_batch_is_refused_for_its_worst():
    check_numbers(Inner(share=jnp.asarray([0.0, 1.0])))
    with pytest.raises(ValueError, match=r"Inner: expected share, a share, .* 0 to 1, got 1.5"):
        check_numbers(Outer(inner=Inner(share=np.array([0.5, 1.5]))))


def test_traced_numbers_are_not_looked_at():
    jax.jit(lambda share: check_numbers(Inner(share=share)) or share)(7.0)
    jax.vmap(lambda share: check_numbers(Outer(inner=Inner(share=share))) or share)(jnp.ones(3) * 7)


@pytest.mark.parametrize("memory", [
    Pulsed(SoftBounds(dw_min=-0.1)), Pulsed(write_noise_std=-1.0),
    Pulsed(upkeep=Upkeep(lifetime=-1.0)), TikiTaka(slow=Pulsed(SoftBounds(w_max=-0.6))),
    OneSided(refresh_every=-1)])
def test_memories_hold_nothing_by_numbers_out_of_bounds(memory):
    with pytest.raises(ValueError, match=r"expected .* to be a number (of at least|from 1e-09)"):
        memories.hold(jax.random.key(0), memory, {"w": jnp.zeros(3)})


def test_numbers_may_be_traced_and_batched_wherever_they_are():
    weights, change = jnp.zeros((2, 3)), jnp.full((2, 3), 0.05)
    base = with_numbers(named("soft_bounds"), write_noise_std=0.0, lifetime=0.0)

    def one(step, lifetime):
        memory = with_numbers(base, dw_min=step, lifetime=lifetime)
        key = jax.random.key(1)
        return memory.read(memory.write(key, memory.init(key, weights), change))

    steps, lives = jnp.asarray([0.001, 0.01, 0.01]), jnp.asarray([0.0, 0.0, 2.0])
    together = jax.jit(jax.vmap(one))(steps, lives)
    for ours, step, life in zip(together, steps, lives, strict=True):
        np.testing.assert_allclose(ours, jax.jit(one)(float(step), float(life)), atol=1e-6)
    np.testing.assert_allclose(together[2], together[1] / 2, atol=1e-6)
    assert make_quantizer(None).bits == 0
