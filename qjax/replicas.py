"""Many replicas as one program: functions of one, batched over two leading axes, [seeds, configs].

Configurations of one seed share the order of the data, hence the batch, hence one large matrix
product in the first layer.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jax.stages import Wrapped

from qjax.trees import paths_of

__all__ = ["check_axes", "compile_replicated", "replicate", "stack"]


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


def check_axes(arguments: Sequence[Any], seeds: Sequence[str], configs: Sequence[str]) -> None:
    """Refuses arguments without the leading axes that their "r"s promise, before `vmap` does.

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


def compile_replicated(
    function: Callable, seeds: str, configs: str, mesh: Any, donate: tuple = (), options: Any = None
) -> Wrapped:
    """jit of `replicate`; over `mesh` each device runs its own replicas, with no exchange."""
    batched = replicate(function, seeds, configs)

    def replicated(*arguments):
        check_axes(arguments, seeds, configs)
        return batched(*arguments)

    replicated.__name__ = function.__name__
    if mesh is not None:
        specs = tuple(
            PartitionSpec(*(name for name, c in zip(("seeds", "configs"), pair, strict=True)
                            if c == "r"))
            for pair in zip(seeds, configs, strict=True)
        )
        out = PartitionSpec("seeds", "configs")
        replicated = jax.shard_map(
            replicated, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False
        )
    return jax.jit(replicated, donate_argnums=donate, compiler_options=options)
