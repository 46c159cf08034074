"""Memories by name: classes, or what one of a class is like if nothing else is said of it.

A name may say what is inside of another memory: ``tiki_taka:reram_es`` are two arrays of those
devices, ``mixed_precision:one_sided:pcm`` has an accumulator beside every pair of those, and
``mixed_precision`` alone is around the devices that it has by itself. Of devices it may
say how pulses are counted: ``soft_bounds:whole`` gets whole ones, where else it would be their
normal distribution, which serves devices of many states as well and is faster. Of piecewise_step
it may say the steps, as in ``piecewise_step:1,0.8,0.3:1,0.5``.
"""

import dataclasses
import difflib
from typing import Any

import numpy as np

from qjax import devices
from qjax.devices import PRESETS, Device, Preset, Upkeep
from qjax.memories.hidden import Counter, Hidden
from qjax.memories.latent import Latent
from qjax.memories.mixed import MixedPrecision
from qjax.memories.on_grid import Nearest, Pulse, Stochastic
from qjax.memories.pulsed import COUNTING, Pulsed
from qjax.memories.several import OneSided, Several
from qjax.memories.transfer import Buffered, Chopped, Dynamic, TikiTaka
from qjax.memories.verified import WriteVerify

__all__ = ["MEMORIES", "about", "counting_of", "is_memory", "named"]


_MANY = 250  # steps of dw_min in the range, from which on pulses need not be whole


def counting_of(device: Device) -> str:
    """How pulses of a device are counted if nothing is said: "whole" where its states are few."""
    # Without jax: whoever imports this may not have said yet what it shall run on.
    many = device.w_max - device.w_min >= _MANY * device.dw_min
    return "normal" if many else "whole"


def _of(device: Device, **more: Any) -> Pulsed:
    return Pulsed(device, counting=counting_of(device), **more)


def _measured(preset: Preset) -> Pulsed:
    return _of(preset.device, write_noise_std=preset.write_noise_std or None,
               upkeep=None if preset.upkeep == Upkeep() else preset.upkeep)


# name -> class, or an instance with the numbers that it has if nothing else is said.
MEMORIES: dict[str, Any] = {
    "nearest": Nearest,
    "stochastic": Stochastic,
    "pulse": Pulse,
    "latent": Latent,
    "hidden": Hidden,
    "counter": Counter,
    "constant_step": _of(devices.ConstantStep()),
    "linear_step": _of(devices.LinearStep()),
    "soft_bounds": _of(devices.SoftBounds()),
    "soft_bounds_reference": _of(devices.SoftBoundsReference()),
    "exp_step": _of(devices.ExpStep()),
    "pow_step": _of(devices.PowStep()),
    "piecewise_step": _of(devices.PiecewiseStep()),
    **{name: _measured(preset) for name, preset in PRESETS.items()},
    "write_verify": WriteVerify,
    "mixed_precision": MixedPrecision,
    "tiki_taka": TikiTaka,
    "ttv2": Buffered,
    "cttv2": Chopped,
    "agad": Dynamic,
    "one_sided": OneSided,
    "several": Several,
}


def _inside(memory: Any) -> list[str]:
    """Fields of a memory that are devices of another."""
    return [f.name for f in dataclasses.fields(memory)
            if isinstance(getattr(memory, f.name, None), Pulsed)]


def _made_of(held: Any, pulsed: Any) -> Any:
    """Those devices, or what is around them, with the other ones' limits of a write."""
    if isinstance(held, Pulsed):
        return dataclasses.replace(pulsed, device=held.device, upkeep=held.upkeep,
                                   write_noise_std=held.write_noise_std, counting=held.counting)
    made = {f: _made_of(getattr(held, f), pulsed) for f in _inside(held)}
    return dataclasses.replace(held, **made)


def named(word: str) -> Any:
    """The memory of that name, with the numbers that it has if nothing else is said.

    Args:
      word: of `MEMORIES`; or one of them and devices, as in "tiki_taka:reram_es", or
        "mixed_precision:one_sided:pcm", which may also be around several; or devices and
        how pulses are counted, as in "soft_bounds:whole"; or "piecewise_step", its steps up and
        those down at equal distances from the lower to the upper bound, in units of dw_min, as in
        "piecewise_step:1,0.8,0.3:1,0.5".

    Raises:
      ValueError: says which words there are.
    """
    # A word with a colon that is in the table is one of somebody's own, package.module:name.
    name, colon, inner = (word, "", "") if word in MEMORIES else word.partition(":")
    if name not in MEMORIES:
        raise ValueError(f"no memory {name!r}: expected one of {', '.join(MEMORIES)}")
    memory = MEMORIES[name]
    if isinstance(memory, type):
        memory = memory()
    if not colon:
        return memory
    if isinstance(memory, Pulsed):
        *tables, last = inner.split(":")
        counting = last if last in COUNTING else memory.counting
        tables += [] if last in COUNTING else [last]
        if not tables:
            return dataclasses.replace(memory, counting=counting)
        if isinstance(memory.device, devices.PiecewiseStep) and len(tables) == 2:
            up, down = (_table(word, table) for table in tables)
            device = dataclasses.replace(memory.device, piecewise_up=up, piecewise_down=down)
            return dataclasses.replace(memory, device=device, counting=counting)
        if isinstance(memory.device, devices.PiecewiseStep):
            raise ValueError(f"no memory {word!r}: expected {name}:UP,UP,...:DOWN,DOWN,..., steps "
                             "in units of dw_min, as in piecewise_step:1,0.8,0.3:1,0.5")
    around = [own for own, kind in MEMORIES.items() if kind in getattr(memory, "around", ())]
    # Of what is around devices in its turn the name is right; whether the rest is, it says itself.
    if _inside(memory) and (inner.partition(":")[0] in around or is_memory(inner)):
        held = named(inner)
        if isinstance(held, (Pulsed, *getattr(memory, "around", ()))):
            made = {f: _made_of(held, getattr(memory, f)) for f in _inside(memory)}
            return dataclasses.replace(memory, **made)
    outside = [name for name, memory in MEMORIES.items() if _inside(memory)]
    inside = [name for name, memory in MEMORIES.items() if isinstance(memory, Pulsed)]
    if _inside(memory):
        near = difflib.get_close_matches(inner.partition(":")[0], inside + around, cutoff=0.7)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        also = [f"{own} and, behind a colon, one of these" for own in around]
        raise ValueError(f"no memory {word!r}: expected behind {name}: one of "
                         f"{', '.join(inside + also)}{hint}")
    if not isinstance(memory, Pulsed):
        raise ValueError(f"no memory {word!r}: {name} is around no device, expected {name} alone; "
                         f"with a colon and a device: {', '.join(outside)}")
    raise ValueError(
        f"no memory {word!r}: expected {' or '.join(outside)}, a colon, and one of "
        f"{', '.join(inside)}; or one of these, a colon, and {' or '.join(COUNTING)}")


def _table(word: str, text: str) -> np.ndarray:
    try:
        steps = np.array([float(step) for step in text.split(",")], np.float32)
    except ValueError as error:
        raise ValueError(f"no memory {word!r}: expected numbers with commas ({error})") from None
    if not (np.all(np.isfinite(steps)) and np.all(steps >= 0)):
        raise ValueError(f"no memory {word!r}: expected finite steps of at least 0, got {text}")
    return steps


def is_memory(word: str) -> bool:
    """Is there a memory of that name?"""
    try:
        named(word)
    except ValueError:
        return False
    return True


def about(name: str) -> str:
    """What a memory of `MEMORIES` is, in one line."""
    if name in PRESETS:
        return f"{PRESETS[name].about} ({PRESETS[name].source.partition(',')[0]})"
    memory = MEMORIES[name]
    told = memory.device if isinstance(memory, Pulsed) else memory
    line = (told.__doc__ or name).strip().partition("\n")[0].rstrip(".")
    return f"{line[0].lower()}{line[1:]}"
