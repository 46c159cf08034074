"""A trained network as one file: all that predictions need, and what it was trained with.

The file is an .npz of arrays and one text, ``about``, JSON of everything else: its blocks by the
names of their classes, inputs, converters, configuration, versions. Arrays are, by their paths,

* ``params/...``: weights of every block as the network sees them;
* ``codes/...``, ``levels/...``: of weights on a grid the number of each one's level (int32, from
  the lowest), and the levels;
* ``collections/...``: batch statistics, gains;
* ``held/...``: what the memory holds of them: device state, hidden digits;
* ``fixed/...``: feedback matrices.

Numbers only, nothing is unpickled; but classes and functions are found by name, so that a file
imports the modules that it names. (This is the one module of the library that reads and writes.)
"""

import dataclasses
import functools
import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from zipfile import BadZipFile, is_zipfile

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array
from jax.typing import ArrayLike

from qjax import structs
from qjax.blocks import Network, predict
from qjax.devices import Crossbar
from qjax.grids import Quantizer, levels, make_grid

__all__ = ["Inputs", "Trained", "codes_of", "load"]

FORMAT = 1
_ABOUT = "about"


@dataclasses.dataclass(frozen=True)
class Inputs:
    """How raw inputs become those of the network: (x - low) / (high - low), then (. - mean) / std.

    Attributes:
      shape: of one.
      low, high: scaled to 0 and 1.
      mean, std: numbers, or one for every channel or feature.
    """

    shape: tuple[int, ...]
    low: float = 0.0
    high: float = 1.0
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0

    def __call__(self, raw: Array) -> Array:
        """[n, *shape] of any type -> the same as float32, scaled and normalized."""
        scaled = (jnp.asarray(raw, jnp.float32) - self.low) / (self.high - self.low)
        return (scaled - jnp.asarray(self.mean, jnp.float32)) / jnp.asarray(self.std, jnp.float32)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Trained:
    """A trained network.

    Attributes:
      network: its blocks.
      params, collections: a tree for every block, weights as the network sees them.
      inputs: how raw inputs become the network's.
      crossbar: converters around every product with a kernel; None: exact products.
      codes: path in `params` -> (codes of the weights, their levels), where they lie on a grid.
      held, fixed: trees of arrays, of what holds the weights and of feedback matrices.
      about: all else that is known, as JSON has it.
    """

    network: Network
    params: tuple
    collections: tuple
    inputs: Inputs
    crossbar: Crossbar | None = None
    codes: Mapping[str, tuple[np.ndarray, np.ndarray]] = dataclasses.field(default_factory=dict)
    held: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def predict(self, raw: Array) -> Array:
        """Outputs [n, k] for raw inputs [n, *inputs.shape]: scores of classes, or targets.

        Axes of length 1, such as the channel of grey images, may be left out.

        Raises:
          ValueError: inputs of another shape, or none.
        """
        raw = jnp.asarray(raw)
        shape, own = raw.shape, tuple(self.inputs.shape)
        if not shape or not shape[0] or _longer(shape[1:]) != _longer(own):
            without = "" if _longer(own) == own else " (a 1 may be left out)"
            raise ValueError(f"inputs of shape {shape}: expected [n, "
                             f"{', '.join(map(str, own))}]{without}, n at least 1")
        return self._outputs(jnp.reshape(raw, (shape[0], *own)))

    def __repr__(self) -> str:
        """What is of interest of its hundred arrays."""
        config = self.about.get("config", {})
        words = [f"{name}={config[name]}" for name in ("algorithm", "dataset", "n_bits")
                 if name in config]
        blocks = ", ".join(type(block).__name__ for block in self.network)
        shape = tuple(self.inputs.shape)
        return f"Trained({', '.join([f'network=({blocks})', f'inputs={shape}', *words])})"

    @functools.cached_property
    def _outputs(self) -> Callable[[Array], Array]:
        def outputs(params, collections, crossbar, raw):
            return predict(self.network, params, collections, crossbar, self.inputs(raw))

        return functools.partial(jax.jit(outputs), self.params, self.collections, self.crossbar)

    def save(self, path: str | Path) -> None:
        """Writes the file, whole or not at all.

        Raises:
          TypeError: a block has a field that cannot be written as JSON, or found again by name.
        """
        whole = dict(self.about) | {
            "format": FORMAT, "network": [_described(block) for block in self.network],
            "inputs": dataclasses.asdict(self.inputs),
            "crossbar": None if self.crossbar is None else _described(self.crossbar),
        }
        arrays: dict[str, Any] = {_ABOUT: json.dumps(whole)}
        arrays |= {f"codes/{name}": codes for name, (codes, _) in self.codes.items()}
        arrays |= {f"levels/{name}": values for name, (_, values) in self.codes.items()}
        trees = {"params": _numbered(self.params), "collections": _numbered(self.collections),
                 "held": self.held, "fixed": self.fixed}
        for name, tree in trees.items():
            arrays |= {f"{name}/{key}": np.asarray(leaf)
                       for key, leaf in flatten_dict(dict(tree), sep="/").items()}
        path = Path(path)
        draft = path.with_name(path.name + ".draft")
        with draft.open("wb") as file:
            np.savez_compressed(file, **arrays)
        draft.replace(path)


def load(path: str | Path) -> Trained:
    """A network that was saved.

    Raises:
      ValueError: the file is none of ours, of a later format, or damaged.
      OSError: it is not there, is a folder, or cannot be read.
      ImportError, AttributeError: a class or function of its network is not to be found.
    """
    if Path(path).is_dir() or not Path(path).exists():
        kind, what = (IsADirectoryError, "is a folder") if Path(path).is_dir() else (
            FileNotFoundError, "is not there")
        raise kind(f"{path} {what}: expected a trained network, a file from a run's OUT/networks, "
                   "or from Trained.save")
    try:
        if not is_zipfile(path):
            raise ValueError("it is no .npz file")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if _ABOUT not in arrays:
            raise ValueError(f"it has no {_ABOUT}")
        about = json.loads(str(arrays.pop(_ABOUT)))
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']}, this qjax reads format {FORMAT}")
    except (KeyError, TypeError, EOFError, ValueError, AttributeError, BadZipFile) as error:
        raise ValueError(f"{path} is no trained network of qjax ({error}): expected a file from a "
                         "run's OUT/networks, or from Trained.save") from error
    trees: dict[str, dict] = {}
    for name, array in arrays.items():
        kind, _, rest = name.partition("/")
        trees.setdefault(kind, {})[rest] = array
    network = tuple(map(_made, about.pop("network")))
    inputs: dict[str, Any] = {name: _value(entry) for name, entry in about.pop("inputs").items()}
    crossbar = about.pop("crossbar")

    def tree(kind):
        return unflatten_dict(trees.get(kind, {}), sep="/")

    return Trained(
        network=network,
        params=_by_block(tree("params"), len(network)),
        collections=_by_block(tree("collections"), len(network)),
        inputs=Inputs(**inputs),
        crossbar=None if crossbar is None else _made(crossbar),
        codes={name: (codes, trees["levels"][name])
               for name, codes in trees.get("codes", {}).items()},
        held=tree("held"), fixed=tree("fixed"), about=about)


def _longer(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without axes of length 1."""
    return tuple(side for side in shape if side != 1)


def codes_of(weights: ArrayLike, quantizer: Quantizer) -> tuple[np.ndarray, np.ndarray] | None:
    """(number of every weight's level, from the lowest; the levels) of weights on a grid.

    Args:
      weights: one tensor; its range, under the scope "local", is that of the grid.
      quantizer: not traced.

    Returns:
      None where it has no levels, or a weight that is not finite is on none of them.
    """
    if not float(quantizer.bits) or not np.all(np.isfinite(weights)):
        return None
    grid = make_grid(jnp.asarray(weights), quantizer)
    count = int(grid.codes)
    numbers = jnp.arange(-count, count + 1, dtype=grid.end.dtype)
    values = np.asarray(levels(numbers, grid), np.float64)
    low, high = float(grid.low), float(grid.end)
    slack = 1e-6 * (high - low)
    known = np.unique(values[(values >= low - slack) & (values <= high + slack)])
    flat = np.asarray(weights, np.float64)
    upper = np.clip(np.searchsorted(known, flat), 1, max(len(known) - 1, 1))
    nearer = flat - known[upper - 1] < known[np.minimum(upper, len(known) - 1)] - flat
    return (upper - nearer).astype(np.int32), known.astype(np.float32)


def _numbered(trees: tuple) -> dict[str, Any]:
    return {str(number): tree for number, tree in enumerate(trees)}


def _by_block(tree: Mapping[str, Any], count: int) -> tuple:
    """A tree for every block, empty ones too, of which nothing was written."""
    return tuple(jax.tree.map(jnp.asarray, tree.get(str(number), {})) for number in range(count))


# Blocks and converters as JSON: {"class": "module:Name", "fields": {...}}, functions as
# {"function": "module:name"}.


def _described(made: Any) -> dict[str, Any]:
    fields = {field.name: getattr(made, field.name) for field in dataclasses.fields(made)
              if field.init and field.name not in ("parent", "name", "key", structs.CLASS)}
    # Functions that are defaults need no name of their own (Flax's initializers have none).
    defaults = {field.name: field.default for field in dataclasses.fields(made)}
    fields = {name: value for name, value in fields.items()
              if not (callable(value) and value is defaults[name])}
    kind = type(made)
    return {"class": _name_of(kind), "fields": {
        name: _entry(value, f"{kind.__qualname__}.{name}") for name, value in fields.items()}}


def _entry(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_entry(each, where) for each in value]
    if dataclasses.is_dataclass(value):
        return _described(value)
    if isinstance(value, np.ndarray | np.generic | Array) and np.ndim(value) == 0:
        return np.asarray(value).item()
    if callable(value):
        return {"function": _function(value, where)}
    raise TypeError(f"{where} is {value!r}: expected numbers, words, functions with a name")


def _function(value: Any, where: str) -> str:
    """The name under which a function is found again; jax's own are not where they say."""
    name = getattr(value, "__name__", "")
    for module in (getattr(value, "__module__", ""), "flax.linen", "jax.numpy"):
        if getattr(importlib.import_module(module) if module else None, name or "-", 0) is value:
            return f"{module}:{name}"
    raise TypeError(f"{where} is {value!r}, not a function of a module by its own name: a network "
                    "with it cannot be written")


def _name_of(kind: type) -> str:
    module, name = kind.__module__, kind.__qualname__
    try:
        known = resolve_name(f"{module}:{name}") is kind
    except (AttributeError, ValueError):  # a class within a function
        known = False
    if not known:
        raise TypeError(f"{name} is no class of the module {module}: a network with it cannot be "
                        "written")
    return f"{module}:{name}"


def _made(described: Mapping[str, Any]) -> Any:
    kind = resolve_name(described["class"])
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
        raise ValueError(f"{described['class']} is no class of blocks or converters")
    return kind(**{name: _value(value) for name, value in described["fields"].items()})


def _value(entry: Any) -> Any:
    if isinstance(entry, list):
        return tuple(map(_value, entry))
    if isinstance(entry, dict):
        return resolve_name(entry["function"]) if "function" in entry else _made(entry)
    return entry


