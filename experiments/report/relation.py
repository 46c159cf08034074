"""What a figure of any results shows, in numbers: panels, their lines, points, and what is in them.

It is said in words: a column along x, one along y, one for the hue of lines, one for panels. What
differs between replicas and is none of these is aggregated over, and said.
"""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.report import choice, columns, scores
from experiments.report.panels import Rows
from experiments.store import results

__all__ = ["Point", "Relation", "Words", "check", "relate", "title_of"]

Value = float | str
_SHOWN = 6  # values of a column that a sentence lists
_LISTED, _NAMED = 4, 10  # columns with their values in it; more are only named


class Words(NamedTuple):
    """Columns along the axes of a figure; None: one line, one panel."""

    x: str
    y: str = "test_accuracy"
    hue: str | None = None
    panels: str | None = None

    @property
    def scattered(self) -> bool:
        """Is x measured? Then every cell has a point of its own."""
        return self.x in columns.MEASURED


class Point(NamedTuple):
    """Values of y at one x, one of each replica."""

    x: Value
    values: tuple[float, ...]

    def middle(self, y: str) -> float:
        """What stands for the values: their mean, of losses their median."""
        return (statistics.median if y in columns.LOSSES else statistics.fmean)(self.values)


class Relation(NamedTuple):
    """A figure in numbers.

    Attributes:
      words: what is along its axes.
      panels: panel -> hue -> points in the order of x; None where there is one for all.
      over: what a point's values are of: "over 3 seeds", "over: lr (1, 2)"; "" of one each.
      chosen: what of it counts, in words; "" if all does.
      said: what one should know before one believes it, a line each.
      scored: what was measured, as it is called here.
      between: columns in which points differ besides.
    """

    words: Words
    panels: dict[Value | None, dict[Value | None, list[Point]]]
    over: str
    chosen: str
    said: list[str]
    scored: scores.Scored = scores.Scored()
    between: Sequence[str] = ()


class _Sample(NamedTuple):
    row: Mapping[str, Any]
    x: Value
    y: float


def check(words: Words, best: bool = False) -> None:
    """Refuses columns that do not go together.

    Raises:
      ValueError: says which, and what to type.
    """
    along = words.x == columns.EPOCH
    known = columns.ALONG_TRAINING if along else {**columns.MEASURED, **columns.OF_MEMORY}
    if words.y not in known:
        more = "; add --x epoch" if words.y in columns.ALONG_TRAINING else ""
        raise ValueError(f"--y {words.y}: expected {', '.join(known)}"
                         f"{' along --x epoch' if along else ''}{more}")
    used = [word for word in words if word is not None]
    if len(set(used)) < len(used):
        twice = next(word for word in used if used.count(word) > 1)
        raise ValueError(f"{twice} is said twice: expected another column for each of --x, --y, "
                         "--hue and --panels")
    if best and words.scattered:
        raise ValueError(f"--best: along --x {words.x} every cell has a point; leave one of them "
                         "out")


def relate(
    rows: Rows, words: Words, epochs: Iterable[Mapping[str, Any]] = (),
    trials: choice.Trained | None = None,
) -> Relation:
    """What a figure shows.

    Args:
      rows: finished replicas.
      words: columns that `check` does not refuse.
      epochs: along epoch, rows of the table `epochs` of these replicas.
      trials: given, only the best cell of what would be aggregated over counts: held-out replicas
        to choose it by.
    """
    samples = list(_samples(rows, words, epochs))
    shown = {id(sample.row) for sample in samples}
    said = []
    if len(shown) < len(rows):
        said.append(f"left out: {len(rows) - len(shown)} of {len(rows)} networks, without a finite "
                    f"{words.y}" + (" at any epoch" if words.x == columns.EPOCH else "")
                    + (f" or {words.x}" if words.scattered else ""))
    along = {sample.x for sample in samples}
    if len(along) == 1 and words.x == "epochs":
        said.append(f"all have epochs {columns.spell(*along)}; along the training: --x epoch")
    groups = _grouped(samples, words)
    chosen: list[choice.Choice] = []
    if trials is not None:
        for key, members in groups.items():
            groups[key], made = _best(members, trials)
            chosen += made
    over, more, between = _over(groups.values(), words)
    how, without = _how(chosen, "line" if words.x == columns.EPOCH else "point")
    panels: dict = {}
    for key, members in groups.items():
        line = panels.setdefault(key[0], {}).setdefault(key[1], [])
        line += _points(members, words)
    ordered = {
        panel: {hue: sorted(lines[hue], key=_by_place(words.x, lines[hue]))
                for hue in _ordered(words.hue, lines)}
        for panel, lines in ((p, panels[p]) for p in _ordered(words.panels, panels))}
    scored = scores.scored(_rows(samples))
    return Relation(words, ordered, over, how, [*said, *more, *without], scored, between)


def _samples(
    rows: Rows, words: Words, epochs: Iterable[Mapping[str, Any]]
) -> Iterator[_Sample]:
    if words.x == columns.EPOCH:
        of = {row["id"]: row for row in rows}
        pairs = ((of[e["replica"]], e["epoch"] + 1, columns.measured(e, words.y))
                 for e in epochs if e["replica"] in of)
    else:
        get = columns.measured if words.scattered else columns.value_of
        pairs = ((row, get(row, words.x), columns.measured(row, words.y)) for row in rows)
    for row, x, y in pairs:
        if x is not None and y is not None:
            yield _Sample(row, x, y)


def _grouped(samples: Sequence[_Sample], words: Words) -> dict[tuple, list[_Sample]]:
    """What is one point, or along the training one line: of that one cell may be the best."""
    groups: dict[tuple, list[_Sample]] = {}
    keys: dict[int, tuple] = {}  # of a replica: it has a sample at every epoch
    for sample in samples:
        row = sample.row
        if id(row) not in keys:
            panel, hue = (None if word is None else _known(columns.value_of(row, word))
                          for word in (words.panels, words.hue))
            keys[id(row)] = (panel, hue, results.cell_of(row) if words.scattered else None)
        panel, hue, own = keys[id(row)]
        x = own if words.scattered else None if words.x == columns.EPOCH else sample.x
        groups.setdefault((panel, hue, x), []).append(sample)
    return groups


def _known(value: Value | None) -> Value:
    return "unknown" if value is None else value


def _rows(samples: Iterable[_Sample]) -> list[Mapping[str, Any]]:
    return list({id(s.row): s.row for s in samples}.values())


def _best(
    samples: Sequence[_Sample], trials: choice.Trained
) -> tuple[list[_Sample], list[choice.Choice]]:
    cells = results.by_cell(_rows(samples))
    if len(cells) == 1:
        return list(samples), []
    made = choice.best_of(cells, trials)
    kept = {id(row) for row in cells[made.cell]}
    return [s for s in samples if id(s.row) in kept], [made]


def _points(samples: Sequence[_Sample], words: Words) -> list[Point]:
    if words.scattered:
        return [Point(statistics.fmean(float(s.x) for s in samples), tuple(s.y for s in samples))]
    values: dict[Value, list[float]] = {}
    for sample in samples:
        values.setdefault(sample.x, []).append(sample.y)
    return [Point(x, tuple(own)) for x, own in values.items()]


def _ordered(word: str | None, keys: Iterable) -> list:
    return list(keys) if word is None else columns.order(word, keys)


def _by_place(word: str, points: Sequence[Point]):
    place = {x: i for i, x in enumerate(columns.order(word, (p.x for p in points)))}
    return lambda point: place[point.x]


def title_of(rows: Rows, words: Words) -> str:
    """'test accuracy against lr: fa, mnist, n_bits 3', with what is the same for all."""
    same = [columns.told(name, values.pop()) for name in choice.GROUPS if name not in words
            and len(values := {columns.value_of(row, name) for row in rows}) == 1
            and columns.ANALOG not in values]
    of = scores.scored(rows)
    what = f"{columns.label(words.y, of)} against {columns.label(words.x, of)}"
    return f"{what[0].upper()}{what[1:]}" + (f": {', '.join(same)}" if same else "")


# What a point is of


def _over(
    groups: Iterable[Sequence[_Sample]], words: Words
) -> tuple[str, list[str], list[str]]:
    """What the points are of, what to say of that, and in what they differ besides."""
    fixed = {word for word in words if word is not None}
    values: dict[str, set] = {}
    seeds = {1}
    firsts: dict[Any, Mapping[str, Any]] = {}
    for samples in groups:
        cells = results.by_cell(_rows(samples))
        firsts |= {cell: members[0] for cell, members in cells.items()}
        seeds |= {len(members) for members in cells.values()}
        if len(cells) > 1:
            for name, own in columns.differing([m[0] for m in cells.values()], fixed).items():
                values.setdefault(name, set()).update(own)
    several = max(seeds) > 1 and columns.SEED not in fixed
    between = [name for name in columns.differing(firsts.values(), fixed) if name not in values]
    others = [f"besides, some points differ in {', '.join(between)}"] if between else []
    if not values:
        return _seeds(groups) if several else "", others, between
    listed = [f"{name} ({_listed(columns.order(name, own))})" for name, own in values.items()]
    if len(listed) > _LISTED:
        rest = len(listed) - _NAMED
        listed = [*list(values)[:_NAMED], *([f"and {rest} more"] if rest > 0 else [])]
    flags = "".join(f" {flag} {next(iter(values))}{rest}" for flag, rest, free in
                    (("--where", "=VALUE,", True), ("--hue", ",", words.hue is None)) if free)
    said = (f"aggregated over {', '.join(values)}: on no axis of the figure. To choose, add{flags} "
            "or --best for the best cell of each point")
    return (f"over{' seeds and over' if several else ''}: {', '.join(listed)}", [said, *others],
            between)


def _seeds(groups: Iterable[Sequence[_Sample]]) -> str:
    counts = {len(_rows(samples)) for samples in groups}
    return f"over {'-'.join(str(n) for n in sorted({min(counts), max(counts)}))} seeds"


def _how(chosen: Sequence[choice.Choice], what: str) -> tuple[str, list[str]]:
    """How cells were chosen, and what was none to choose from."""
    if not chosen:
        return "", []
    tested = sum(not made.held_out for made in chosen)
    by = ("by held-out accuracy" if not tested else
          "on the test set, which is optimistic" if tested == len(chosen) else
          f"by held-out accuracy, but of {tested} of {len(chosen)} {what}s on the test set, which "
          "is optimistic")
    without = sum(made.without for made in chosen)
    said = [f"cells without held-out accuracy, where others of a {what} have one: {without}; these "
            "were not among the candidates"]
    return f"of each {what} the cell that is best {by}", said if without else []


def _listed(values: Sequence[Value]) -> str:
    if len(values) <= _SHOWN:
        return ", ".join(map(columns.spell, values))
    return f"{len(values)} values from {columns.spell(values[0])} to {columns.spell(values[-1])}"
