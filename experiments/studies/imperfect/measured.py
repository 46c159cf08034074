"""What the study found on measured devices: who trains on which, and by which scheme."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.report import Column, Table, choice, look, position, scores
from experiments.store import results
from experiments.studies.imperfect.grid import ALGORITHMS
from experiments.studies.imperfect.schemes import DEVICES, PLAIN, SCHEMES, device_of

__all__ = ["accuracies_on", "device_table", "plot_devices"]

# algorithm -> (device, scheme) -> accuracies in percent, one a seed
Accuracies = dict[str, dict[tuple[str, str], list[float]]]


def accuracies_on(rows: Iterable[Mapping[str, Any]], dataset: str) -> Accuracies:
    """Test accuracies on measured devices, of the settings that are best on held-out data.

    Algorithms come in the study's order. Of settings that were not tried there those with most
    networks count.
    """
    rows = list(rows)
    trials = choice.Trained(filter(scores.is_held_out, rows))
    known: dict[str, dict[tuple[str, str], list[tuple[float, list[float]]]]] = {}
    for cell, members in results.by_cell(rows).items():
        place = device_of(cell) if cell.dataset == dataset else None
        if place:
            held_out = _values(trials.of(cell))
            score = statistics.fmean(held_out) if held_out else -1.0
            own = known.setdefault(cell.algorithm, {}).setdefault(place, [])
            own.append((score, _values(members)))
    return {algorithm: {place: max(some, key=lambda one: (one[0], len(one[1])))[1]
                        for place, some in known[algorithm].items()}
            for algorithm in sorted(known, key=lambda name: position(ALGORITHMS, name))}


def _values(rows: Iterable[Mapping[str, Any]]) -> list[float]:
    return [row["test_accuracy"] or 0.0 for row in rows]  # 0 of one that diverged


def _devices(found: Accuracies) -> list[str]:
    known = {device for own in found.values() for device, _ in own}
    return [device for device in DEVICES if device in known]


def _panels(found: Accuracies) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Heading -> column -> device -> accuracies: algorithms on plain devices, then schemes."""
    panels = {"pulses as they come": {
        algorithm: {device: values for (device, scheme), values in own.items() if scheme == PLAIN}
        for algorithm, own in found.items()}}
    for algorithm, own in found.items():
        if any(scheme != PLAIN for _, scheme in own):
            panels[f"{algorithm}, by scheme"] = {
                scheme: {device: values for (device, name), values in own.items()
                         if name == scheme}
                for scheme in SCHEMES}
    return {heading: {name: column for name, column in columns.items() if column}
            for heading, columns in panels.items() if any(columns.values())}


def plot_devices(found: Accuracies, title: str) -> Figure:
    """A field for every device (down) and algorithm or scheme (across) with the mean accuracy."""
    devices, panels = _devices(found), _panels(found)
    figure, ((*axes,),) = look.grid(1, len(panels), (4.4, 0.5 + 0.36 * len(devices)))
    for axis, (heading, columns) in zip(axes, panels.items(), strict=True):
        values = np.array([[statistics.fmean(column[device]) if device in column else np.nan
                            for column in columns.values()] for device in devices])
        image = look.fields(axis, values, list(columns), devices, (0, 100))
        if axis is not axes[0]:
            axis.set_yticklabels([])
        look.heading(axis, heading, 4.4)
    figure.colorbar(image, ax=axes, label="test accuracy (%)")
    look.title(figure, title)
    return figure


def device_table(found: Accuracies, dataset: str) -> Table:
    """By device and scheme the accuracy of every algorithm."""
    rows = []
    for device in _devices(found):
        for scheme in SCHEMES:
            entries = [own.get((device, scheme)) for own in found.values()]
            if any(entries):
                rows.append((device, scheme, *(_written(values) for values in entries)))
    notes = ("Test accuracy in percent, mean ± standard deviation over seeds. Rate, gain and the "
             "scheme's numbers were chosen for every field, on held-out data.",)
    return Table(f"Measured devices on {dataset}", notes,
                 tuple(map(Column, ("device", "scheme", *found))), tuple(rows))


def _written(values: list[float] | None) -> str:
    if not values:
        return "-"
    low, mean, _ = look.deviation(values)
    return f"{mean:.1f} ± {mean - low:.1f}" if len(values) > 1 else f"{mean:.1f}"
