"""The thesis's five claims, tested with our replicas, and the verdicts as Markdown.

Of our results only those with the thesis's settings count; where a cell was trained for several
numbers of epochs, the longest - or, in a pair, the longest that both cells were trained for.
"""

import statistics
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

from experiments.report import Column, Table, markdown
from experiments.studies.thesis.agreement import MARGIN, select
from experiments.studies.thesis.pairs import (
    LEARNS,
    LEAST,
    Cells,
    Pair,
    Trained,
    length,
    pairs_of,
    trained,
)
from experiments.studies.thesis.protocol import ALGORITHMS, ARCHITECTURES, BITS
from experiments.studies.thesis.published import Key
from experiments.studies.thesis.study import THESIS

__all__ = [
    "MARKERS", "Verdict", "contrast", "notes_on", "render", "robustness", "smallest_bits",
    "spliced", "verdicts_of", "width_and_depth",
]

CHANCE = 10.0
GOOD_FLOAT = 50.0  # percent: a float network below it is no measure of what quantization costs
CLEARLY = 0.02  # of robustness
NEAR = 10.0  # points from the float network within which a network trains
CLAIMED = {"global": 7, "local": 5}  # bits below which nothing is said to train
MARKERS = ("<!-- verdicts -->", "<!-- end of verdicts -->")

HOLDS, FAILS, MIXED = "holds", "fails", "mixed"
NOT_TESTED, NO_DIFFERENCE = "not tested", "no difference"


class Verdict(NamedTuple):
    """A claim, the word on it, a sentence with the numbers that decide, and all numbers."""

    claim: str
    word: str
    sentence: str
    table: Table


def _algorithms(cells: Cells) -> list[str]:
    """Those that occur, in the thesis's order, others last."""
    names = {key.algorithm for key in cells}
    return [a for a in ALGORITHMS if a in names] + sorted(names - set(ALGORITHMS))


def _mean(pairs: Sequence[Pair]) -> float | None:
    return statistics.fmean(p.mean for p in pairs) if pairs else None


# Claims


def contrast(cells: Cells, field: str, ours: str, theirs: str, claim: str) -> Verdict:
    """Claims 1 and 2: are cells with `ours` in a field of `Key` better than with `theirs`?"""
    # Networks that guess one class differ by how often it occurs: that is no difference of theirs.
    pairs = [p for p in pairs_of(cells, {field: ours}, {field: theirs}) if p.learns]
    lines = {a: [p for p in pairs if p.key.algorithm == a] for a in _algorithms(cells)}
    rows = tuple(_contrasted(name, members) for name, members in [*lines.items(), ("all", pairs)])
    _, count, mean, better, worse, word = rows[-1]
    sentence = f"There are no pairs that differ only in {field} and of which a network learns."
    if pairs:
        sentence = (f"Of {count} pairs of cells that differ only in {field} and of which a network "
                    f"learns (mean accuracy above {LEARNS:g} %), {better + worse} differ in "
                    f"accuracy: {ours} is better in {better}, {theirs} in {worse}; the mean "
                    f"difference of all pairs is {mean:+z.2f} points.")
    names = ("algorithm", "pairs", "mean difference", f"pairs where {ours} is better",
             f"pairs where {theirs} is better", "verdict")
    title = f"Test accuracy, {ours} minus {theirs}, in points"
    return Verdict(claim, word, sentence, Table(title, (), tuple(map(Column, names)), rows))


def _contrasted(name: str, pairs: Sequence[Pair]) -> tuple:
    mean, differing = _mean(pairs), [p for p in pairs if p.differs]
    better = sum(p.mean > 0 for p in differing)
    word = MIXED
    if not differing:
        word = NO_DIFFERENCE if pairs else NOT_TESTED
    elif 3 * better >= 2 * len(differing) and mean > 0:
        word = HOLDS
    elif 3 * better <= len(differing) and mean < 0:
        word = FAILS
    return name, len(pairs), mean, better, len(differing) - better, word


def width_and_depth(cells: Cells) -> Verdict:
    """Claim 3: does a wider network gain more than a deeper one?"""
    gains, steps = [], []
    for same, moved in ((0, 1), (1, 0)):
        axis = [(small, large) for small, large in permutations(ARCHITECTURES, 2)
                if small[same] == large[same] and small[moved] < large[moved]]
        gains.append([p for small, large in axis
                      for p in pairs_of(cells, _fields(large), _fields(small)) if p.learns])
        steps.append(", ".join("({},{}) to ({},{})".format(*small, *large)
                               for small, large in axis))
    rows, words = [], []
    for kind, belongs in (("float networks", lambda bits: bits is None),
                          ("7-8 bits", lambda bits: bits in (7, 8)), ("all cells", lambda _: True)):
        width, depth = ([p for p in pairs if belongs(p.key.n_bits)] for pairs in gains)
        rows.append((kind, len(width), _mean(width), len(depth), _mean(depth)))
        words.append(_wider(_mean(width), _mean(depth)))
    word = MIXED if len({words[0], words[-1]} - {NOT_TESTED}) > 1 else words[-1]
    sentence = "There are no pairs of both kinds of which a network learns."
    if word != NOT_TESTED:
        parts = [f"{width:+z.2f} points from width and {depth:+z.2f} from depth in {kind}"
                 for kind, _, width, _, depth in (rows[-1], rows[0]) if None not in (width, depth)]
        sentence = (f"The mean gain is {'; '.join(parts)}. Only pairs count of which at least one "
                    f"network learns (mean accuracy above {LEARNS:g} %).")
    names = ("networks", "width pairs", "mean gain from width", "depth pairs",
             "mean gain from depth")
    table = Table("Gain of test accuracy in points", (f"Width: {steps[0]}. Depth: {steps[1]}.",),
                  tuple(map(Column, names)), tuple(rows))
    return Verdict("Width matters more than depth", word, sentence, table)


def _fields(architecture: tuple[int, int]) -> dict[str, int]:
    return dict(zip(("n_layers", "hidden_width"), architecture, strict=True))


def _wider(width: float | None, depth: float | None) -> str:
    if width is None or depth is None:
        return NOT_TESTED
    if width > max(depth, 0):
        return HOLDS
    return FAILS if width < depth else MIXED


def robustness(cells: Cells) -> Verdict:
    """Claim 4: does an algorithm keep more of its float network's accuracy than hsic?"""
    rows, differences = [], {}
    for algorithm in _algorithms(cells):
        if algorithm == "hsic":
            continue
        kept = [(_kept(cells, key), _kept(cells, key._replace(algorithm="hsic")))
                for key in cells if key.algorithm == algorithm and key.n_bits is not None]
        common = [both for both in kept if None not in both]
        own, hsic = map(statistics.fmean, zip(*common, strict=True)) if common else (None, None)
        if common:
            differences[algorithm] = own - hsic
        rows.append((algorithm, len(common), own, hsic, differences.get(algorithm)))
    word, sentence = NOT_TESTED, "hsic has no cells in common with another algorithm."
    if differences:
        word = HOLDS if max(differences.values()) > CLEARLY else MIXED
        if max(differences.values()) < -CLEARLY:
            word = FAILS
        best = max(differences, key=differences.__getitem__)
        name, count, own, hsic, difference = next(row for row in rows if row[0] == best)
        sentence = (f"Of the others {name} comes out best against hsic: over their {count} "
                    f"common cells its robustness is {own:.3f}, hsic's {hsic:.3f}, a difference "
                    f"of {difference:+z.3f}.")
    note = (f"Robustness: (accuracy - {CHANCE:g}) / (float accuracy - {CHANCE:g}), clipped to "
            "[0, 1], mean over quantized cells; only cells of which both algorithms' float "
            f"networks reach {GOOD_FLOAT:g} %.")
    names = ("algorithm", "cells in common with hsic", "its robustness", "hsic's on them",
             "difference")
    table = Table("Accuracy kept beside hsic's", (note,),
                  tuple(Column(name, 3) for name in names), tuple(rows))
    return Verdict("hsic is not the most robust", word, sentence, table)


def _float_of(cells: Cells, key: Key) -> Trained | None:
    return cells.get(Key(*key[:4]))


def _kept(cells: Cells, key: Key) -> float | None:
    """Share of the float network's accuracy that a cell keeps; None where there is no measure."""
    whole = _float_of(cells, key)
    if key not in cells or whole is None or whole.mean < GOOD_FLOAT:
        return None
    return min(max((cells[key].mean - CHANCE) / (whole.mean - CHANCE), 0.0), 1.0)


def smallest_bits(cells: Cells) -> Verdict:
    """Claim 5: from how many bits on does any network train?"""
    rows, words, parts = [], [], []
    for scope, claimed in CLAIMED.items():
        least, tested = None, False
        for bits in BITS:
            # Without its float network nobody can say whether a cell trains.
            keys = [k for k in cells if (k.scope, k.n_bits) == (scope, bits)
                    and _float_of(cells, k) is not None]
            if not keys:
                continue
            training = sum(_trains(cells, key) for key in keys)
            best = max(keys, key=lambda key: cells[key].mean)
            rows.append((scope, bits, len(keys), training, cells[best].mean, best.label))
            # Only narrower cells can contradict the claim.
            tested = tested or bits < claimed
            if training and least is None:
                least = bits
        if tested:
            words.append(HOLDS if least is None or least >= claimed else FAILS)
        found = least or f"none up to {max(BITS)}"
        parts.append(f"{scope} {found if tested else NOT_TESTED} (claimed: at least {claimed})")
    word = NOT_TESTED
    if len(words) == len(CLAIMED):
        word = words[0] if len(set(words)) == 1 else MIXED
    note = (f"A cell trains if its mean accuracy is within {NEAR:g} points of its float network's "
            f"and that reaches {GOOD_FLOAT:g} %; cells without a float network are left out.")
    names = ("scope", "bits", "cells", "cells that train", "best accuracy", "of")
    table = Table("Cells that train", (note,), tuple(map(Column, names)), tuple(rows))
    return Verdict("Nothing trains below 7-8 bits (global) or 5-6 bits (local)", word,
                   f"The fewest bits with which a network trains: {', '.join(parts)}.", table)


def _trains(cells: Cells, key: Key) -> bool:
    whole = _float_of(cells, key).mean
    return whole >= GOOD_FLOAT and whole - cells[key].mean <= NEAR


def verdicts_of(cells: Cells) -> list[Verdict]:
    """The five claims in order."""
    return [
        contrast(cells, "scope", "local", "global", "Local ranges beat global ones"),
        contrast(cells, "quantizer", "symm", "asymm", "Symm beats asymm"),
        width_and_depth(cells), robustness(cells), smallest_bits(cells),
    ]


# Writing


def notes_on(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to know before reading the verdicts: how many cells and seeds, and what is amiss."""
    cells = trained(rows)
    members = [m for _, members in select(rows).values() for m in members]
    known = [m for m in members if m["test_accuracy"] is not None]
    counts = {sum(m["test_accuracy"] is not None for m in c.members) for c in cells.values()}
    seeds = str(min(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    floats = sum(key.n_bits is None for key in cells)
    short = sum(THESIS.shortened(c.cell) for c in cells.values())
    kinds = {(key.algorithm, key.n_bits is None, length(c)) for key, c in cells.items()}
    diverged, lost = sum(m["status"] == "diverged" for m in known), len(members) - len(known)
    notes = [
        f"{len(cells)} cells with the thesis's settings, {floats} of them float networks; seeds "
        f"per cell: {seeds}. Differences are means over common seeds, in percentage points. A "
        "pair of cells differs if the 95 % interval (Student's t) leaves out 0 and the mean is "
        f"more than {LEAST:g} point from it; with a single common seed, if the difference is more "
        f"than {MARGIN:g} points."
    ]
    if short:
        notes.append(f"{short} of the {len(cells)} cells are shortened: trained for fewer epochs "
                     "than in the thesis.")
    if len(kinds) > len({kind[:2] for kind in kinds}):
        notes.append("In a pair both cells were trained for equally many epochs, the most that "
                     "both have been.")
    if diverged:
        notes.append(f"{diverged} replicas diverged and count with their last finite accuracy.")
    if lost:
        notes.append(f"{lost} replicas have no finite accuracy and are left out.")
    return notes


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """Notes and all verdicts on finished replicas as Markdown."""
    parts = [f"{note}\n" for note in notes_on(rows)]
    for number, verdict in enumerate(verdicts_of(trained(rows)), 1):
        parts += [f"### {number}. {verdict.claim}: **{verdict.word}**\n", f"{verdict.sentence}\n",
                  markdown(verdict.table)]
    return "\n".join(parts)


def spliced(content: bytes, text: str) -> bytes:
    """A file's content with `text` between the lines `MARKERS`, the rest byte for byte.

    Raises:
      ValueError: a marker is not there exactly once, or they are in the wrong order.
    """
    lines = content.splitlines(keepends=True)
    begins, ends = ([i for i, line in enumerate(lines) if line.strip() == marker.encode()]
                    for marker in MARKERS)
    if len(begins) != 1 or len(ends) != 1 or begins > ends:
        raise ValueError(f"expected the lines {MARKERS[0]} and {MARKERS[1]} once each and in this "
                         f"order, found {len(begins)} and {len(ends)}")
    first, last = begins[0] + 1, ends[0]
    newline = "\r\n" if lines[first - 1].endswith(b"\r\n") else "\n"
    new = f"\n{text}\n".replace("\n", newline).encode()
    return b"".join([*lines[:first], new, *lines[last:]])
