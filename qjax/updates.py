"""How an update reaches weights that live on a grid: optimizers without a step size, update rules.

The quantizer says *where* weights may lie, the update rule *how* a proposed change is applied. Both
are independent of the algorithm that proposes it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from qjax.metrics import at_least_float32, wide_type
from qjax.quantize import Quantizer, make_grid, pulse, quantize, quantize_tree, wanted
from qjax.trees import Where, is_floating, paths_of

__all__ = [
    "OPTIMIZERS",
    "UPDATE_RULES",
    "UpdateRule",
    "in_float32",
    "latent",
    "nearest",
    "only",
    "propose",
    "pulsed",
    "scale_by_adadelta",
    "stochastic",
]


def scale_by_adadelta(rho: float = 0.9, eps: float = 1e-6) -> optax.GradientTransformation:
    """Adadelta's direction (Zeiler 2012): gradient * RMS(past steps) / RMS(past gradients).

    optax's transformation of this name with one square root for two: on a CPU the optimizer costs
    more than the matrix products, and this alone saved an eighth of a training step (0.303 for
    0.343 ms per replica, 28 replicas of 784-100-100-100-10).
    """

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdaDeltaState(e_g=zeros, e_x=zeros)

    def mean(old, new):
        return jax.tree.map(lambda o, n: rho * o + (1 - rho) * n * n, old, new)

    def update(gradients, state, params=None):
        del params
        e_g = mean(state.e_g, gradients)
        steps = jax.tree.map(
            lambda g, x, s: g * jnp.sqrt((x + eps) / (s + eps)), gradients, state.e_x, e_g
        )
        return steps, optax.ScaleByAdaDeltaState(e_g=e_g, e_x=mean(state.e_x, steps))

    return optax.GradientTransformation(init, update)


def in_float32(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """`optimizer` for parameters of any type: it computes in float32 where theirs is narrower.

    In float16 the constants that keep an optimizer from dividing by zero are themselves zero.
    Directions have the gradients' types.
    """

    def wide(tree):
        return jax.tree.map(at_least_float32, tree)

    def init(params):
        return optimizer.init(wide(params))

    def update(gradients, state, params=None):
        inner = None if params is None else wide(params)
        steps, state = optimizer.update(wide(gradients), state, inner)
        return jax.tree.map(lambda s, g: s.astype(g.dtype), steps, gradients), state

    return optax.GradientTransformation(init, update)


# Added under Adam's root: changes a step's last bit now and then, and gives a derivative at zero.
_ROOT = 1e-32

# Directions only: the learning rate is a number of the replica, not of the program.
OPTIMIZERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adadelta": lambda: in_float32(scale_by_adadelta()),
    "adam": lambda: in_float32(optax.scale_by_adam(eps_root=_ROOT)),
    "momentum": lambda: in_float32(optax.trace(decay=0.9)),
    "sgd": optax.identity,
    "sign": optax.scale_by_sign,
}


class UpdateRule(NamedTuple):
    """Pure functions between the parameters a trainer keeps and the weights the device shows.

    Attributes:
      place: (key, params, quantizer) -> params as they may be kept.
      write: (key, params, updates, quantizer) -> params after an update (a tree like them).
      read: (params, quantizer) -> the weights that forward and backward passes use.
    """

    place: Callable[[Array, Any, Quantizer], Any]
    write: Callable[[Array, Any, Any, Quantizer], Any]
    read: Callable[[Any, Quantizer], Any]


def _shown_as_kept(params, quantizer):
    del quantizer
    return params


def _round(key, params, quantizer):
    del key
    return quantize_tree(params, quantizer)


def _round_at_random(key, params, quantizer):
    return quantize_tree(params, quantizer, key=key)


def _keep(key, params, quantizer):
    del key, quantizer
    return params


def _each(function, params, updates, key=None):
    """`function(param, update, key)` on every floating-point leaf; the others stay."""
    leaves, treedef = jax.tree.flatten(params)
    changes = treedef.flatten_up_to(updates)
    keys = [None] * len(leaves) if key is None else jax.random.split(key, max(len(leaves), 1))
    return treedef.unflatten([
        function(x, change, k) if is_floating(x) else x
        for x, change, k in zip(leaves, changes, keys, strict=True)
    ])


def _add(key, params, updates, quantizer):
    del key, quantizer
    return _each(lambda x, change, _: (x + change).astype(x.dtype), params, updates)


def _land(x, change, key, quantizer):
    """The step, then the grid. A narrow type has too few digits to hold what is in between."""
    narrow = wide_type(x.dtype) != x.dtype
    landing = wanted(x, change, make_grid(x, quantizer)) if narrow else x + change
    return quantize(landing, make_grid(landing, quantizer), key).astype(x.dtype)


def _land_nearest(key, params, updates, quantizer):
    del key
    return _each(lambda x, change, _: _land(x, change, None, quantizer), params, updates)


def _land_at_random(key, params, updates, quantizer):
    return _each(lambda x, change, k: _land(x, change, k, quantizer), params, updates, key)


def _pulses(key, params, updates, quantizer):
    def one(x, change, k):
        return pulse(x, change, make_grid(x, quantizer), k)

    moved = _each(one, params, updates, key)
    return quantize_tree(moved, quantizer)  # a local range may have shrunk; else nothing changes


# What a rule needs beside the weight is said for the rule alone: an optimizer's own state, Adam's
# two floats for each weight, say, comes on top.

# The thesis's rule: take the step, then round to the nearest level. Needs nothing but the weight,
# but a step below half a level is lost.
nearest = UpdateRule(_round, _land_nearest, _shown_as_kept)

# Take the step, then round up or down at random, right on average: small steps survive as
# probabilities. Needs the weight and a random number.
stochastic = UpdateRule(_round_at_random, _land_at_random, _shown_as_kept)

# One programming pulse, or none: a weight moves by at most one level, with a probability set by the
# wanted step. Needs the weight and a random number, and the device never has to be written to a
# given level. Meant for the scope "global": a range taken from the tensor can only
# shrink, and every weight is then rounded to the new levels.
pulsed = UpdateRule(_round_at_random, _pulses, _shown_as_kept)

# BinaryConnect (Courbariaux et al. 2015): the trainer keeps full-precision weights and shows
# their quantized values; gradients at these go straight through. Needs a float beside each weight.
latent = UpdateRule(_keep, _add, quantize_tree)

UPDATE_RULES = {"nearest": nearest, "stochastic": stochastic, "pulse": pulsed, "latent": latent}


def only(where: Where, rule: UpdateRule) -> UpdateRule:
    """`rule` for some leaves, floats for the others.

    Args:
      where: (path, leaf) -> bool, with paths like "blocks/0/kernel"; the trees that reach a rule
        may begin anywhere below the root, so look at the end of the path.
      rule: for the leaves chosen.
    """

    def choose(chosen, others):
        leaves, treedef = jax.tree.flatten(chosen)
        return treedef.unflatten([
            a if where(path, a) else b
            for path, a, b in zip(paths_of(chosen), leaves, treedef.flatten_up_to(others),
                                  strict=True)
        ])

    def place(key, params, quantizer):
        return choose(rule.place(key, params, quantizer), params)

    def write(key, params, updates, quantizer):
        stepped = _add(key, params, updates, quantizer)
        return choose(rule.write(key, params, updates, quantizer), stepped)

    def read(params, quantizer):
        return choose(rule.read(params, quantizer), params)

    return UpdateRule(place, write, read)


def propose(
    optimizer: optax.GradientTransformation,
    gradients: Any,
    opt_state: Any,
    params: Any,
    learning_rate: ArrayLike,
    weight_decay: ArrayLike = 0.0,
) -> tuple[Any, Any]:
    """The change an optimizer proposes: ``-learning_rate * direction(gradient + decay * params)``.

    Decay enters the gradient before the optimizer sees it, as in PyTorch's optimizers.

    Args:
      optimizer: a direction, e.g. from `OPTIMIZERS`.
      learning_rate, weight_decay: scalars, may be traced.

    Returns:
      (updates, new opt_state), of the types of the gradients; nothing is applied yet.
    """

    def decayed(g, p):
        return (g + weight_decay * p).astype(g.dtype)  # a wider rate must not widen the state

    gradients = jax.tree.map(decayed, gradients, params)
    direction, opt_state = optimizer.update(gradients, opt_state, params)
    changes = jax.tree.map(lambda d: jnp.negative(learning_rate * d).astype(d.dtype), direction)
    return changes, opt_state
