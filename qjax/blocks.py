"""What a block of a network is, and how blocks are initialized and applied.

A network is a tuple of blocks, a block any Flax Linen module that is called as ``block(x)`` or
``block(x, train=True)``. Every algorithm decides only which signal arrives at a block's output, so
blocks are applied one by one and each keeps a parameter tree of its own.

*The contract.* The weights of a block are all its parameters called ``kernel``, however deep: one,
several (a residual block, two convolutions) or none. Other parameters (bias, scale) are trained
along. Algorithms that send errors down through other matrices than the weights (feedback alignment
and its kin) offer one for every kernel, in the Flax collection ``feedback`` under the kernel's
name. Flax's own `Dense`, `DenseGeneral` (without `batch_dims`), `Conv` and `ConvTranspose` (not
classes derived from them) are made to use it, wherever they are inside of a block; a layer of your
own asks for it:

    feedback = self.get_variable("feedback", "kernel")  # None unless the algorithm has one
    activity = self.get_variable("activity", "kernel")  # None unless the memory wants it
    crossbar = self.get_variable("crossbar", "kernel")  # None unless there are converters
    y = qjax.feedback.linear(x, kernel, bias, feedback, activity=activity, crossbar=crossbar)

A block that does neither is refused by these algorithms (`check_feedback`), and works with all
others. Besides ``params`` and ``feedback`` a block may have the collections ``batch_stats``
(running statistics, moved in training) and ``device`` (gains of the circuit, which `Settings.gain`
multiplies). It gets no random numbers: no dropout.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array

from qjax.devices import Crossbar
from qjax.feedback import with_feedback

__all__ = [
    "Network", "apply_block", "check_feedback", "forward", "init_network", "kernels_of",
    "key_of", "mode_of", "predict", "shapes_of", "with_activity", "with_crossbars",
    "without_activity", "without_crossbars",
]

Network = tuple[nn.Module, ...]

# Layers that are linear in their input and in their kernel, and add a bias last.
_LINEAR = (nn.Dense, nn.DenseGeneral, nn.Conv, nn.ConvTranspose)


def _use_feedback(call: Callable, args: tuple, kwargs: dict, context: Any) -> Array:
    """Flax's hook around every method of every layer: its linear ones meet their feedback."""
    layer = context.module
    # Of these very classes: what another one makes of their product is not known here.
    linear = type(layer) in _LINEAR and context.method_name == "__call__"
    own = [layer.get_variable(c, "kernel") for c in ("feedback", "activity", "crossbar")]
    if not linear or getattr(layer, "batch_dims", None) or all(each is None for each in own):
        return call(*args, **kwargs)
    x = jnp.asarray(args[0] if args else kwargs["inputs"])
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        x = x.astype(layer.get_variable("params", "kernel").dtype)
    bare = layer.clone(parent=None, name=None, use_bias=False)

    def bilinear(x, kernel):
        return bare.apply({"params": {"kernel": kernel}}, x)

    kernel = layer.get_variable("params", "kernel")
    out = with_feedback(bilinear, x, kernel, *own)
    bias = layer.get_variable("params", "bias")
    return out if bias is None else out + bias.astype(out.dtype)


def mode_of(block: nn.Module, train: bool) -> dict[str, Any]:
    """The keyword ``train`` for a block's call, if that takes it."""
    known = inspect.signature(type(block).__call__).parameters
    return {"train": train} if "train" in known else {}


def init_network(key: Array, network: Network, inputs: Array) -> tuple[tuple, tuple]:
    """Initial variables of every block.

    Args:
      key: PRNG key, consumed.
      network: blocks.
      inputs: [batch, ...], only its shape and dtype matter.

    Returns:
      (params, collections): tuples with one tree per block; `collections[l]` holds
      ``{"batch_stats": ...}`` or is empty.

    Raises:
      TypeError: a block is no Flax Linen module.
    """
    params, collections = [], []
    for number, (block, block_key) in enumerate(
        zip(network, jax.random.split(key, len(network)), strict=True)
    ):
        if not isinstance(block, nn.Module):
            raise TypeError(
                f"block {number} is {type(block).__name__}: expected a Flax Linen module, such as "
                "qjax.networks.Dense or flax.linen.Dense"
            )
        # Values flow through, but only shapes are used: XLA drops the arithmetic under jit.
        inputs, variables = block.init_with_output(block_key, inputs, **mode_of(block, True))
        own = dict(variables)
        params.append(own.pop("params", {}))
        collections.append(own)
    return tuple(params), tuple(collections)


def apply_block(
    block: nn.Module, params: Any, collections: Any, x: Any, train: bool
) -> tuple[Array, Any]:
    """One block on a batch: (output, collections with the running statistics after this batch).

    What `params` has under "activity" is a collection of its own, see `with_activity`.
    """
    params = dict(params)
    activity = {"activity": params.pop("activity")} if "activity" in params else {}
    variables = {"params": params, **collections, **activity}
    given = mode_of(block, train)
    apply: Callable[..., Any] = block.apply  # gives a pair if something is mutable
    if not train and "crossbar" not in collections:
        return apply(variables, x, **given), collections
    with nn.intercept_methods(_use_feedback):
        if not train:
            return apply(variables, x, **given), collections
        out, updated = apply(variables, x, **given, mutable=["batch_stats"])
    return out, {**collections, **updated}


def forward(network: Network, params: Any, collections: Any, x: Array) -> Array:
    """The whole network in evaluation mode: [batch, ...] -> output of the last block."""
    for block, block_params, block_collections in zip(network, params, collections, strict=True):
        x, _ = apply_block(block, block_params, block_collections, x, train=False)
    return x


def predict(
    network: Network, params: Any, collections: Any, crossbar: Crossbar | None, inputs: Array
) -> Array:
    """Outputs of a trained network, whose products go through converters where there are any.

    The same weights and inputs [batch, ...] meet the same noise: there is no key.
    """
    key = None if crossbar is None else key_of(inputs, params)
    seen = with_crossbars(key, crossbar, params, collections)
    return forward(network, params, seen, inputs)


def shapes_of(network: Network, params: Any, collections: Any, inputs: Array) -> list[Any]:
    """Shape and dtype of every block's output in training, without computing them."""

    def outputs(params, collections, x):
        found = []
        for block, p, c in zip(network, params, collections, strict=True):
            x, _ = apply_block(block, p, c, x, train=True)
            found.append(x)
        return found

    return jax.eval_shape(outputs, params, collections, inputs)


def kernels_of(params: Any) -> dict:
    """The parameters of a block that are called ``kernel``, in a tree of the same nesting."""
    flat = flatten_dict(params)
    return unflatten_dict({path: leaf for path, leaf in flat.items()
                           if path[-1] == "kernel" and path[0] != "activity"})


def with_crossbars(
    key: Array | None, crossbar: Crossbar | None, params: Sequence[Any], collections: Sequence[Any]
) -> tuple:
    """Collections of every block, with one called "crossbar": converters for every kernel.

    Args:
      key: consumed; None: without noise.
      crossbar: the converters of each; None: there are none.
      params: of every block.
      collections: of every block.
    """
    if crossbar is None:
        return tuple(collections)
    keys: Any = [None] * len(params)
    if key is not None and crossbar.noisy:
        keys = jax.random.split(key, len(params))
    found = []
    for own_key, block, own in zip(keys, params, collections, strict=True):
        flat = flatten_dict(kernels_of(block))
        each = {path: replace(
            crossbar, key=None if own_key is None else jax.random.fold_in(own_key, number))
            for number, path in enumerate(flat)}
        found.append({**own, "crossbar": unflatten_dict(each)})
    return tuple(found)


def key_of(inputs: Array, weights: Any) -> Array:
    """A key for the noise of predictions, which have none: the same arguments give the same.

    Args:
      inputs: of the network.
      weights: its parameters, so that other networks meet other noise.
    """
    key = jax.random.key(0)
    for values in (inputs, *jax.tree.leaves(weights)):
        total = jnp.sum(values, dtype=jnp.float32)
        key = jax.random.fold_in(key, jax.lax.bitcast_convert_type(total, jnp.int32))
    return key


def without_crossbars(collections: Sequence[Any]) -> tuple:
    """Collections of every block without those."""
    return tuple({k: v for k, v in c.items() if k != "crossbar"} for c in collections)


def with_activity(params: Any) -> Any:
    """The parameters of a block, whose gradient will have the sizes of what every example adds.

    The gradient has under "activity" a tree like `kernels_of` it; see `qjax.feedback`.
    """
    return {**params, "activity": jax.tree.map(jnp.zeros_like, kernels_of(params))}


def without_activity(gradient: Any) -> tuple[Any, Any]:
    """(gradient of a block's parameters, a tree like it: sizes for its kernels, else None)."""
    gradient = dict(gradient)
    sizes = flatten_dict(gradient.pop("activity", {}))
    flat = {path: sizes.get(path) for path in flatten_dict(gradient)}
    return gradient, unflatten_dict(flat)


def check_feedback(
    network: Network, params: Any, collections: Any, feedback: Any, inputs: Array
) -> None:
    """Refuses blocks that would send errors down through their kernels, whatever the feedback.

    Args:
      params, collections: of every block.
      feedback: per block a tree like `kernels_of` its params.
      inputs: [batch, ...], only its shape and dtype matter.

    Raises:
      ValueError: names block and kernel.
    """
    for number, (block, p, c, b) in enumerate(
        zip(network, params, collections, feedback, strict=True)
    ):
        def down(b, block=block, p=p, c=c, x=inputs):
            out, pull = jax.vjp(
                lambda x: apply_block(block, p, {**c, "feedback": b}, x, train=True)[0], x
            )
            return out, pull(out)

        traced = jax.make_jaxpr(down)(b).jaxpr
        used = {id(v) for equation in traced.eqns for v in equation.invars}
        for path, variable in zip(flatten_dict(b, sep="/"), traced.invars, strict=True):
            if id(variable) not in used:
                raise ValueError(
                    f"block {number} ({type(block).__name__}) sends errors down through its own "
                    f"{path!r}, and takes no feedback matrix for it. Make that layer one of "
                    "flax.linen's Dense, DenseGeneral, Conv, ConvTranspose or qjax.networks' "
                    "Dense, Conv, or let it use qjax.feedback.linear(x, kernel, bias, "
                    'self.get_variable("feedback", "kernel")); or take an algorithm without '
                    "feedback matrices: backprop, dfa, dni"
                )
        inputs = jax.eval_shape(down, b)[0]
        inputs = jnp.zeros(inputs.shape, inputs.dtype)
