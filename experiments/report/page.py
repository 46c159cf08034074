"""Results as one HTML page that needs nothing besides itself: plan, table of cells, plot, curves.

A row of its table is a cell, with means over its finished seeds. The page orders, filters and draws
by itself: its style and its program are in the folder `template`. All of it works without a
network, and no text of the results becomes HTML.
"""

import html
import json
import math
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from experiments.cells import AXES, DEFAULTS, NONE, Cell, kinds
from experiments.commandline import options
from experiments.report import columns, scores
from experiments.report.estimates import mean_and_deviation
from experiments.report.panels import Rows, datasets, split
from experiments.report.tables import (
    DIVERGED,
    MEMORY,
    MEMORY_NOTE,
    WRITES_NOTE,
    memory_in,
    writes_of,
)
from experiments.store import history_of, results, selection
from qjax.memories import named, numbers_of

__all__ = ["content", "page_of"]

# Headings of the plan.
_STATUSES = {"done": "trained to the end", "diverged": "trained until they were not finite",
             "running": "in training", "interrupted": "begun by a run that has ended",
             "waiting": "planned, and not begun", "failed": "could not be trained"}
_VERSIONS = {"qjax": "qjax", "jax": "jax", "git_commit": "git commit", "device": "device"}
_UNITS = {"n_bits": "bits per weight", "hidden_width": "units", "batch_size": "examples",
          "wait": "s"}
# What is measured, or follows from the configuration: title, digits, explanation.
_MEASURED = {
    "test_accuracy": ("test accuracy (%)", 2, "mean ± standard deviation over seeds"),
    "seeds": ("seeds", 0, "finished networks that the means are of"),
    "diverged": ("diverged", 0, DIVERGED),
    "unfinished": ("unfinished", 0, "networks that wait, run, were interrupted or failed"),
    "train_accuracy": ("train accuracy (%)", 2, "mean over seeds"),
    "seconds": ("seconds", 1, "a network's share of the time of its program"),
    "device_bits": (f"{MEMORY[0]} / weight", 2, MEMORY_NOTE),
    "beside_bits": (f"{MEMORY[1]} / weight", 2, MEMORY_NOTE),
    "writes": ("writes / weight", 1, WRITES_NOTE),
}
_ALWAYS = ("test_accuracy", "seeds")


# The content


def content(rows: Rows, epochs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the page's table, plot and curves are made of, as JSON has it.

    Args:
      rows: replicas as `results.everything` gives them.
      epochs: rows of the table `epochs` of these replicas.

    Returns:
      columns: test accuracy, the axes that tell cells apart, what else was measured: each with
        name, title, explanation (about), unit, digits; an axis has None, and says if it is tuned,
        and if the algorithm decides on it (implied).
      constant: (name, value, is it a default?) of the axes that are the same for all.
      keys, rows, deviations: of every cell an id, its values under the columns, and the standard
        deviation of its test accuracy (None of a single one).
      curves: by key, see `_curve`.
    """
    cells = results.by_cell(rows)
    firsts = [members[0] for members in cells.values()]
    called = datasets(firsts)
    axes = {name: [_said(name, row, cell) for row, cell in zip(firsts, cells, strict=True)]
            for name in AXES if name != "numbers"}
    axes["dataset"] = [called[row["dataset"]] for row in firsts]
    named = sorted({name for row in firsts for name in results.numbers_of(row)})
    axes |= {f"numbers.{name}": [results.number_in(row, name) for row in firsts] for name in named}
    differing = {name: values for name, values in axes.items()
                 if len(set(values) - ({None} if name in AXES else set())) > 1}
    implied = _implied(differing)
    constant = [(_title(name), columns.spell(told[0]), _is_default(name, told[0]))
                for name, values in axes.items() if name not in differing
                and (told := [v for v in values if v is not None]) and told[0] != ""]
    measured = [_measured(cell, members) for cell, members in cells.items()]
    kept = {name: [m[name] for m in measured] for name in _MEASURED
            if name in _ALWAYS or any(m[name] for m in measured)}
    first = {"test_accuracy": kept.pop("test_accuracy")}  # in sight also where there is no room
    keys = [members[0]["id"] for members in cells.values()]
    of = scores.scored(firsts)

    def of_measured(names):
        return [_measured_column(name, of) for name in names]

    return {
        "columns": [*of_measured(first),
                    *(_axis_column(name) | {"implied": name in implied} for name in differing),
                    *of_measured(kept)],
        "constant": constant,
        "keys": keys,
        "rows": [list(map(_plain, values)) for values in zip(*first.values(), *differing.values(),
                                                             *kept.values(), strict=True)],
        "deviations": [_plain(m["deviation"]) for m in measured],
        "curves": _curves(dict(zip(keys, cells.values(), strict=True)), epochs),
    }


def _implied(axes: Mapping[str, Sequence[Any]]) -> set[str]:
    """Axes that have one value for each algorithm: of several, that by which one compares them."""
    algorithms = axes.get("algorithm", ())
    return {name for name, values in axes.items() if algorithms and name != "algorithm"
            and len(set(zip(algorithms, values, strict=True))) == len(set(algorithms))}


def _said(name: str, row: Mapping[str, Any], cell: Cell) -> float | str | None:
    """The value of an axis; None where it says nothing, as of the biases of a float network."""
    value = columns.value_of(row, name)
    return value if value == NONE or columns.speaks(name, cell) else None


def _title(name: str) -> str:
    return name.removeprefix("numbers.")


def _is_default(name: str, value: Any) -> bool:
    return name in DEFAULTS and value in (DEFAULTS[name], options.spell(DEFAULTS[name], name))


def _axis_column(name: str) -> dict[str, Any]:
    # What the memories are follows as sentences: too much for a heading.
    about = AXES[name].help.partition(". ")[0] if name in AXES else _about_number(_title(name))
    return {"name": name, "title": _title(name), "digits": None, "about": about,
            "unit": _UNITS.get(name, ""), "tuned": name in AXES and AXES[name].tuned}


def _about_number(name: str) -> str:
    memories = kinds.memories_with(name)
    return numbers_of(named(memories[0]))[name].help if memories else "number of the memory"


def _measured_column(name: str, of: scores.Scored) -> dict[str, Any]:
    title, digits, about = _MEASURED[name]
    return {"name": name, "title": of.title(title), "digits": digits, "about": about, "unit": ""}


def _measured(cell: Cell, members: Rows) -> dict[str, Any]:
    finished = [m for m in members if m["status"] in results.FINISHED]
    accuracy, deviation = _mean(finished, "test_accuracy")
    device, beside = memory_in(cell)
    return {
        "test_accuracy": accuracy, "deviation": deviation, "seeds": len(finished),
        "diverged": sum(m["status"] == "diverged" for m in members),
        "unfinished": len(members) - len(finished),
        "train_accuracy": _mean(finished, "train_accuracy")[0],
        "seconds": _mean(finished, "seconds")[0],
        "device_bits": device, "beside_bits": beside, "writes": writes_of(finished),
    }


def _mean(rows: Rows, column: str) -> tuple[float | None, float | None]:
    """Mean and deviation of what is known; None for no mean, and for that of one value."""
    known = [r[column] for r in rows if r[column] is not None and math.isfinite(r[column])]
    mean, deviation = mean_and_deviation(known)
    return mean if known else None, deviation if len(known) > 1 else None


def _plain(value: Any) -> Any:
    """As JSON can have it; what was measured to six digits."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)


def _curves(
    cells: Mapping[str, Rows], epochs: Iterable[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    runs = split(epochs, "replica")
    curves = {}
    for key, members in cells.items():
        known = [m for m in members if (m["id"],) in runs]
        finished = [m for m in known if m["status"] in results.FINISHED]
        chosen = finished or known  # never a mean over networks of which some are half trained
        curve = _curve([runs[(m["id"],)] for m in chosen])
        if curve:
            curves[key] = curve | {"seeds": len(chosen), "finished": bool(finished)}
    return curves


def _curve(runs: Sequence[Rows]) -> dict[str, Any]:
    """Means and deviations over networks at every epoch, from the first with an accuracy on.

    Returns:
      first: number of that epoch, from 1; test, test_deviation, train, train_deviation: lists. {}
        where no epoch has an accuracy.
    """
    by_epoch = split((row for run in runs for row in run if row["test_accuracy"] is not None),
                     "epoch")
    if not by_epoch:
        return {}
    first, last = min(by_epoch)[0], max(by_epoch)[0]
    curve: dict[str, Any] = {"first": first + 1}
    for part in ("test", "train"):
        pairs = [_mean(by_epoch.get((n,), ()), f"{part}_accuracy") for n in range(first, last + 1)]
        for name, values in zip((part, f"{part}_deviation"), zip(*pairs, strict=True),
                                strict=True):
            curve[name] = [None if v is None else round(v, 2) for v in values]
    return curve


# The page


def page_of(
    sources: Sequence[Path], conditions: Sequence[selection.Condition] = (), stamp: str = ""
) -> str:
    """The page of some results, finished or not.

    Args:
      sources: result folders, stores, exported CSV files (see `results.everything`).
      conditions: on the replicas.
      stamp: names this state of the sources to a page that asks its server for newer ones; ''
        makes a page that does not ask.

    Raises:
      ResultsError: a source cannot be read, or no replica meets the conditions.
    """
    everything = results.everything(sources)
    rows = selection.matching(everything, conditions)
    if not rows:
        raise results.ResultsError(
            selection.nobody(everything, conditions) if conditions and everything else
            f"no replica in {', '.join(map(str, sources))}: train some with "
            "'python -m experiments.run'"
        )
    data = content(rows, history_of(sources, "epochs", {r["id"] for r in rows}))
    only = "".join(f", only {condition}" for condition in conditions)
    facts = {"from": ", ".join(map(str, sources)) + only,
             "networks": f"{len(rows)} in {options.counted(len(data['rows']), 'configuration')} "
                         "(rows below)",
             "written": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
             **_versions(rows)}
    mark = results.unfinished(rows)
    parts = {
        "title": html.escape(f"Results: {', '.join(path.name or str(path) for path in sources)}"),
        "mark": f'<p class="mark">{html.escape(mark)}</p>' if mark else "",
        "facts": "".join(map(_fact, facts, facts.values())),
        "plan": _plan(rows),
        "score": scores.scored(rows).title("Test accuracy"),
        "open": "open" if mark else "",
        "constant": _constant(data.pop("constant")),
        "style": _template("page.css"),
        "program": _template("draw.js") + _template("page.js"),
        # "<" within a string of JSON only: "</script>" must not end the element.
        "data": json.dumps(data | {"stamp": stamp}, separators=(",", ":"),
                           allow_nan=False).replace("<", "\\u003c"),
    }
    return string.Template(_template("page.html")).substitute(parts)


def _template(name: str) -> str:
    return resources.files(__package__).joinpath("template", name).read_text(encoding="utf-8")


def _versions(rows: Rows) -> dict[str, str]:
    """What the replicas were trained with, in words, as far as it is known."""
    found = {title: sorted({str(r[column]) for r in rows if r.get(column)})
             for column, title in _VERSIONS.items()}
    return {title: ", ".join(values) for title, values in found.items() if values}


def _fact(name: str, value: str) -> str:
    return f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"


def _plan(rows: Rows) -> str:
    """Body of the table of groups: how many of their networks are how far."""
    groups: dict[str, Counter] = {}
    for cell, members in results.by_cell(rows).items():
        groups.setdefault(cell.label, Counter()).update(m["status"] for m in members)
    total = sum(groups.values(), Counter())
    heads = "".join(f'<th scope="col" title="{html.escape(about)}">{status}</th>'
                    for status, about in _STATUSES.items())
    lines = [f'<thead><tr><th scope="col">group</th><th scope="col">finished</th>{heads}</tr>'
             "</thead>"]
    for label, counts in (*([("all", total)] if len(groups) > 1 else []), *groups.items()):
        finished = sum(counts[status] for status in results.FINISHED)
        numbers = "".join(f"<td>{counts[status] or ''}</td>" for status in _STATUSES)
        lines.append(
            f'<tr><th scope="row">{html.escape(label)}</th><td><progress value="{finished}" '
            f'max="{counts.total()}"></progress> {finished} of {counts.total()}</td>{numbers}</tr>')
    return "".join(lines)


def _constant(settings: Iterable[tuple[str, str, bool]]) -> str:
    """What is the same for all, once; behind a click what nobody has changed."""
    told: dict[bool, list[str]] = {False: [], True: []}
    for name, value, is_default in settings:
        told[is_default].append(f"<span>{html.escape(name)} <b>{html.escape(value)}</b></span>")
    said = f"<p>Same for all: {' '.join(told[False])}</p>" if told[False] else ""
    if told[True]:
        said += (f"<details><summary>and {len(told[True])} settings at their defaults</summary>"
                 f"<p>{' '.join(told[True])}</p></details>")
    return said
