"""Feedback alignment and its kin: errors travel down through other matrices than the weights.

They differ only in the matrix B that stands in for the weights W on the way down:

* fa: fixed and random;
* usf: sign(W) times one constant ("uniform sign-concordant feedback");
* frsf: sign(W) times fixed random magnitudes;
* brsf: sign(W) times magnitudes drawn anew for every batch;
* kp: learned, with the update of W itself and the same decay (Kolen and Pollack).
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from qjax.algorithms import interface
from qjax.algorithms.backprop import chain_gradient
from qjax.networks import Network, uniform_range
from qjax.quantize import quantize_tree

__all__ = ["brsf", "fa", "frsf", "kp", "usf"]


def _draw(key: Array, kernel: Array, collection: dict) -> Array:
    """A random matrix of a kernel's shape; where the device has a gain, it is the feedback's too.

    Otherwise Xavier-uniform.
    """
    draw = uniform_range if "device" in collection else nn.initializers.xavier_uniform()
    return draw(key, kernel.shape, kernel.dtype)


def _uniform_magnitude(kernel: Array, collection: dict) -> Array:
    """The root mean square of `_draw`'s values."""
    if "device" in collection:
        return jnp.asarray(3**-0.5, kernel.dtype)
    receptive = kernel.size // (kernel.shape[-2] * kernel.shape[-1])
    mean_square = 2 / (receptive * (kernel.shape[-2] + kernel.shape[-1]))
    return jnp.sqrt(jnp.asarray(mean_square, kernel.dtype))


def _draw_all(key, params, collections):
    keys = jax.random.split(key, len(params))
    return tuple(
        {"kernel": _draw(k, block["kernel"], collection)}
        for k, block, collection in zip(keys, params, collections, strict=True)
    )


def _with(collections, feedback):
    return tuple({**c, "feedback": b} for c, b in zip(collections, feedback, strict=True))


def _aligned(network: Network, rules: interface.Rules, shown: Callable) -> interface.Algorithm:
    """An algorithm with random matrices M, fixed on the weights' grid.

    Args:
      network, rules: as for all algorithms.
      shown: (key, params, collections with M as "feedback") -> B of every block.
    """
    down = chain_gradient(network)

    def init(key, settings, inputs):
        blocks_key, feedback_key = jax.random.split(key)
        params, collections = interface.init_blocks(blocks_key, network, rules, settings, inputs)
        drawn = _draw_all(feedback_key, params, collections)
        # A matrix at a time, so that each has a range of its own.
        feedback = tuple(quantize_tree(b, settings.quantizer) for b in drawn)
        return interface.TrainState({"blocks": params}, _with(collections, feedback))

    def gradient(key, weights, collections, batch, error_at):
        fixed = tuple(c["feedback"] for c in collections)
        seen = _with(collections, shown(key, weights["blocks"], collections))
        gradients, after, loss = down(key, weights, seen, batch, error_at)
        return gradients, _with(after, fixed), loss

    def feedback(key, weights, collections):
        return [b["kernel"] for b in shown(key, weights["blocks"], collections)]

    return interface.from_gradient(init, gradient, network, rules, feedback)


def fa(network: Network, rules: interface.Rules = interface.Rules()) -> interface.Algorithm:
    """Lillicrap et al. 2016, "Random synaptic feedback weights support error backpropagation".

    Every block, the output included, has a fixed matrix of its kernel's shape, Xavier-uniform and
    on the weights' grid; the error passed down meets it where backpropagation uses the kernel.
    """
    return _aligned(network, rules, lambda key, params, cs: tuple(c["feedback"] for c in cs))


def usf(network: Network, rules: interface.Rules = interface.Rules()) -> interface.Algorithm:
    """Liao, Leibo and Poggio 2016, "How important is weight symmetry in backpropagation?": uSF.

    B is the sign of the kernel times the root mean square of an initial (Xavier) kernel.
    """

    def shown(key, params, collections):
        return tuple(
            {"kernel": jnp.sign(p["kernel"]) * _uniform_magnitude(p["kernel"], c)}
            for p, c in zip(params, collections, strict=True)
        )

    return _aligned(network, rules, shown)


def _signed(params, magnitudes):
    return tuple(
        {"kernel": jnp.sign(p["kernel"]) * jnp.abs(m["kernel"])}
        for p, m in zip(params, magnitudes, strict=True)
    )


def frsf(network: Network, rules: interface.Rules = interface.Rules()) -> interface.Algorithm:
    """Liao, Leibo and Poggio 2016: frSF, the sign of the kernel and fixed random magnitudes."""
    return _aligned(
        network, rules, lambda key, params, cs: _signed(params, [c["feedback"] for c in cs])
    )


def brsf(network: Network, rules: interface.Rules = interface.Rules()) -> interface.Algorithm:
    """Liao, Leibo and Poggio 2016: brSF, the sign of the kernel, new magnitudes every batch."""
    return _aligned(
        network, rules, lambda key, params, cs: _signed(params, _draw_all(key, params, cs))
    )


def kp(network: Network, rules: interface.Rules = interface.Rules()) -> interface.Algorithm:
    """Kolen and Pollack 1994; Akrout et al. 2019, "Deep learning without weight transport".

    B starts like fa's and receives the gradient of the kernel it stands for. With weight decay (and
    plain gradient descent) what the two differ by decays, so that B becomes W. `TrainState.params`
    holds them as "blocks" and "feedback": B is kept on the grid by the update rule, like W.
    """
    down = chain_gradient(network)

    def init(key, settings, inputs):
        blocks_key, feedback_key, place_key = jax.random.split(key, 3)
        params, collections = interface.init_blocks(blocks_key, network, rules, settings, inputs)
        feedback = _draw_all(feedback_key, params, collections)
        feedback = rules.update.place(place_key, feedback, settings.quantizer)
        return interface.TrainState({"blocks": params, "feedback": feedback}, collections)

    def gradient(key, weights, collections, batch, error_at):
        seen = _with(collections, weights["feedback"])
        own = {"blocks": weights["blocks"]}
        gradients, after, loss = down(key, own, seen, batch, error_at)
        to_feedback = tuple({"kernel": g["kernel"]} for g in gradients["blocks"])
        after = tuple({k: v for k, v in c.items() if k != "feedback"} for c in after)
        return {**gradients, "feedback": to_feedback}, after, loss

    def feedback(key, weights, collections):
        return [b["kernel"] for b in weights["feedback"]]

    return interface.from_gradient(init, gradient, network, rules, feedback)
