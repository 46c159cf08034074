"""Feedback alignment and its kin: errors travel down through other matrices than the weights.

They differ only in the matrix B that stands in for the weights W on the way down:

* fa: fixed and random;
* usf: sign(W) times one constant ("uniform sign-concordant feedback");
* frsf: sign(W) times fixed random magnitudes;
* brsf: sign(W) times magnitudes drawn anew for every batch;
* kp: learned, with the update of W itself and the same decay (Kolen and Pollack).

There is one for every kernel of a block, see `qjax.blocks`.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from qjax import memories
from qjax.algorithms.backprop import chain_gradient
from qjax.algorithms.gradient import from_gradient
from qjax.algorithms.interface import Algorithm, Rules, TrainState
from qjax.algorithms.passes import init_blocks
from qjax.blocks import Network, check_feedback, kernels_of
from qjax.networks import uniform_range

__all__ = ["brsf", "fa", "frsf", "kp", "usf"]


def _draw(key: Array, kernel: Array, device: bool) -> Array:
    """A random matrix of a kernel's shape; where the device has a gain, it is the feedback's too.

    Otherwise Xavier-uniform.
    """
    draw = uniform_range if device else nn.initializers.xavier_uniform()
    return draw(key, kernel.shape, kernel.dtype)


def _uniform_magnitude(kernel: Array, device: bool) -> Array:
    """The root mean square of `_draw`'s values."""
    if device:
        return jnp.asarray(3**-0.5, kernel.dtype)
    receptive = kernel.size // (kernel.shape[-2] * kernel.shape[-1])
    mean_square = 2 / (receptive * (kernel.shape[-2] + kernel.shape[-1]))
    return jnp.sqrt(jnp.asarray(mean_square, kernel.dtype))


def _draw_all(key: Array, params: tuple, collections: tuple) -> tuple:
    """Random matrices for all kernels; the key is consumed."""
    drawn = []
    keys = jax.random.split(key, len(params))
    for k, block, collection in zip(keys, params, collections, strict=True):
        kernels, treedef = jax.tree.flatten(kernels_of(block))
        own = [k] if len(kernels) == 1 else jax.random.split(k, len(kernels))
        drawn.append(treedef.unflatten([
            _draw(one, kernel, "device" in collection)
            for one, kernel in zip(own, kernels, strict=False)
        ]))
    return tuple(drawn)


def _with(collections: tuple, feedback: tuple) -> tuple:
    return tuple({**c, "feedback": b} for c, b in zip(collections, feedback, strict=True))


def _without(collections: tuple) -> tuple:
    return tuple({k: v for k, v in c.items() if k != "feedback"} for c in collections)


def _aligned(
    network: Network, rules: Rules, shown: Callable[[Array, dict, tuple], tuple], matrices: bool
) -> Algorithm:
    """An algorithm with matrices B that are not trained.

    Args:
      network, rules: as for all algorithms.
      shown: (key, weights, collections) -> B of every block; weights["feedback"] are the matrices.
      matrices: are there any random ones, held as the weights are?
    """
    down = chain_gradient(network)

    def init(key, settings, inputs):
        blocks_key, feedback_key = jax.random.split(key)
        held, weights, collections = init_blocks(blocks_key, network, settings, inputs)
        drawn = _draw_all(feedback_key, weights, collections)
        check_feedback(network, weights, collections, drawn, inputs)
        fixed = memories.place(
            jax.random.fold_in(feedback_key, 0), settings.memory, {"feedback": drawn}
        )
        return TrainState({"blocks": held}, collections, fixed=fixed if matrices else {})

    def gradient(key, weights, collections, batch, error_at):
        seen = _with(collections, shown(key, weights, collections))
        gradients, after, loss = down(key, weights, seen, batch, error_at)
        return gradients, _without(after), loss

    return from_gradient(init, gradient, network, rules, shown)


def fa(network: Network, rules: Rules = Rules()) -> Algorithm:
    """Lillicrap et al. 2016, "Random synaptic feedback weights support error backpropagation".

    Every kernel, the output's included, has a fixed matrix of its shape, Xavier-uniform and held as
    the weights are; the error passed down meets it where backpropagation uses the kernel.
    """
    return _aligned(network, rules, lambda key, weights, cs: weights["feedback"], True)


def usf(network: Network, rules: Rules = Rules()) -> Algorithm:
    """Liao, Leibo and Poggio 2016, "How important is weight symmetry in backpropagation?": uSF.

    B is the sign of the kernel times the root mean square of an initial (Xavier) kernel.
    """

    def shown(key, weights, collections):
        return tuple(
            jax.tree.map(lambda k, c=c: jnp.sign(k) * _uniform_magnitude(k, "device" in c),
                         kernels_of(block))
            for block, c in zip(weights["blocks"], collections, strict=True)
        )

    return _aligned(network, rules, shown, False)


def _signed(params: tuple, magnitudes: Any) -> tuple:
    return tuple(
        jax.tree.map(lambda k, m: jnp.sign(k) * jnp.abs(m), kernels_of(block), m)
        for block, m in zip(params, magnitudes, strict=True)
    )


def frsf(network: Network, rules: Rules = Rules()) -> Algorithm:
    """Liao, Leibo and Poggio 2016: frSF, the sign of the kernel and fixed random magnitudes."""
    return _aligned(
        network, rules, lambda key, weights, cs: _signed(weights["blocks"], weights["feedback"]),
        True,
    )


def brsf(network: Network, rules: Rules = Rules()) -> Algorithm:
    """Liao, Leibo and Poggio 2016: brSF, the sign of the kernel, new magnitudes every batch."""

    def shown(key, weights, collections):
        return _signed(weights["blocks"], _draw_all(key, weights["blocks"], collections))

    return _aligned(network, rules, shown, False)


def kp(network: Network, rules: Rules = Rules()) -> Algorithm:
    """Kolen and Pollack 1994; Akrout et al. 2019, "Deep learning without weight transport".

    B starts like fa's and receives the gradient of the kernel it stands for. With weight decay (and
    plain gradient descent) what the two differ by decays, so that B becomes W. `TrainState.held`
    has them as "blocks" and "feedback": both are written by the memory.
    """
    down = chain_gradient(network)

    def init(key, settings, inputs):
        blocks_key, feedback_key, place_key = jax.random.split(key, 3)
        held, weights, collections = init_blocks(blocks_key, network, settings, inputs)
        drawn = _draw_all(feedback_key, weights, collections)
        check_feedback(network, weights, collections, drawn, inputs)
        feedback = memories.hold(place_key, settings.memory, {"feedback": drawn})
        return TrainState({"blocks": held, **feedback}, collections)

    def gradient(key, weights, collections, batch, error_at):
        seen = _with(collections, weights["feedback"])
        gradients, after, loss = down(key, weights, seen, batch, error_at)
        to_feedback = tuple(map(kernels_of, gradients["blocks"]))
        return {**gradients, "feedback": to_feedback}, _without(after), loss

    return from_gradient(
        init, gradient, network, rules, lambda key, weights, cs: weights["feedback"]
    )
