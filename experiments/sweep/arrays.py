"""What a function keeps in memory and moves, by the arrays of its jaxpr: traced, not compiled."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from qjax.trees import nbytes

__all__ = ["peak_and_moved"]


def peak_and_moved(function: Callable, *arguments: Any) -> tuple[int, int]:
    """Bytes of the arrays that are alive at the same time, at most; bytes read and written.

    Every operation is taken to write its result to memory and every array to be given up after its
    last use, arguments too. XLA, which writes fewer results but copies some, comes out near for the
    first; moves several times less, by about the same factor for all that computes alike; loops of
    unknown length count once.

    Args:
      function: of pytrees of arrays.
      arguments: may be abstract (`jax.ShapeDtypeStruct`).
    """
    needs = _needs(jax.make_jaxpr(function)(*arguments).jaxpr)
    return needs.given + needs.more, needs.moved


class _Needs(NamedTuple):
    """Bytes: of the inputs, of what comes on top of them at most, of all that is moved."""

    given: int
    more: int
    moved: int


def _bytes(variables: Any) -> int:
    return nbytes([v.aval for v in variables if hasattr(v.aval, "dtype")])


def _inside(parameters: dict[str, Any]) -> Iterator[Jaxpr]:
    """The jaxprs of an operation: what it calls, repeats or chooses from."""
    for x in jax.tree.leaves(parameters, is_leaf=lambda x: isinstance(x, (ClosedJaxpr, Jaxpr))):
        if isinstance(x, (ClosedJaxpr, Jaxpr)):
            yield x.jaxpr if isinstance(x, ClosedJaxpr) else x


def _needs(jaxpr: Jaxpr) -> _Needs:
    last = {v: i for i, equation in enumerate(jaxpr.eqns) for v in equation.invars
            if not isinstance(v, Literal)}
    last |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if not isinstance(v, Literal)}
    given = now = most = _bytes({*jaxpr.constvars, *jaxpr.invars})
    moved = 0
    for i, equation in enumerate(jaxpr.eqns):
        made = _bytes(equation.outvars)
        inside = [_needs(inner) for inner in _inside(equation.params)]
        # What a scan stacks is there beside what a turn needs; a call's results are among it.
        stacked = _bytes(equation.outvars[equation.params.get("num_carry", len(equation.outvars)):])
        most = max(most, now + max([made, *(stacked + inner.more for inner in inside)]))
        if inside:
            times = equation.params.get("length", 1)  # of a scan
            moved += times * max(inner.moved for inner in inside)
        else:
            moved += made + _bytes(equation.invars)
        over = {v for v in equation.invars if not isinstance(v, Literal) and last[v] == i}
        now += made - _bytes(over) - _bytes(v for v in equation.outvars if v not in last)
    return _Needs(given, most - given, moved)
