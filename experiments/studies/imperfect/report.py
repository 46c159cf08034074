"""What the study of imperfect devices found: a panel per imperfection, and who tolerates what."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.figure import Figure

from experiments.cells import Cell
from experiments.report import Column, Table, look
from experiments.store import results
from experiments.studies.imperfect.grid import IMPERFECTIONS, found_in, plain, tolerance

__all__ = ["accuracies_of", "plot_imperfections", "tolerance_table"]

_COLUMNS = 5

# algorithm -> imperfection -> value -> accuracies in percent, one a seed
Accuracies = dict[str, dict[str, dict[float, list[float]]]]


def accuracies_of(rows: Iterable[Mapping[str, Any]], dataset: str) -> Accuracies:
    """Test accuracies of the study's networks; "ideal" is an imperfection with the value 0.

    Of an algorithm that was trained with several settings those that have most networks count.
    """
    found: dict[str, dict[Cell, dict[str, dict[float, list[float]]]]] = {}
    for cell, members in results.by_cell(rows).items():
        known = found_in(cell) if cell.dataset == dataset else None
        values = [m["test_accuracy"] or 0.0 for m in members]  # 0 of one that diverged
        if known and values:
            name, value = known
            settings = found.setdefault(cell.algorithm, {}).setdefault(plain(cell), {})
            settings.setdefault(name, {})[value] = values

    def size(own):
        return sum(len(values) for some in own.values() for values in some.values())

    best = {algorithm: max(several.values(), key=size) for algorithm, several in found.items()}
    return {algorithm: own for algorithm, own in best.items() if "ideal" in own}


def plot_imperfections(found: Accuracies, title: str) -> Figure:
    """Test accuracy against every imperfection, a line per algorithm; dotted: ideal devices."""
    names = [name for name in IMPERFECTIONS if any(name in own for own in found.values())]
    if not names:
        raise results.ResultsError("there are networks on ideal devices only, nothing to draw yet")
    columns = min(len(names), _COLUMNS)
    figure, axes = look.grid(-(-len(names) // columns), columns, (3.3, 3.1))
    places = [axis for line in axes for axis in line]
    colors = look.algorithm_colors(found)
    for axis in places[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(places, names, strict=False):
        about = IMPERFECTIONS[name]
        order = {value: place for place, value in enumerate(about.values)}
        for place, (algorithm, own) in enumerate(found.items()):
            color = colors[algorithm]
            axis.axhline(statistics.fmean(own["ideal"][0.0]), color=color, linewidth=1,
                         linestyle=":")
            points = sorted(own.get(name, {}).items(), key=lambda item: order[item[0]])
            if points:
                look.band(axis, [order[value] for value, _ in points],
                          [look.deviation(values) for _, values in points], color=color,
                          marker=look.MARKERS[place % len(look.MARKERS)], markersize=5,
                          linewidth=1.5, label=algorithm)
        axis.set_xticks(range(len(about.values)), [*map(about.spell, about.values)])
        axis.set_xlabel(about.label, fontsize="small", wrap=True)
        axis.set_ylim(0, 100)
        look.heading(axis, name.replace("_", " "))
    for line in axes:
        line[0].set_ylabel("test accuracy (%)")
    look.title(figure, title)
    look.legend(figure)
    return figure


def tolerance_table(found: Accuracies, dataset: str, lost: float = 2.0) -> Table:
    """By imperfection and algorithm the value at which the median network loses so many points.

    One of five that fails would move the mean by more than an imperfection does.
    """
    names = [name for name in IMPERFECTIONS if any(name in own for own in found.values())]
    rows = [("median accuracy on ideal devices",
             *(f"{statistics.median(own['ideal'][0.0]):.1f}" for own in found.values()))]
    for name in names:
        about = IMPERFECTIONS[name]
        entries, spell = [f"{name.replace('_', ' ')}: {about.label}"], about.spell
        for own in found.values():
            ideal = statistics.median(own["ideal"][0.0])
            medians = {value: statistics.median(own[name][value])
                     for value in IMPERFECTIONS[name].values if value in own.get(name, {})}
            last, first = tolerance(ideal, medians, lost)
            if not medians:
                entries.append("-")
            elif first is None:
                entries.append(f"none up to {spell(last)}")
            else:
                entries.append(f"{'ideal' if last is None else spell(last)} to {spell(first)}")
        rows.append(tuple(entries))
    notes = (f"Between which of the tried values {lost:g} points of test accuracy are lost, of "
             "what the algorithm has on ideal devices; medians over seeds. Rates and gains were "
             "chosen there, on held-out data, and not again for every imperfection. A network that "
             "diverged before its first test counts as 0.",)
    return Table(f"What imperfection costs on {dataset}", notes,
                 tuple(map(Column, ("imperfection", *found))), tuple(rows))
