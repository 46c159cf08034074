"""The interface of a memory, and how memories of single tensors hold whole trees."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from qjax import structs
from qjax.grids import Quantizer, make_grid
from qjax.numbers import check_numbers, has_grid
from qjax.rounding import quantize
from qjax.trees import Where, is_floating, paths_of

__all__ = [
    "Bits", "ByLeaf", "Held", "Memory", "account", "behind", "by_leaf", "grid_of", "hold",
    "is_a_memory", "is_held", "place", "programmed", "read", "takes_activity", "wait", "write",
]


class Bits(NamedTuple):
    """Bits of memory per weight: on the device that multiplies, and beside it."""

    device: ArrayLike
    beside: ArrayLike

    @property
    def total(self) -> ArrayLike:
        """Both together."""
        return self.device + self.beside


class Memory(Protocol):
    """How one tensor is held: a `qjax.structs.dataclass` whose fields are numbers.

    Like an optax transformation, but that numbers are fields and not captured: so they may be
    traced and batched, and one program sweeps them. All methods are pure and work under jit, vmap
    and grad. `held` is any pytree of arrays: levels, hidden bits, step sizes of every device, a
    second array, counters. What must hold:

    * ``read(init(key, w))`` is w, as near as the memory can show it (or, where that is its way, at
      random but right on average);
    * a change of zero moves nothing, but where physics does, and the docstring says so.
    """

    def init(self, key: Array, weights: Array) -> Any:
        """Weights of any shape, float -> held. The key is consumed."""

    def read(self, held: Any) -> Array:
        """Held -> what forward and backward pass see: shape and type of the weights."""

    def write(self, key: Array, held: Any, change: Array) -> Any:
        """Held after a proposed change (like the weights). The key is consumed."""

    def account(self) -> Bits:
        """What it costs, from its numbers alone; 32 bits for a float."""

    # A memory to which one element of a tensor is like another, wherever it stands, may say so,
    #
    #     by_element = True
    #
    # then it is given matrices as they lie best, see `Held`.
    #
    # A memory whose weights are plain floats where its `grid` has 0 bits may say so,
    #
    #     floats_without_bits = True
    #
    # then unquantized networks can ride along in its program.
    #
    # A memory whose `write` draws no random numbers may say so,
    #
    #     draws = False
    #
    # then fewer replicas may train at once: what others draw is shared by all of a seed.
    #
    # A memory that is written by the pulses of every example takes a fourth argument,
    #
    #     def write(self, key, held, change, activity: Activity | None = None)
    #     takes_activity = True
    #
    # of which the change is the sum.
    #
    # A memory that knows more of its weights than it shows also has
    #
    #     def behind(self, held: Any) -> Array
    #
    # the weights as it knows them: to these weight decay is applied and a change is added, and
    # these are recorded. Of all others that is what they show.
    #
    # A memory whose weights change while nobody writes them also has
    #
    #     def wait(self, key: Array, held: Any, seconds: ArrayLike) -> Any
    #
    # held after that time; after none it is what it was. The key is consumed.
    #
    # A memory whose weights change without being programmed, or of which more are programmed than
    # show it, also has
    #
    #     def programmed(self, held: Any) -> Array
    #
    # the share of its weights, 0 to 1, that the last write programmed. Of all others it is that of
    # the weights that show another level, or another value.


@structs.dataclass
class ByLeaf:
    """Which leaf of a tree is held by which memory: the first whose `where` says so.

    Attributes:
      memories: each a `Memory`.
      where: (path, leaf) -> bool each, paths like "blocks/0/kernel"; part of the program.
    """

    memories: tuple
    where: tuple[Where, ...] = structs.field(pytree_node=False)


def _everything(path: str, leaf: Array) -> bool:
    return True


def is_a_memory(memory: Any) -> bool:
    """Has it all of a `Memory`?"""
    return not isinstance(memory, type) and all(
        hasattr(memory, name) for name in ("init", "read", "write", "account"))


def _check_memory(memory: Any) -> None:
    if not is_a_memory(memory):
        raise TypeError(
            f"expected a memory, got {memory!r}: make one, for instance with "
            'Stochastic(make_quantizer(2, "symm", "global"))'
        )


def by_leaf(*entries: tuple[Where, Any] | Any) -> ByLeaf:
    """A list of (where, memory), first match wins; a memory alone is for everything."""
    pairs = [entry if type(entry) is tuple else (_everything, entry) for entry in entries]
    for where, memory in pairs:
        if not callable(where) or isinstance(memory, ByLeaf):
            raise TypeError(f"expected (where, memory) or a memory, got ({where!r}, {memory!r})")
        _check_memory(memory)
    return ByLeaf(tuple(m for _, m in pairs), tuple(w for w, _ in pairs))


@structs.dataclass
class Held:
    """What a memory holds of one tensor, in the place of that tensor in a tree.

    Attributes:
      state: what the memory's `init` and `write` return.
      which: number of the memory in its `ByLeaf`; part of the program.
      turned: are these the elements of the transposed matrix? A memory that treats all elements
        alike gets matrices so: [outputs, inputs], in which the products of many replicas with the
        same inputs are one large product, without a copy of all weights in each step.
    """

    state: Any
    which: int = structs.field(pytree_node=False, default=0)
    turned: bool = structs.field(pytree_node=False, default=False)


def _turn(tensor: Any, turned: bool) -> Any:
    """The transposed matrix, of one or many replicas, or all of a tree of them, if turned."""
    if not turned:
        return tensor
    return jax.tree.map(lambda x: x if jnp.ndim(x) < 2 else jnp.swapaxes(x, -1, -2), tensor)


def is_held(node: Any) -> bool:
    """Is it a tensor that a memory holds?"""
    return isinstance(node, Held)


def _entries(memory: Any) -> ByLeaf:
    return memory if isinstance(memory, ByLeaf) else by_leaf(memory)


def _which(entries: ByLeaf, path: str, leaf: Any) -> int:
    for number, where in enumerate(entries.where):
        if where(path, leaf):
            return number
    raise ValueError(
        f"no memory is for leaf {path!r}: end the list of by_leaf with one for everything else, "
        "such as Float()"
    )


def _init_all(key: Array, memory: Any, tree: Any, prepare: Callable[[Any, Array], Array]) -> Any:
    entries = _entries(memory)
    for each in entries.memories:
        check_numbers(each)
    leaves, treedef = jax.tree.flatten(tree)
    paths, keys = paths_of(tree), jax.random.split(key, max(len(leaves), 1))[: len(leaves)]
    found = []
    for leaf, path, leaf_key in zip(leaves, paths, keys, strict=True):
        if not is_floating(leaf):
            found.append(leaf)
            continue
        which = _which(entries, path, leaf)
        try:
            own = entries.memories[which]
            turned = getattr(own, "by_element", False) and jnp.ndim(leaf) == 2
            weights = prepare(own, _turn(jnp.asarray(leaf), turned))
            found.append(Held(own.init(leaf_key, weights), which, turned))
        except (TypeError, ValueError) as error:
            raise type(error)(f"leaf {path!r}: {error}") from error
    return treedef.unflatten(found)


def hold(key: Array, memory: Any, weights: Any) -> Any:
    """Puts the floating-point leaves of a tree into memory; other leaves stay.

    Args:
      key: consumed; each leaf gets its own.
      memory: a `Memory` for all leaves, or a `ByLeaf`.
      weights: any pytree.

    Returns:
      The tree with a `Held` for every such leaf.

    Raises:
      ValueError: a number out of bounds, or no memory for a leaf; what a memory refuses is told
        with the leaf's path.
    """
    return _init_all(key, memory, weights, lambda own, leaf: leaf)


def place(key: Array, memory: Any, tensors: Any) -> Any:
    """`hold` for tensors that are written once and never trained, such as feedback matrices.

    Where the memory has levels these are rounded to the nearest first, also if it writes at random.
    """

    def nearest(own, tensor):
        return quantize(tensor, make_grid(tensor, own.grid)) if has_grid(own) else tensor

    return _init_all(key, memory, tensors, nearest)


def read(memory: Any, held: Any) -> Any:
    """The tree with the weights in the places of what holds them, as all computations see them."""
    entries = _entries(memory)

    def one(node):
        if not is_held(node):
            return node
        return _turn(entries.memories[node.which].read(node.state), node.turned)

    return jax.tree.map(one, held, is_leaf=is_held)


def behind(memory: Any, held: Any) -> Any:
    """The tree with the weights as the memories know them: what they show, or more exactly."""
    entries = _entries(memory)

    def one(node):
        if not is_held(node):
            return node
        own = entries.memories[node.which]
        return _turn(getattr(own, "behind", own.read)(node.state), node.turned)

    return jax.tree.map(one, held, is_leaf=is_held)


def programmed(memory: Any, held: Any) -> Any:
    """The tree with the share of the weights that the last write programmed in their places.

    None where a memory does not know more than can be seen of its weights.
    """
    entries = _entries(memory)

    def one(node):
        own: Any = entries.memories[node.which] if is_held(node) else None
        return own.programmed(node.state) if hasattr(own, "programmed") else None

    return jax.tree.map(one, held, is_leaf=is_held)


def write(
    key: Array, memory: Any, held: Any, changes: Any, activities: Any = None
) -> Any:
    """What is held after a proposed change.

    Args:
      key: consumed; each leaf gets its own.
      memory: as for `hold`.
      held: from `hold` or `write`.
      changes: a tree like the weights.
      activities: a tree like it, of what examples ask for (`qjax.memories.Activity`), None where
        that is not known; None: nothing is known.
    """
    entries = _entries(memory)
    nodes, treedef = jax.tree.flatten(held, is_leaf=is_held)
    keys = jax.random.split(key, max(len(nodes), 1))[: len(nodes)]
    told = [None] * len(nodes) if activities is None else treedef.flatten_up_to(activities)

    def one(node, change, activity, key):
        own = entries.memories[node.which]
        told = (activity,) if activity is not None and takes_activity(own) else ()
        more = _turn((change, *told), node.turned)
        return node.replace(state=own.write(key, node.state, *more))

    return treedef.unflatten([
        one(node, change, activity, k) if is_held(node) else node
        for node, change, activity, k in zip(
            nodes, treedef.flatten_up_to(changes), told, keys, strict=True)
    ])


def wait(key: Array, memory: Any, held: Any, seconds: ArrayLike) -> Any:
    """What is held after some time in which nothing is written; levels and floats stay.

    Args:
      key: consumed; each leaf gets its own.
      memory: as for `hold`.
      held: from `hold` or `write`.
      seconds: since the last write.
    """
    entries = _entries(memory)
    nodes, treedef = jax.tree.flatten(held, is_leaf=is_held)
    keys = jax.random.split(key, max(len(nodes), 1))[: len(nodes)]

    def one(node, key):
        own: Any = entries.memories[node.which] if is_held(node) else None
        if not hasattr(own, "wait"):
            return node
        return node.replace(state=own.wait(key, node.state, seconds))

    return treedef.unflatten(map(one, nodes, keys))


def draws(memory: Any) -> bool:
    """May writing into a memory, or into one of a `ByLeaf`, draw random numbers?"""
    return any(getattr(own, "draws", True) for own in _entries(memory).memories)


def takes_activity(memory: Any) -> bool:
    """Does a memory, or any of a `ByLeaf`, want to know what examples ask for?"""
    return any(getattr(own, "takes_activity", False) for own in _entries(memory).memories)


def account(memory: Any, held: Any) -> Bits:
    """Bits per weight of a whole tree: the mean over all weights that a memory holds.

    Args:
      memory: as for `hold`.
      held: from `hold`, of which only structure and shapes matter.
    """
    entries = _entries(memory)
    nodes = [n for n in jax.tree.leaves(held, is_leaf=is_held) if is_held(n)]
    sizes = [_size(entries.memories[n.which], n.state) for n in nodes]
    costs = [entries.memories[n.which].account() for n in nodes]
    total = max(sum(sizes), 1)
    return Bits(*(sum(size * cost[i] for size, cost in zip(sizes, costs, strict=True)) / total
                  for i in range(2)))


def _size(memory: Any, state: Any) -> int:
    return int(np.prod(jax.eval_shape(memory.read, state).shape))


def grid_of(memory: Any, held: Any) -> Quantizer:
    """The quantizer of what the first held leaf of a tree shows; of 0 bits if it has no levels."""
    entries = _entries(memory)
    for node in jax.tree.leaves(held, is_leaf=is_held):
        if is_held(node) and has_grid(entries.memories[node.which]):
            return entries.memories[node.which].grid
        if is_held(node):
            break
    return Quantizer(bits=0)
