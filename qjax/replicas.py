"""Many replicas as one program: functions of one, batched over two leading axes, [seeds, configs].

Configurations of one seed share the order of the data, hence the batch, hence one large matrix
product in the first layer.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jax.stages import Wrapped

from qjax.trees import nbytes, paths_of

__all__ = ["check_axes", "compile_replicated", "fitting", "replicate", "stack", "turn_of"]

# What a step goes through again and again, in the size of its replica's state: gradients and what
# becomes of them come on top.
_COPIES = 2


def replicate(function: Callable, seeds: str, configs: str) -> Callable:
    """Batches `function` over [seeds, configs].

    Args:
      function: of positional arguments.
      seeds, configs: a letter per argument, "." for one shared along that axis, "r" for one with
        that leading axis (the seed axis comes first).

    Returns:
      A function whose results all have both leading axes.
    """
    over_configs = jax.vmap(function, in_axes=tuple(0 if c == "r" else None for c in configs))
    return jax.vmap(over_configs, in_axes=tuple(0 if c == "r" else None for c in seeds))


def stack(settings: Sequence[Any]) -> Any:
    """One tree [configs, ...] of several settings, numbers as float32."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.float32(x) for x in leaves]), *settings)


def check_axes(
    arguments: Sequence[Any], seeds: Sequence[str], configs: Sequence[str]
) -> dict[str, int]:
    """Refuses arguments without the leading axes that their "r"s promise, before `vmap` does.

    Returns:
      The lengths of "seeds" and of "configs", as far as some argument has them.

    Raises:
      ValueError: names the leaf.
    """
    lengths: dict[str, int] = {}
    for number, (argument, *letters) in enumerate(zip(arguments, seeds, configs, strict=True)):
        axes = [name for name, c in zip(("seeds", "configs"), letters, strict=True) if c == "r"]
        for path, leaf in zip(paths_of(argument), jax.tree.leaves(argument), strict=True):
            shape = jnp.shape(leaf)
            known = dict(zip(axes, shape, strict=False))
            if len(shape) < len(axes) or any(lengths.setdefault(k, n) != n
                                             for k, n in known.items()):
                expected = ", ".join(f"{k} = {lengths[k]}" if k in lengths else k for k in axes)
                raise ValueError(
                    f"argument {number} ({type(argument).__name__}), {path or 'itself'}: "
                    f"shape {shape}, expected leading axes [{expected}]; qjax.replicas.stack makes "
                    "settings [configs] of a list of them"
                )
    return lengths


def turn_of(count: int, at_once: int) -> int:
    """How many of `count` to take in each turn: at most `at_once`, in as few turns as can be."""
    return -(-count // -(-count // at_once))


def fitting(cache: int, state: int) -> int:
    """How many replicas to train at once: elementwise passes over more wait for main memory.

    Args:
      cache: bytes of fast memory.
      state: bytes of a replica's weights, optimizer and whatever else it keeps between steps.
    """
    return max(1, cache // max(1, _COPIES * state))


def _in_turns(
    batched: Callable, arguments: Sequence[Any], letters: Sequence[tuple[str, str]],
    counts: tuple[int, int], cache: int,
) -> Any:
    """What a function that was `replicate`d gives, on some of its replicas after the others.

    Args:
      batched: the function.
      arguments: its.
      letters: of every argument those for seeds and for configs, see `replicate`; "r", "r" are the
        replicas' states.
      counts: of seeds and of configs.
      cache: see `fitting`.
    """
    states = [argument for argument, own in zip(arguments, letters, strict=True)
              if own == ("r", "r")]
    most = fitting(cache, nbytes(states) // math.prod(counts))
    some = turn_of(counts[1], most)
    sizes = turn_of(counts[0], max(1, most // some)), some
    turns = [-(-count // size) for count, size in zip(counts, sizes, strict=True)]
    if math.prod(turns) == 1:
        return batched(*arguments)
    # Empty places are filled with the first ones once more, whose results are dropped.
    rows = [np.resize(np.arange(count), (turn, size))
            for count, turn, size in zip(counts, turns, sizes, strict=True)]
    numbers = np.indices(turns).reshape(2, -1)

    def one(turn):
        picked = []
        for argument, own in zip(arguments, letters, strict=True):
            place = jnp.ix_(*(some for letter, some in zip(own, turn, strict=True)
                              if letter == "r"))
            picked.append(jax.tree.map(operator.itemgetter(place), argument) if place else argument)
        return batched(*picked)

    def whole(x):
        """[turns, seeds, configs, ...] -> [seeds, configs, ...]."""
        rest = x.shape[3:]
        x = x.reshape(*turns, *sizes, *rest).swapaxes(1, 2)
        x = x.reshape(turns[0] * sizes[0], turns[1] * sizes[1], *rest)
        return x[: counts[0], : counts[1]]

    return jax.tree.map(whole, jax.lax.map(one, tuple(
        own[number] for own, number in zip(rows, numbers, strict=True))))


def compile_replicated(
    function: Callable, seeds: str, configs: str, mesh: Any, donate: tuple = (),
    options: Any = None, cache: int | None = None,
) -> Wrapped:
    """jit of `replicate`; over `mesh` each device runs its own replicas, with no exchange.

    `cache`: bytes of a device's fast memory, which some replicas after the others use; None: all at
    once.
    """
    batched, letters = replicate(function, seeds, configs), tuple(zip(seeds, configs, strict=True))

    def replicated(*arguments):
        counts = check_axes(arguments, seeds, configs)
        if cache is None:
            return batched(*arguments)
        return _in_turns(batched, arguments, letters, (counts["seeds"], counts["configs"]), cache)

    replicated.__name__ = function.__name__
    if mesh is not None:
        specs = tuple(
            PartitionSpec(*(name for name, c in zip(("seeds", "configs"), pair, strict=True)
                            if c == "r"))
            for pair in letters
        )
        out = PartitionSpec("seeds", "configs")
        replicated = jax.shard_map(
            replicated, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False
        )
    return jax.jit(replicated, donate_argnums=donate, compiler_options=options)
