"""Many replicas as one program: functions of one, batched over two leading axes, [seeds, cells].

Cells of one seed share the order of the data, hence the batch, hence one large matrix product in
the first layer.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from qjax.trees import paths_of

__all__ = ["check_axes", "compile_replicated", "replicate", "stack"]


def replicate(function: Callable, seeds: str, cells: str) -> Callable:
    """Batches `function` over [seeds, cells].

    Args:
      function: of positional arguments.
      seeds, cells: a letter per argument, "." for one shared along that axis, "r" for one with
        that leading axis (the seed axis comes first).

    Returns:
      A function whose results all have both leading axes.
    """
    over_cells = jax.vmap(function, in_axes=tuple(0 if c == "r" else None for c in cells))
    return jax.vmap(over_cells, in_axes=tuple(0 if c == "r" else None for c in seeds))


def stack(settings: Sequence[Any]) -> Any:
    """One tree [cells, ...] of the settings of several cells, numbers as float32."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.float32(x) for x in leaves]), *settings)


def check_axes(arguments: Sequence[Any], seeds: Sequence[str], cells: Sequence[str]) -> None:
    """Refuses arguments without the leading axes that their "r"s promise, before `vmap` does.

    Raises:
      ValueError: names the leaf.
    """
    lengths: dict[str, int] = {}
    for number, (argument, *letters) in enumerate(zip(arguments, seeds, cells, strict=True)):
        axes = [name for name, c in zip(("seeds", "cells"), letters, strict=True) if c == "r"]
        for path, leaf in zip(paths_of(argument), jax.tree.leaves(argument), strict=True):
            shape = jnp.shape(leaf)
            known = dict(zip(axes, shape, strict=False))
            if len(shape) < len(axes) or any(lengths.setdefault(k, n) != n
                                             for k, n in known.items()):
                expected = ", ".join(f"{k} = {lengths[k]}" if k in lengths else k for k in axes)
                raise ValueError(
                    f"argument {number} ({type(argument).__name__}), {path or 'itself'}: "
                    f"shape {shape}, expected leading axes [{expected}]; qjax.replicas.stack makes "
                    "settings [cells] of one for each cell"
                )


def compile_replicated(
    function: Callable, seeds: str, cells: str, mesh: Any, donate: tuple = (), options: Any = None
) -> Callable:
    """jit of `replicate`; over `mesh` each device runs its own replicas, with no exchange."""
    batched = replicate(function, seeds, cells)

    def replicated(*arguments):
        check_axes(arguments, seeds, cells)
        return batched(*arguments)

    replicated.__name__ = function.__name__
    if mesh is not None:
        specs = tuple(
            PartitionSpec(*(name for name, c in zip(("seeds", "cells"), pair, strict=True)
                            if c == "r"))
            for pair in zip(seeds, cells, strict=True)
        )
        out = PartitionSpec("seeds", "cells")
        replicated = jax.shard_map(
            replicated, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False
        )
    return jax.jit(replicated, donate_argnums=donate, compiler_options=options)
