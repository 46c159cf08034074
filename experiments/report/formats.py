"""Tables in no format, and the formats they are written in: Markdown, CSV, LaTeX, terminal."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import rich.table
from rich.text import Text

from experiments.report.estimates import Estimate

__all__ = [
    "FORMATS", "Column", "Table", "as_csv", "in_file", "latex", "markdown", "terminal", "written",
]


class Column(NamedTuple):
    """A column's name and the digits of its numbers behind the point."""

    name: str
    digits: int = 2


class Table(NamedTuple):
    """A table in no format yet; entries are texts, numbers, estimates or None (nothing known)."""

    title: str
    notes: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]


def in_file(words: str) -> str:
    """Words as part of a file's name: a data set may be a path."""
    return re.sub(r"[^\w.=+-]+", "-", words).strip("-")


def written(value: Any, digits: int = 2) -> str:
    """An entry as text; very large numbers with an exponent; no interval of two values.

    That would be 12.7 of their standard errors wide, and pass for a statement.
    """
    if value is None or (isinstance(value, Estimate) and value.mean is None):
        return "-"
    if isinstance(value, Estimate):
        shown = value.half_width is not None and value.count > 2
        half = f" ± {written(value.half_width, digits)}" if shown else ""
        return written(value.mean, digits) + half
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) >= 1e6 else f"{value:z.{digits}f}"
    return str(value)


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float | Estimate)


def _numeric(table: Table) -> list[bool]:
    """For every column: does it hold numbers only?"""
    return [all(_is_number(row[i]) for row in table.rows) for i in range(len(table.columns))]


def _texts(table: Table, row: Sequence[Any]) -> list[str]:
    return [written(v, c.digits) for v, c in zip(row, table.columns, strict=True)]


def markdown(table: Table) -> str:
    """The table with its title and notes, in GitHub's Markdown."""

    def line(texts: Iterable[str]) -> str:
        return f"| {' | '.join(texts)} |"

    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace("|", "\\|")

    lines = [line(escaped(c.name) for c in table.columns),
             line("---:" if right else "---" for right in _numeric(table))]
    for row in table.rows:
        lines.append(line(escaped(text) for text in _texts(table, row)))
    head = [f"**{table.title}**", *table.notes]
    return "\n\n".join([*head, "\n".join(lines)]) + "\n"


_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
       "<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "|": r"\textbar{}",
       "[": "{[}"}  # after a line's end LaTeX would take it for an option
)


def _latex_number(text: str) -> str:
    """Written numbers in math mode: minus signs, exponents, plus-minus."""
    parts = []
    for part in text.split(" ± "):
        base, e, exponent = part.partition("e")
        part = rf"{base} \times 10^{{{int(exponent)}}}" if e else part
        parts.append(part.replace("inf", r"\infty").replace("nan", r"\mathrm{nan}"))
    return "$" + r" \pm ".join(parts) + "$"


def latex(table: Table) -> str:
    """The table as a LaTeX longtable (needs the package longtable) with its notes above."""

    def entry(value: Any, digits: int) -> str:
        text = written(value, digits)
        if text == "-":
            return "--"
        return _latex_number(text) if _is_number(value) else text.translate(_LATEX)

    alignment = "".join("r" if right else "l" for right in _numeric(table))
    lines = [r"% \usepackage{longtable}", " ".join(table.notes).translate(_LATEX), ""]
    lines.append(rf"\begin{{longtable}}{{{alignment}}}")
    lines.append(rf"\caption{{{table.title.translate(_LATEX)}}}\\")
    lines.append(r"\hline")
    lines.append(" & ".join(c.name.translate(_LATEX) for c in table.columns) + r" \\")
    lines.append(r"\hline\endhead")
    for row in table.rows:
        entries = (entry(v, c.digits) for v, c in zip(row, table.columns, strict=True))
        lines.append(" & ".join(entries) + r" \\")
    lines += [r"\hline", r"\end{longtable}"]
    return "\n".join(lines) + "\n"


def as_csv(table: Table) -> str:
    """The table's numbers in full: estimates in three columns; no title, no notes."""
    estimated = [any(isinstance(row[i], Estimate) for row in table.rows)
                 for i in range(len(table.columns))]
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    header = []
    for column, three in zip(table.columns, estimated, strict=True):
        more = [f"{column.name}_half_width", f"{column.name}_values"] if three else []
        header += [column.name, *more]
    writer.writerow(header)
    for row in table.rows:
        values: list[Any] = []
        for value, three in zip(row, estimated, strict=True):
            values += (value or Estimate(None, None, 0)) if three else [value]
        writer.writerow(values)
    return file.getvalue()


FORMATS: Mapping[str, Callable[[Table], str]] = {"md": markdown, "csv": as_csv, "tex": latex}


def terminal(table: Table) -> rich.table.Table:
    """The table for a terminal, with its title."""
    drawn = rich.table.Table(title=Text(table.title), title_justify="left")
    for column, right in zip(table.columns, _numeric(table), strict=True):
        drawn.add_column(
            Text(column.name), justify="right" if right else "left", overflow="fold"
        )
    for row in table.rows:
        drawn.add_row(*map(Text, _texts(table, row)))
    return drawn
