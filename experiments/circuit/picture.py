"""The picture of a device: how it moves, up and down, and how much devices differ."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.circuit.facts import facts_of, mean_points, paths
from experiments.circuit.fitting import Fit, Measured
from experiments.report import look
from qjax.memories import Pulsed

__all__ = ["draw", "draw_fits"]

_UP, _DOWN, _OTHER = "#D55E00", "#0072B2", "#999999"
_DEVICES = 6
_MOST, _LEAST = 2000, 40  # pulses each way in the picture
_POPULATION = 4000


def draw(memory: Pulsed, name: str) -> Figure:
    """Four panels: pulses up and down; steps by weight; differences; the symmetry point.

    Args:
      memory: the devices.
      name: for the title.
    """
    facts = facts_of(memory)
    most = max(facts.up or _MOST, facts.down or _MOST)
    count = int(np.clip(1.3 * most, _LEAST, _MOST))
    figure, ((responses, steps), (spread, symmetry)) = look.grid(2, 2, (4.6, 3.4))
    _responses(responses, memory, count)
    _steps(steps, memory)
    _spread(spread, memory)
    _symmetry(symmetry, memory, count, facts.symmetry)
    look.title(figure, f"{name}: {facts.states:,.0f} states between {facts.low + 0:.3g} and "
               f"{facts.high:.3g}\nsimulated; bold: the mean device without noise, thin: "
               f"{_DEVICES} devices with all that is said of them")
    look.legend(figure)
    return figure


def _responses(axis: Axes, memory: Pulsed, count: int) -> None:
    directions = np.repeat([1, -1], count)
    shown, mean = paths(memory, directions, _DEVICES)
    number = np.arange(1, 2 * count + 1)
    axis.plot(number, shown, color=_OTHER, linewidth=0.7, alpha=0.7)
    axis.plot(number[:count], mean[:count], color=_UP, linewidth=2, label="pulses up")
    axis.plot(number[count - 1 :], mean[count - 1 :], color=_DOWN, linewidth=2,
              label="pulses down")
    axis.plot([], [], color=_OTHER, linewidth=0.7, label="single devices")
    axis.set_xlabel(f"pulses: {count} up, {count} down")
    axis.set_ylabel("weight")
    look.heading(axis, "Response", 4.6)


def _steps(axis: Axes, memory: Pulsed) -> None:
    """Mean steps, with the band of 80 % of the devices."""
    device = memory.device
    mean = mean_points(device)
    weights = np.linspace(float(mean.low), float(mean.high), 201)
    drawn = device.draw(jax.random.key(2), (_POPULATION, 1))
    drawn = jax.tree.map(lambda x: jnp.broadcast_to(x, (_POPULATION, 1)), drawn)

    def sizes(points):
        shape = (*points.low.shape[:-1], len(weights))
        wide = jax.tree.map(lambda x: jnp.broadcast_to(x, shape), points)
        where = jnp.broadcast_to(jnp.asarray(weights, jnp.float32), shape)
        inside = (where >= wide.low) & (where <= wide.high)
        moves = device.moves(wide, where)
        return (np.where(inside, moves.up, np.nan), np.where(inside, moves.down, np.nan))

    alone = jax.tree.map(lambda x: x[None], mean)
    for color, own, all_ in zip((_UP, _DOWN), sizes(alone), sizes(drawn), strict=True):
        some = np.isfinite(all_).mean(0) > 0.05
        low, high = np.nanquantile(all_[:, some], [0.1, 0.9], axis=0)
        axis.fill_between(weights[some], low, high, color=color, alpha=0.18, linewidth=0)
        axis.plot(weights, own, color=color, linewidth=2)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("weight")
    axis.set_ylabel("size of a step")
    look.heading(axis, "Steps by weight; bands: 80 % of the devices", 4.6)


def _spread(axis: Axes, memory: Pulsed) -> None:
    """Where devices are after 20 pulses up from zero."""
    pulses = 20
    shown, mean = paths(memory, np.ones(pulses, int), _POPULATION, seed=3)
    low, high = np.quantile(shown[-1], [0.002, 0.998])
    axis.hist(shown[-1], bins=60, range=(low, high), color=_UP, alpha=0.6)
    axis.axvline(mean[-1], color=_UP, linewidth=2)
    axis.axvline(0.0, color="black", linewidth=0.8, linestyle=":")
    axis.set_xlabel(f"weight shown after {pulses} pulses up from 0")
    axis.set_ylabel(f"devices of {_POPULATION}")
    look.heading(axis, "Differences", 4.6)


def _symmetry(axis: Axes, memory: Pulsed, count: int, point: float | None) -> None:
    """Pairs of pulses, up and down, from both sides."""
    pairs = int(np.clip(count, 30, 600))
    turns = np.tile([1, -1], pairs)
    for way, color in ((1, _UP), (-1, _DOWN)):
        start = np.full(count, way)
        _, mean = paths(memory, np.concatenate([start, turns]), 1)
        axis.plot(np.arange(pairs + 1), mean[count - 1 :: 2], color=color, linewidth=2)
    if point is not None:
        axis.axhline(point, color="black", linewidth=1, linestyle="--",
                     label="symmetry point: steps up and down are equal")
    axis.set_xlabel("pairs of one pulse up, one down")
    axis.set_ylabel("weight of the mean device")
    look.heading(axis, "What pairs that should cancel do", 4.6)


def draw_fits(measured: Measured, found: Sequence[Fit], name: str) -> Figure:
    """A measured device with its models, what each is off by along the path, and single steps."""
    figure, ((path, off, steps),) = look.grid(1, 3, (4.2, 3.6))
    number = np.arange(len(measured.weights))
    path.plot(number, measured.weights, color="black", linewidth=0, marker=".", markersize=3,
              label="measured")
    for place, (one, color) in enumerate(zip(found, look.PALETTE, strict=False)):
        first = place == 0  # thin and on top, where equal ones would hide it
        width, order = 1.0 if first else 2.5, 3 - place / 10
        path.plot(number, one.path, color=color, linewidth=width, zorder=order,
                  label=f"{one.model} (best)" if first else one.model)
        off.plot(number, one.path - measured.weights, color=color, linewidth=width, zorder=order)
    off.axhline(0.0, color="black", linewidth=0.8)
    # A model that is nowhere near would leave the others a line: it leaves the picture.
    near = [one.path - measured.weights for one in found if one.error < 4 * found[0].error + 1e-6]
    limit = 1.2 * np.max(np.abs(near))
    off.set_ylim(-limit, limit)
    change = np.diff(measured.weights)
    best = found[0]
    for way, color, marker in ((1, _UP, "^"), (-1, _DOWN, "v")):
        some = measured.directions == way
        steps.plot(measured.weights[:-1][some], way * change[some], color=color, linewidth=0,
                   marker=marker, markersize=3, alpha=0.5)
        weights = np.linspace(-1, 1, 101).astype(np.float32)
        points = mean_points(best.device, weights.shape)
        moves = best.device.moves(points, jnp.asarray(weights))
        steps.plot(weights, moves.up if way > 0 else moves.down, color=color, linewidth=2,
                   label=f"steps {'up' if way > 0 else 'down'}; lines: {best.model}")
    for axis, label in ((path, "weight"), (off, "model minus measured")):
        axis.set_xlabel("pulse")
        axis.set_ylabel(label)
    steps.set_xlabel("weight")
    steps.set_xticks(np.arange(-1.0, 1.5, 0.5))
    steps.set_ylabel("step in the direction of the pulse")
    look.heading(path, "Path", 4.2)
    look.heading(off, "Residuals", 4.2)
    look.heading(steps, "Single steps", 4.2)
    look.title(figure, f"Models of {name}; weights: conductances, scaled to -1 to 1")
    look.legend(figure)
    return figure
